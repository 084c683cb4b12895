"""Answers to the exercises of notebook 07, written from its cards alone."""

import math

import torch
import torch.nn.functional as F


def _split(x, n_head):
    B, T, C = x.shape
    return x.view(B, T, n_head, C // n_head).transpose(1, 2)


def _attend(q, k, v, *, scale=None, mask=True, dim=-1):
    s = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    T = q.shape[-2]
    if mask is True:
        s = s.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), -math.inf)
    return s.softmax(dim) @ v


def multi_head__right__library(q, k, v, n_head):
    out = F.scaled_dot_product_attention(*(_split(x, n_head) for x in (q, k, v)), is_causal=True)
    return out.transpose(1, 2).flatten(2)


def multi_head__right__head_by_head(q, k, v, n_head):
    parts = [x.chunk(n_head, dim=-1) for x in (q, k, v)]
    return torch.cat([_attend(a, b, c) for a, b, c in zip(*parts, strict=True)], dim=-1)


def multi_head__right__einsum(q, k, v, n_head):
    B, T, C = q.shape
    q, k, v = (x.reshape(B, T, n_head, -1) for x in (q, k, v))
    s = torch.einsum("bthd,bshd->bhts", q, k) / math.sqrt(C // n_head)
    w = (s + torch.full((T, T), -math.inf).triu(1)).softmax(-1)
    return torch.einsum("bhts,bshd->bthd", w, v).reshape(B, T, C)


def multi_head__wrong__scale_of_c(q, k, v, n_head):
    out = _attend(*(_split(x, n_head) for x in (q, k, v)), scale=q.shape[-1] ** -0.5)
    return out.transpose(1, 2).flatten(2)


def multi_head__wrong__no_scale(q, k, v, n_head):
    out = _attend(*(_split(x, n_head) for x in (q, k, v)), scale=1.0)
    return out.transpose(1, 2).flatten(2)


def multi_head__wrong__no_mask(q, k, v, n_head):
    out = _attend(*(_split(x, n_head) for x in (q, k, v)), mask=False)
    return out.transpose(1, 2).flatten(2)


def multi_head__wrong__joined_by_view(q, k, v, n_head):
    out = _attend(*(_split(x, n_head) for x in (q, k, v)))
    return out.contiguous().view(q.shape)


def multi_head__wrong__split_by_view(q, k, v, n_head):
    B, T, C = q.shape
    out = _attend(*(x.reshape(B, n_head, T, C // n_head) for x in (q, k, v)))
    return out.transpose(1, 2).flatten(2)


def multi_head__wrong__one_head(q, k, v, n_head):
    return _attend(q, k, v)


def multi_head__wrong__softmax_over_queries(q, k, v, n_head):
    out = _attend(*(_split(x, n_head) for x in (q, k, v)), dim=-2)
    return out.transpose(1, 2).flatten(2)


def multi_head__wrong__keys_for_values(q, k, v, n_head):
    out = _attend(*(_split(x, n_head) for x in (q, v, k)))
    return out.transpose(1, 2).flatten(2)


def multi_head__wrong__zeros_before_softmax(q, k, v, n_head):
    q, k, v = (_split(x, n_head) for x in (q, k, v))
    s = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).tril()
    return (s.softmax(-1) @ v).transpose(1, 2).flatten(2)


what_changes__right__b = "b"
what_changes__right__capital = "B"
what_changes__wrong__exchange = "a"
what_changes__wrong__the_future = "c"
what_changes__wrong__none = "d"


def turn__right__complex(vector, position):
    half = len(vector) // 2
    angle = position / 10000 ** (2 * torch.arange(half, dtype=torch.float64) / len(vector))
    z = torch.complex(vector[:half].double(), vector[half:].double()) * torch.polar(
        torch.ones_like(angle), angle
    )
    return torch.cat([z.real, z.imag]).to(vector.dtype)


def turn__right__loop(vector, position):
    out, D = vector.clone(), len(vector)
    for i in range(D // 2):
        a, b, angle = vector[i].item(), vector[i + D // 2].item(), position / 10000 ** (2 * i / D)
        out[i] = a * math.cos(angle) - b * math.sin(angle)
        out[i + D // 2] = a * math.sin(angle) + b * math.cos(angle)
    return out


def _turn(vector, angle, sign=1):
    a, b = vector.chunk(2)
    return torch.cat(
        [a * angle.cos() - sign * b * angle.sin(), sign * a * angle.sin() + b * angle.cos()]
    )


def turn__wrong__other_way_round(vector, position):
    D = len(vector)
    return _turn(vector, position / 10000 ** (2 * torch.arange(D // 2) / D), -1)


def turn__wrong__neighbours(vector, position):
    D = len(vector)
    angle = position / 10000 ** (2 * torch.arange(D // 2) / D)
    a, b = vector[::2], vector[1::2]
    return torch.stack(
        [a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], 1
    ).flatten()


def turn__wrong__exponent_i(vector, position):
    D = len(vector)
    return _turn(vector, position / 10000 ** (torch.arange(D // 2) / D))


def turn__wrong__one_angle(vector, position):
    return _turn(vector, torch.full((len(vector) // 2,), float(position)))


def turn__wrong__new_a_for_b(vector, position):
    D = len(vector)
    angle = position / 10000 ** (2 * torch.arange(D // 2) / D)
    a, b = vector.chunk(2)
    a = a * angle.cos() - b * angle.sin()
    return torch.cat([a, a * angle.sin() + b * angle.cos()])


def turn__wrong__position_plus_one(vector, position):
    D = len(vector)
    return _turn(vector, (position + 1) / 10000 ** (2 * torch.arange(D // 2) / D))


def turn__wrong__degrees(vector, position):
    D = len(vector)
    return _turn(vector, torch.deg2rad(position / 10000 ** (2 * torch.arange(D // 2) / D)))


def turn__wrong__times_instead_of_divided(vector, position):
    D = len(vector)
    return _turn(vector, position * 10000.0 ** (2 * torch.arange(D // 2) / D))


def prefix_softmax__right__mask(scores, prefix):
    T = scores.shape[-1]
    t = torch.arange(T)
    seen = (t[None] <= t[:, None]) | (t[None] < prefix)
    return torch.where(seen, scores, -math.inf).softmax(-1)


def prefix_softmax__right__exp_and_divide(scores, prefix):
    seen = torch.ones_like(scores).tril()
    seen[..., :prefix] = 1
    e = (scores - scores.amax(-1, keepdim=True)).exp() * seen
    return e / e.sum(-1, keepdim=True)


def prefix_softmax__right__row_by_row(scores, prefix):
    out = torch.zeros_like(scores)
    for t in range(scores.shape[1]):
        end = max(prefix, t + 1)
        out[:, t, :end] = scores[:, t, :end].softmax(-1)
    return out


def prefix_softmax__wrong__causal(scores, prefix):
    T = scores.shape[-1]
    return scores.masked_fill(torch.ones(T, T).triu(1).bool(), -math.inf).softmax(-1)


def prefix_softmax__wrong__one_more(scores, prefix):
    T = scores.shape[-1]
    seen = torch.ones(T, T).tril()
    seen[:, : prefix + 1] = 1
    return scores.masked_fill(seen == 0, -math.inf).softmax(-1)


def prefix_softmax__wrong__rows_not_columns(scores, prefix):
    T = scores.shape[-1]
    seen = torch.ones(T, T).tril()
    seen[:prefix] = 1
    return scores.masked_fill(seen == 0, -math.inf).softmax(-1)


def prefix_softmax__wrong__prefix_only(scores, prefix):
    T = scores.shape[-1]
    seen = torch.zeros(T, T)
    seen[:, :prefix] = 1
    return scores.masked_fill(seen == 0, -math.inf).softmax(-1)


def prefix_softmax__wrong__prefix_not_for_others(scores, prefix):
    T = scores.shape[-1]
    seen = torch.ones(T, T).tril()
    seen[prefix:, :prefix] = 0
    seen[:prefix, :prefix] = 1
    return scores.masked_fill(seen == 0, -math.inf).softmax(-1)


def prefix_softmax__wrong__masked_after(scores, prefix):
    T = scores.shape[-1]
    seen = torch.ones(T, T).tril()
    seen[:, :prefix] = 1
    return scores.softmax(-1) * seen


def prefix_softmax__wrong__wrong_axis(scores, prefix):
    T = scores.shape[-1]
    seen = torch.ones(T, T).tril()
    seen[:, :prefix] = 1
    return scores.masked_fill(seen == 0, -math.inf).softmax(1)
