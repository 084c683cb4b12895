"""Exercises of notebook 21: a head's score, a prediction, shares of a sum, and a repair.

Lesson: notebook 21.
"""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from bhushgpt.exercises.exercise import Exercise, ValueExercise
from bhushgpt.exercises.same_numbers import mistake_in, same

Answer = Callable[..., Any]


# 1. The induction score of each head


def _induction_score(weights: Tensor, period: int) -> Tensor:
    scores = []
    for head in weights:
        queries = range(period, len(head))
        scores.append(torch.stack([head[t, t - period + 1] for t in queries]).mean())
    return torch.stack(scores)


def _induction_mistakes(w: Tensor, period: int) -> dict[str, Tensor]:
    """Return what each known mistake computes, by the sentence that names it."""
    H, T, _ = w.shape

    def back(n: int) -> Tensor:
        return w.diagonal(-n, dim1=1, dim2=2)

    stripe = back(period - 1)[:, 1:]
    hits = w.argmax(dim=2)[:, period:] == torch.arange(T)[period:] - period + 1
    return {
        "that is the weight on the same token one period back; the place after it is meant.": back(
            period
        ).mean(1),
        "that is the token before the earlier one; an induction head looks at the one after.": back(
            period + 1
        ).mean(1),
        "the query at period - 1 has not stood there before: begin at t = period.": back(
            period - 1
        ).mean(1),
        "the query at t = period counts, too: it is the first that stands there again.": stripe[
            :, 1:
        ].mean(1),
        "that place is above the diagonal, in the future: the row is who asks, the column who is "
        "looked at.": torch.zeros(H),
        "those are sums; divide by the number of queries.": stripe.sum(1),
        "you divide by T; only T - period queries were added up.": stripe.sum(1) / T,
        "you divide by the period; T - period queries were added up.": stripe.sum(1) / period,
        "that is the largest weight; take the mean over the queries.": stripe.amax(1),
        "that is the smallest weight; take the mean over the queries.": stripe.amin(1),
        "that is the median; take the mean over the queries.": stripe.median(1).values,
        "that is the last query alone; take the mean over all from `period` on.": stripe[:, -1],
        "that is the first query alone; take the mean over all from `period` on.": stripe[:, 0],
        "that is the score of a previous-token head: one place back.": back(1).mean(1),
        "that is the weight a token gives to itself.": back(0).mean(1),
        "you count how often the largest weight is there; the mean of the weights is meant.": (
            hits.float().mean(1)
        ),
        "you stop after the second round; every query from `period` on counts.": stripe[
            :, :period
        ].mean(1),
        "you add the rounds before the last; only one place counts for each query.": (
            (stripe.sum(1) + back(2 * period - 1)[:, 1:].sum(1)) / (T - period)
        ),
        "that is one mean over all heads for each query; take the mean over the queries.": (
            stripe.mean(0)
        ),
        "that is one number for all heads; each head has its own score.": stripe.mean(),
        "those are the weights themselves; take their mean over the queries.": stripe,
        "those are per cent; a score is from 0 to 1.": 100 * stripe.mean(1),
    }


def _check_induction_score(answer: Answer) -> str | None:
    generator = torch.Generator().manual_seed(3)
    period, T = 4, 13
    scores = torch.randn(3, T, T, generator=generator) * 2
    weights = scores.masked_fill(torch.ones(T, T).triu(1) > 0, -torch.inf).softmax(-1)
    expected = _induction_score(weights, period)
    first = mistake_in(answer(weights, period), expected, _induction_mistakes(weights, period))
    if first:
        return first
    perfect = torch.eye(7)[[0, 0, 0, 0, 0, 1, 2]][None]
    if not same(answer(perfect.clone(), 5), torch.ones(1)):
        return "on 7 tokens of period 5 a perfect head scores 1: use the given period and length."
    return None


induction_score = Exercise(
    name="induction_score",
    question="Return each head's mean weight, over t >= period, on t - period + 1: (H,).",
    hints=(
        "Row t, column t - period + 1: write the loop over t first.",
        "weights.diagonal(-n, dim1=1, dim2=2) holds the weights n places back, from t = n on.",
        "n is period - 1, and the first entry of that diagonal, t = period - 1, does not count.",
    ),
    praise="1 for a head that always finds the place, and near 0 for one that does not look there.",
    reference=_induction_score,
    axes_of_one=lambda: [(torch.rand(1, 7, 7), 3), (torch.rand(2, 4, 4), 3)],
    keeps_inputs=True,
    checks=_check_induction_score,
)


# 2. The loss without the head, predicted

SIGNS = 12
HIGHEST = 4.0  # what is left of the model may be sure and wrong; the lesson finds less than this


