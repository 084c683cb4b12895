"""The first bad layer is named, forwards and backwards, and the model is left as it was."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bhushgpt.diagnosis.non_finite import explain_non_finite
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.training import NonFinite, TrainState, batch_loss, train
from bhushgpt.training_config import TrainingConfig

IDS = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0], [1, 1, 1, 1]])


def small_gpt() -> Any:  # its parts are looked up by name, which no type checker follows
    torch.manual_seed(0)
    return GPT(GPTConfig(vocab_size=5, context_length=4, n_layer=3, n_head=2, n_embd=8))


def explain(model: nn.Module, loss=batch_loss, ids: Tensor = IDS) -> str:
    state = TrainState(model, torch.optim.SGD(model.parameters()), step=41)
    return explain_non_finite(state, [(ids, ids)] * 42, TrainingConfig(steps=99), loss)


class Spoil(nn.Module):
    """A GELU that gives something else for some of the windows, or a bad gradient."""

    def __init__(self, value: float, rows: slice = slice(None), *, backwards: bool = False):
        super().__init__()
        self.value, self.rows, self.backwards = value, rows, backwards

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.gelu(x)
        if self.backwards:
            x.register_hook(lambda gradient: gradient * self.value)
            return x
        x = x.clone()
        x[self.rows] = self.value
        return x


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_the_first_bad_layer_is_named_not_one_that_it_spoilt(layer, value):
    model = small_gpt()
    model.blocks[layer].mlp.activation = Spoil(value, slice(1, 3))
    sentence = explain(model)
    assert f"the output of blocks.{layer}.mlp.activation (Spoil)" in sentence
    assert "in 2 of 3 windows, the first is number 1 (batch 41)" in sentence


def test_a_bad_gradient_is_found_on_its_way_back():
    model = small_gpt()
    model.blocks[1].mlp.activation = Spoil(torch.nan, backwards=True)
    sentence = explain(model)
    assert "on the way back" in sentence
    assert "the gradient at the output of blocks.1.mlp.activation" in sentence
    assert "blocks.2" not in sentence and "blocks.0" not in sentence


def test_a_loss_that_spoils_finite_scores_is_named():
    sentence = explain(small_gpt(), lambda model, x, y: batch_loss(model, x, y) * torch.inf)
    assert "is the loss itself: every layer's output is finite" in sentence


def test_spoilt_weights_are_named_first():
    model = small_gpt()
    with torch.no_grad():
        model.blocks[2].mlp.widen.bias[3] = torch.inf
    assert "before this step: blocks.2.mlp.widen.bias holds" in explain(model)


def test_float16_that_overflows_gets_the_hint_to_take_bfloat16():
    model: Any = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5)).half()
    with torch.no_grad():
        model[0].weight.fill_(60_000.0)
        model[1].weight.fill_(1.0)
    sentence = explain(model)
    assert "the output of 1 (Linear)" in sentence
    assert "float16 ends at 65,504: take bfloat16" in sentence


def test_a_sound_step_is_called_sound():
    assert "batch 41 gives only finite numbers" in explain(small_gpt())


def test_model_gradients_mode_and_hooks_are_left_as_they_were():
    model = small_gpt().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    explain(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert not any(parameter._backward_hooks for parameter in model.parameters())


def test_the_search_draws_the_numbers_of_the_step_that_failed():
    """Else another dropout's mask would be looked at, in which all may be well."""
    model, drawn = small_gpt(), []

    def loss(model, inputs, targets):
        drawn.append(torch.rand(3).tolist())
        return batch_loss(model, inputs, targets) * torch.nan

    state = TrainState(model, torch.optim.SGD(model.parameters()), step=41)
    with pytest.raises(NonFinite):
        next(train(state, [(IDS, IDS)] * 42, TrainingConfig(steps=99), loss))
    explain(model, loss)
    assert drawn[0] == drawn[1]
