"""The loss: by hand, the library's and ours are one number."""

import math

import pytest
import torch
import torch.nn.functional as F

from bhushgpt.errors import UserError
from bhushgpt.language_model import next_token_loss, token_losses

B, T, V = 3, 5, 11


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(B, T, V, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def targets() -> torch.Tensor:
    return torch.randint(V, (B, T), generator=torch.Generator().manual_seed(1))


def test_token_losses_equal_minus_log_softmax_one_position_at_a_time(logits, targets):
    losses = token_losses(logits, targets)
    for b in range(B):
        for t in range(T):
            scores = logits[b, t].tolist()
            total = sum(math.exp(score) for score in scores)
            by_hand = -math.log(math.exp(scores[targets[b, t].item()]) / total)
            assert losses[b, t].item() == pytest.approx(by_hand, abs=1e-5)


def test_next_token_loss_is_the_mean_and_equals_cross_entropy(logits, targets):
    loss = next_token_loss(logits, targets)
    assert loss.shape == ()
    assert torch.equal(loss, token_losses(logits, targets).mean())
    # cross_entropy wants the classes on axis 1.
    torch.testing.assert_close(loss, F.cross_entropy(logits.transpose(1, 2), targets))


def test_even_bets_cost_ln_v():
    loss = next_token_loss(torch.full((B, T, 79), 3.0), torch.zeros(B, T, dtype=torch.long))
    assert loss.item() == pytest.approx(math.log(79), abs=1e-5)


def test_each_loss_depends_on_its_own_position_alone(logits, targets):
    before = token_losses(logits, targets)
    changed = logits.clone()
    changed[1, 2] += torch.arange(V)
    moved = token_losses(changed, targets) != before
    assert moved.nonzero().tolist() == [[1, 2]]


def test_targets_that_are_a_view_give_the_same_loss(logits):
    ids = torch.randint(V, (B, T + 1), generator=torch.Generator().manual_seed(2))
    shifted = ids[:, 1:]
    assert not shifted.is_contiguous()
    assert torch.equal(token_losses(logits, shifted), token_losses(logits, shifted.clone()))


def test_half_precision_logits_lose_nothing_in_the_softmax(logits, targets):
    half = logits.bfloat16()
    loss = next_token_loss(half, targets)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, next_token_loss(half.float(), targets))


def test_huge_logits_do_not_overflow(targets):
    logits = torch.zeros(B, T, V)
    logits[..., 0] = 1e4
    assert torch.isfinite(token_losses(logits, targets)).all()


def test_gradient_is_probability_minus_one_hot_over_the_count(logits, targets):
    logits.requires_grad_()
    next_token_loss(logits, targets).backward()
    expected = (logits.softmax(-1) - F.one_hot(targets, V)) / (B * T)
    torch.testing.assert_close(logits.grad, expected.detach())


def test_a_weighted_loss_is_the_mean_of_what_counts():
    logits, targets = torch.randn(2, 3, 5), torch.randint(5, (2, 3))
    weights = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 0.5]])
    each = token_losses(logits, targets)
    expected = (each[0, 0] + 2 * each[0, 2] + each[1, 2] / 2) / 3.5
    assert next_token_loss(logits, targets, weights).item() == pytest.approx(expected.item())
    with pytest.raises(UserError, match="all weights are 0"):
        next_token_loss(logits, targets, torch.zeros(2, 3))
