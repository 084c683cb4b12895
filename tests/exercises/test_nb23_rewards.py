"""The checkers of notebook 23 know the mistakes that people make."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from kill_table import assert_exercise, assert_right

from bhushgpt.exercises import nb23_rewards
from bhushgpt.exercises.nb23_rewards import kl_estimate, leave_one_out, pass_at, preference_loss

comb = math.comb


def named(name, function):
    function.__name__ = name
    return function


# 1. pass_at


def pass_at_stub(n, n_right, k): ...


def fails_when_few_are_wrong(n, n_right, k):
    if n - n_right < k:
        return 0.0
    return 1 - comb(n - n_right, k) / comb(n, k)


def one_without_any_right(n, n_right, k):
    return 1 - comb(n - n_right, k) / comb(n, k) if n_right else 1.0


def stops_on_factorials(n, n_right, k):
    f = math.factorial
    return 1 - f(n - n_right) / f(n - n_right - k) * f(n - k) / f(n)


PASS_AT_WRONG = [
    (lambda n, c, k: 1 - (1 - c / n) ** k, "puts every drawn answer back"),
    (lambda n, c, k: (1 - c / n) ** k, "all k miss, with putting back"),
    (lambda n, c, k: c / n, "pass@1: k was not used"),
    (lambda n, c, k: comb(n - c, k) / comb(n, k), "all k are wrong"),
    (lambda n, c, k: comb(c, k) / comb(n, k), "all k are right; one is enough"),
    (lambda n, c, k: 1 - comb(c, k) / comb(n, k), "at least one is wrong"),
    (lambda n, c, k: (c / n) ** k, "k right ones in a row, with putting back"),
    (lambda n, c, k: 1 - (c / n) ** k, "is the chance of a mistake"),
    (lambda n, c, k: k * c / n, "cannot be added"),
    (lambda n, c, k: c * comb(n - c, k - 1) / comb(n, k), "exactly one right answer"),
    (lambda n, c, k: 100 - 100 * comb(n - c, k) / comb(n, k), "per cent"),
    (lambda n, c, k: 1 - comb(n - c, k) / math.perm(n, k), "minds the order"),
    (lambda n, c, k: float(c > 0), "any of all n"),
    (lambda n, c, k: c, "a number of right answers"),
    (lambda n, c, k: 1 - comb(n - c, k) / comb(n, c), "yours counts k of the right ones"),
    (lambda n, c, k: 0.123, "yours says 0.1230"),
    (lambda n, c, k: "0.79", "a str came"),
    (fails_when_few_are_wrong, "only 1 is wrong"),
    (one_without_any_right, "without any right answer"),
    (stops_on_factorials, "your code stopped with ValueError"),
]


def test_the_kill_table_of_pass_at():
    assert_exercise(pass_at, pass_at_stub, PASS_AT_WRONG)


def by_all_subsets(n, n_right, k):
    answers = [1] * n_right + [0] * (n - n_right)
    subsets = list(combinations(answers, k))
    return sum(map(any, subsets)) / len(subsets)


def by_a_product(n, n_right, k):
    missed = 1.0
    for i in range(k):
        missed *= max(n - n_right - i, 0) / (n - i)
    return 1 - missed


def by_numpy(n, n_right, k):
    if n - n_right < k:
        return 1.0
    return float(1 - np.prod(1 - k / np.arange(n - n_right + 1, n + 1)))


def test_other_ways_to_pass_at_are_right():
    assert_right(pass_at, by_all_subsets, by_a_product, by_numpy)


# 2. leave_one_out


def leave_one_out_stub(rewards): ...


def overwrites(rewards):
    others = (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)
    return rewards.sub_(others)


def fixed_group(rewards):
    return (rewards - rewards.mean(1, keepdim=True)) * 5 / 4


def mean_of(r):
    return r.mean(1, keepdim=True)


def others_of(r):
    return (r.sum(1, keepdim=True) - r) / (r.shape[1] - 1)


LEAVE_ONE_OUT_WRONG = [
    (lambda r: r - mean_of(r), "still holds the answer's own reward"),
    (lambda r: others_of(r) - r, "the sign is turned"),
    (lambda r: others_of(r), "that is the baseline itself"),
    (lambda r: r - (r.sum(1, keepdim=True) - r), "the sum of the others; divide"),
    (lambda r: r - (r.sum(1, keepdim=True) - r) / r.shape[1], "divide by G - 1, not by G"),
    (lambda r: r - r.mean(0), "runs over the questions"),
    (lambda r: r - r.mean(), "each group needs its own"),
    (lambda r: r - (r.sum() - r) / (r.numel() - 1), "not in the whole batch"),
    (lambda r: (r - mean_of(r)) / r.std(1, keepdim=True), "the spread of the group; only"),
    (
        lambda r: (r - mean_of(r)) / r.std(1, keepdim=True, correction=0),
        "the spread of the group (over G)",
    ),
    (lambda r: r - r.max(1, keepdim=True).values, "the best of the group"),
    (lambda r: r - r.min(1, keepdim=True).values, "the worst of the group"),
    (lambda r: (r - mean_of(r)) * (r.shape[1] - 1) / r.shape[1], "upside down"),
    (lambda r: r / others_of(r), "you divide by the others' mean"),
    (lambda r: r.clone(), "nothing was taken off"),
    (lambda r: (r - others_of(r)).flatten(), "the shape is (15,)"),
    (lambda r: r - 0.5, "not those of the formula"),
    (overwrites, "your code changes `rewards`"),
    (fixed_group, "each is the other's baseline"),
]


def test_the_kill_table_of_leave_one_out():
    assert_exercise(leave_one_out, leave_one_out_stub, LEAVE_ONE_OUT_WRONG)


def by_a_factor(rewards):
    G = rewards.shape[1]
    return (rewards - rewards.mean(dim=1, keepdim=True)) * G / (G - 1)


def by_a_loop(rewards):
    out = torch.zeros_like(rewards)
    for i, row in enumerate(rewards):
        for j in range(len(row)):
            out[i, j] = row[j] - torch.cat([row[:j], row[j + 1 :]]).mean()
    return out


def by_a_matrix(rewards):
    G = rewards.shape[1]
    weights = (torch.eye(G) - 1) / (G - 1) + torch.eye(G)
    return rewards @ weights


def test_other_ways_to_leave_one_out_are_right():
    assert_right(leave_one_out, by_a_factor, by_a_loop, by_a_matrix)


# 3. kl_estimate


def kl_stub(log_p, log_q): ...


def overwrites_logs(p, q):
    d = q.sub_(p)
    return d.exp() - 1 - d


KL_WRONG = [
    (lambda p, q: p - q, "that is -ln r alone"),
    (lambda p, q: q - p, "that is ln r: the wrong sign"),
    (lambda p, q: (q - p) ** 2 / 2, "the square of ln r, halved"),
    (lambda p, q: (q - p) ** 2, "the square of ln r: never"),
    (lambda p, q: (p - q).exp() - 1 - (p - q), "your r is p / q"),
    (lambda p, q: (q - p).exp() - 1 + (q - p), "the sign of ln r is wrong"),
    (lambda p, q: (q - p) - (q - p).expm1(), "all of it has the wrong sign"),
    (lambda p, q: (q - p).exp() - (q - p), "the 1 is missing"),
    (lambda p, q: (q - p).exp() + 1 - (q - p), "the sign of the 1 is wrong"),
    (lambda p, q: 1 - (q - p).exp() - (q - p), "the sign of r - 1 is wrong"),
    (lambda p, q: (p - q).abs(), "the absolute value"),
    (lambda p, q: (p - q).clamp(min=0), "cutting at 0"),
    (lambda p, q: p.exp() * (p - q), "no weight with p"),
    (lambda p, q: p.exp() * ((q - p).expm1() - (q - p)), "weighted with p once more"),
    (lambda p, q: (q - p).expm1(), "whose mean is 0"),
    (lambda p, q: q / p - 1 - (q / p).log(), "you divided their logarithms"),
    (lambda p, q: (q - p).expm1() - (q - p) / math.log(2), "those are bits"),
    (lambda p, q: ((q - p).expm1() - (q - p)).mean(), "one number for all"),
    (lambda p, q: ((q - p).expm1() - (q - p)).sum(1), "the shape is (2,)"),
    (lambda p, q: p * q, "not those of the formula"),
    (overwrites_logs, "your code changes `q`"),
]


def test_the_kill_table_of_kl_estimate():
    assert_exercise(kl_estimate, kl_stub, KL_WRONG)


def by_probabilities(log_p, log_q):
    p, q = log_p.exp(), log_q.exp()
    return q / p - 1 - (q / p).log()


def by_expm1(log_p, log_q):
    return torch.expm1(log_q - log_p) + (log_p - log_q)


def by_elements(log_p, log_q):
    pairs = zip(log_p.flatten().tolist(), log_q.flatten().tolist(), strict=True)
    return torch.tensor([math.exp(q - p) - 1 - q + p for p, q in pairs]).view(log_p.shape)


def test_other_ways_to_the_kl_estimate_are_right():
    assert_right(kl_estimate, by_probabilities, by_expm1, by_elements)


# 4. preference_loss


def preference_stub(chosen, rejected, start_chosen, start_rejected, beta): ...


def log(x):
    return F.logsigmoid(x)


PREFERENCE_WRONG = [
    (lambda c, r, sc, sr, b: -log(b * (c - r)).mean(), "the start is not used"),
    (lambda c, r, sc, sr, b: -log(b * (r - sr - c + sc)).mean(), "chosen and rejected are swapped"),
    (lambda c, r, sc, sr, b: log(b * (c - sc - r + sr)).mean(), "the sign is wrong"),
    (lambda c, r, sc, sr, b: -log(b * (c - sc - r + sr)).sum(), "the sum over the pairs"),
    (lambda c, r, sc, sr, b: -log(c - sc - r + sr).mean(), "beta is not used"),
    (lambda c, r, sc, sr, b: -b * log(c - sc - r + sr).mean(), "beta stands outside"),
    (
        lambda c, r, sc, sr, b: -(b * (c - sc - r + sr)).sigmoid().mean(),
        "that is minus the sigmoid",
    ),
    (lambda c, r, sc, sr, b: 1 - (b * (c - sc - r + sr)).sigmoid().mean(), "1 minus the sigmoid"),
    (
        lambda c, r, sc, sr, b: -log(b * (c + sc - r - sr)).mean(),
        "logarithms are added, or swapped",
    ),
    (lambda c, r, sc, sr, b: -b * (c - sc - r + sr).mean(), "there is no sigmoid"),
    (
        lambda c, r, sc, sr, b: -(b * (c - sc - r + sr)).sigmoid().mean().log(),
        "the logarithm of the mean",
    ),
    (lambda c, r, sc, sr, b: -log((c - sc - r + sr) / b).mean(), "you divide by beta"),
    (lambda c, r, sc, sr, b: -log(b * (c - sc)).mean(), "only the chosen answer"),
    (lambda c, r, sc, sr, b: -log(b * (sr - r)).mean(), "only the rejected answer"),
    (lambda c, r, sc, sr, b: -log(b * (c - sc + r - sr)).mean(), "both gains are added"),
    (lambda c, r, sc, sr, b: -log(b * (c - sc - r + sr)).mean() / math.log(2), "those are bits"),
    (lambda c, r, sc, sr, b: F.relu(1 - b * (c - sc - r + sr)).mean(), "that is a hinge"),
    (lambda c, r, sc, sr, b: -log(b * (c - sc - r + sr)), "one loss for each pair"),
    (lambda c, r, sc, sr, b: c.mean(), "not those of the formula"),
    (
        lambda c, r, sc, sr, b: -(b * (c - sc - r + sr)).sigmoid().log().mean(),
        "a margin of -4000",
    ),
]


def test_the_kill_table_of_preference_loss():
    assert_exercise(preference_loss, preference_stub, PREFERENCE_WRONG)


def by_softplus(chosen, rejected, start_chosen, start_rejected, beta):
    return F.softplus(-beta * (chosen - rejected - (start_chosen - start_rejected))).mean()


def by_cross_entropy(chosen, rejected, start_chosen, start_rejected, beta):
    gains = torch.stack([chosen - start_chosen, rejected - start_rejected], dim=1)
    return F.cross_entropy(beta * gains, torch.zeros(len(chosen), dtype=torch.long))


def by_logaddexp(chosen, rejected, start_chosen, start_rejected, beta):
    margin = beta * (chosen - start_chosen) - beta * (rejected - start_rejected)
    return torch.logaddexp(torch.zeros_like(margin), -margin).sum() / len(margin)


def test_other_ways_to_the_preference_loss_are_right():
    assert_right(preference_loss, by_softplus, by_cross_entropy, by_logaddexp)


@pytest.mark.parametrize("exercise", [pass_at, leave_one_out, kl_estimate, preference_loss])
def test_every_message_is_short_and_every_exercise_knows_twelve_mistakes(exercise):
    tables = {
        "pass_at": PASS_AT_WRONG,
        "leave_one_out": LEAVE_ONE_OUT_WRONG,
        "kl_estimate": KL_WRONG,
        "preference_loss": PREFERENCE_WRONG,
    }
    wrong = tables[exercise.name]
    assert len(wrong) >= 12
    assert all(len(str(exercise.judge(answer))) < 300 for answer, _ in wrong)
    assert nb23_rewards.__doc__ is not None
