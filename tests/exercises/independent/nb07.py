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


# The third set.


def multi_head__right__fused(q, k, v, n_head):
    B, T, C = q.shape
    q, k, v = (x.view(B, T, n_head, -1).transpose(1, 2) for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return out.transpose(1, 2).reshape(B, T, C)


def multi_head__right__token_by_token(q, k, v, n_head):
    D = q.shape[-1] // n_head
    out = torch.empty_like(v)
    for h in range(n_head):
        mine = slice(h * D, (h + 1) * D)
        for t in range(q.shape[1]):
            keys, values = k[:, : t + 1, mine], v[:, : t + 1, mine]
            scores = torch.einsum("bd,bsd->bs", q[:, t, mine], keys) / math.sqrt(D)
            weights = (scores - scores.amax(1, keepdim=True)).exp()
            weights = weights / weights.sum(1, keepdim=True)
            out[:, t, mine] = torch.einsum("bs,bsd->bd", weights, values)
    return out


# n_head > 1: divided by the root of C; right is the root of D = C / n_head.
def multi_head__wrong__root_of_all_channels(q, k, v, n_head):
    B, T, C = q.shape
    q, k, v = (x.view(B, T, n_head, C // n_head).transpose(1, 2) for x in (q, k, v))
    scores = q @ k.transpose(-2, -1) / C**0.5
    past = torch.ones(T, T, dtype=torch.bool).tril()
    weights = scores.masked_fill(~past, -torch.inf).softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(B, T, C)


def multi_head__wrong__cut_without_transpose(q, k, v, n_head):
    B, T, C = q.shape
    q, k, v = (x.reshape(B, n_head, T, C // n_head) for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return out.reshape(B, T, C)


def multi_head__wrong__joined_without_transpose(q, k, v, n_head):
    B, T, C = q.shape
    q, k, v = (x.view(B, T, n_head, C // n_head).transpose(1, 2) for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return out.reshape(B, T, C)


# T > 1: zeros after the softmax, early rows sum to less than 1; right is -inf before it.
def multi_head__wrong__mask_after_softmax(q, k, v, n_head):
    B, T, C = q.shape
    q, k, v = (x.view(B, T, n_head, C // n_head).transpose(1, 2) for x in (q, k, v))
    weights = (q @ k.mT / math.sqrt(C // n_head)).softmax(-1).tril()
    return (weights @ v).transpose(1, 2).reshape(B, T, C)


what_changes__right__as_printed = "b)"


# The bag of past tokens at "d" stays the same when a and c are exchanged: b.
what_changes__wrong__a = "a"


# "e" is in the future of "d", which the mask hides: b.
what_changes__wrong__c = "c"


# A second "a" gets a second weight, so the mix moves: b.
what_changes__wrong__d = "d"


# Only one of them is right, a) changes nothing: b.
what_changes__wrong__a_and_b = "ab"


def turn__right__complex_numbers(vector, position):
    half = vector.shape[0] // 2
    angles = position / 10000.0 ** (2 * torch.arange(half, dtype=torch.float64) / (2 * half))
    pairs = torch.complex(vector[:half].double(), vector[half:].double())
    turned = pairs * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag]).to(vector.dtype)


def turn__right__pair_by_pair(vector, position):
    D = len(vector)
    out = vector.clone()
    for i in range(D // 2):
        angle = float(position) / 10000 ** (2 * i / D)
        cos, sin = math.cos(angle), math.sin(angle)
        out[i] = vector[i] * cos - vector[i + D // 2] * sin
        out[i + D // 2] = vector[i] * sin + vector[i + D // 2] * cos
    return out


# D = 4, position 1: channels 0 and 1 are paired; right is 0 and 2.
def turn__wrong__neighbours_paired(vector, position):
    D = len(vector)
    angles = position / 10000 ** (torch.arange(0, D, 2) / D)
    cos, sin = angles.cos(), angles.sin()
    even, odd = vector[0::2], vector[1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], 1).flatten()


# D = 4, position 1: exponent i / D, the second pair turns by 0.1; right is 2i / D, 0.01.
def turn__wrong__exponent_halved(vector, position):
    D = len(vector)
    angles = position / 10000 ** (torch.arange(D // 2) / D)
    a, b = vector[: D // 2], vector[D // 2 :]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([a * cos - b * sin, a * sin + b * cos])


# (1, 0) at position 1: turned the other way, (cos, -sin); right is (cos, sin).
def turn__wrong__other_direction(vector, position):
    D = len(vector)
    angles = position / 10000 ** (2 * torch.arange(D // 2) / D)
    a, b = vector.chunk(2)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([a * cos + b * sin, b * cos - a * sin])


# (1, 0) at position 1: the second half is made of the new first half, cos * sin; right is sin.
def turn__wrong__first_half_overwritten(vector, position):
    D = len(vector)
    angles = position / 10000 ** (2 * torch.arange(D // 2) / D)
    cos, sin = angles.cos(), angles.sin()
    out = vector.clone()
    a, b = out[: D // 2], out[D // 2 :]
    a[:] = a * cos - b * sin
    b[:] = a * sin + b * cos
    return out


def prefix_softmax__right__masked_fill(scores, prefix):
    t = torch.arange(scores.shape[-1])
    visible = (t[None, :] < prefix) | (t[None, :] <= t[:, None])
    return scores.masked_fill(~visible, float("-inf")).softmax(dim=-1)


def prefix_softmax__right__third_row_by_row(scores, prefix):
    weights = torch.zeros_like(scores)
    for t in range(scores.shape[1]):
        end = max(prefix, t + 1)  # slices stop at T by themselves
        weights[:, t, :end] = torch.softmax(scores[:, t, :end], dim=1)
    return weights


# prefix 2, T 4: token 2 is seen by all, too; right is tokens 0 and 1.
def prefix_softmax__wrong__one_too_many(scores, prefix):
    t = torch.arange(scores.shape[-1])
    visible = (t[None, :] <= prefix) | (t[None, :] <= t[:, None])
    return scores.masked_fill(~visible, -torch.inf).softmax(-1)


# prefix 2, T 4: row 1 sees token 2, the diagonal is moved for all rows; right is 0 and 1 only.
def prefix_softmax__wrong__diagonal_moved(scores, prefix):
    T = scores.shape[-1]
    visible = torch.ones(T, T).tril(diagonal=max(prefix - 1, 0)).bool()
    return scores.masked_fill(~visible, -torch.inf).softmax(-1)


# T > prefix: hidden scores become 0 and still get weight; right is -inf.
def prefix_softmax__wrong__hidden_scores_zero(scores, prefix):
    T = scores.shape[-1]
    visible = torch.ones(T, T).tril()
    visible[:, :prefix] = 1
    return (scores * visible).softmax(dim=-1)


# prefix 1, T 3: row 2 sees 0 and itself, not 1; right is its whole past, too.
def prefix_softmax__wrong__prefix_and_itself(scores, prefix):
    visible = torch.eye(scores.shape[-1], dtype=torch.bool)
    visible[:, :prefix] = True
    return scores.masked_fill(~visible, -torch.inf).softmax(-1)
