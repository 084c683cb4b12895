"""Exercises of notebook 19: a fair unit, honest confidence, luck, and an interval that shrinks.

Lesson: notebook 19.
"""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import combinations
from statistics import mean, median, pstdev, stdev
from typing import Any

import torch
from torch import Tensor

from bhushgpt.exercises.attempts import kind
from bhushgpt.exercises.exercise import Exercise
from bhushgpt.exercises.same_numbers import mistake_in

Answer = Callable[..., Any]


def _number(result: object, expected: float, mistakes: Mapping[str, float]) -> str | None:
    """Return None for the expected number, or the sentence of the mistake that gives this one."""
    if isinstance(result, bool) or not isinstance(result, int | float | Fraction | Tensor):
        return f"give back one number; {kind(result)} came."
    if isinstance(result, Tensor) and result.numel() != 1:
        return f"give back one number; a tensor of shape {tuple(result.shape)} came."
    value = float(result)
    if math.isclose(value, expected, rel_tol=1e-5):
        return None
    for sentence, wrong in mistakes.items():
        if math.isclose(value, wrong, rel_tol=1e-5):
            return sentence
    return f"{expected:.4f} is expected, yours says {value:.4f}."


# 1. A unit that does not depend on the tokenizer


def _bits_per_byte(nats: Tensor, text: str) -> float:
    return nats.sum().item() / math.log(2) / len(text.encode())


def _bits_mistakes(nats: Tensor, text: str) -> dict[str, float]:
    """Return what each known mistake computes, by the sentence that names it."""
    total, size, n = nats.sum().item(), len(text.encode()), len(nats)
    bits = total / math.log(2)
    return {
        "those are nats per token, the loss itself.": total / n,
        "those are bits per token: another tokenizer has other tokens.": bits / n,
        "those are nats: divide by ln 2 as well.": total / size,
        "those are bits per character: `ß` and `ü` have two bytes each.": bits / len(text),
        "those are the bits of the whole text: divide by its bytes.": bits,
        "you multiply by ln 2; a bit is ln 2 = 0.69 nats, so divide.": total * math.log(2) / size,
        "that is the perplexity of a token.": math.exp(total / n),
        "you divide the mean by the bytes: the sum is meant.": bits / n / size,
        "that is upside down: bytes for each bit.": size / bits,
        "that is the logarithm of the loss: nats are a logarithm already.": math.log2(total / n),
        "you divide twice: by the tokens and, as bits, by the bytes of a token.": bits / n / n,
        "those are bits per word.": bits / len(text.split()),
        "in UTF-16 the text has other bytes: UTF-8 is the custom.": bits / len(text.encode("u16")),
        "those are bits per bit: a byte is one byte here, not eight.": bits / size / 8,
        "the first token is left out of the sum.": (bits - nats[0].item() / math.log(2)) / size,
        "the sign is wrong: the losses are positive already.": -bits / size,
    }


def _check_bits_per_byte(answer: Answer) -> str | None:
    nats, text = torch.tensor([3.0, 1.0, 2.5, 0.25, 1.75, 2.0, 0.5]), "Große Grüße an Sherlock"
    expected = _bits_per_byte(nats, text)
    if said := _number(answer(nats, text), expected, _bits_mistakes(nats, text)):
        return said
    blank = f" {text}\n\n"
    if not math.isclose(float(answer(nats, blank)), _bits_per_byte(nats, blank), rel_tol=1e-5):
        return "blanks and line breaks at the ends are bytes of the text, too: do not strip it."
    return None


bits_per_byte = Exercise(
    name="bits_per_byte",
    question="Return the bits per UTF-8 byte, from the losses (N,) in nats and their text.",
    hints=(
        "What did all the tokens together cost? That does not depend on how they were cut.",
        "A nat is 1 / ln 2 bits.",
        "len(text.encode()) counts bytes, len(text) characters.",
    ),
    praise="whatever the tokens are, the text and its bytes stay.",
    reference=_bits_per_byte,
    axes_of_one=lambda: [(torch.tensor([2.5]), "so")],
    keeps_inputs=True,
    checks=_check_bits_per_byte,
)


# 2. Is a model as often right as it thinks?


def _reliability(confidence: Tensor, right: Tensor, bins: int) -> Tensor:
    place = (confidence * bins).long().clamp(max=bins - 1)
    rows = []
    for number in range(bins):
        inside = place == number
        rows.append(torch.stack([confidence[inside].mean(), right[inside].float().mean()]))
    return torch.stack(rows)