def _check_predicted_loss(answer: object) -> str | None:
    if isinstance(answer, bool) or not isinstance(answer, Real | Tensor):
        return f"a number is expected, but {type(answer).__name__} {answer!r} came."
    value = float(answer)
    uniform = math.log(SIGNS)
    if abs(value - uniform) < 0.01:
        return None
    mistakes = {
        "that is the loss with the head still there: all is known.": 0.0,
        "that is a probability; the loss is minus its logarithm.": 1 / SIGNS,
        "that is a number of signs; the loss is its logarithm.": float(SIGNS),
        "those are bits; the course counts nats.": math.log2(SIGNS),
        "that is the logarithm to the base 10; nats are to the base e.": math.log10(SIGNS),
        "the sign is wrong: a loss is minus ln p.": -uniform,
        "that is the mean of both halves; the question is about the second one.": uniform / 2,
        "there are 24 places, but only 12 signs to choose from.": math.log(2 * SIGNS),
        "half of the signs cannot be ruled out either: all 12 are left.": math.log(SIGNS / 2),
        "only a model that is certain and wrong has an endless loss; without the head it is "
        "uncertain.": math.inf,
        "that is p ln p for one sign; add up over all of them.": uniform / SIGNS,
        "that is the loss of a coin; how many signs are possible?": math.log(2),
    }
    for sentence, wrong in mistakes.items():
        if value == wrong or abs(value - wrong) < 0.006:
            return sentence
    # Near ln 12, or above: to rule out the sign it stands on, or to be wrong and sure, is no slip.
    if math.log(SIGNS - 1) - 0.05 < value < HIGHEST:
        return None
    side = "less" if value > uniform else "more"
    return f"what does a model lose that knows nothing of 12 equally likely signs? {side.title()}."


predicted_loss = ValueExercise(
    name="predicted_loss",
    question="Which loss (nats) will the second half have once the induction heads are removed?",
    hints=(
        "Without the head, does the second half differ from the first?",
        "On the first half no earlier pair helps: to this model each of the 12 signs is as likely.",
        "Minus the logarithm of 1/12.",
    ),
    praise="near ln 12, what knowing nothing costs, or above, if what is left is sure and wrong.",
    reference=round(math.log(SIGNS), 4),
    checks=_check_predicted_loss,
    why="Without the head the second half is as unknown as the first: minus ln(1/12)",
)


# 3. What each head adds to the stream


def _head_shares(weights: Tensor, v: Tensor, projection: Tensor) -> Tensor:
    H, _, D = v.shape
    mixed = weights @ v
    return torch.stack([mixed[h] @ projection[:, h * D : (h + 1) * D].T for h in range(H)])


def _head_shares_mistakes(w: Tensor, v: Tensor, p: Tensor) -> dict[str, Tensor]:
    """Return what each known mistake computes, by the sentence that names it."""
    H, T, D = v.shape
    C = len(p)
    mixed = w @ v
    right = _head_shares(w, v, p)
    columns = p.view(C, H, D)
    every_third = p.view(C, D, H)
    return {
        "that is the sum of all heads; keep each head's share: (H, T, C).": right.sum(0),
        "the heads' channels stand side by side, head by head: columns h * D to (h + 1) * D.": (
            torch.einsum("htd,cdh->htc", mixed, every_third)
        ),
        "the order of the heads is turned around.": torch.einsum(
            "htd,chd->htc", mixed, columns.flip(1)
        ),
        "your heads all use the columns of head 0.": torch.einsum(
            "htd,cd->htc", mixed, columns[:, 0]
        ),
        "each head is sent through the columns of all heads: it has only its own.": torch.einsum(
            "htd,cd->htc", mixed, columns.sum(1)
        ),
        "the weights are transposed: row t is who asks.": _head_shares(w.mT, v, p),
        "the weights are not used: a head sends what it gathered, not its own value.": (
            torch.einsum("htd,chd->htc", v, columns)
        ),
        "your heads gather evenly from everywhere; use the weights.": torch.einsum(
            "htd,chd->htc", v.mean(1, keepdim=True).expand(H, T, D), columns
        ),
        "the shares must add up to the whole: do not divide by the number of heads.": right / H,
        "your shares are scaled by 1 / sqrt(D); that was done to the scores, before softmax.": (
            right / math.sqrt(D)
        ),
        "the softmax was taken already: the weights are what it gave.": _head_shares(
            w.softmax(-1), v, p
        ),
        "that is what each head gathered, (H, T, D); send it through its part of the matrix.": (
            mixed
        ),
        "the axes are those of a text, (T, H, C); the heads come first.": right.transpose(0, 1),
        "the last two axes are swapped: (H, T, C) is expected.": right.mT,
        "your heads gather with the weights of head 0.": _head_shares(w[:1].expand_as(w), v, p),
        "your heads gather the values of head 0.": _head_shares(w, v[:1].expand_as(v), p),
        "those are lengths; the vectors themselves are asked for.": right.norm(dim=-1),
    }


