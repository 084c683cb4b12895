"""Exercise of notebook 08: LayerNorm.

Letters: B batch, T time, C channels.

Lesson: notebook 08.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bhushgpt.exercises.exercise import Exercise
from bhushgpt.exercises.same_numbers import mistake_in, same


def _layer_norm(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    return gain * centred * (variance + 1e-5).rsqrt() + bias


def _norm_mistakes(x: Tensor, gain: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """Return sentence -> what that mistake gives."""

    def over(*axes: int) -> Tensor:
        mean = x.mean(dim=axes, keepdim=True)
        variance = x.var(dim=axes, keepdim=True, unbiased=False)
        return gain * (x - mean) / (variance + 1e-5).sqrt() + bias

    mean = x.mean(dim=-1, keepdim=True)
    centred, variance = x - mean, x.var(dim=-1, keepdim=True, unbiased=False)
    normed = centred / (variance + 1e-5).sqrt()
    return {
        "this normalises over the batch: texts that happen to be together change each other.": (
            over(0)
        ),
        "this normalises over time: the future leaks into the past.": over(1),
        "this normalises each text as a whole (time and channels): the future leaks into the "
        "past.": over(1, 2),
        "one mean for everything: normalise each token by itself, over dim=-1.": over(0, 1, 2),
        "this divides the squares by C - 1 (torch.var's default); LayerNorm divides by C.": (
            gain * centred / (x.var(dim=-1, keepdim=True) + 1e-5).sqrt() + bias
        ),
        "this divides by the variance, not by its root.": gain * centred / (variance + 1e-5) + bias,
        "the mean is not subtracted.": gain * x / (variance + 1e-5).sqrt() + bias,
        "the squares are taken of x; take them of x - mean.": (
            gain * centred / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() + bias
        ),
        "gain and bias are not used.": normed,
        "the gain is not used.": normed + bias,
        "the bias is not used.": normed * gain,
        "the gain also multiplies the bias: first the gain, then add the bias.": (
            gain * (normed + bias)
        ),
        "1e-5 stands outside the root; it is added to the variance.": (
            gain * centred / (variance.sqrt() + 1e-5) + bias
        ),
        "1e-5 is missing: a token whose numbers are all equal is divided by zero.": (
            gain * centred / variance.sqrt() + bias
        ),
    }


def _check_layer_norm(answer: Callable[..., Any]) -> str | None:
    x, gain, bias = torch.randn(3, 4, 6) * 2 + 1, torch.randn(6), torch.randn(6)
    x[0, 0] *= 1e-3  # a token so small that the 1e-5 matters
    mistakes = _norm_mistakes(x, gain, bias)
    first = mistake_in(answer(x.clone(), gain, bias), _layer_norm(x, gain, bias), mistakes)
    if first:
        return first
    wide = torch.randn(2, 5, 7)
    ones, zeros = torch.ones(7), torch.zeros(7)
    if not same(answer(wide, ones, zeros), _layer_norm(wide, ones, zeros)):
        return "right for shape (3, 4, 6), but not for (2, 5, 7)."
    return None


layer_norm = Exercise(
    name="layer_norm",
    question="Return x (B, T, C) normalised over its channels, times gain, plus bias.",
    hints=(
        "Mean and variance are over dim=-1; keepdim=True makes them fit against x.",
        "torch.var divides by C - 1 unless told unbiased=False; or take the mean of the squares.",
        "(x - mean) / (variance + 1e-5).sqrt() * gain + bias.",
    ),
    praise="each token by itself, and nobody sees the future.",
    reference=_layer_norm,
    axes_of_one=lambda: [
        (torch.randn(size), torch.randn(size[-1]), torch.randn(size[-1]))
        for size in ((1, 4, 6), (3, 1, 6), (3, 4, 1))
    ],
    checks=_check_layer_norm,
)
