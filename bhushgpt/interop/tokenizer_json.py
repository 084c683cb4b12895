"""Our tokenizers in the form that Hugging Face and its readers know: tokenizer.json.

Lesson: notebook 16.
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, pre_tokenizers, processors

from bhushgpt.bpe import BPETokenizer
from bhushgpt.bpe_by_hand import to_signs
from bhushgpt.errors import UserError
from bhushgpt.files import write_atomically
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer, Tokenizer, end_of_text

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"


def fast_tokenizer(tokenizer: Tokenizer) -> FastTokenizer:
    """Return the same tokenizer as one of the library `tokenizers`.

    "The same" are the same ids for every text, with two exceptions. A character outside the
    alphabet of a `CharTokenizer` is not refused there, but becomes its `stand_in`. And the name of
    a special token in a text is read as that token, unless `encode_special_tokens` is set.

    Args:
        tokenizer: One that counts characters or bytes, or a byte-pair one.

    Raises:
        UserError: If there is no such form of it, or a special token has the name of an ordinary
            one: that library would give both one id.

    >>> fast_tokenizer(ByteTokenizer()).encode("hi").ids
    [104, 105]
    """
    if isinstance(tokenizer, CharTokenizer):
        # Byte-pair encoding that starts from characters and has no pair to merge.
        vocabulary = {character: number for number, character in enumerate(tokenizer.characters)}
        fast: Any = FastTokenizer(models.BPE(vocabulary, [], unk_token=tokenizer.stand_in))
        fast.decoder = decoders.Fuse()
        return fast
    if isinstance(tokenizer, ByteTokenizer):
        names, pairs, special = [to_signs(bytes([byte])) for byte in range(256)], [], []
    elif isinstance(tokenizer, BPETokenizer):
        special = [*tokenizer.special_ids]
        ordinary = tokenizer.tokens[: tokenizer.vocab_size - len(special)]
        names = [to_signs(token) for token in ordinary]
        pairs = [(names[left], names[right]) for left, right in tokenizer.merges]
    else:
        raise UserError(
            f"There is no tokenizer.json for a {type(tokenizer).__name__}. Characters, bytes and "
            "byte-pair encoding can be written; train the model with one of these."
        )
    if both := sorted({*names} & {*special}):
        raise UserError(
            f"The special tokens {both} have the names of ordinary tokens, and tokenizer.json "
            "cannot hold both. Choose names that no text contains, such as <|endoftext|>."
        )
    fast = FastTokenizer(models.BPE({name: n for n, name in enumerate(names)}, pairs))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.post_processor = processors.ByteLevel(trim_offsets=False)
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens(special)  # their ids follow, as ours do
    return fast


def write_tokenizer(tokenizer: Tokenizer, folder: Path, context_length: int) -> None:
    """Write tokenizer.json and tokenizer_config.json, from which AutoTokenizer makes the same.

    Args:
        tokenizer: See `fast_tokenizer`.
        folder: An existing folder.
        context_length: The most tokens the model takes, for whoever wants to be warned.

    Raises:
        UserError: If there is no such form of it.
    """
    write_atomically(folder / TOKENIZER, fast_tokenizer(tokenizer).to_str(pretty=True).encode())
    described = {
        # The class that takes tokenizer.json as it is. "GPT2Tokenizer" would build its own from
        # the vocabulary and drop what it does not expect.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
    }
    end = end_of_text(tokenizer)
    if end is not None:
        described |= {"bos_token": tokenizer.decode([end]), "eos_token": tokenizer.decode([end])}
    text = json.dumps(described, ensure_ascii=False, indent=1) + "\n"
    write_atomically(folder / TOKENIZER_CONFIG, text.encode())
