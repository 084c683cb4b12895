"""Dropout whose mask costs a fifth of torch's on a CPU.

torch draws a real number for every activation. But a mask needs one bit of news about each, so a
draw of 64 random bits can be cut into four numbers of 16 bits, and a number below the threshold
switches its activation off.

Letters: B batch, T time, C channels.

Lesson: notebook 14.
"""

from typing import Any

import torch
from torch import Tensor, nn

LEVELS = 2**16


def random_mask(shape: torch.Size, dropout: float, dtype: torch.dtype) -> Tensor:
    """Return ones and zeros of a shape on the CPU, each zero with probability `dropout`.

    The probability is rounded to a multiple of 1/65536 (`kept_share` gives the true one). The
    draws come from torch's global random numbers, so a seed decides them.

    Lesson: notebook 14.

    >>> _ = torch.manual_seed(0)
    >>> mask = random_mask(torch.Size([100, 100]), 0.25, torch.float32)
    >>> mask.unique().tolist(), 0.23 < 1 - mask.mean().item() < 0.27
    ([0.0, 1.0], True)
    """
    count = shape.numel()
    # From the lowest int64 on: the usual range starts at 0 and would leave the top bit unused.
    draws = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    levels = draws.view(torch.int16)[:count]
    kept = levels.ge_(_threshold(dropout))  # in place: a mask of 0 and 1, still 16 bits each
    if dtype == torch.bfloat16:
        # 0x3F80 are the bits of 1.0. Converting would take longer than drawing did.
        return kept.mul_(0x3F80).view(torch.bfloat16).view(shape)
    return kept.view(shape).to(dtype)


def kept_share(dropout: float) -> float:
    """Return the share of activations that `random_mask` keeps, a multiple of 1/65536.

    Lesson: notebook 14.

    >>> kept_share(0.5), round(kept_share(0.1), 6)
    (0.5, 0.899994)
    """
    return 1 - (_threshold(dropout) + LEVELS // 2) / LEVELS


def _threshold(dropout: float) -> int:
    """Return the lowest 16-bit level, of those from -32768 to 32767, that is kept."""
    return min(round(dropout * LEVELS) - LEVELS // 2, LEVELS // 2 - 1)


class CheapDropout(nn.Dropout):
    """`nn.Dropout`, drawn cheaply where the activations are on the CPU.

    The rule is the same: while training each number is zeroed with probability p, and the others
    are divided by the share that is kept, so that the mean stays.

    Lesson: notebook 14.

    >>> dropout = CheapDropout(0.5)
    >>> sorted(dropout(torch.ones(64)).unique().tolist())
    [0.0, 2.0]
    >>> bool((dropout.eval()(torch.ones(64)) == 1).all())
    True
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return a tensor of the same shape, thinned out while training."""
        if not self.training or not 0 < self.p < 1 or input.device.type != "cpu":
            return super().forward(input)
        return _Masked.apply(input, random_mask(input.shape, self.p, input.dtype), self.p)


class _Masked(torch.autograd.Function):
    """x * mask / kept, which keeps the mask alone for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, dropout: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = 1 / kept_share(dropout)
        return (x * mask).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (mask,) = ctx.saved_tensors
        return (gradient * mask).mul_(ctx.scale), None, None


def use_cheap_dropout(model: nn.Module) -> int:
    """Make every `nn.Dropout` of a model draw cheaply from now on, and return how many there are.

    The modules stay where they are and have no weights, so checkpoints do not notice.

    Lesson: notebook 14.

    >>> use_cheap_dropout(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)))
    1
    """
    found = [module for module in model.modules() if type(module) is nn.Dropout]
    for module in found:
        module.__class__ = CheapDropout
    return len(found)
