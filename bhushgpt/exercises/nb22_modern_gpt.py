"""Exercises of notebook 22: a norm, a window, a round matrix, and whether a gain is one.

Lesson: notebook 22.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from numbers import Real
from statistics import mean, median
from typing import Any

import torch
from torch import Tensor

from bhushgpt.exercises.attempts import kind
from bhushgpt.exercises.exercise import Exercise
from bhushgpt.exercises.same_numbers import mistake_in

Answer = Callable[..., Any]


# 1. RMSNorm


def _rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    return x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt() * gain


def _rms_norm_mistakes(x: Tensor, gain: Tensor, eps: float) -> dict[str, Tensor]:
    """Return what each known mistake computes, by the sentence that names it."""
    square = x.square().mean(-1, keepdim=True)
    centred = x - x.mean(-1, keepdim=True)
    spread = (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    root = (square + eps).sqrt()
    return {
        "you take the mean off first: that is LayerNorm, and RMSNorm leaves it in.": (
            centred / spread * gain
        ),
        "you take the mean off above and not below; RMSNorm does not take it off at all.": (
            centred / root * gain
        ),
        "below stands the spread around the mean; RMSNorm squares x as it is.": x / spread * gain,
        "eps belongs under the root, beside the mean square.": x / (square.sqrt() + eps) * gain,
        "eps is missing: a vector of zeros would give nan.": x / square.sqrt() * gain,
        "you divide by the sum of the squares' root; the mean of the squares is meant.": (
            x / (x.square().sum(-1, keepdim=True) + eps).sqrt() * gain
        ),
        "the root is missing: a vector twice as long would come out half as long.": (
            x / (square + eps) * gain
        ),
        "you multiply by the root mean square: divide.": x * root * gain,
        "the gain is not used.": x / root,
        "the gain is added; it multiplies.": x / root + gain,
        "the gain divides; it multiplies.": x / root / gain,
        "you multiply by 1 + gain; here the gain itself multiplies.": x / root * (1 + gain),
        "your mean runs over the tokens: each token is normed by itself, over its channels.": (
            x / (x.square().mean(-2, keepdim=True) + eps).sqrt() * gain
        ),
        "your mean runs over everything: each token is normed by itself.": (
            x / (x.square().mean() + eps).sqrt() * gain
        ),
        "your mean runs over the texts: each token is normed by itself.": (
            x / (x.square().mean(0, keepdim=True) + eps).sqrt() * gain
        ),
        "that is the mean size, not the root of the mean square.": (
            x / (x.abs().mean(-1, keepdim=True) + eps) * gain
        ),
        "you square the mean; the mean of the squares is meant.": (
            x / (x.mean(-1, keepdim=True).square() + eps).sqrt() * gain
        ),
        "eps is taken off; add it.": x / (square - eps).sqrt() * gain,
    }


def _check_rms_norm(answer: Answer) -> str | None:
    x = torch.randn(2, 3, 5) * torch.tensor([1.0, 2.0, 3.0])[:, None] + 1.5
    gain, eps = torch.tensor([1.0, 0.5, 2.0, 3.0, 0.7]), 0.25
    expected, mistakes = _rms_norm(x, gain, eps), _rms_norm_mistakes(x, gain, eps)
    if first := mistake_in(answer(x, gain, eps), expected, mistakes):
        return first
    row = torch.randn(4)
    if mistake_in(answer(row, torch.ones(4), eps), _rms_norm(row, torch.ones(4), eps), {}):
        return "for one vector (C,) the result is wrong: take the last axis, dim=-1."
    return None


rms_norm = Exercise(
    name="rms_norm",
    question="Return x (..., C) divided by its root mean square over C, times the gain (C,).",
    hints=(
        "x.square().mean(dim=-1, keepdim=True) is the mean square of each token.",
        "Add eps to it, then take the root.",
        "Nothing is taken off x: it is divided and multiplied.",
    ),
    praise="each token has length sqrt(C) now, times the gain.",
    reference=_rms_norm,
    axes_of_one=lambda: [
        (torch.randn(size), torch.randn(size[-1]), 0.25)
        for size in ((1, 3, 5), (2, 1, 5), (2, 3, 1), (1,))
    ],
    keeps_inputs=True,
    checks=_check_rms_norm,
)


# 2. Who may look at whom through a window


def _may_look(n: int, window: int) -> Tensor:
    query, key = torch.arange(n)[:, None], torch.arange(n)
    return (key <= query) & (key > query - window)


def _may_look_mistakes(n: int, w: int) -> dict[str, Tensor]:
    """Return what each known mistake gives, by the sentence that names it."""
    q, k = torch.arange(n)[:, None], torch.arange(n)
    past = k <= q
    return {
        "row i is the token that looks: yours is turned over.": (q <= k) & (q > k - w),
        "your window has one token too many: the token itself counts.": past & (k >= q - w),
        "your window has one token too few: the token itself counts.": past & (k > q - w + 1),
        "a token may look ahead in yours: only what is behind it may be seen.": (q - k).abs() < w,
        "there is no window in yours, only the past.": past,
        "there is no past in yours: the window must end at the token itself.": (k > q - w),
        "a token does not see itself in yours.": (k < q) & (k > q - w),
        "a token does not see itself in yours, and one more behind it.": (k < q) & (k >= q - w),
        "yours says what is hidden; True is for what may be seen.": ~(past & (k > q - w)),
        "those are blocks: the window moves along with the token.": past & (q // w == k // w),
        "those are blocks, and their tokens look ahead: the window moves along.": q // w == k // w,
        "yours lets all see the first tokens; the window is the last ones.": past & (k < w),
        "yours sees only the token at the far end of the window.": k == q - w + 1,
        "yours sees all but the window: that is what should be seen.": past & (k <= q - w),
        "all is hidden in yours.": torch.zeros(n, n, dtype=torch.bool),
    }


def _check_may_look(answer: Answer) -> str | None:
    n, window = 7, 3
    result = answer(n, window)
    if not isinstance(result, Tensor):
        return f"a tensor (n, n) is expected, but {kind(result)} came."
    if result.shape != (n, n):
        return f"the shape is {tuple(result.shape)}, expected {(n, n)}."
    if result.dtype != torch.bool:
        if result.is_floating_point() and result.min() == -torch.inf:
            return "that is what is added to scores; here True and False are asked for."
        return f"the numbers are {result.dtype}; compare, so that True and False come out."
    if not torch.equal(result, _may_look(n, window)):
        for sentence, wrong in _may_look_mistakes(n, window).items():
            if torch.equal(result, wrong):
                return sentence
        row = int((result != _may_look(n, window)).any(dim=1).nonzero()[0])
        seen = [int(key) for key in result[row].nonzero()[:, 0]]
        right = [int(key) for key in _may_look(n, window)[row].nonzero()[:, 0]]
        return f"with 7 tokens and a window of 3 token {row} sees {right}; in yours {seen}."
    if not torch.equal(answer(5, 1), torch.eye(5, dtype=torch.bool)):
        return "in a window of 1 each token sees itself and nothing else."
    if not torch.equal(answer(4, 9), torch.ones(4, 4).tril().bool()):
        return "a window longer than the text is the whole past."
    return None


may_look = Exercise(
    name="may_look",
    question="Return (n, n) of bool: whether token i (row) may look at token j (column).",
    hints=(
        "torch.arange(n)[:, None] stands for i, torch.arange(n) for j: compare them.",
        "j <= i is the past; the window says how far back j may be.",
        "The token itself counts: with a window of 3, i sees i, i - 1 and i - 2.",
    ),
    praise="each token sees the window that ends at it.",
    reference=_may_look,
    axes_of_one=lambda: [(1, 3)],
    checks=_check_may_look,
)


# 3. All directions equally long

A, B, C = 3.4445, -4.7750, 2.0315


def _round(matrix: Tensor) -> Tensor:
    x = matrix / matrix.norm()
    for _ in range(5):
        square = x @ x.T
        x = A * x + (B * square + C * square @ square) @ x
    return x


def _steps(x: Tensor, n: int = 5) -> Tensor:
    for _ in range(n):
        square = x @ x.T
        x = A * x + (B * square + C * square @ square) @ x
    return x


def _each(x: Tensor) -> Tensor:
    for _ in range(5):
        x = A * x + B * x**3 + C * x**5
    return x


def _round_mistakes(m: Tensor) -> dict[str, Tensor]:
    """Return what each known mistake computes, by the sentence that names it."""
    unit = m / m.norm()
    u, lengths, v = torch.linalg.svd(m, full_matrices=False)
    return {
        "that is one step: repeat it five times.": _steps(unit, 1),
        "those are four steps: repeat it five times.": _steps(unit, 4),
        "those are six steps: five are meant.": _steps(unit, 6),
        "you took the powers of the single numbers; powers of the matrix are meant (@).": (
            _each(unit)
        ),
        "that is U V^T of a singular value decomposition: what the steps come near to.": u @ v,
        "you divide by the largest singular value; the norm is cheaper and is what is meant.": (
            _steps(m / lengths[0])
        ),
        "you divide by the sum of the entries' sizes; the norm is meant.": (
            _steps(m / m.abs().sum())
        ),
        "you multiplied with the norm again: the lengths are to be about 1.": (
            _steps(unit) * m.norm()
        ),
        "that is the matrix over its norm: the steps are missing.": unit,
        "the result is turned: give it back in the shape that came.": _steps(unit).T,
    }


def _check_round(answer: Answer) -> str | None:
    matrix = torch.randn(3, 7) * torch.tensor([[3.0], [1.0], [0.2]])
    expected = _round(matrix)
    result = answer(matrix)
    if isinstance(result, Tensor) and not result.isfinite().all():
        return (
            "your numbers run away: divide the whole matrix by its norm first, and see that a is "
            "with x, b (negative) with the third power and c with the fifth."
        )
    if first := mistake_in(result, expected, _round_mistakes(matrix)):
        return first
    tall = torch.randn(5, 2)
    if mistake_in(answer(tall.clone()), _round(tall), {}):
        return "a matrix with more rows than columns comes out wrong: give back its own shape."
    return None


round_matrix = Exercise(
    name="round_matrix",
    question="Return a matrix's five Newton-Schulz steps, begun from the matrix over its norm.",
    hints=(
        "x = matrix / matrix.norm(); then the same line five times.",
        "x x^T x is (x @ x.T) @ x, and the fifth power has x @ x.T twice.",
        "a = 3.4445, b = -4.7750, c = 2.0315.",
    ),
    praise="its directions are about equally long, and no decomposition was needed.",
    reference=_round,
    axes_of_one=lambda: [(torch.randn(1, 4),), (torch.randn(4, 1),), (torch.ones(1, 1),)],
    keeps_inputs=True,
    checks=_check_round,
)


# 4. Is the gain one?


def _deals(first: Sequence[float], second: Sequence[float]) -> Iterator[tuple[float, float]]:
    """Yield the means of both hands for each way to deal the numbers into two such hands."""
    numbers = [*first, *second]
    for places in combinations(range(len(numbers)), len(first)):
        hand = [numbers[place] for place in places]
        rest = [number for place, number in enumerate(numbers) if place not in places]
        yield mean(hand), mean(rest)


def _p_value(first: Sequence[float], second: Sequence[float]) -> float:
    found = abs(mean(first) - mean(second)) - 1e-12
    ways = [abs(a - b) >= found for a, b in _deals(first, second)]
    return sum(ways) / len(ways)


def _median_share(first: Sequence[float], second: Sequence[float]) -> float:
    numbers, found = [*first, *second], abs(median(first) - median(second)) - 1e-12
    ways = []
    for places in combinations(range(len(numbers)), len(first)):
        hand = [numbers[place] for place in places]
        rest = [number for place, number in enumerate(numbers) if place not in places]
        ways.append(abs(median(hand) - median(rest)) >= found)
    return sum(ways) / len(ways)


def _p_value_mistakes(first: Sequence[float], second: Sequence[float]) -> dict[str, float]:
    """Return what each known mistake computes, by the sentence that names it."""
    gap, deals = mean(first) - mean(second), list(_deals(first, second))
    n, numbers = len(deals), [*first, *second]
    as_large = sum(abs(a - b) >= abs(gap) - 1e-12 for a, b in deals)
    larger = sum(abs(a - b) > abs(gap) + 1e-12 for a, b in deals)
    one_way = sum(a - b <= gap + 1e-12 for a, b in deals)
    looks = set(combinations(sorted(numbers), len(first)))
    rest = [(sum(numbers) - sum(hand)) / len(second) for hand in looks]
    unlike = [abs(mean(a) - b) >= abs(gap) - 1e-9 for a, b in zip(looks, rest, strict=True)]
    return {
        "you left out the deal that is there: count what is as far apart, too.": larger / n,
        "you count one direction; as far apart the other way round counts as well.": one_way / n,
        "you count the other direction: what speaks for the second.": (
            sum(a - b >= gap - 1e-12 for a, b in deals) / n
        ),
        "that is the share that is less far apart: 1 minus it is asked for.": 1 - as_large / n,
        "that is how many ways there are: give their share of all.": float(as_large),
        "that is the number of all ways to deal.": float(n),
        "that is the difference of the means.": gap,
        "that is the size of the difference of the means.": abs(gap),
        "you compare medians; the means are asked for.": _median_share(first, second),
        "one direction times two: here the two sides are not alike, so count both.": (
            2 * one_way / n
        ),
        "that is 1 over the number of ways: other ways may be as far apart.": 1 / n,
        "added one above and below is for ways drawn by chance; here all are counted.": (
            (as_large + 1) / (n + 1)
        ),
        "those are per cent: give a share from 0 to 1.": 100 * as_large / n,
        "a number that comes twice is two runs: deals that look alike count one by one.": (
            sum(unlike) / len(looks)
        ),
        "you left out the deal that is there, above and below.": (as_large - 1) / (n - 1),
        "the count is right; divide by the number of ways to deal, not of orders.": (
            as_large / math.factorial(len(numbers))
        ),
    }


def _check_p_value(answer: Answer) -> str | None:
    first, second = [1.41, 1.40, 1.46, 1.43], [1.50, 1.42, 1.46]
    result = answer([*first], [*second])
    if not isinstance(result, Real | Tensor):
        return f"give back a number; {kind(result)} came."
    value, expected = float(result), _p_value(first, second)
    if not math.isclose(value, expected, abs_tol=1e-6):
        for sentence, wrong in _p_value_mistakes(first, second).items():
            if math.isclose(value, wrong, abs_tol=1e-6):
                return sentence
        return f"for {first} and {second} it is {expected:.4f}, yours says {value:.4f}."
    if not math.isclose(float(answer([*second], [*first])), expected, abs_tol=1e-6):
        return "with first and second exchanged it must be the same number."
    if not math.isclose(float(answer([1.0, 2.0, 3.0], [9.0])), 0.25, abs_tol=1e-6):
        return "three losses and one can be dealt in 4 ways: a hand has as many as the first list."
    if not math.isclose(float(answer([1.0, 2.0], [2.0, 1.0])), 1.0, abs_tol=1e-6):
        return "where the means are equal every deal is at least as far apart: p is 1."
    # From Python 3.12 on `sum` rounds less, so that not every pair tells who left no room for it.
    first, second = [1.42, 1.40, 1.46, 1.49], [1.47, 1.41, 1.50]
    if not math.isclose(float(answer(first, second)), _p_value(first, second), abs_tol=1e-6):
        return "deals that are as far apart differ in the last digit: leave >= a little slack."
    return None


p_value = Exercise(
    name="p_value",
    question="Return the share of all ways to deal the losses whose means are as far apart.",
    hints=(
        "itertools.combinations(range(n), len(first)) gives the places of every first hand.",
        "Compare abs(mean - mean) with that of the deal that is there, >= and a little slack.",
        "Give the number of such ways over the number of all.",
    ),
    praise="so often chance alone would deal a difference like that.",
    reference=_p_value,
    checks=_check_p_value,
)
