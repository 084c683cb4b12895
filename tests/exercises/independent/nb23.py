"""Answers to the exercises of notebook 23, written from its cards alone."""

import math
from fractions import Fraction
from itertools import combinations

import torch
import torch.nn.functional as F


def pass_at__right__counted(n, n_right, k):
    hands = list(combinations(range(n), k))
    return sum(min(hand) < n_right for hand in hands) / len(hands)


def pass_at__right__product(n, n_right, k):
    miss = 1.0
    for i in range(k):
        miss *= max(0, n - n_right - i) / (n - i)
    return 1 - miss


def pass_at__wrong__put_back(n, n_right, k):
    return 1 - (1 - n_right / n) ** k


def pass_at__wrong__all_wrong(n, n_right, k):
    return math.comb(n - n_right, k) / math.comb(n, k)


def pass_at__wrong__all_right(n, n_right, k):
    return math.comb(n_right, k) / math.comb(n, k)


def pass_at__wrong__mean(n, n_right, k):
    return n_right / n


def pass_at__wrong__times_k(n, n_right, k):
    return min(1.0, k * n_right / n)


def pass_at__wrong__exactly_one(n, n_right, k):
    return n_right * math.comb(n - n_right, k - 1) / math.comb(n, k)


def pass_at__wrong__comb_of_right(n, n_right, k):
    return 1 - math.comb(n_right, k) / math.comb(n, k)


def leave_one_out__right__sums(rewards):
    G = rewards.shape[1]
    return rewards - (rewards.sum(1, keepdim=True) - rewards) / (G - 1)


def leave_one_out__right__loop(rewards):
    out = torch.empty_like(rewards)
    for i, row in enumerate(rewards):
        for j in range(len(row)):
            out[i, j] = row[j] - torch.cat([row[:j], row[j + 1 :]]).mean()
    return out


def leave_one_out__right__matrix(rewards):
    G = rewards.shape[1]
    others = (1 - torch.eye(G, dtype=rewards.dtype)) / (G - 1)
    return rewards - torch.einsum("qg,gh->qh", rewards, others)


def leave_one_out__wrong__row_mean(rewards):
    return rewards - rewards.mean(1, keepdim=True)


def leave_one_out__wrong__whole_batch(rewards):
    n = rewards.numel()
    return rewards - (rewards.sum() - rewards) / (n - 1)


def leave_one_out__wrong__divided_by_g(rewards):
    return rewards - (rewards.sum(1, keepdim=True) - rewards) / rewards.shape[1]


def leave_one_out__wrong__columns(rewards):
    return rewards - (rewards.sum(0) - rewards) / (len(rewards) - 1)


def leave_one_out__wrong__baseline_only(rewards):
    return (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)


def leave_one_out__wrong__own_counts(rewards):
    return rewards - rewards.sum(1, keepdim=True) / (rewards.shape[1] - 1)


def leave_one_out__wrong__standardised(rewards):
    d = rewards - rewards.mean(1, keepdim=True)
    return d / rewards.std(1, keepdim=True)


def leave_one_out__wrong__sign(rewards):
    return (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1) - rewards


def leave_one_out__wrong__changes_rewards(rewards):
    rewards -= (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)
    return rewards


def kl_estimate__right__expm1(log_p, log_q):
    d = log_q - log_p
    return torch.expm1(d) - d


def kl_estimate__right__ratio(log_p, log_q):
    r = (log_q.double() - log_p.double()).exp()
    return r - 1 - r.log()


def kl_estimate__wrong__upside_down(log_p, log_q):
    d = log_p - log_q
    return d.exp() - 1 - d


def kl_estimate__wrong__plain(log_p, log_q):
    return log_p - log_q


def kl_estimate__wrong__no_one(log_p, log_q):
    d = log_q - log_p
    return d.exp() - d


def kl_estimate__wrong__plus_logarithm(log_p, log_q):
    d = log_q - log_p
    return d.exp() - 1 + d


def kl_estimate__wrong__mean(log_p, log_q):
    d = log_q - log_p
    return (d.exp() - 1 - d).mean()


def kl_estimate__wrong__summed_over_tokens(log_p, log_q):
    d = log_q - log_p
    return (d.exp() - 1 - d).sum(1)