def _reliability_mistakes(confidence: Tensor, right: Tensor, bins: int) -> dict[str, Tensor]:
    """Return what each known mistake computes, by the sentence that names it."""
    true = _reliability(confidence, right, bins)
    place = (confidence * bins).long().clamp(max=bins - 1)
    inside = torch.stack([place == number for number in range(bins)])  # a row for each bin
    counts = inside.sum(dim=1)
    hits = (inside & right).sum(dim=1)
    sums = (inside * confidence).sum(dim=1)
    of_right = (inside & right) * confidence
    order = confidence.argsort()
    below = confidence < 1

    def pair(first: Tensor, second: Tensor) -> Tensor:
        return torch.stack([first.float(), second.float()], dim=1)

    said, share = true.T
    middles = (torch.arange(bins) + 0.5) / bins
    equal = [part for part in order.tensor_split(bins)]
    return {
        "the two columns are swapped: first what it thinks, then what happened.": true.flip(1),
        "that is the middle of each bin, not the mean confidence in it.": pair(middles, share),
        "that is the lower edge of each bin, not the mean confidence in it.": pair(
            torch.arange(bins) / bins, share
        ),
        "those are the numbers of right ones; the share is meant.": pair(said, hits),
        "those are shares of all predictions; take those of the bin.": pair(
            said, hits / len(right)
        ),
        "those are sums; take means.": pair(sums, hits),
        "that is the share of wrong ones.": pair(said, 1 - share),
        "an empty bin has no mean: nan, not 0.": true.nan_to_num(),
        "your bins hold equally many predictions; they shall be equally wide.": torch.stack(
            [torch.stack([confidence[i].mean(), right[i].float().mean()]) for i in equal]
        ),
        "the confidence 1.0 is lost: it belongs to the last bin.": _reliability(
            confidence[below], right[below], bins
        ),
        "the bins come from high to low; begin with the lowest.": true.flip(0),
        "you average the confidence of the right ones only.": pair(
            of_right.sum(dim=1) / hits, share
        ),
        "that is one mean for all, in every row.": pair(
            confidence.mean().expand(bins), right.float().mean().expand(bins)
        ),
        "that is the gap between the two; give both.": pair(said - share, share),
        "those are per cent; give shares from 0 to 1.": 100 * true,
        "that is how many are in the bin, not how confident they are.": pair(counts, share),
    }


def _check_reliability(answer: Answer) -> str | None:
    confidence = torch.tensor([0.1, 1.0, 0.55, 0.3, 0.62, 0.95, 0.15, 0.9, 0.7, 0.35, 0.65])
    right = torch.tensor([0, 1, 1, 1, 0, 1, 0, 0, 1, 0, 1]) > 0
    bins = 7
    expected = _reliability(confidence, right, bins)
    mistakes = _reliability_mistakes(confidence, right, bins)
    result = answer(confidence, right, bins)
    if isinstance(result, Tensor) and result.shape == (2, bins):
        return "yours has a row for each quantity: a row for each bin is wanted, (bins, 2)."
    if said := mistake_in(result, expected, mistakes):
        return said
    confidence, right = torch.tensor([0.0, 0.25, 0.5, 1.0]), torch.tensor([1, 0, 1, 0]) > 0
    mistakes = {
        "the confidence 0.0 is lost: it belongs to the first bin.": [[0.25, 0.0], [0.75, 0.5]],
        "the confidence 0.0 is in no bin: it belongs to the first.": [[0.375, 0.5], [1.0, 0.0]],
        "of two bins 0.5 is the border, and it belongs to the bin above it.": (
            [[0.25, 2 / 3], [1.0, 0.0]]
        ),
    }
    found = mistake_in(
        answer(confidence, right, 2),
        _reliability(confidence, right, 2),
        {sentence: torch.tensor(rows) for sentence, rows in mistakes.items()},
    )
    return f"for the confidences 0, 0.25, 0.5, 1 and two bins: {found}" if found else None


