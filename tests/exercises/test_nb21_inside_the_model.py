"""The checkers of notebook 21 know the mistakes that people make."""

import math

import numpy as np
import torch
from kill_table import assert_exercise, assert_right

from bhushgpt.exercises.nb21_inside_the_model import (
    head_shares,
    induction_score,
    predicted_loss,
    recovered,
)

# 1. induction_score


def score_stub(weights, period): ...


def back(w, n):
    return w.diagonal(-n, dim1=1, dim2=2)


def stripe(w, p):
    return back(w, p - 1)[:, 1:]


def overwrites(w, p):
    result = stripe(w, p).mean(1)
    w.zero_()
    return result


def fixed_period(w, p):
    return stripe(w, 4).mean(1)


def hits(w, p):
    places = torch.arange(p, w.shape[1])
    return (w.argmax(2)[:, p:] == places - p + 1).float().mean(1)


SCORE_WRONG = [
    (lambda w, p: back(w, p).mean(1), "on the same token one period back"),
    (lambda w, p: back(w, p + 1).mean(1), "the token before the earlier one"),
    (lambda w, p: back(w, p - 1).mean(1), "the query at period - 1"),
    (lambda w, p: stripe(w, p)[:, 1:].mean(1), "the query at t = period counts"),
    (lambda w, p: w.diagonal(p - 1, dim1=1, dim2=2)[:, 1:].mean(1), "above the diagonal"),
    (lambda w, p: stripe(w, p).sum(1), "those are sums"),
    (lambda w, p: stripe(w, p).sum(1) / w.shape[1], "you divide by T"),
    (lambda w, p: stripe(w, p).sum(1) / p, "you divide by the period"),
    (lambda w, p: stripe(w, p).amax(1), "the largest weight; take"),
    (lambda w, p: stripe(w, p).amin(1), "the smallest weight"),
    (lambda w, p: stripe(w, p).median(1).values, "the median"),
    (lambda w, p: stripe(w, p)[:, -1], "the last query alone"),
    (lambda w, p: stripe(w, p)[:, 0], "the first query alone"),
    (lambda w, p: back(w, 1).mean(1), "a previous-token head"),
    (lambda w, p: back(w, 0).mean(1), "a token gives to itself"),
    (hits, "you count how often"),
    (lambda w, p: stripe(w, p)[:, :p].mean(1), "you stop after the second round"),
    (
        lambda w, p: (stripe(w, p).sum(1) + back(w, 2 * p - 1)[:, 1:].sum(1)) / (w.shape[1] - p),
        "you add the rounds",
    ),
    (lambda w, p: stripe(w, p).mean(0), "over all heads for each query"),
    (lambda w, p: stripe(w, p).mean(), "one number for all heads"),
    (lambda w, p: stripe(w, p), "those are the weights themselves"),
    (lambda w, p: 100 * stripe(w, p).mean(1), "per cent"),
    (lambda w, p: w.mean((1, 2)), "not those of the formula"),
    (lambda w, p: stripe(w, p).mean(1).tolist(), "a list came"),
    (overwrites, "your code changes `"),
    (fixed_period, "on 7 tokens of period 5"),
]


def test_the_kill_table_of_induction_score():
    assert_exercise(induction_score, score_stub, SCORE_WRONG)


def by_diagonal(weights, period):
    return weights.diagonal(1 - period, dim1=1, dim2=2)[:, 1:].mean(dim=1)


def by_index(weights, period):
    t = torch.arange(period, weights.shape[1])
    return weights[:, t, t - period + 1].mean(dim=-1)


def by_mask(weights, period):
    T = weights.shape[1]
    places = torch.arange(T)
    here = (places[:, None] - places == period - 1) & (places[:, None] >= period)
    return (weights * here).sum(dim=(1, 2)) / here.sum()


def by_numpy(weights, period):
    w = weights.numpy()
    rows = [
        np.mean([w[h, t, t - period + 1] for t in range(period, w.shape[1])]) for h in range(len(w))
    ]
    return torch.tensor(rows)


