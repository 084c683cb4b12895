"""Fault 31: ids on another device than the model, or out of range: said before a GPU crashes.

A device without memory, "meta", plays the GPU: it behaves like one in that operations between it
and the CPU are refused.
"""

from typing import Any

import numpy as np
import pytest
import torch

from bhushgpt.batches import Batches
from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.errors import UserError
from bhushgpt.evaluation import evaluate
from bhushgpt.generation import generate
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.training import TrainState, train
from bhushgpt.training_config import TrainingConfig

V = 5


def gpt():
    return GPT(GPTConfig(vocab_size=V, context_length=4, n_layer=1, n_head=1, n_embd=4))


@pytest.mark.parametrize("make", [gpt, lambda: Bigram(BigramConfig(vocab_size=V))])
@pytest.mark.parametrize(("ids_on", "model_on"), [("cpu", "meta"), ("meta", "cpu")])
def test_mixed_devices_are_both_named_with_the_line_to_type(make, ids_on, model_on) -> None:
    model = make().to(model_on)
    ids = torch.zeros(1, 3, dtype=torch.long, device=ids_on)
    with pytest.raises(UserError) as raised:
        model(ids)
    assert str(raised.value) == (
        f"The ids are on {ids_on}, the model on {model_on}: use ids.to('{model_on}'), or "
        f"model.to('{ids_on}')."
    )


def test_generating_and_training_say_it_too() -> None:
    model = gpt().to("meta")
    with pytest.raises(UserError, match=r"The ids are on cpu, the model on meta"):
        next(generate(model, torch.zeros(1, 2, dtype=torch.long), 3))
    config = TrainingConfig(steps=2, batch_size=2)
    state = TrainState.fresh(gpt(), config)
    elsewhere: Any = [(torch.zeros(2, 4, dtype=torch.long, device="meta"),) * 2] * 2
    with pytest.raises(UserError, match=r"The ids are on meta, the model on cpu"):
        next(train(state, elsewhere, config))


@pytest.mark.parametrize("bad", [V, -1, 70_000])
def test_an_id_out_of_range_is_named_before_it_is_looked_up(bad) -> None:
    with pytest.raises(UserError, match=rf"The ids hold {bad}, but the model knows 5 tokens, 0 to"):
        gpt()(torch.tensor([[0, bad]]))
    with pytest.raises(UserError, match=rf"hold {bad}"):
        evaluate(gpt(), np.array([0, 1, bad, 2, 0, 1]))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_batches_check_the_range_before_the_ids_leave_the_cpu(device) -> None:
    tokens = np.arange(100) % 9
    with pytest.raises(UserError, match=r"token id 8, but a vocabulary of 5 has the ids 0 to 4"):
        Batches(tokens, 16, 4, vocab_size=V, device=device)[0]


def test_on_a_gpu_the_same_sentences_come_and_the_gpu_stays_usable() -> None:
    if not torch.cuda.is_available():
        pytest.skip("this machine has no NVIDIA card")
    model = gpt().to("cuda")
    with pytest.raises(UserError, match=r"The ids are on cpu, the model on cuda:0"):
        model(torch.tensor([[0, 1]]))
    with pytest.raises(UserError, match=r"token id 8"):
        Batches(np.arange(100) % 9, 16, 4, vocab_size=V, device="cuda")[0]
    assert model(torch.tensor([[0, 1]], device="cuda")).shape == (1, 2, V)
