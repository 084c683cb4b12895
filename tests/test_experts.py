"""A mixture of experts is the sum it says, token by token, and its price pushes towards even."""

import pytest
import torch
from torch import Tensor, nn

from bhushgpt.errors import UserError
from bhushgpt.experts import Experts, balanced_loss, imbalance
from bhushgpt.modern_gpt import ModernConfig
from bhushgpt.training import batch_loss

C, E = 6, 5


def experts(per_token: int = 2) -> Experts:
    torch.manual_seed(2)
    return Experts(C, n_expert=E, per_token=per_token, expert=lambda: nn.Linear(C, C))


def by_loop(module: Experts, x: Tensor) -> Tensor:
    """One token at a time: the best k of the router's scores, by share, or one by its score."""
    out = torch.zeros_like(x)
    for place in [(b, t) for b in range(x.shape[0]) for t in range(x.shape[1])]:
        scores = module.router(x[place]).softmax(dim=-1).tolist()
        best = sorted(range(E), key=lambda e: -scores[e])[: module.per_token]
        total = sum(scores[e] for e in best) if len(best) > 1 else 1
        for e in best:
            out[place] += scores[e] / total * module.experts[e](x[place])
    return out


@pytest.mark.parametrize("per_token", [1, 2, E])
def test_it_is_the_sum_token_by_token(per_token: int) -> None:
    module, x = experts(per_token), torch.randn(3, 7, C)
    torch.testing.assert_close(module(x), by_loop(module, x))


def test_one_expert_is_the_expert() -> None:
    module = Experts(C, n_expert=1, per_token=1, expert=lambda: nn.Linear(C, C))
    x = torch.randn(4, C)
    torch.testing.assert_close(module(x), module.experts[0](x))


@pytest.mark.parametrize("per_token", [1, 2])
def test_the_router_learns_through_the_shares(per_token: int) -> None:
    module = experts(per_token)
    module(torch.randn(3, 7, C)).square().sum().backward()
    assert module.router.weight.grad is not None
    assert module.router.weight.grad.abs().max() > 1e-3  # a share that is always 1: 1e-7


def test_what_other_tokens_are_there_does_not_matter() -> None:
    module, x = experts(), torch.randn(3, 7, C)
    torch.testing.assert_close(module(x)[1, 2], module(x[1, 2:3])[0])


def test_it_can_be_counted_without_memory() -> None:
    with torch.device("meta"):
        module = experts()
        assert module(torch.randn(3, 7, C)).shape == (3, 7, C)


def test_imbalance_is_1_for_even_and_e_for_one_that_gets_all() -> None:
    even = torch.eye(E)
    assert imbalance(even).item() == pytest.approx(1)
    alone = torch.zeros(4, E)
    alone[:, 3] = 1
    assert imbalance(alone).item() == pytest.approx(E)


def test_the_price_evens_the_experts_out() -> None:
    torch.manual_seed(0)
    router = nn.Linear(C, E, bias=False)
    with torch.no_grad():
        router.weight[1] += 2
    x = torch.randn(200, C) + 0.5
    first = imbalance(router(x).softmax(-1)).item()
    for _ in range(100):
        loss = imbalance(router(x).softmax(-1))
        (slope,) = torch.autograd.grad(loss, router.weight)
        with torch.no_grad():
            router.weight -= 0.5 * slope
    assert imbalance(router(x).softmax(-1)).item() < 1 + (first - 1) / 2


def test_the_balanced_loss_is_the_loss_and_the_price() -> None:
    config = ModernConfig(
        vocab_size=7, context_length=5, n_layer=2, n_head=2, n_embd=8, n_expert=3, zero_init=False
    )
    torch.manual_seed(0)
    model, ids = config.build(), torch.randint(7, (4, 6))
    plain = batch_loss(model, ids[:, :-1], ids[:, 1:])
    assert torch.equal(balanced_loss(model, ids[:, :-1], ids[:, 1:], price=0.0), plain)
    dear = balanced_loss(model, ids[:, :-1], ids[:, 1:], price=1.0)
    layers = [part for part in model.modules() if isinstance(part, Experts)]
    assert 0 < (dear - plain).item() < 2 and len(layers) == 2
    assert not any(layer.probabilities._forward_hooks for layer in layers)


def test_without_experts_there_is_no_price() -> None:
    model = ModernConfig(vocab_size=7, context_length=5, n_layer=1, n_head=1, n_embd=8).build()
    ids = torch.randint(7, (2, 6))
    balanced = balanced_loss(model, ids[:, :-1], ids[:, 1:], price=1.0)
    assert torch.equal(balanced, batch_loss(model, ids[:, :-1], ids[:, 1:]))


@pytest.mark.parametrize("per_token", [0, E + 1])
def test_a_token_cannot_have_more_experts_than_there_are(per_token: int) -> None:
    with pytest.raises(UserError, match=f"experts_per_token is {per_token}"):
        experts(per_token)
