"""Exercises of notebook 23: chances of k tries, a baseline, a distance, and pairs.

Lesson: notebook 23.
"""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bhushgpt.exercises.exercise import Exercise
from bhushgpt.exercises.same_numbers import mistake_in, same

Answer = Callable[..., Any]


# 1. The chance that one of k tries is right


def _pass_at(n: int, n_right: int, k: int) -> float:
    return 1 - math.comb(n - n_right, k) / math.comb(n, k)


def _pass_at_mistakes(n: int, c: int, k: int) -> dict[str, float]:
    """Return what each known mistake computes, by the sentence that names it."""
    ways = math.comb(n, k)
    return {
        "this puts every drawn answer back before the next draw, so it is too low: the k are "
        "different ones of the n.": 1 - (1 - c / n) ** k,
        "that is the chance that all k miss, with putting back.": (1 - c / n) ** k,
        "that is the chance of one try, pass@1: k was not used.": c / n,
        "that is the chance that all k are wrong; the question is the opposite.": (
            math.comb(n - c, k) / ways
        ),
        "that is the chance that all k are right; one is enough.": math.comb(c, k) / ways,
        "that is the chance that at least one is wrong.": 1 - math.comb(c, k) / ways,
        "that is the chance of k right ones in a row, with putting back.": (c / n) ** k,
        "1 minus the chance of k right ones in a row is the chance of a mistake.": 1 - (c / n) ** k,
        "chances of tries cannot be added: two right ones would count twice.": k * c / n,
        "that is the chance of exactly one right answer; more than one is fine, too.": (
            c * math.comb(n - c, k - 1) / ways
        ),
        "those are per cent: give a share from 0 to 1.": 100 * (1 - math.comb(n - c, k) / ways),
        "one of the two counts minds the order and the other does not: use math.comb twice.": (
            1 - math.comb(n - c, k) / math.perm(n, k)
        ),
        "that asks whether any of all n is right; only k of them are looked at.": float(c > 0),
        "that is a number of right answers, not a chance.": c * 1.0,
        "math.comb(n, k) counts k of n; yours counts k of the right ones below.": (
            1 - math.comb(n - c, k) / math.comb(n, c)
        ),
    }


def _check_pass_at(answer: Answer) -> str | None:
    n, c, k = 11, 4, 3
    result = answer(n, c, k)
    if not isinstance(result, Real | Tensor):
        return f"give back a number; a {type(result).__name__} came."
    value, expected = float(result), _pass_at(n, c, k)
    if not math.isclose(value, expected, abs_tol=1e-9):
        for sentence, wrong in _pass_at_mistakes(n, c, k).items():
            if math.isclose(value, wrong, abs_tol=1e-9):
                return sentence
        return f"of 11 answers 4 are right; 3 of them: {expected:.4f}, yours says {value:.4f}."
    if not math.isclose(float(answer(5, 4, 3)), 1.0, abs_tol=1e-9):
        return "of 5 answers only 1 is wrong, so among any 3 is a right one: the chance is 1."
    if not math.isclose(float(answer(5, 0, 3)), 0.0, abs_tol=1e-9):
        return "without any right answer the chance is 0."
    return None


pass_at = Exercise(
    name="pass_at",
    question="Return the chance that k different ones of n answers hold a right one of n_right.",
    hints=(
        "The opposite is easier: all k are among the n - n_right wrong ones.",
        "math.comb(n, k) is the number of ways to take k of n.",
        "1 minus the share of the ways that take wrong answers only.",
    ),
    praise="it counts the ways, and needs no luck.",
    reference=_pass_at,
    checks=_check_pass_at,
)


# 2. A baseline that the answer itself has no part in


def _leave_one_out(rewards: Tensor) -> Tensor:
    n_others = rewards.shape[1] - 1
    others = (rewards.sum(dim=1, keepdim=True) - rewards) / n_others
    return rewards - others


def _leave_one_out_mistakes(r: Tensor) -> dict[str, Tensor]:
    """Return what each known mistake computes, by the sentence that names it."""
    G, total, mean = r.shape[1], r.sum(1, keepdim=True), r.mean(1, keepdim=True)
    others = (total - r) / (G - 1)
    return {
        "the mean still holds the answer's own reward: leave it out.": r - mean,
        "the sign is turned: what is better than the others must come out above 0.": others - r,
        "that is the baseline itself; take it off the rewards.": others,
        "you take off the sum of the others; divide it by how many they are.": r - (total - r),
        "the others are one fewer than the group: divide by G - 1, not by G.": r - (total - r) / G,
        "your mean runs over the questions; each row is a group of its own.": r - r.mean(0),
        "your baseline is the mean of all rewards; each group needs its own.": r - r.mean(),
        "the others of an answer are in its own group, not in the whole batch.": (
            r - (r.sum() - r) / (r.numel() - 1)
        ),
        "this divides by the spread of the group; only take off a baseline.": (
            (r - mean) / r.std(1, keepdim=True)
        ),
        "this divides by the spread of the group (over G); only take off a baseline.": (
            (r - mean) / r.std(1, keepdim=True, correction=0)
        ),
        "you compare with the best of the group; the mean of the others is meant.": (
            r - r.max(1, keepdim=True).values
        ),
        "you compare with the worst of the group; the mean of the others is meant.": (
            r - r.min(1, keepdim=True).values
        ),
        "the factor between the two means is G / (G - 1), yours is upside down.": (
            (r - mean) * (G - 1) / G
        ),
        "you divide by the others' mean: take it off instead.": r / others,
        "nothing was taken off the rewards.": r,
    }


