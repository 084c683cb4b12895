"""Answers to the exercises of notebook 21, written from its cards alone."""

import math

import numpy as np
import torch


def induction_score__right__diagonal(weights, period):
    return weights.diagonal(offset=1 - period, dim1=1, dim2=2)[:, 1:].mean(-1)


def induction_score__right__loop(weights, period):
    H, T, _ = weights.shape
    return torch.stack(
        [
            sum(weights[h, t, t - period + 1] for t in range(period, T)) / (T - period)
            for h in range(H)
        ]
    )


def induction_score__right__index(weights, period):
    t = torch.arange(period, weights.shape[1])
    return weights.double()[:, t, t - period + 1].sum(1) / len(t)


def induction_score__wrong__place_itself(weights, period):
    t = torch.arange(period, weights.shape[1])
    return weights[:, t, t - period].mean(1)


def induction_score__wrong__one_too_far(weights, period):
    t = torch.arange(period, weights.shape[1] - 1)
    return weights[:, t, t - period + 2].mean(1)


def induction_score__wrong__rows_and_columns(weights, period):
    t = torch.arange(period, weights.shape[1])
    return weights[:, t - period + 1, t].mean(1)


def induction_score__wrong__whole_diagonal(weights, period):
    return weights.diagonal(1 - period, 1, 2).mean(-1)


def induction_score__wrong__sum(weights, period):
    t = torch.arange(period, weights.shape[1])
    return weights[:, t, t - period + 1].sum(1)


def induction_score__wrong__all_heads(weights, period):
    t = torch.arange(period, weights.shape[1])
    return weights[:, t, t - period + 1].mean()


def induction_score__wrong__divided_by_t(weights, period):
    t = torch.arange(period, weights.shape[1])
    return weights[:, t, t - period + 1].sum(1) / weights.shape[1]


def induction_score__wrong__one_later(weights, period):
    t = torch.arange(period + 1, weights.shape[1])
    return weights[:, t, t - period + 1].mean(1)


def induction_score__wrong__largest(weights, period):
    t = torch.arange(period, weights.shape[1])
    return weights[:, t, t - period + 1].max(1).values


predicted_loss__right__ln_12 = 2.48
predicted_loss__right__a_little_above = 2.7
predicted_loss__right__second_set_of_numpy = np.float32(2.5)
predicted_loss__wrong__as_before = 0.01
predicted_loss__wrong__bits = 12.0
predicted_loss__wrong__negative = -2.48


def recovered__right__from_clean(clean, corrupted, patched):
    return 1 - (clean - patched) / (clean - corrupted)


def recovered__right__float64(clean, corrupted, patched):
    c, s, p = (x.double() for x in (clean, corrupted, patched))
    return torch.true_divide(p - s, c - s)


def recovered__wrong__other_way_round(clean, corrupted, patched):
    return (clean - patched) / (clean - corrupted)


def recovered__wrong__sign(clean, corrupted, patched):
    return (corrupted - patched) / (clean - corrupted)


def recovered__wrong__share_of_clean(clean, corrupted, patched):
    return patched / clean


def recovered__wrong__difference(clean, corrupted, patched):
    return patched - corrupted


def recovered__wrong__clamped(clean, corrupted, patched):
    return ((patched - corrupted) / (clean - corrupted)).clamp(0, 1)


def recovered__wrong__absolute(clean, corrupted, patched):
    return (patched - corrupted).abs() / (clean - corrupted).abs()


def recovered__wrong__divided_by_clean(clean, corrupted, patched):
    return (patched - corrupted) / clean


def recovered__wrong__mean(clean, corrupted, patched):
    return ((patched - corrupted) / (clean - corrupted)).mean()


def recovered__wrong__changes_patched(clean, corrupted, patched):
    patched -= corrupted
    return patched / (clean - corrupted)


def head_shares__right__einsum(weights, v, projection):
    H, _, D = v.shape
    return torch.einsum("hts,hsd,chd->htc", weights, v, projection.view(-1, H, D))


def head_shares__right__zeroed(weights, v, projection):
    H, T, D = v.shape
    out = []
    for h in range(H):
        joined = torch.zeros(T, H * D, dtype=v.dtype)
        joined[:, h * D : (h + 1) * D] = weights[h] @ v[h]
        out.append(joined @ projection.T)
    return torch.stack(out)


def head_shares__wrong__interleaved(weights, v, projection):
    H, _, D = v.shape
    return torch.einsum("htd,cdh->htc", weights @ v, projection.view(-1, D, H))


def head_shares__wrong__sum(weights, v, projection):
    H, _, D = v.shape
    return torch.einsum("htd,chd->tc", weights @ v, projection.view(-1, H, D))


def head_shares__wrong__equal_shares(weights, v, projection):
    H, _, D = v.shape
    return torch.einsum("htd,chd->tc", weights @ v, projection.view(-1, H, D)).expand(H, -1, -1) / H


