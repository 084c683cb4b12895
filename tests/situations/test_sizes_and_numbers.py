"""Sizes that are none, shapes that torch takes, and what a caller goes on using."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bhushgpt.batches import Batches
from bhushgpt.bigram import BigramConfig
from bhushgpt.errors import UserError
from bhushgpt.generation import Sampling, generate
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.kv_cache import Cached
from bhushgpt.mlp_model import MLPConfig
from bhushgpt.optimizers import AdamW
from bhushgpt.speed import QUICK, FastCached, view
from bhushgpt.speed.small_weights import Int8Linear, PackedLinear
from bhushgpt.storage import save_checkpoint
from bhushgpt.storage.tensors import optimizer_parts
from bhushgpt.training import TrainState
from bhushgpt.training_config import TrainingConfig
from tests.small_runs import TOKENIZER, fresh_state, small_config

SIZES: dict[str, Any] = {
    "vocab_size": 20,
    "context_length": 16,
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 16,
}


@pytest.fixture(scope="module")
def model() -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(**SIZES)).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("ids", [[[1, 2]], np.zeros((1, 2), np.int64), (1, 2), "ab"], ids=repr)
@pytest.mark.parametrize("wrap", [lambda m: m, Cached, FastCached], ids=["gpt", "cached", "fast"])
def test_ids_that_are_no_tensor_get_a_sentence(model, ids, wrap):
    for call in (lambda: wrap(model)(ids), lambda: next(generate(wrap(model), ids, 1))):
        with pytest.raises(UserError, match=r"not a tensor: use torch\.tensor\(ids\)"):
            call()


@pytest.mark.parametrize(
    "tokens",
    [
        np.arange(400).reshape(20, 20),
        np.linspace(0, 9.9, 50),
        torch.rand(50),
        np.ones(50, bool),
        "hello, hello",
        [1.0, 2.0] * 20,
        [[1, 2], [3, 4]],
    ],
    ids=["table", "decimals", "tensor", "switches", "text", "list", "rows"],
)
def test_batches_are_cut_from_one_row_of_whole_numbers(tokens):
    with pytest.raises(UserError, match="one row of whole numbers"):
        Batches(tokens, 2, 4)


WRONG = [True, 2.0, 2.5, math.nan, "3", None]


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_a_size_is_a_whole_number(value: Any):
    for name in SIZES:
        with pytest.raises(UserError, match=f"{name} is {value}"):
            GPTConfig(**(SIZES | {name: value}))
    for name in ("steps", "batch_size", "accumulation_steps", "warmup_steps", "seed"):
        with pytest.raises(UserError, match=f"{name} is {value}"):
            TrainingConfig(**{"steps": 3, name: value})
    for name in ("batch_size", "context_length", "seed"):
        with pytest.raises(UserError, match=f"{name} is {value}"):
            Batches(np.arange(50), **{"batch_size": 2, "context_length": 4, name: value})
    with pytest.raises(UserError, match=f"vocab_size is {value}"):
        BigramConfig(vocab_size=value)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"n_hidden is {value}"):
        MLPConfig(vocab_size=7, n_hidden=value)  # type: ignore[arg-type]


def test_whole_numbers_of_numpy_are_welcome():
    two = np.int64(2)
    assert Batches(np.arange(50), two, two)[0][0].shape == (2, 2)  # type: ignore[arg-type]
    assert TrainingConfig(steps=two, batch_size=two).steps == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["learning_rate", "min_learning_rate", "weight_decay"])
def test_a_rate_is_finite(name):
    rates = {"learning_rate": 1.0} | {name: math.inf}
    with pytest.raises(UserError, match=f"{name} is infinite"):
        TrainingConfig(steps=3, **rates)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, -1, True, 1.5])
def test_at_least_one_checkpoint_is_kept(tmp_path, value):
    config = small_config()
    with pytest.raises(UserError, match=f"keep is {value}: at least 1"):
        save_checkpoint(tmp_path, fresh_state(config), config, TOKENIZER, keep=value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"top_k": True}, "top_k is True"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_of_drawing_are_whole_numbers(settings, said):
    with pytest.raises(UserError, match=said):
        Sampling(**settings)


@pytest.mark.parametrize("n_tokens", [2.5, True, "3"])
def test_a_number_of_tokens_is_whole(model, n_tokens):
    with pytest.raises(UserError, match=f"n_tokens is {n_tokens}"):
        next(generate(model, torch.tensor([[1]]), n_tokens))


@pytest.mark.parametrize("temperature", [5e-324, 1e-320, 1e-50, 1e-45, 1e-38, 1e38, 1e300])
def test_a_temperature_that_float32_cannot_hold_draws_all_the_same(model, temperature):
    ids = torch.tensor([[1, 2]])
    drawn = [int(new) for new in generate(model, ids, 4, Sampling(temperature=temperature))]
    greedy = [int(new) for new in generate(model, ids, 4, Sampling(temperature=0))]
    assert drawn == greedy or temperature > 1


@pytest.mark.parametrize("shape", [(32,), (0, 32), (1, 32), (2, 3, 32), (2, 0, 3, 32)], ids=repr)
@pytest.mark.parametrize(
    ("layer", "tolerance"),
    [
        (lambda linear: view(linear, dict(QUICK)), 1e-5),
        (Int8Linear, 0.05),
        (lambda linear: PackedLinear(linear, torch.float32), 1e-5),
    ],
    ids=["quick", "int8", "packed"],
)
def test_a_layer_takes_the_shapes_that_torchs_does(shape, layer, tolerance):
    torch.manual_seed(1)
    linear, x = nn.Linear(32, 16), torch.randn(shape)
    with torch.no_grad():
        expected = linear(x)
    found = layer(linear)(x)
    assert found.shape == expected.shape
    torch.testing.assert_close(found.detach(), expected, atol=tolerance, rtol=0.05)


@pytest.mark.parametrize("shape", [(32,), (2, 32)], ids=repr)
def test_a_quick_layer_has_the_slopes_of_torchs_for_one_vector_too(shape):
    torch.manual_seed(1)
    linear, x = nn.Linear(32, 16), torch.randn(shape)
    slopes = []
    for layer in (linear, view(linear, dict(QUICK))):
        linear.zero_grad()
        layer(x).square().sum().backward()
        slopes.append((linear.weight.grad.clone(), linear.bias.grad.clone()))  # type: ignore[union-attr]
    torch.testing.assert_close(slopes[0], slopes[1])


def test_the_optimizer_of_notebook_05_can_be_saved_and_goes_on():
    torch.manual_seed(2)
    layer, ids = nn.Linear(3, 2), torch.randn(5, 3)
    state = TrainState(layer, AdamW(layer.parameters(), lr=0.1))
    layer(ids).square().sum().backward()
    state.optimizer.step()
    tensors, groups = optimizer_parts(state)
    assert {name.rpartition(".")[2] for name in tensors} == {"step", "mean", "square"}
    assert groups


@pytest.mark.parametrize("wrap", [Cached, FastCached])
def test_a_cache_keeps_its_own_copy_of_what_a_caller_writes_over(model, wrap):
    cached, buffer = wrap(model), torch.zeros(1, 8, dtype=torch.long)
    for length in range(1, 7):
        buffer[0] = torch.randint(20, (8,)) if length == 4 else buffer[0]  # another text
        buffer[0, length - 1] = length
        with torch.no_grad():
            expected = model(buffer[:, :length].clone())[:, -1]
            torch.testing.assert_close(cached(buffer[:, :length])[:, -1], expected)


def test_what_is_kept_of_a_caller_is_copied_or_read_afresh(model):
    # Batches read the caller's array at every batch, as they must of a memory map.
    tokens = np.zeros(50, dtype=np.int64)
    batches = Batches(tokens, 2, 4)
    tokens[:] = 7
    assert int(batches[0][0].min()) == 7
    # Logits that a cache hands out are not overwritten by its next call.
    fast, ids = FastCached(model), torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        fast(ids[:, :2])
        first = fast(ids[:, :3])
        kept = first.clone()
        fast(ids)
    assert torch.equal(first, kept)
