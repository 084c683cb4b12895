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