def head_shares__wrong__first_columns_for_all(weights, v, projection):
    return weights @ v @ projection[:, : v.shape[2]].T


def head_shares__wrong__weights_turned(weights, v, projection):
    H, _, D = v.shape
    return torch.einsum("hst,hsd,chd->htc", weights, v, projection.view(-1, H, D))


def head_shares__wrong__no_weights(weights, v, projection):
    H, _, D = v.shape
    return torch.einsum("htd,chd->htc", v, projection.view(-1, H, D))


def head_shares__wrong__no_projection(weights, v, projection):
    return weights @ v


def head_shares__wrong__heads_reversed(weights, v, projection):
    H, _, D = v.shape
    return torch.einsum("htd,chd->htc", weights @ v, projection.view(-1, H, D).flip(1))


def head_shares__wrong__divided_by_heads(weights, v, projection):
    H, _, D = v.shape
    return torch.einsum("htd,chd->htc", weights @ v, projection.view(-1, H, D)) / H


# The third set.


def induction_score__right__loop_over_t(weights, period):
    T = weights.shape[-1]
    looks = [weights[:, t, t - period + 1] for t in range(period, T)]
    return torch.stack(looks).mean(dim=0)


def induction_score__right__third_diagonal(weights, period):
    line = weights.diagonal(offset=1 - period, dim1=1, dim2=2)
    return line[:, 1:].mean(dim=1)  # the first entry is t = period - 1


# wrong for every text: t = period - 1 is in the mean too, should begin at t = period
def induction_score__wrong__one_place_too_early(weights, period):
    return weights.diagonal(offset=1 - period, dim1=1, dim2=2).mean(dim=1)


# wrong for a perfect induction head: 0, since it looks at t - period, should be one place later
def induction_score__wrong__same_sign_instead_of_next(weights, period):
    T = weights.shape[-1]
    return torch.stack([weights[:, t, t - period] for t in range(period, T)]).mean(dim=0)


# wrong for every causal head: rows and columns exchanged, 0 instead of its weight
def induction_score__wrong__rows_and_columns_swapped(weights, period):
    t = torch.arange(period, weights.shape[-1])
    return weights[:, t - period + 1, t].mean(dim=1)


# wrong for a perfect head, T = 8, period 5: 3/8, should be 1 (mean over the T - period places)
def induction_score__wrong__divided_by_all_places(weights, period):
    T = weights.shape[-1]
    t = torch.arange(period, T)
    return weights[:, t, t - period + 1].sum(dim=1) / T


predicted_loss__right__third_ln_12 = math.log(12)


predicted_loss__right__third_a_little_above = 2.6


# wrong: as before, near 0; without the heads that copy, the answer is not known
predicted_loss__wrong__stays_near_zero = 0.05


# wrong: 12 is the perplexity of knowing nothing, the loss is its ln
predicted_loss__wrong__perplexity = 12.0


# wrong: logarithm to base ten, nats need the natural one, 2.48
predicted_loss__wrong__log_ten = math.log10(12)


# wrong: 1/12 is the probability of knowing nothing, its loss is 2.48
predicted_loss__wrong__probability = 1 / 12


def recovered__right__share_of_the_way(clean, corrupted, patched):
    return (patched - corrupted) / (clean - corrupted)


def recovered__right__one_minus_what_is_missing(clean, corrupted, patched):
    missing = torch.sub(clean, patched)
    way = torch.sub(clean, corrupted)
    return 1 - missing.div(way)


def head_shares__right__columns_of_each_head(weights, v, projection):
    gathered = weights @ v
    D = v.shape[-1]
    return torch.stack([g @ projection[:, h * D : (h + 1) * D].T for h, g in enumerate(gathered)])


def head_shares__right__third_einsum(weights, v, projection):
    H, _, D = v.shape
    by_head = projection.unflatten(1, (H, D))
    return torch.einsum("hts,hsd,chd->htc", weights, v, by_head)


# wrong for H > 1 and D > 1: head h gets columns h, h + H, ..., should be D side by side
def head_shares__wrong__columns_interleaved(weights, v, projection):
    H = len(v)
    return torch.stack([weights[h] @ v[h] @ projection[:, h::H].T for h in range(H)])


# wrong for heads that differ: the sum is right, but each head gets the same share of it
def head_shares__wrong__layer_shared_out_evenly(weights, v, projection):
    H, T, D = v.shape
    joined = (weights @ v).transpose(0, 1).reshape(T, H * D)
    return (joined @ projection.T / H).expand(H, T, -1).clone()


# wrong for weights that are not symmetric: who asks and who is looked at are exchanged
def head_shares__wrong__weights_transposed(weights, v, projection):
    H, _, D = v.shape
    by_head = projection.reshape(-1, H, D)
    return torch.einsum("hst,hsd,chd->htc", weights, v, by_head)


def head_shares__wrong__view_without_transposing(weights, v, projection):
    H, _, D = v.shape
    return weights @ v @ projection.reshape(H, D, -1)