def _check_head_shares(answer: Answer) -> str | None:
    generator = torch.Generator().manual_seed(5)
    weights = torch.randn(3, 5, 5, generator=generator).tril().exp().tril()
    weights = weights / weights.sum(-1, keepdim=True)
    v = torch.randn(3, 5, 4, generator=generator)
    projection = torch.randn(7, 12, generator=generator)
    parts = weights, v, projection
    expected = _head_shares(*parts)
    if first := mistake_in(answer(*parts), expected, _head_shares_mistakes(*parts)):
        return first
    other = torch.ones(2, 3, 3) / 3, torch.ones(2, 3, 5), torch.arange(20.0).view(2, 10)
    expected = _head_shares(*other)
    if not same(answer(*other), expected):
        return "with 2 heads of size 5 it goes wrong: read H and D off the shape of v."
    return None


head_shares = Exercise(
    name="head_shares",
    question="Return what each head adds to the stream, (H, T, C), from weights, v and projection.",
    hints=(
        "What a head gathered is weights @ v: (H, T, D).",
        "projection (C, H * D) meets the heads side by side; head h owns D of its columns.",
        "gathered[h] @ projection[:, h * D : (h + 1) * D].T for every h, then torch.stack.",
    ),
    praise="the shares add up to what the whole layer sends.",
    reference=_head_shares,
    axes_of_one=lambda: [
        (torch.rand(H, T, T), torch.randn(H, T, D), torch.randn(C, H * D))
        for H, T, D, C in ((1, 5, 4, 7), (3, 1, 4, 7), (3, 5, 1, 7), (3, 5, 4, 1))
    ],
    keeps_inputs=True,
    checks=_check_head_shares,
)


# 4. How much of the answer a patch brought back


def _recovered(clean: Tensor, corrupted: Tensor, patched: Tensor) -> Tensor:
    return (patched - corrupted) / (clean - corrupted)


def _recovered_mistakes(c: Tensor, x: Tensor, p: Tensor) -> dict[str, Tensor]:
    """Return what each known mistake computes, by the sentence that names it."""
    share = (p - x) / (c - x)
    return {
        "that is how much is still missing; 1 minus it came back.": 1 - share,
        "the sign is turned: full repair must give +1.": -share,
        "that is the fraction upside down.": 1 / share,
        "that is a difference; divide by how far the corrupted run is from the clean one.": p - x,
        "you divide by the clean value: the corrupted run would not score 0.": p / c,
        "the way is from corrupted to clean; you divide by the clean value alone.": (p - x) / c,
        "you divide by the corrupted value; the whole way is clean - corrupted.": (p - x) / x,
        "you measure from the clean run: no repair at all must give 0.": (p - c) / (c - x),
        "you divide by the sum of the two.": (p - x) / (c + x),
        "the start is missing in the numerator: take the corrupted value off.": p / (c - x),
        "do not cut at 0 and 1: a patch can hurt, or do too much.": share.clamp(0, 1),
        "do not cut at 0: a patch can also hurt.": share.clamp(min=0),
        "do not cut at 1: a patch can also do too much.": share.clamp(max=1),
        "the absolute value hides that a patch can hurt.": share.abs(),
        "those are per cent; give shares.": 100 * share,
        "that is one mean; each patch has its own share.": share.mean(),
        "you divide sums; each patch has its own share.": (p - x).sum() / (c - x).sum(),
        "that is the logarithm of the share; the share itself is asked for.": share.log(),
        "these are shares of the distance, squared.": share**2,
    }


def _check_recovered(answer: Answer) -> str | None:
    clean = torch.tensor([5.0, 4.0, -1.0, 7.0, 2.0])
    corrupted = torch.tensor([-1.0, 0.5, -2.0, -3.0, 0.4])
    patched = torch.tensor([2.0, 4.7, -2.9, 0.0, 1.0])
    parts = clean, corrupted, patched
    expected = _recovered(*parts)
    if first := mistake_in(answer(*parts), expected, _recovered_mistakes(*parts)):
        return first
    one = [torch.tensor([value]) for value in (2.0, 4.0, 3.0)]
    if not same(answer(*one), torch.tensor([0.5])):
        return "if the clean value is the lower one, the way goes down: 2, 4 and 3 give a half."
    return None


recovered = Exercise(
    name="recovered",
    question="Return the share of the way from corrupted (0) to clean (1) that a patch went back.",
    hints=(
        "How far is the patched run from the corrupted one?",
        "How long is the whole way, from corrupted to clean?",
        "(patched - corrupted) divided by that.",
    ),
    praise="0 is no repair, 1 a full one, and below 0 the patch has hurt.",
    reference=_recovered,
    axes_of_one=lambda: [
        (torch.full(size, 5.0), torch.full(size, 1.0), torch.full(size, 2.0))
        for size in ((1,), (1, 3), (2, 1))
    ],
    keeps_inputs=True,
    checks=_check_recovered,
)