def kl_estimate__wrong__ratio_of_logarithms(log_p, log_q):
    r = log_q / log_p
    return r - 1 - r.log()


def kl_estimate__wrong__half_square(log_p, log_q):
    return (log_p - log_q) ** 2 / 2


def preference_loss__right__softplus(chosen, rejected, start_chosen, start_rejected, beta):
    gain = (chosen - start_chosen) - (rejected - start_rejected)
    return F.softplus(-beta * gain).mean()


def preference_loss__right__loop(chosen, rejected, start_chosen, start_rejected, beta):
    losses = []
    for a, b, c, d in zip(
        chosen.tolist(),
        rejected.tolist(),
        start_chosen.tolist(),
        start_rejected.tolist(),
        strict=True,
    ):
        x = beta * ((a - c) - (b - d))
        losses.append(math.log1p(math.exp(-x)) if x > 0 else -x + math.log1p(math.exp(x)))
    return torch.tensor(sum(losses) / len(losses))


def preference_loss__wrong__exchanged(chosen, rejected, start_chosen, start_rejected, beta):
    return -F.logsigmoid(beta * ((rejected - start_rejected) - (chosen - start_chosen))).mean()


def preference_loss__wrong__no_start(chosen, rejected, start_chosen, start_rejected, beta):
    return -F.logsigmoid(beta * (chosen - rejected)).mean()


def preference_loss__wrong__no_beta(chosen, rejected, start_chosen, start_rejected, beta):
    return -F.logsigmoid((chosen - start_chosen) - (rejected - start_rejected)).mean()


def preference_loss__wrong__no_minus(chosen, rejected, start_chosen, start_rejected, beta):
    return F.logsigmoid(beta * ((chosen - start_chosen) - (rejected - start_rejected))).mean()


def preference_loss__wrong__no_logarithm(chosen, rejected, start_chosen, start_rejected, beta):
    return -torch.sigmoid(beta * ((chosen - start_chosen) - (rejected - start_rejected))).mean()


def preference_loss__wrong__log_of_mean(chosen, rejected, start_chosen, start_rejected, beta):
    return (
        -torch.sigmoid(beta * ((chosen - start_chosen) - (rejected - start_rejected))).mean().log()
    )


def preference_loss__wrong__sum(chosen, rejected, start_chosen, start_rejected, beta):
    return -F.logsigmoid(beta * ((chosen - start_chosen) - (rejected - start_rejected))).sum()


def preference_loss__wrong__starts_exchanged(chosen, rejected, start_chosen, start_rejected, beta):
    return -F.logsigmoid(beta * ((chosen - start_rejected) - (rejected - start_chosen))).mean()


def preference_loss__wrong__beta_outside(chosen, rejected, start_chosen, start_rejected, beta):
    return -beta * F.logsigmoid((chosen - start_chosen) - (rejected - start_rejected)).mean()


def preference_loss__wrong__underflow(chosen, rejected, start_chosen, start_rejected, beta):
    return -(beta * ((chosen - start_chosen) - (rejected - start_rejected))).sigmoid().log().mean()


def preference_loss__wrong__each_pair(chosen, rejected, start_chosen, start_rejected, beta):
    return -F.logsigmoid(beta * ((chosen - start_chosen) - (rejected - start_rejected)))


def pass_at__right__second_set(n, r, k):
    if r == 0 or k == 0:
        return Fraction(0)
    if r == n:
        return Fraction(1)
    return Fraction(r, n) + Fraction(n - r, n) * pass_at__right__second_set(n - 1, r, k - 1)


# The third set.


def pass_at__right__one_minus_all_wrong(n, n_right, k):
    return 1 - math.comb(n - n_right, k) / math.comb(n, k)


def pass_at__right__one_draw_after_the_other(n, n_right, k):
    missed = 1.0
    for drawn in range(k):
        missed *= max(0, n - n_right - drawn) / (n - drawn)
    return 1 - missed


# wrong for n 4, n_right 2, k 2: 4/6, exactly one right, should be at least one, 5/6
def pass_at__wrong__third_exactly_one(n, n_right, k):
    if k == 0:
        return 0.0
    return n_right * math.comb(n - n_right, k - 1) / math.comb(n, k)