def _check_leave_one_out(answer: Answer) -> str | None:
    rewards = torch.tensor(
        [[1.0, 0.5, 0.5, 3.0, 2.0], [0.2, 5.0, 1.0, 0.5, 0.2], [2.0, 2.0, 7.0, 1.0, 0.7]]
    )
    mistakes = _leave_one_out_mistakes(rewards)
    if first := mistake_in(answer(rewards), _leave_one_out(rewards), mistakes):
        return first
    pair = torch.tensor([[1.0, 0.0]])
    if not same(answer(pair), torch.tensor([[1.0, -1.0]])):
        return "of two answers each is the other's baseline: 1 and 0 give 1 and -1."
    return None


leave_one_out = Exercise(
    name="leave_one_out",
    question="Return each reward minus the mean of the other rewards of its row, (questions, G).",
    hints=(
        "The sum of the others is the sum of the row minus the reward itself.",
        "rewards.sum(dim=1, keepdim=True) keeps the axis, so that rows line up.",
        "There are G - 1 others.",
    ),
    praise="each answer is measured by the others alone.",
    reference=_leave_one_out,
    axes_of_one=lambda: [(torch.randn(1, 4),)],
    keeps_inputs=True,
    checks=_check_leave_one_out,
)


# 3. An estimate of the distance that never falls below 0


def _kl_estimate(log_p: Tensor, log_q: Tensor) -> Tensor:
    log_ratio = log_q - log_p
    return log_ratio.exp() - 1 - log_ratio


def _kl_mistakes(log_p: Tensor, log_q: Tensor) -> dict[str, Tensor]:
    """Return what each known mistake computes, by the sentence that names it."""
    d = log_q - log_p  # ln r
    r = d.exp()
    return {
        "that is -ln r alone: its mean is right, but it is often below 0. Add r - 1.": -d,
        "that is ln r: the wrong sign, and often below 0.": d,
        "that is the square of ln r, halved: never below 0, but its mean is another.": d**2 / 2,
        "that is the square of ln r: never below 0, but its mean is another.": d**2,
        "your r is p / q: the start's probability stands above.": (-d).exp() - 1 + d,
        "the sign of ln r is wrong: at r = 1 the slope must be 0.": r - 1 + d,
        "all of it has the wrong sign: r - 1 is never below ln r.": d - (r - 1),
        "the 1 is missing: for r = 1 the distance is 0.": r - d,
        "the sign of the 1 is wrong: for r = 1 the distance is 0.": r + 1 - d,
        "the sign of r - 1 is wrong: the mean stays, but it falls below 0.": 1 - r - d,
        "the absolute value makes the mean too large.": d.abs(),
        "cutting at 0 makes the mean too large.": (-d).clamp(min=0),
        "no weight with p: the tokens were drawn by p already.": -log_p.exp() * d,
        "weighted with p once more: the tokens were drawn by p already.": (
            log_p.exp() * (r - 1 - d)
        ),
        "that is r - 1 alone, whose mean is 0 whatever the models are.": r - 1,
        "r is a ratio of probabilities; you divided their logarithms.": (
            log_q / log_p - 1 - (log_q / log_p).log()
        ),
        "those are bits; stay with the natural logarithm.": r - 1 - d / math.log(2),
    }


def _check_kl_estimate(answer: Answer) -> str | None:
    log_p = torch.tensor([[0.5, 0.2, 0.7], [0.9, 0.1, 0.3]]).log()
    log_q = torch.tensor([[0.25, 0.6, 0.65], [0.4, 0.35, 0.31]]).log()
    expected = _kl_estimate(log_p, log_q)
    result = answer(log_p, log_q)
    if isinstance(result, Tensor) and result.shape == () != expected.shape:
        return "that is one number for all; keep one estimate for each token."
    return mistake_in(result, expected, _kl_mistakes(log_p, log_q))


