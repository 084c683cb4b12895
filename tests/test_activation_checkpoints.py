"""Blocks that are computed again give the same numbers and keep less."""

import copy

import pytest
import torch
from torch import nn

from bhushgpt.activation_checkpoints import recomputed_blocks
from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.cheap_dropout import use_cheap_dropout
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.training import batch_loss

IDS = torch.randint(9, (3, 8), generator=torch.Generator().manual_seed(0))


def small_gpt(dropout: float = 0.0) -> GPT:
    torch.manual_seed(0)
    return GPT(
        GPTConfig(vocab_size=9, context_length=8, n_layer=4, n_head=2, n_embd=16, dropout=dropout)
    )


def gradients(model: nn.Module, *, again: bool) -> list[torch.Tensor]:
    torch.manual_seed(5)
    if again:
        with recomputed_blocks(model):
            loss = batch_loss(model, IDS, IDS)
    else:
        loss = batch_loss(model, IDS, IDS)
    loss.backward()
    found = [weight.grad for weight in model.parameters() if weight.grad is not None]
    model.zero_grad()
    return [loss.detach(), *found]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("cheap", [False, True])
def test_recomputed_equals_kept_with_the_same_dropout(dropout, cheap):
    model = small_gpt(dropout)
    if cheap:
        use_cheap_dropout(model)
    kept, again = gradients(model, again=False), gradients(model, again=True)
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
            if again:
                with recomputed_blocks(model):
                    batch_loss(model, IDS, IDS)
            else:
                batch_loss(model, IDS, IDS)
        return sum(sizes)

    assert kept(True) < kept(False) / 4


def test_the_model_is_left_as_it_was_even_after_an_error():
    model = small_gpt()
    with pytest.raises(RuntimeError, match="stop"), recomputed_blocks(model):
        raise RuntimeError("stop")
    assert all("forward" not in vars(block) for block in model.blocks)
    copy.deepcopy(model)(IDS)


def test_a_model_without_blocks_is_refused():
    with pytest.raises(UserError, match="Only a model of blocks"):
        recomputed_blocks(Bigram(BigramConfig(vocab_size=3))).__enter__()
