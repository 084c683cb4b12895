"""Fault 8: made on a GPU and loaded on a CPU, in bfloat16, compiled, or wrapped for many cards."""

import copy

import pytest
import torch
from torch import nn

from bhushgpt.errors import UserError
from bhushgpt.presets import build_model
from bhushgpt.storage.checkpoints import (
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from bhushgpt.storage.tensors import plain_name, plain_names
from bhushgpt.training import TrainState, train
from tests.small_runs import TOKENIZER, batches_of, fresh_state, same_weights, small_config

CONFIG = small_config(6)


class Wrapped(nn.Module):
    """Gives names a prefix, as DistributedDataParallel does without its processes."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, ids):
        return self.module(ids)


def in_eager_mode(model: nn.Module) -> nn.Module:
    """Compile without a compiler: the names are what matters here."""
    compiled = torch.compile(model, backend="eager")
    assert isinstance(compiled, nn.Module)
    return compiled


WRAPPERS = {
    "compiled": in_eager_mode,
    "parallel": Wrapped,
    "compiled, then parallel": lambda model: Wrapped(in_eager_mode(model)),
    "parallel, then compiled": lambda model: in_eager_mode(Wrapped(model)),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
def test_a_wrapped_model_is_saved_under_plain_names(wrap, tmp_path) -> None:
    state = fresh_state(CONFIG)
    next(train(state, batches_of(CONFIG), CONFIG.training))
    wrapped = TrainState(wrap(state.model), state.optimizer, state.step)
    loaded = load_checkpoint(save_checkpoint(tmp_path, wrapped, CONFIG, TOKENIZER))
    assert same_weights(loaded.state, state)
    assert loaded.state.step == 1


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
def test_weights_go_into_and_out_of_a_wrapped_model(wrap, tmp_path) -> None:
    model, other = build_model(CONFIG), build_model(small_config(6, dropout=0.0))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    save_weights(wrap(model), tmp_path / "a.safetensors")
    load_weights(wrap(other), tmp_path / "a.safetensors")
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_only_prefixes_of_wrappers_are_taken_off() -> None:
    assert plain_name("my_module.module.weight") == "my_module.module.weight"
    assert plain_name("module") == "module"
    with pytest.raises(UserError, match="same name but for a wrapper's prefix"):
        plain_names({"module.weight": 1, "weight": 2})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halved_weights_load_into_a_float32_model(dtype, tmp_path) -> None:
    """Any CPU can turn bfloat16 into float32, also one that cannot compute in it."""
    model = build_model(CONFIG)
    half = copy.deepcopy(model).to(dtype)
    save_weights(half, tmp_path / "half.safetensors")
    load_weights(model, tmp_path / "half.safetensors")
    for ours, theirs in zip(model.parameters(), half.parameters(), strict=True):
        assert ours.dtype is torch.float32
        assert torch.equal(ours, theirs.float())


def test_an_optimizer_fused_elsewhere_steps_here(tmp_path) -> None:
    """How a step is computed is the machine's own matter; what is computed is the checkpoint's."""
    state = fresh_state(CONFIG)
    next(train(state, batches_of(CONFIG), CONFIG.training))
    for group in state.optimizer.param_groups:
        group["fused"], group["foreach"] = None, True
    loaded = load_checkpoint(save_checkpoint(tmp_path, state, CONFIG, TOKENIZER))
    group = loaded.state.optimizer.param_groups[0]
    assert (group["fused"], group["foreach"]) == (True, None)
    assert group["lr"] == state.optimizer.param_groups[0]["lr"]
    assert next(train(loaded.state, batches_of(CONFIG), CONFIG.training)).step == 2


def test_a_checkpoint_of_a_gpu_loads_on_the_cpu(tmp_path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("There is no CUDA here, so no checkpoint can be made on a GPU.")
    state = TrainState.fresh(build_model(CONFIG, "cuda"), CONFIG.training)
    batches = batches_of(CONFIG)
    batches.device = torch.device("cuda")
    next(train(state, batches, CONFIG.training))
    loaded = load_checkpoint(save_checkpoint(tmp_path, state, CONFIG, TOKENIZER), "cpu")
    assert {p.device.type for p in loaded.state.model.parameters()} == {"cpu"}
    assert loaded.random is not None
    loaded.random.restore("cpu")
    assert next(train(loaded.state, batches_of(CONFIG), CONFIG.training)).step == 2
