"""Answers to the exercises of notebook 06, written from its cards alone."""

import math
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F


def table_gradient__right__loop(ids, gradient, V):
    out = torch.zeros(V, gradient.shape[1], dtype=gradient.dtype)
    for i, g in zip(ids.tolist(), gradient, strict=True):
        out[i] += g
    return out


def table_gradient__right__one_hot(ids, gradient, V):
    return torch.einsum("kv,kc->vc", F.one_hot(ids, V).to(gradient.dtype), gradient)


def table_gradient__right__index_add(ids, gradient, V):
    return gradient.new_zeros(V, gradient.shape[1]).index_add_(0, ids, gradient)


def table_gradient__wrong__last_one_only(ids, gradient, V):
    out = torch.zeros(V, gradient.shape[1], dtype=gradient.dtype)
    out[ids] = gradient
    return out


def table_gradient__wrong__plus_equals(ids, gradient, V):
    out = torch.zeros(V, gradient.shape[1], dtype=gradient.dtype)
    out[ids] += gradient
    return out


def table_gradient__wrong__mean(ids, gradient, V):
    hot = F.one_hot(ids, V).to(gradient.dtype)
    return hot.T @ gradient / hot.sum(0).clamp(min=1)[:, None]


def table_gradient__wrong__transposed(ids, gradient, V):
    return (F.one_hot(ids, V).to(gradient.dtype).T @ gradient).T


def table_gradient__wrong__divided_by_k(ids, gradient, V):
    return F.one_hot(ids, V).to(gradient.dtype).T @ gradient / len(ids)


def table_gradient__wrong__rows_that_were_read(ids, gradient, V):
    return gradient[ids.argsort()]


def context_windows__right__lists(ids, n, pad):
    row = [pad] * (n - 1) + ids.tolist()
    return torch.tensor([row[t : t + n] for t in range(len(ids))])


def context_windows__right__unfold(ids, n, pad):
    return F.pad(ids, (n - 1, 0), value=pad).unfold(0, n, 1)


def context_windows__wrong__without_itself(ids, n, pad):
    row = [pad] * n + ids.tolist()
    return torch.tensor([row[t : t + n] for t in range(len(ids))])


def context_windows__wrong__looks_ahead(ids, n, pad):
    row = [pad] * (n - 2) + ids.tolist() + [pad]
    return torch.tensor([row[t : t + n] for t in range(len(ids))])


def context_windows__wrong__backwards(ids, n, pad):
    return F.pad(ids, (n - 1, 0), value=pad).unfold(0, n, 1).flip(1)


def context_windows__wrong__zeros(ids, n, pad):
    return F.pad(ids, (n - 1, 0)).unfold(0, n, 1)


def context_windows__wrong__padded_behind(ids, n, pad):
    return F.pad(ids, (0, n - 1), value=pad).unfold(0, n, 1)


def context_windows__wrong__full_ones_only(ids, n, pad):
    return ids.unfold(0, n, 1)


def context_windows__wrong__pad_in_wrong_place(ids, n, pad):
    rows = [ids[max(0, t - n + 1) : t + 1].tolist() for t in range(len(ids))]
    return torch.tensor([r + [pad] * (n - len(r)) for r in rows])


