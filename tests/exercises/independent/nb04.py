"""Answers to the exercises of notebook 04, written from its cards alone."""

import math

import numpy as np
import torch
import torch.nn.functional as F


def loss_by_hand__right__logsumexp(logits, targets):
    flat, rows = logits.flatten(0, 1), targets.flatten()
    return (flat.logsumexp(1) - flat[torch.arange(len(rows)), rows]).mean()


def loss_by_hand__right__largest_taken_off(logits, targets):
    z = logits.double() - logits.double().amax(-1, keepdim=True)
    hot = F.one_hot(targets, logits.shape[-1]).double()
    return (z.exp().sum(-1).log() - torch.einsum("btv,btv->bt", z, hot)).mean()


def loss_by_hand__right__log_softmax(logits, targets):
    return -logits.log_softmax(-1).gather(-1, targets[..., None]).mean()


def loss_by_hand__wrong__overflow(logits, targets):
    return (logits.exp().sum(-1).log() - logits.gather(-1, targets[..., None])[..., 0]).mean()


def loss_by_hand__wrong__log_of_softmax(logits, targets):
    return -logits.softmax(-1).gather(-1, targets[..., None]).log().mean()


def loss_by_hand__wrong__small_number_added(logits, targets):
    return -(logits.softmax(-1).gather(-1, targets[..., None]) + 1e-9).log().mean()


def loss_by_hand__wrong__sum(logits, targets):
    return -logits.log_softmax(-1).gather(-1, targets[..., None]).sum()


def loss_by_hand__wrong__over_time(logits, targets):
    return -logits.log_softmax(1).gather(-1, targets[..., None]).mean()


def loss_by_hand__wrong__no_minus(logits, targets):
    return logits.log_softmax(-1).gather(-1, targets[..., None]).mean()


def loss_by_hand__wrong__not_averaged(logits, targets):
    return -logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]