kl_estimate = Exercise(
    name="kl_estimate",
    question="Return r - 1 - ln r for each token, with r = p_start / p, from ln p and ln p_start.",
    hints=(
        "ln r is the difference of the two logarithms. Which comes first?",
        "r itself is exp of that difference.",
        "For equal models every estimate must be 0.",
    ),
    praise="right on average, and no token counts below 0.",
    reference=_kl_estimate,
    axes_of_one=lambda: [
        (torch.rand(size).log(), torch.rand(size).log()) for size in ((1, 3), (2, 1), (1, 1))
    ],
    keeps_inputs=True,
    checks=_check_kl_estimate,
)


# 4. Learning from pairs


def _preference_loss(
    chosen: Tensor, rejected: Tensor, start_chosen: Tensor, start_rejected: Tensor, beta: float
) -> Tensor:
    gained = chosen - start_chosen
    lost = rejected - start_rejected
    return -F.logsigmoid(beta * (gained - lost)).mean()


def _preference_mistakes(c: Tensor, r: Tensor, sc: Tensor, sr: Tensor, beta: float) -> dict:
    """Return what each known mistake computes, by the sentence that names it."""
    margin = (c - sc) - (r - sr)
    log = F.logsigmoid
    return {
        "the start is not used: it is the gain over the start that counts.": -log(
            beta * (c - r)
        ).mean(),
        "chosen and rejected are swapped: this teaches the answer that was turned down.": -log(
            -beta * margin
        ).mean(),
        "the sign is wrong: a log-probability is negative, the loss its opposite.": log(
            beta * margin
        ).mean(),
        "that is the sum over the pairs; take the mean.": -log(beta * margin).sum(),
        "beta is not used.": -log(margin).mean(),
        "beta stands outside the sigmoid: it belongs to the margin.": -beta * log(margin).mean(),
        "there is no logarithm: that is minus the sigmoid.": -(beta * margin).sigmoid().mean(),
        "there is no logarithm: that is 1 minus the sigmoid.": (
            1 - (beta * margin).sigmoid().mean()
        ),
        "the start's logarithms are added, or swapped: take each answer's own off.": -log(
            beta * ((c + sc) - (r + sr))
        ).mean(),
        "there is no sigmoid: that rewards a margin without end.": -beta * margin.mean(),
        "that is the logarithm of the mean: take it for each pair, then the mean.": -(
            (beta * margin).sigmoid().mean().log()
        ),
        "you divide by beta: multiply.": -log(margin / beta).mean(),
        "only the chosen answer is looked at; the loss compares two.": -log(beta * (c - sc)).mean(),
        "only the rejected answer is looked at; the loss compares two.": -log(
            -beta * (r - sr)
        ).mean(),
        "both gains are added: the margin is their difference.": -log(
            beta * ((c - sc) + (r - sr))
        ).mean(),
        "those are bits; stay with the natural logarithm.": -log(beta * margin).mean()
        / math.log(2),
        "that is a hinge, flat behind 1; here it is the logarithm of a sigmoid.": F.relu(
            1 - beta * margin
        ).mean(),
    }


def _check_preference_loss(answer: Answer) -> str | None:
    chosen, rejected, start_chosen, start_rejected = torch.tensor(
        [
            [-1.0, -2.0, -0.5, -4.0, -3.0],
            [-2.5, -1.5, -3.0, -1.0, -0.7],
            [-1.7, -2.2, -1.1, -2.0, -4.1],
            [-1.9, -3.6, -2.7, -0.4, -1.3],
        ]
    )
    parts, beta = (chosen, rejected, start_chosen, start_rejected), 0.3
    expected = _preference_loss(*parts, beta)
    result = answer(*(part.clone() for part in parts), beta)
    if isinstance(result, Tensor) and result.shape == (5,):
        return "that is one loss for each pair; return their mean, a single number."
    if first := mistake_in(result, expected, _preference_mistakes(*parts, beta)):
        return first
    far = torch.tensor([-4000.0]), torch.tensor([0.0])
    if not torch.isfinite(answer(*far, torch.zeros(1), torch.zeros(1), 1.0)).all():
        return "a margin of -4000 makes the sigmoid 0 and its logarithm -inf: F.logsigmoid can."
    return None


preference_loss = Exercise(
    name="preference_loss",
    question="Return the mean DPO loss of pairs, from four (B,) log-probabilities and beta.",
    hints=(
        "How much likelier did the chosen answer become than at the start? And the rejected one?",
        "The margin is the difference of the two gains, times beta.",
        "-F.logsigmoid(margin) for each pair, then the mean.",
    ),
    praise="the pair counts only relative to the start, and large margins do not break it.",
    reference=_preference_loss,
    axes_of_one=lambda: [(*torch.randn(4, 1).unbind(), 0.3)],
    checks=_check_preference_loss,
)
