"""A model that can only write one thing, so that tests know what it writes."""

from pathlib import Path

import torch

from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.bpe import BPETokenizer
from bhushgpt.presets import RunConfig
from bhushgpt.storage import save_checkpoint
from bhushgpt.tokenizers import ByteTokenizer, Tokenizer
from bhushgpt.training import TrainState
from bhushgpt.training_config import TrainingConfig

CHAIN = "é山🙂!\n"  # after a line end comes é: 2, 3 and 4 bytes, then a plain character


def chain_tokenizer() -> BPETokenizer:
    """Return byte pairs of which one is the end of 山: no token of CHAIN comes twice in it."""
    byte = ByteTokenizer().decode_bytes
    ordinary = BPETokenizer([])
    end = ordinary.tokens.index(byte([0xB1]))  # 山 is e5 b1 b1
    return BPETokenizer([(end, end)])


def chain_model(tokenizer: Tokenizer, text: str = CHAIN) -> Bigram:
    """Return a bigram that writes a text round and round, whatever it is asked."""
    ids = tokenizer.encode(text)
    assert len(set(ids)) == len(ids)
    model = Bigram(BigramConfig(vocab_size=tokenizer.vocab_size, context_length=64))
    with torch.no_grad():
        model.table.weight.zero_()
        for one, following in zip(ids, ids[1:] + ids[:1], strict=True):
            model.table.weight[one, following] = 80
    return model.eval()


def chain_run(folder: Path) -> Path:
    """Return a run whose model is such a bigram."""
    tokenizer = chain_tokenizer()
    model = chain_model(tokenizer)
    config = RunConfig(preset="bigram", model=model.config, training=TrainingConfig(steps=1))
    save_checkpoint(folder, TrainState.fresh(model, config.training), config, tokenizer)
    return folder