reliability = Exercise(
    name="reliability",
    question="Return (bins, 2): mean confidence and share right in each of equally wide bins.",
    hints=(
        "int(confidence * bins) is the number of the bin, but for 1.0.",
        "A comparison such as place == number picks the predictions of a bin.",
        "The mean of no numbers is nan: leave it so.",
    ),
    praise="now a model can be asked whether it means what it says.",
    reference=_reliability,
    axes_of_one=lambda: [
        (torch.tensor([0.25, 0.5, 1.0]), torch.tensor([True, False, True]), 1),
        (torch.tensor([0.25]), torch.tensor([True]), 3),
    ],
    keeps_inputs=True,
    checks=_check_reliability,
)


# 3. Luck, counted


def _differences(first: list[float], second: list[float], middle: Callable = mean) -> list[float]:
    """Return the difference of the two groups for every way to share out the numbers."""
    pool = first + second
    found = []
    for chosen in combinations(range(len(pool)), len(first)):
        mine = [pool[i] for i in chosen]
        found.append(middle(mine) - middle(x for i, x in enumerate(pool) if i not in chosen))
    return found


def _p_value(first: list[float], second: list[float]) -> float:
    seen = abs(mean(first) - mean(second))
    ways = _differences(first, second)
    return sum(abs(way) >= seen - 1e-9 for way in ways) / len(ways)