def loss_by_hand__wrong__the_library(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def loss_by_hand__wrong__largest_not_put_back(logits, targets):
    z = logits - logits.amax(-1, keepdim=True)
    return (z.exp().sum(-1).log() - logits.gather(-1, targets[..., None])[..., 0]).mean()


def windows_in_order__right__loop(tokens, T):
    starts = range(0, len(tokens) - T, T)
    return np.array([tokens[s : s + T] for s in starts]), np.array(
        [tokens[s + 1 : s + T + 1] for s in starts]
    )


def windows_in_order__right__sliding(tokens, T):
    pieces = np.lib.stride_tricks.sliding_window_view(tokens, T + 1)[::T]
    return pieces[:, :-1], pieces[:, 1:]


def windows_in_order__right__index_table(tokens, T):
    at = np.arange((len(tokens) - 1) // T)[:, None] * T + np.arange(T)
    return tokens[at], tokens[at + 1]


def windows_in_order__wrong__not_shifted(tokens, T):
    n = (len(tokens) - 1) // T
    return tokens[: n * T].reshape(n, T), tokens[: n * T].reshape(n, T)


def windows_in_order__wrong__one_token_lost_between(tokens, T):
    n = len(tokens) // (T + 1)
    w = tokens[: n * (T + 1)].reshape(n, T + 1)
    return w[:, :-1], w[:, 1:]


def windows_in_order__wrong__overlapping(tokens, T):
    w = np.lib.stride_tricks.sliding_window_view(tokens, T + 1)
    return w[:, :-1], w[:, 1:]


def windows_in_order__wrong__last_window_lost(tokens, T):
    n = (len(tokens) - 1) // T - 1
    return tokens[: n * T].reshape(n, T), tokens[1 : n * T + 1].reshape(n, T)


def windows_in_order__wrong__exchanged(tokens, T):
    n = (len(tokens) - 1) // T
    return tokens[1 : n * T + 1].reshape(n, T), tokens[: n * T].reshape(n, T)


def windows_in_order__wrong__columns(tokens, T):
    n = (len(tokens) - 1) // T
    return tokens[: n * T].reshape(T, n).T, tokens[1 : n * T + 1].reshape(T, n).T


def windows_in_order__wrong__wraps_round(tokens, T):
    n = len(tokens) // T
    return tokens[: n * T].reshape(n, T), np.roll(tokens, -1)[: n * T].reshape(n, T)


def windows_in_order__wrong__from_the_end(tokens, T):
    n = (len(tokens) - 1) // T
    return tokens[-n * T - 1 : -1].reshape(n, T), tokens[-n * T :].reshape(n, T)


def back_off__right__mixed(counts, shorter):
    c, t = counts.sum(), (counts > 0).sum()
    if c == 0:
        return shorter.copy()
    trust = c / (c + t)
    return trust * counts / c + (1 - trust) * shorter


def back_off__right__loop(counts, shorter):
    kinds, visits = sum(1 for c in counts if c), sum(counts)
    return np.array(
        [
            (c + kinds * p) / (visits + kinds) if visits else p
            for c, p in zip(counts, shorter, strict=True)
        ]
    )


def back_off__wrong__never_came(counts, shorter):
    t = (counts > 0).sum()
    return (counts + t * shorter) / (counts.sum() + t)


def back_off__wrong__whole_vocabulary(counts, shorter):
    t = len(counts)
    return (counts + t * shorter) / (counts.sum() + t)


def back_off__wrong__visits_for_kinds(counts, shorter):
    c = counts.sum()
    return (counts + c * shorter) / (2 * c) if c else shorter


def back_off__wrong__uniform_below(counts, shorter):
    c, t = counts.sum(), (counts > 0).sum()
    return (counts + t / len(counts)) / (c + t) if c else shorter


def back_off__wrong__seen_once(counts, shorter):
    c, t = counts.sum(), (counts == 1).sum()
    return (counts + t * shorter) / (c + t) if c else shorter


def back_off__wrong__not_divided(counts, shorter):
    c, t = counts.sum(), (counts > 0).sum()
    return counts + t * shorter if c else shorter


def back_off__wrong__uniform_when_empty(counts, shorter):
    c, t = counts.sum(), (counts > 0).sum()
    return (counts + t * shorter) / (c + t) if c else np.full(len(counts), 1 / len(counts))


def back_off__wrong__only_where_unseen(counts, shorter):
    c, t = counts.sum(), (counts > 0).sum()
    return np.where(counts > 0, counts / (c + t), t * shorter / (c + t)) if c else shorter


no_shift__right__b = "b"
no_shift__right__capital = "B"
no_shift__wrong__as_before = "a"
no_shift__wrong__ln_79 = "c"
no_shift__wrong__unigram = "d"


def loss_by_hand__wrong__second_set_one_largest_for_all(logits, targets):
    z = logits - logits.max()
    return -(z.gather(-1, targets[..., None])[..., 0] - z.exp().sum(-1).log()).mean()


# The third set.


def loss_by_hand__right__third_logsumexp(logits, targets):
    picked = logits.gather(-1, targets[..., None])[..., 0]
    return (logits.logsumexp(dim=-1) - picked).mean()


def loss_by_hand__right__numpy_loop(logits, targets):
    table = logits.detach().double().numpy().reshape(-1, logits.shape[-1])
    total = 0.0
    for scores, target in zip(table, targets.flatten().tolist(), strict=True):
        top = scores.max()
        total += top + math.log(np.exp(scores - top).sum()) - scores[target]
    return torch.tensor(total / len(table), dtype=logits.dtype)


# Scores 1000, -1000 with target 1: the chance is rounded to 0, the loss inf; right is 2000.
def loss_by_hand__wrong__third_log_of_softmax(logits, targets):
    chances = logits.softmax(dim=-1)
    return -chances.gather(-1, targets[..., None]).log().mean()


def loss_by_hand__wrong__one_maximum_for_all(logits, targets):
    shifted = logits - logits.max()
    log_p = shifted - shifted.exp().sum(dim=-1, keepdim=True).log()
    return -log_p.gather(-1, targets[..., None]).mean()


# Scores 1000, -1000 with target 1: at most -ln 1e-9 = 20.7; right is 2000.
def loss_by_hand__wrong__third_small_number_added(logits, targets):
    chances = torch.softmax(logits, -1) + 1e-9
    return -chances.log().gather(-1, targets[..., None]).mean()


# Two places with different chances: minus log of the mean chance; right is the mean of minus log.
def loss_by_hand__wrong__log_of_the_mean_chance(logits, targets):
    log_p = logits.log_softmax(-1).gather(-1, targets[..., None]).flatten()
    return math.log(log_p.numel()) - log_p.logsumexp(0)


def windows_in_order__right__reshape(tokens, T):
    n = max(len(tokens) - 1, 0) // T
    return tokens[: n * T].reshape(n, T), tokens[1:][: n * T].reshape(n, T)


def windows_in_order__right__loop_of_slices(tokens, T):
    starts = range(0, len(tokens) - T, T)
    inputs = np.empty((len(starts), T), dtype=tokens.dtype)
    targets = np.empty_like(inputs)
    for row, start in enumerate(starts):
        inputs[row] = tokens[start : start + T]
        targets[row] = tokens[start + 1 : start + T + 1]
    return inputs, targets


def windows_in_order__wrong__pieces_of_t_plus_one(tokens, T):
    n = len(tokens) // (T + 1)
    pieces = tokens[: n * (T + 1)].reshape(n, T + 1)
    return pieces[:, :-1], pieces[:, 1:]


def windows_in_order__wrong__third_wraps_round(tokens, T):
    n = len(tokens) // T
    following = np.roll(tokens, -1)
    return tokens[: n * T].reshape(n, T), following[: n * T].reshape(n, T)


# arange(7), T = 3: one window; right is two, the last target is token 6.
def windows_in_order__wrong__one_window_less(tokens, T):
    n = max(len(tokens) - 2, 0) // T
    return tokens[: n * T].reshape(n, T), tokens[1 : n * T + 1].reshape(n, T)


def windows_in_order__wrong__rest_overlaps(tokens, T):
    last = len(tokens) - 1 - T
    starts = [*range(0, last, T), last]
    inputs = np.stack([tokens[s : s + T] for s in starts])
    return inputs, np.stack([tokens[s + 1 : s + T + 1] for s in starts])


def back_off__right__formula(counts, shorter):
    visits, kinds = counts.sum(), np.count_nonzero(counts)
    if visits == 0:
        return shorter.copy()
    return (counts + kinds * shorter) / (visits + kinds)


def back_off__right__two_shares(counts, shorter):
    visits = float(np.sum(counts))
    kinds = float(sum(1 for count in counts if count > 0))
    trust = visits / (visits + kinds) if visits else 0.0
    seen = [count / visits if visits else 0.0 for count in counts]
    pairs = zip(seen, shorter, strict=True)
    return np.array([trust * s + (1 - trust) * p for s, p in pairs])


# counts all 0: 0 / 0, nan; right is shorter.
def back_off__wrong__nan_without_visits(counts, shorter):
    kinds = (counts > 0).sum()
    return (counts + kinds * shorter) / (counts.sum() + kinds)


def back_off__wrong__shorter_for_unseen_only(counts, shorter):
    visits, kinds = counts.sum(), (counts > 0).sum()
    if visits == 0:
        return shorter
    mixed = np.where(counts > 0, counts, kinds * shorter)
    return mixed / (visits + kinds)


def back_off__wrong__all_tokens_as_kinds(counts, shorter):
    if counts.sum() == 0:
        return shorter
    kinds = len(counts)
    return (counts + kinds * shorter) / (counts.sum() + kinds)


# counts [2, 1, 0]: t = 1, the tokens seen exactly once; right is t = 2, all different followers.
def back_off__wrong__singletons_as_kinds(counts, shorter):
    if counts.sum() == 0:
        return shorter
    kinds = (counts == 1).sum()
    return (counts + kinds * shorter) / (counts.sum() + kinds)


# The table learns to say "the same again", and is always right: b.
no_shift__wrong__a = "a"


# Nothing learned? The gradient is not zero, the loss falls: b.
no_shift__wrong__c = "c"


# The unigram needs no input; here the input is the answer: b.
no_shift__wrong__d = "d"


# The loss itself; a letter is asked for: b.
no_shift__wrong__the_number = 0.0