def leave_one_out__right__sum_without_own(rewards):
    others = rewards.sum(dim=-1, keepdim=True) - rewards
    return rewards - others / (rewards.shape[-1] - 1)


def leave_one_out__right__matrix_product(rewards):
    G = rewards.shape[1]
    exact = rewards if rewards.is_floating_point() else rewards.float()
    keep = torch.full((G, G), -1 / (G - 1), dtype=exact.dtype)
    return exact @ keep.fill_diagonal_(1.0)


# wrong for every row with a spread: its own reward is in the mean, should be left out
def leave_one_out__wrong__own_reward_in_the_mean(rewards):
    return rewards - rewards.mean(dim=-1, keepdim=True)


# wrong for [1, 0, 0]: the sum of the others over 3, should be over 2
def leave_one_out__wrong__divided_by_all(rewards):
    others = rewards.sum(dim=-1, keepdim=True) - rewards
    return rewards - others / rewards.shape[-1]


# wrong for two rows with different means: the others of the whole table, should be of the row
def leave_one_out__wrong__others_of_all_questions(rewards):
    return rewards - (rewards.sum() - rewards) / (rewards.numel() - 1)


# wrong for [[1, 0], [0, 0]]: the others of the column, should be of the row
def leave_one_out__wrong__column_instead_of_row(rewards):
    others = rewards.sum(dim=0, keepdim=True) - rewards
    return rewards - others / max(1, len(rewards) - 1)


def kl_estimate__right__exp(log_p, log_q):
    log_r = log_q - log_p
    return log_r.exp() - 1 - log_r


def kl_estimate__right__expm1_in_float64(log_p, log_q):
    gap = log_p.double() - log_q.double()
    return (torch.expm1(-gap) + gap).to(log_p.dtype)


# wrong for p 0.6, q 0.4: r is p / q, should be q / p
def kl_estimate__wrong__ratio_turned_round(log_p, log_q):
    log_r = log_p - log_q
    return log_r.exp() - 1 - log_r


# wrong for every input: (B,), summed over each answer, should be (B, A)
def kl_estimate__wrong__summed_over_the_answer(log_p, log_q):
    log_r = log_q - log_p
    return (log_r.exp() - 1 - log_r).sum(dim=-1)


# wrong for every gap that is not 0: half the square is only close to r - 1 - ln r
def kl_estimate__wrong__half_the_square(log_p, log_q):
    return 0.5 * (log_q - log_p) ** 2


# wrong for every gap that is not 0: ln r has the wrong sign, and it can be negative
def kl_estimate__wrong__plus_ln_r(log_p, log_q):
    r = torch.exp(log_q - log_p)
    return r - 1 - (log_p - log_q)


def preference_loss__right__logsigmoid(chosen, rejected, start_chosen, start_rejected, beta):
    gap = (chosen - start_chosen) - (rejected - start_rejected)
    return -F.logsigmoid(beta * gap).mean()


def preference_loss__right__logaddexp(chosen, rejected, start_chosen, start_rejected, beta):
    now, before = chosen - rejected, start_chosen - start_rejected
    z = beta * (before - now)
    return torch.logaddexp(torch.zeros_like(z), z).sum() / len(z)


# wrong for a gap of -1000: sigmoid is 0 and the loss inf, should be 1000
def preference_loss__wrong__log_of_sigmoid(chosen, rejected, start_chosen, start_rejected, beta):
    gap = (chosen - start_chosen) - (rejected - start_rejected)
    return -torch.log(torch.sigmoid(beta * gap)).mean()


# wrong for two pairs of different gaps: the loss of the mean gap, should be the mean of the losses
def preference_loss__wrong__loss_of_the_mean_gap(
    chosen, rejected, start_chosen, start_rejected, beta
):
    gap = (chosen - start_chosen) - (rejected - start_rejected)
    return -F.logsigmoid(beta * gap.mean())


# wrong for beta != 1: only the policy's part is scaled, should be the start's too
def preference_loss__wrong__beta_on_the_policy_only(
    chosen, rejected, start_chosen, start_rejected, beta
):
    gap = beta * (chosen - rejected) - (start_chosen - start_rejected)
    return -F.logsigmoid(gap).mean()