def _p_mistakes(first: list[float], second: list[float]) -> dict[str, float]:
    """Return what each known mistake computes, by the sentence that names it."""
    ways, seen = _differences(first, second), mean(first) - mean(second)
    size = len(ways)
    as_far = sum(abs(way) >= abs(seen) - 1e-9 for way in ways)
    normal = seen / math.sqrt(stdev(first) ** 2 / len(first) + stdev(second) ** 2 / len(second))
    middles, apart = _differences(first, second, median), abs(median(first) - median(second))
    return {
        "you count one direction only; a surprise the other way would be one, too.": (
            sum(way <= seen + 1e-9 for way in ways) / size
        ),
        "you count the ways to the other side only.": (
            sum(way >= -seen - 1e-9 for way in ways) / size
        ),
        "those as far as what was seen count as well: >=, not >.": (
            sum(abs(way) > abs(seen) + 1e-9 for way in ways) / size
        ),
        "the way that was seen is one of the ways: leave it in above and below.": (
            (as_far - 1) / (size - 1)
        ),
        "that is the share of the ways that are less far apart.": 1 - as_far / size,
        "that is how many ways there are, not their share.": float(as_far),
        "those are per cent: give a share from 0 to 1.": 100 * as_far / size,
        "you compare medians; here the means are asked for.": (
            sum(abs(way) >= apart - 1e-9 for way in middles) / size
        ),
        "that is the difference of the means itself.": abs(seen),
        "that is a difference in standard errors, not yet a chance.": abs(normal),
        "you took the bell curve; with so few numbers, count the ways.": (
            math.erfc(abs(normal) / math.sqrt(2))
        ),
        "that is the difference in standard deviations.": abs(seen) / pstdev(first + second),
        "orders within a group do not matter: take combinations, not permutations.": (
            as_far / math.factorial(len(first + second))
        ),
        "you share out into equal groups; keep the sizes of the two.": _p_value(
            (first + second)[: len(first + second) // 2],
            (first + second)[len(first + second) // 2 :],
        ),
        "that is twice the share: both directions are counted already.": 2 * as_far / size,
    }


def _check_p_value(answer: Answer) -> str | None:
    first, second = [1.33, 1.37, 1.35], [1.36, 1.38, 1.48, 1.44, 1.39]
    expected = _p_value(first, second)
    if said := _number(answer(first, second), expected, _p_mistakes(first, second)):
        return said
    if not math.isclose(float(answer([1.0, 2.0], [3.0, 4.0])), 2 / 6, rel_tol=1e-6):
        return "1, 2 against 3, 4: of 6 ways 2 are as far apart, so 1/3."
    if not math.isclose(float(answer([2.0], [2.0, 2.0])), 1.0):
        return "where all numbers are the same, every way is as far apart as the one seen: 1."
    again = [1.0, 2.0, 2.0], [2.0, 4.0, 4.0, 5.0]
    if not math.isclose(float(answer(*again)), _p_value(*again), rel_tol=1e-6):
        return "a number that comes twice is two runs: ways that look alike count one by one."
    return None


p_value = Exercise(
    name="p_value",
    question="Return the share of all ways to share out the numbers that differ at least as much.",
    hints=(
        "itertools.combinations(range(n), k) lists which k of n numbers make the first group.",
        "Compare the absolute difference of the two means with the one that was seen.",
        "Numbers that should be equal may differ in the last digit: allow 1e-9.",
    ),
    praise="no bell curve was needed: you counted.",
    reference=_p_value,
    keeps_inputs=True,
    checks=_check_p_value,
)


# 4. One step of an arithmetic coder

Interval = tuple[Fraction, Fraction]


def _narrow(low: Fraction, width: Fraction, bounds: list[int], symbol: int) -> Interval:
    unit = width / bounds[-1]
    return low + unit * bounds[symbol], unit * (bounds[symbol + 1] - bounds[symbol])


def _narrow_mistakes(
    low: Fraction, width: Fraction, bounds: list[int], symbol: int
) -> dict[str, Interval]:
    """Return what each known mistake computes, by the sentence that names it."""
    total, start, end = bounds[-1], bounds[symbol], bounds[symbol + 1]
    right_low, right_width = _narrow(low, width, bounds, symbol)
    one = Fraction(1)
    return {
        "the second number is where the interval ends; its width is wanted.": (
            right_low,
            right_low + right_width,
        ),
        "the two numbers are swapped: first where it begins, then its width.": (
            right_width,
            right_low,
        ),
        "you begin at 0 each time: add the old beginning.": (right_low - low, right_width),
        "the interval did not move: the symbols before this one come first.": (low, right_width),
        "the shares are not of the whole, but of the old width.": (
            low + Fraction(start, total),
            Fraction(end - start, total),
        ),
        "the width did not shrink.": (right_low, width),
        "the new width is the symbol's share alone: times the old width.": (
            right_low,
            Fraction(end - start, total),
        ),
        "it moves by a share of the whole, not of the old width.": (
            low + Fraction(start, total),
            right_width,
        ),
        "divide by the last of the bounds, the sum of all frequencies.": (
            low + width * start,
            width * (end - start),
        ),
        "you divide by how many bounds there are, not by the last of them.": (
            low + width * start / len(bounds),
            width * (end - start) / len(bounds),
        ),
        "that is the symbol after it: its share begins at bounds[symbol].": (
            low + width * end / total,
            width * (bounds[symbol + 2] - end) / total,
        ),
        "that is the symbol before it: its share begins at bounds[symbol].": (
            low + width * bounds[symbol - 1] / total,
            width * (start - bounds[symbol - 1]) / total,
        ),
        "the width goes from the beginning of all to the symbol's end.": (
            right_low,
            width * end / total,
        ),
        "every symbol got the same share; likely ones deserve more.": (
            low + width * symbol / (len(bounds) - 1),
            width / (len(bounds) - 1),
        ),
        "the old beginning is no factor: only the width is shared out.": (
            low * (one + Fraction(start, total)),
            right_width,
        ),
        "you go down from the end of the old interval; go up from its beginning.": (
            low + width - width * end / total,
            right_width,
        ),
    }


def _check_narrow(answer: Answer) -> str | None:
    low, width, bounds, symbol = Fraction(2, 7), Fraction(3, 11), [0, 1, 4, 9, 15], 2
    expected = _narrow(low, width, bounds, symbol)
    result = answer(low, width, bounds, symbol)
    if not (isinstance(result, tuple | list) and len(result) == 2):
        return f"give back two numbers, the beginning and the width; {kind(result)} came."

    def near(pair: Interval) -> bool:
        return all(
            math.isclose(float(mine), float(theirs), rel_tol=1e-9)
            for mine, theirs in zip(result, pair, strict=True)
        )

    if not near(expected):
        for sentence, wrong in _narrow_mistakes(low, width, bounds, symbol).items():
            if near(wrong):
                return sentence
        begins, wide = float(expected[0]), float(expected[1])
        return f"it should begin at {begins:.4f} and be {wide:.4f} wide."
    return None


narrow = Exercise(
    name="narrow",
    question="Return beginning and width of an interval after the symbol took its share of it.",
    hints=(
        "The whole width is cut into bounds[-1] equal units.",
        "bounds[symbol] units lie before the symbol's share.",
        "The share is bounds[symbol + 1] - bounds[symbol] units wide.",
    ),
    praise="do this for every symbol, and a message is a number.",
    reference=_narrow,
    keeps_inputs=True,
    checks=_check_narrow,
)