def epoch_steps__right__whole_numbers(n_tokens, batch_size, context_length, epochs):
    return -(-n_tokens * epochs // (batch_size * context_length))


def epoch_steps__right__count(n_tokens, batch_size, context_length, epochs):
    steps = 0
    while steps * batch_size * context_length < n_tokens * epochs:
        steps += 1
    return steps


def epoch_steps__wrong__floor(n_tokens, batch_size, context_length, epochs):
    return n_tokens * epochs // (batch_size * context_length)


def epoch_steps__wrong__one_more(n_tokens, batch_size, context_length, epochs):
    return n_tokens * epochs // (batch_size * context_length) + 1


def epoch_steps__wrong__each_epoch_rounded(n_tokens, batch_size, context_length, epochs):
    return epochs * math.ceil(n_tokens / (batch_size * context_length))


def epoch_steps__wrong__windows(n_tokens, batch_size, context_length, epochs):
    return math.ceil(n_tokens * epochs / context_length)


def epoch_steps__wrong__no_context(n_tokens, batch_size, context_length, epochs):
    return math.ceil(n_tokens * epochs / batch_size)


def epoch_steps__wrong__one_epoch(n_tokens, batch_size, context_length, epochs):
    return math.ceil(n_tokens / (batch_size * context_length))


def _forward(ids, table, W, b, U, c):
    x = table[ids].flatten(1)
    h = torch.tanh(x @ W + b)
    return x, h, h @ U + c


def _gradients(ids, targets, table, W, b, U, c, *, scale=None, slope=None, spread=None, bias=None):
    x, h, z = _forward(ids, table, W, b, U, c)
    dz = z.softmax(1)
    dz[torch.arange(len(ids)), targets] -= 1
    dz = dz * (1 / len(ids) if scale is None else scale)
    dh = dz @ U.T
    da = dh * (1 - h**2 if slope is None else slope(h))
    dx = (da @ W.T).view(*ids.shape, -1)
    out = torch.zeros_like(table)
    if spread is None:
        out.index_add_(0, ids.flatten(), dx.flatten(0, 1))
    else:
        out[ids] = dx
    db = da.sum(0) if bias is None else bias(da)
    return out, x.T @ da, db, h.T @ dz, dz.sum(0)


def mlp_gradients__right__matrices(ids, targets, table, W, b, U, c):
    return _gradients(ids, targets, table, W, b, U, c)


def mlp_gradients__right__question_by_question(ids, targets, table, W, b, U, c):
    sums = [torch.zeros_like(p) for p in (table, W, b, U, c)]
    for row, target in zip(ids, targets.tolist(), strict=True):
        x = torch.cat([table[i] for i in row])
        h = (x @ W + b).tanh()
        dz = (h @ U + c).softmax(0)
        dz[target] -= 1
        da = (U @ dz) * (1 - h * h)
        dx = W @ da
        for n, i in enumerate(row.tolist()):
            C = table.shape[1]
            sums[0][i] += dx[n * C : (n + 1) * C]
        sums[1] += torch.outer(x, da)
        sums[2] += da
        sums[3] += torch.outer(h, dz)
        sums[4] += dz
    return tuple(s / len(ids) for s in sums)


def mlp_gradients__wrong__sum_not_mean(ids, targets, table, W, b, U, c):
    return _gradients(ids, targets, table, W, b, U, c, scale=1.0)


def mlp_gradients__wrong__tanh_forgotten(ids, targets, table, W, b, U, c):
    return _gradients(ids, targets, table, W, b, U, c, slope=torch.ones_like)


def mlp_gradients__wrong__tanh_not_squared(ids, targets, table, W, b, U, c):
    return _gradients(ids, targets, table, W, b, U, c, slope=lambda h: 1 - h)


def mlp_gradients__wrong__rows_overwritten(ids, targets, table, W, b, U, c):
    return _gradients(ids, targets, table, W, b, U, c, spread="last")


def mlp_gradients__wrong__bias_averaged(ids, targets, table, W, b, U, c):
    return _gradients(ids, targets, table, W, b, U, c, bias=lambda da: da.mean(0))


def mlp_gradients__wrong__order(ids, targets, table, W, b, U, c):
    t, w, bb, u, cc = _gradients(ids, targets, table, W, b, U, c)
    return t, u, cc, w, bb


def mlp_gradients__wrong__uphill(ids, targets, table, W, b, U, c):
    return tuple(-g for g in _gradients(ids, targets, table, W, b, U, c))


def mlp_gradients__wrong__autograd(ids, targets, table, W, b, U, c):
    ps = [p.clone().requires_grad_() for p in (table, W, b, U, c)]
    loss = F.cross_entropy(_forward(ids, *ps)[2], targets)
    return torch.autograd.grad(loss, ps)


# The third set.


def table_gradient__right__one_hot_product(ids, gradient, V):
    read = F.one_hot(ids.long(), V).to(gradient.dtype)  # (K, V)
    return read.T @ gradient


def table_gradient__right__numpy_add_at(ids, gradient, V):
    table = np.zeros((V, gradient.shape[1]))
    np.add.at(table, ids.numpy(), gradient.detach().numpy())
    return torch.from_numpy(table).to(gradient.dtype)


# ids [1, 1]: only the last gradient is kept; right is their sum.
def table_gradient__wrong__assigned(ids, gradient, V):
    table = gradient.new_zeros(V, gradient.shape[1])
    for token, row in zip(ids.tolist(), gradient, strict=True):
        table[token] = row
    return table


# ids [1, 1]: indexed += adds only one of both; right is their sum.
def table_gradient__wrong__indexed_plus(ids, gradient, V):
    table = torch.zeros(V, gradient.shape[-1], dtype=gradient.dtype)
    table[ids] += gradient
    return table


# ids [1, 1]: the mean of both; right is their sum.
def table_gradient__wrong__mean_of_repeats(ids, gradient, V):
    table = gradient.new_zeros(V, gradient.shape[1]).index_add(0, ids, gradient)
    times = torch.bincount(ids, minlength=V).clamp(min=1)
    return table / times[:, None]


# ids [0, 1]: everything is divided by K = 2; right is the gradients as given.
def table_gradient__wrong__third_divided_by_k(ids, gradient, V):
    table = gradient.new_zeros(V, gradient.shape[1])
    for k in range(len(ids)):
        table[ids[k]] += gradient[k] / len(ids)
    return table


def context_windows__right__index_table(ids, n, pad):
    T = len(ids)
    front = torch.full((n - 1,), pad, dtype=ids.dtype)
    padded = torch.cat([front, ids])
    return padded[torch.arange(T)[:, None] + torch.arange(n)]


def context_windows__right__loop_with_lists(ids, n, pad):
    numbers, rows = ids.tolist(), []
    for t in range(len(numbers)):
        seen = numbers[max(0, t + 1 - n) : t + 1]
        rows.append([pad] * (n - len(seen)) + seen)
    return torch.tensor(rows, dtype=ids.dtype).reshape(len(numbers), n)


# [5, 6, 7], n = 2: row 0 is [7, 5], index -1 is the end of the text; right is [pad, 5].
def context_windows__wrong__wraps_to_the_end(ids, n, pad):
    return torch.stack([ids.roll(back) for back in range(n - 1, -1, -1)], dim=1)


# [5, 6, 7], n = 2: row 0 is [5, 5], the first token again; right is [pad, 5].
def context_windows__wrong__first_token_repeated(ids, n, pad):
    back = torch.arange(n - 1, -1, -1)
    return ids[(torch.arange(len(ids))[:, None] - back).clamp(min=0)]


# [5, 6, 7], n = 2: row 0 is [5, pad], filled up behind; right is [pad, 5].
def context_windows__wrong__third_padded_behind(ids, n, pad):
    table = torch.full((len(ids), n), pad, dtype=ids.dtype)
    for t in range(len(ids)):
        seen = ids[max(0, t - n + 1) : t + 1]
        table[t, : len(seen)] = seen
    return table


# [5, 6, 7], n = 2: row 1 is [pad, 5], the n tokens before place t; right is [5, 6], t included.
def context_windows__wrong__place_left_out(ids, n, pad):
    padded = F.pad(ids, (n, 0), value=pad)
    return padded.unfold(0, n, 1)[: len(ids)]


def epoch_steps__right__third_whole_numbers(n_tokens, batch_size, context_length, epochs):
    asked = Fraction(epochs).limit_denominator(10**6) * n_tokens
    each = batch_size * context_length
    return int(-(-asked // each))


def epoch_steps__right__counted_up(n_tokens, batch_size, context_length, epochs):
    wanted = Fraction(str(epochs)) * n_tokens
    steps = int(wanted) // (batch_size * context_length)
    while steps * batch_size * context_length < wanted:
        steps += 1
    return steps


# 10 tokens, 2 x 2, 1 epoch: 2; right is 3, a step that is begun counts.
def epoch_steps__wrong__rounded_down(n_tokens, batch_size, context_length, epochs):
    return int(epochs * n_tokens // (batch_size * context_length))


# 8 tokens, 2 x 2, 1 epoch: 3; right is 2, nothing is left to begin.
def epoch_steps__wrong__always_one_more(n_tokens, batch_size, context_length, epochs):
    return int(epochs * n_tokens / (batch_size * context_length)) + 1


# 9 tokens, 2 x 2, 1 epoch: 4 whole windows make 2; right is 3, the ninth token is asked for, too.
def epoch_steps__wrong__whole_windows_only(n_tokens, batch_size, context_length, epochs):
    windows = n_tokens // context_length
    return math.ceil(epochs * windows / batch_size)


def mlp_gradients__right__third_matrices(ids, targets, table, W, b, U, c):
    K, N = ids.shape
    x = table[ids].reshape(K, -1)
    h = torch.tanh(x @ W + b)
    d_z = torch.softmax(h @ U + c, dim=1)
    d_z[torch.arange(K), targets] -= 1
    d_z /= K
    d_a = (d_z @ U.T) * (1 - h**2)
    d_x = (d_a @ W.T).reshape(K * N, -1)
    d_table = torch.zeros_like(table).index_add_(0, ids.flatten(), d_x)
    return d_table, x.T @ d_a, d_a.sum(0), h.T @ d_z, d_z.sum(0)


def mlp_gradients__right__one_question_after_the_other(ids, targets, table, W, b, U, c):
    K, _N = ids.shape
    C = table.shape[1]
    grads = [torch.zeros_like(p) for p in (table, W, b, U, c)]
    for window, target in zip(ids.tolist(), targets.tolist(), strict=True):
        x = torch.cat([table[token] for token in window])
        h = (torch.einsum("i,im->m", x, W) + b).tanh()
        z = torch.einsum("m,mv->v", h, U) + c
        d_z = (z - z.logsumexp(0)).exp()
        d_z[target] -= 1.0
        d_h = torch.einsum("v,mv->m", d_z, U)
        d_a = d_h - d_h * h * h
        d_x = torch.einsum("m,im->i", d_a, W)
        for place, token in enumerate(window):
            grads[0][token] += d_x[place * C : (place + 1) * C] / K
        grads[1] += torch.outer(x, d_a) / K
        grads[2] += d_a / K
        grads[3] += torch.outer(h, d_z) / K
        grads[4] += d_z / K
    return tuple(grads)


# K > 1: the gradients of the sum of the losses; right is of their mean, K times smaller.
def mlp_gradients__wrong__sum_of_losses(ids, targets, table, W, b, U, c):
    x = table[ids].flatten(1)
    h = torch.tanh(x @ W + b)
    d_z = (h @ U + c).softmax(1) - F.one_hot(targets, len(c)).to(c.dtype)
    d_a = (d_z @ U.T) * (1 - h * h)
    d_x = (d_a @ W.T).view(-1, table.shape[1])
    d_table = torch.zeros_like(table).index_add(0, ids.flatten(), d_x)
    return d_table, x.T @ d_a, d_a.sum(0), h.T @ d_z, d_z.sum(0)


def mlp_gradients__wrong__repeats_lost(ids, targets, table, W, b, U, c):
    K = len(ids)
    x = table[ids].flatten(1)
    h = torch.tanh(x @ W + b)
    d_z = ((h @ U + c).softmax(1) - F.one_hot(targets, len(c)).to(c.dtype)) / K
    d_a = (d_z @ U.T) * (1 - h * h)
    d_table = torch.zeros_like(table)
    d_table[ids] += (d_a @ W.T).view(*ids.shape, -1)
    return d_table, x.T @ d_a, d_a.sum(0), h.T @ d_z, d_z.sum(0)


def mlp_gradients__wrong__targets_of_all_rows(ids, targets, table, W, b, U, c):
    K = len(ids)
    x = table[ids].flatten(1)
    h = torch.tanh(x @ W + b)
    d_z = (h @ U + c).softmax(1)
    d_z[:, targets] -= 1
    d_z = d_z / K
    d_a = (d_z @ U.T) * (1 - h * h)
    d_x = (d_a @ W.T).view(-1, table.shape[1])
    d_table = torch.zeros_like(table).index_add(0, ids.flatten(), d_x)
    return d_table, x.T @ d_a, d_a.sum(0), h.T @ d_z, d_z.sum(0)


# Any a other than 0: 1 - a**2 with what goes into tanh; right is 1 - h**2 with what comes out.
def mlp_gradients__wrong__slope_from_what_goes_in(ids, targets, table, W, b, U, c):
    K = len(ids)
    x = table[ids].flatten(1)
    a = x @ W + b
    h = torch.tanh(a)
    d_z = ((h @ U + c).softmax(1) - F.one_hot(targets, len(c)).to(c.dtype)) / K
    d_a = (d_z @ U.T) * (1 - a * a)
    d_x = (d_a @ W.T).view(-1, table.shape[1])
    d_table = torch.zeros_like(table).index_add(0, ids.flatten(), d_x)
    return d_table, x.T @ d_a, d_a.sum(0), h.T @ d_z, d_z.sum(0)