def test_other_ways_to_the_induction_score_are_right():
    assert_right(induction_score, by_diagonal, by_index, by_mask, by_numpy)


# 2. predicted_loss

LOSS_WRONG = [
    (0.0, "with the head still there"),
    (1 / 12, "that is a probability"),
    (12, "a number of signs"),
    (3.585, "those are bits"),
    (1.079, "to the base 10"),
    (-2.485, "the sign is wrong"),
    (1.2425, "the mean of both halves"),
    (math.log(24), "there are 24 places"),
    (math.log(6), "half of the signs"),
    (math.inf, "only a model that is certain"),
    (math.log(12) / 12, "p ln p for one sign"),
    (math.log(2), "the loss of a coin"),
    (4.2, "Less."),
    (2.2, "More."),
    ("ln 12", "a number is expected"),
]


def test_the_kill_table_of_predicted_loss():
    assert_exercise(predicted_loss, ..., LOSS_WRONG)


def test_other_ways_to_the_predicted_loss_are_right():
    assert_right(predicted_loss, 2.48, math.log(12), torch.tensor(12.0).log(), -math.log(1 / 12))


def test_what_the_lesson_finds_is_right_too():
    assert_right(predicted_loss, math.log(11), 2.5, 2.9, 3.9)


# 3. head_shares


def shares_stub(weights, v, projection): ...


def shares(w, v, p):
    return torch.einsum("hts,hsd,chd->htc", w, v, p.view(len(p), v.shape[0], v.shape[2]))


def interleaved(w, v, p):
    return torch.einsum("hts,hsd,cdh->htc", w, v, p.view(len(p), v.shape[2], v.shape[0]))


def overwrites_v(w, v, p):
    result = shares(w, v, p)
    v.zero_()
    return result


def three_heads_of_four(w, v, p):
    return torch.stack([w[h] @ v[h] @ p[:, 4 * h : 4 * h + v.shape[2]].T for h in range(len(w))])


SHARES_WRONG = [
    (lambda w, v, p: shares(w, v, p).sum(0), "the sum of all heads"),
    (interleaved, "side by side, head by head"),
    (
        lambda w, v, p: shares(w, v, p.view(7, 3, 4).flip(1).reshape(7, 12)) if len(w) == 3 else 0,
        "turned around",
    ),
    (lambda w, v, p: w @ v @ p[:, : v.shape[2]].T, "the columns of head 0"),
    (
        lambda w, v, p: w @ v @ p.view(len(p), *v.shape[::2]).sum(1).T,
        "the columns of all heads",
    ),
    (lambda w, v, p: shares(w.mT, v, p), "the weights are transposed"),
    (lambda w, v, p: shares(torch.eye(w.shape[1]).expand_as(w), v, p), "the weights are not used"),
    (
        lambda w, v, p: shares(torch.ones_like(w) / w.shape[1], v, p),
        "gather evenly",
    ),
    (lambda w, v, p: shares(w, v, p) / len(w), "do not divide by the number of heads"),
    (lambda w, v, p: shares(w, v, p) / math.sqrt(v.shape[2]), "scaled by 1 / sqrt(D)"),
    (lambda w, v, p: shares(w.softmax(-1), v, p), "the softmax was taken already"),
    (lambda w, v, p: w @ v, "what each head gathered"),
    (lambda w, v, p: shares(w, v, p).transpose(0, 1), "the axes are those of a text"),
    (lambda w, v, p: shares(w, v, p).mT, "the last two axes are swapped"),
    (lambda w, v, p: shares(w[:1].expand_as(w), v, p), "with the weights of head 0"),
    (lambda w, v, p: shares(w, v[:1].expand_as(v), p), "the values of head 0"),
    (lambda w, v, p: shares(w, v, p).norm(dim=-1), "those are lengths"),
    (lambda w, v, p: shares(w, v, p) + 1, "not those of the formula"),
    (lambda w, v, p: w @ v @ p, "your code stopped with RuntimeError"),
    (overwrites_v, "your code changes `"),
    (three_heads_of_four, "with 2 heads of size 5"),
]


