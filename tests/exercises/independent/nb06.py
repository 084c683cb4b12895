"""Answers to the exercises of notebook 06, written from its cards alone."""

import math

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
