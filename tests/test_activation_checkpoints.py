"""Blocks that are computed again give the same numbers and keep less."""

import pytest
import torch
from torch import nn

from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.speed.acceleration import AcceleratedLoss, Acceleration

IDS = torch.randint(9, (3, 8), generator=torch.Generator().manual_seed(0))


def small_gpt(dropout: float = 0.0) -> GPT:
    torch.manual_seed(0)
    return GPT(
        GPTConfig(vocab_size=9, context_length=8, n_layer=4, n_head=2, n_embd=16, dropout=dropout)
    )


def loss_function(*, again: bool, cheap: bool = False) -> AcceleratedLoss:
    return AcceleratedLoss(Acceleration(activation_checkpointing=again, cheap_dropout=cheap))


def gradients(model: nn.Module, *, again: bool, cheap: bool = False) -> list[torch.Tensor]:
    torch.manual_seed(5)
    loss = loss_function(again=again, cheap=cheap)(model, IDS, IDS)
    loss.backward()
    found = [weight.grad for weight in model.parameters() if weight.grad is not None]
    model.zero_grad()
    return [loss.detach(), *found]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("cheap", [False, True])
def test_recomputed_equals_kept_with_the_same_dropout(dropout, cheap):
    model = small_gpt(dropout)
    kept = gradients(model, again=False, cheap=cheap)
    again = gradients(model, again=True, cheap=cheap)
    for one, other in zip(kept, again, strict=True):
        assert torch.equal(one, other)


def test_every_block_is_computed_twice():
    model, calls = small_gpt(), []
    model.get_submodule("blocks.1.attention").register_forward_hook(lambda *_: calls.append(1))
    gradients(model, again=False)
    assert len(calls) == 1
    gradients(model, again=True)
    assert len(calls) == 3


def test_less_is_kept_for_backward():
    def kept(again: bool) -> int:
        sizes: list[int] = []
        model = small_gpt()

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss_function(again=again)(model, IDS, IDS)
        return sum(sizes)

    assert kept(True) < kept(False) / 4


def test_a_model_without_blocks_is_refused():
    with pytest.raises(UserError, match="Only a model of blocks"):
        loss_function(again=True)(Bigram(BigramConfig(vocab_size=9)), IDS, IDS)
