"""Answers to the exercises of notebook 04, written from its cards alone."""

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