def test_the_kill_table_of_head_shares():
    assert_exercise(head_shares, shares_stub, SHARES_WRONG)


def by_einsum(weights, v, projection):
    return shares(weights, v, projection)


def by_silencing(weights, v, projection):
    """Send the joined heads through the whole matrix, all but one of them zero."""
    H, T, D = v.shape
    result = []
    for h in range(H):
        only = torch.zeros(H, T, D)
        only[h] = weights[h] @ v[h]
        result.append(only.transpose(0, 1).reshape(T, H * D) @ projection.T)
    return torch.stack(result)


def by_blocks(weights, v, projection):
    blocks = projection.T.reshape(v.shape[0], v.shape[2], -1)
    return torch.bmm(torch.bmm(weights, v), blocks)


def test_other_ways_to_the_head_shares_are_right():
    assert_right(head_shares, by_einsum, by_silencing, by_blocks)


# 4. recovered


def recovered_stub(clean, corrupted, patched): ...


def share(c, x, p):
    return (p - x) / (c - x)


def overwrites_patched(c, x, p):
    return p.sub_(x) / (c - x)


def only_upwards(c, x, p):
    return (p - x) / (c - x).abs()


RECOVERED_WRONG = [
    (lambda c, x, p: (c - p) / (c - x), "how much is still missing"),
    (lambda c, x, p: (x - p) / (c - x), "the sign is turned"),
    (lambda c, x, p: (c - x) / (p - x), "upside down"),
    (lambda c, x, p: p - x, "that is a difference"),
    (lambda c, x, p: p / c, "would not score 0"),
    (lambda c, x, p: (p - x) / c, "by the clean value alone"),
    (lambda c, x, p: (p - x) / x, "by the corrupted value"),
    (lambda c, x, p: (p - c) / (c - x), "you measure from the clean run"),
    (lambda c, x, p: (p - x) / (c + x), "by the sum of the two"),
    (lambda c, x, p: p / (c - x), "the start is missing"),
    (lambda c, x, p: share(c, x, p).clamp(0, 1), "at 0 and 1"),
    (lambda c, x, p: share(c, x, p).clamp(min=0), "do not cut at 0:"),
    (lambda c, x, p: share(c, x, p).clamp(max=1), "do not cut at 1"),
    (lambda c, x, p: share(c, x, p).abs(), "the absolute value"),
    (lambda c, x, p: 100 * share(c, x, p), "per cent"),
    (lambda c, x, p: share(c, x, p).mean(), "that is one mean"),
    (lambda c, x, p: (p - x).sum() / (c - x).sum(), "you divide sums"),
    (lambda c, x, p: share(c, x, p).log(), "the logarithm of the share"),
    (lambda c, x, p: share(c, x, p) ** 2, "squared"),
    (lambda c, x, p: c - x + p, "not those of the formula"),
    (overwrites_patched, "your code changes `"),
    (only_upwards, "the way goes down"),
]


def test_the_kill_table_of_recovered():
    assert_exercise(recovered, recovered_stub, RECOVERED_WRONG)


def by_missing(clean, corrupted, patched):
    return 1 - (clean - patched) / (clean - corrupted)


def by_lerp(clean, corrupted, patched):
    return torch.div(torch.sub(corrupted, patched), corrupted - clean)


def by_elements(clean, corrupted, patched):
    rows = zip(*(part.flatten().tolist() for part in (clean, corrupted, patched)), strict=True)
    shares = [(p - x) / (c - x) for c, x, p in rows]
    return torch.tensor(shares).view(clean.shape)


def test_other_ways_to_recovered_are_right():
    assert_right(recovered, by_missing, by_lerp, by_elements)
