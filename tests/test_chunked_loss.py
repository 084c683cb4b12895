"""The loss in chunks is the plain loss: value and gradients, for any chunk, in any precision."""

import pytest
import torch
import torch.nn.functional as F

from bhushgpt.errors import UserError
from bhushgpt.speed.large_vocabulary import chunked_loss

N, C, V = 13, 6, 17


def operands(dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    hidden = torch.randn(N, C, dtype=dtype, requires_grad=True)
    weight = torch.randn(V, C, dtype=dtype, requires_grad=True)
    return hidden, weight, torch.randint(V, (N,))


@pytest.mark.parametrize("chunk_tokens", [1, 2, 5, N, 100])
def test_chunked_equals_plain_in_value_and_gradients(chunk_tokens):
    hidden, weight, targets = operands(torch.float32)
    plain = F.cross_entropy(hidden @ weight.T, targets)
    expected = torch.autograd.grad(plain, (hidden, weight))
    loss = chunked_loss(hidden, weight, targets, chunk_tokens)
    torch.testing.assert_close(loss, plain, atol=1e-6, rtol=1e-6)
    for got, wanted in zip(torch.autograd.grad(loss, (hidden, weight)), expected, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-5)


def test_a_factor_after_the_loss_reaches_the_gradients():
    hidden, weight, targets = operands(torch.float32)
    expected = torch.autograd.grad(
        F.cross_entropy(hidden @ weight.T, targets) * 0.25, (hidden, weight)
    )
    got = torch.autograd.grad(chunked_loss(hidden, weight, targets, 4) * 0.25, (hidden, weight))
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_under_autocast_it_rounds_as_the_plain_loss_does():
    hidden, weight, targets = operands(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = F.cross_entropy(F.linear(hidden, weight).float(), targets)
        loss = chunked_loss(hidden, weight, targets, 4)
    assert loss.item() == pytest.approx(plain.item(), abs=1e-5)
    expected = torch.autograd.grad(plain, (hidden, weight))
    for got, wanted in zip(torch.autograd.grad(loss, (hidden, weight)), expected, strict=True):
        torch.testing.assert_close(got, wanted, atol=3e-3, rtol=3e-2)


def test_large_scores_do_not_overflow():
    hidden, weight, targets = operands(torch.float32)
    loss = chunked_loss(1000 * hidden, weight, targets, 4)
    torch.testing.assert_close(loss, F.cross_entropy(1000 * hidden @ weight.T, targets))


def test_only_the_gradients_that_are_wanted_are_computed(monkeypatch):
    hidden, weight, targets = operands(torch.float32)
    frozen = weight.detach()
    # Of the frozen weight not even the memory is taken.
    with monkeypatch.context() as patch:
        patch.setattr(torch, "zeros_like", lambda *given, **how: pytest.fail("not wanted"))
        loss = chunked_loss(hidden, frozen, targets, 4)
    (got,) = torch.autograd.grad(loss, hidden)
    (wanted,) = torch.autograd.grad(F.cross_entropy(hidden @ frozen.T, targets), hidden)
    torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-5)
    with torch.no_grad():
        assert not chunked_loss(hidden, weight, targets, 4).requires_grad


def test_a_wrong_gradient_by_hand_would_be_noticed():
    hidden, weight, targets = operands(torch.float32)
    loss = chunked_loss(hidden, weight, (targets + 1) % V, 4)  # one token too far
    got = torch.autograd.grad(loss, (hidden, weight))
    expected = torch.autograd.grad(F.cross_entropy(hidden @ weight.T, targets), (hidden, weight))
    with pytest.raises(AssertionError):
        torch.testing.assert_close(got[1], expected[1], atol=1e-6, rtol=1e-5)


def test_no_table_of_all_scores_is_ever_made():
    """The largest tensor that appears has a chunk's rows, forwards and backwards."""
    from torch.utils._python_dispatch import TorchDispatchMode

    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                sizes.append(result.numel())
            return result

    hidden, weight = torch.randn(64, 4, requires_grad=True), torch.randn(100, 4)
    with Watch():
        chunked_loss(hidden, weight, torch.zeros(64, dtype=torch.long), 8).backward()
    assert max(sizes) == 8 * 100
    sizes.clear()
    with Watch():
        F.cross_entropy(hidden @ weight.T, torch.zeros(64, dtype=torch.long)).backward()
    assert max(sizes) == 64 * 100


def test_a_chunk_of_no_tokens_is_refused():
    with pytest.raises(UserError, match="chunk_tokens is 0"):
        chunked_loss(*operands(torch.float32), 0)


def test_in_float16_the_slopes_of_a_large_vocabulary_do_not_vanish():
    """A unigram learner: divided by 2,048 tokens first, a 1/20,000 would be rounded to zero."""
    V, N = 20_000, 2048
    hidden, weight = torch.ones(N, 1), torch.zeros(V, 1, requires_grad=True)
    targets = torch.arange(N) % 5
    (expected,) = torch.autograd.grad(chunked_loss(hidden, weight, targets, 512), weight)
    with torch.autocast("cpu", dtype=torch.float16):
        (found,) = torch.autograd.grad(chunked_loss(hidden, weight, targets, 512), weight)
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=0)
    assert (1 / V / N) < 2**-25  # half of float16's smallest number
