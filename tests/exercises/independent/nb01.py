"""Answers to the exercises of notebook 01, written from its cards alone."""

import math

import torch
import torch.nn.functional as F
from torch import nn

n_parameters__right__added_up = 79 * 32 + 32 * 79 + 79
n_parameters__right__asked_torch = sum(
    p.numel() for layer in (nn.Embedding(79, 32), nn.Linear(32, 79)) for p in layer.parameters()
)
n_parameters__wrong__no_bias = 2 * 79 * 32
n_parameters__wrong__bias_for_each_input = 2 * 79 * 32 + 32
n_parameters__wrong__embedding_with_a_bias = 2 * 79 * 32 + 79 + 32
n_parameters__wrong__linear_only = 32 * 79 + 79


def merge_heads__right__side_by_side(x):
    return torch.cat([x[:, h] for h in range(x.shape[1])], dim=-1)


def merge_heads__right__permute_flatten(x):
    return x.permute(0, 2, 1, 3).flatten(2)


def merge_heads__right__loops(x):
    B, H, T, D = x.shape
    out = x.new_empty(B, T, H * D)
    for h in range(H):
        for d in range(D):
            out[:, :, h * D + d] = x[:, h, :, d]
    return out


def merge_heads__wrong__view_only(x):
    B, H, T, D = x.shape
    return x.reshape(B, T, H * D)


def merge_heads__wrong__channels_interleaved(x):
    B, H, T, D = x.shape
    return x.permute(0, 2, 3, 1).reshape(B, T, H * D)


def merge_heads__wrong__mean_of_heads(x):
    return x.mean(dim=1)


def merge_heads__wrong__heads_reversed(x):
    return torch.cat(list(x.unbind(1))[::-1], dim=-1)


def merge_heads__wrong__along_time(x):
    return torch.cat(list(x.unbind(1)), dim=1)


def merge_heads__wrong__not_joined(x):
    return x.transpose(1, 2)


def fit_slope__right__formula(x, y, rate, steps):
    w = 0.0
    for _ in range(steps):
        w = w - rate * (2 * x * (w * x - y)).mean().item()
    return w


def fit_slope__right__optimizer(x, y, rate, steps):
    w = nn.Parameter(torch.zeros((), dtype=x.dtype))
    optimizer = torch.optim.SGD([w], lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        ((w * x - y) ** 2).mean().backward()
        optimizer.step()
    return w.detach()


def fit_slope__right__autograd_grad(x, y, rate, steps):
    w = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    for _ in range(steps):
        (g,) = torch.autograd.grad(((w * x - y) ** 2).mean(), w)
        w = (w - rate * g).detach().requires_grad_()
    return w.item()


def fit_slope__wrong__gradient_not_cleared(x, y, rate, steps):
    w = torch.tensor(0.0, requires_grad=True)
    for _ in range(steps):
        ((w * x - y) ** 2).mean().backward()
        with torch.no_grad():
            w -= rate * w.grad
    return w.item()


def fit_slope__wrong__two_forgotten(x, y, rate, steps):
    w = 0.0
    for _ in range(steps):
        w -= rate * (x * (w * x - y)).mean().item()
    return w


def fit_slope__wrong__sum(x, y, rate, steps):
    w = 0.0
    for _ in range(steps):
        w -= rate * (2 * x * (w * x - y)).sum().item()
    return w


def fit_slope__wrong__uphill(x, y, rate, steps):
    w = 0.0
    for _ in range(steps):
        w += rate * (2 * x * (w * x - y)).mean().item()
    return w


def fit_slope__wrong__one_step_more(x, y, rate, steps):
    w = 0.0
    for _ in range(steps + 1):
        w -= rate * (2 * x * (w * x - y)).mean().item()
    return w


def fit_slope__wrong__starts_at_one(x, y, rate, steps):
    w = 1.0
    for _ in range(steps):
        w -= rate * (2 * x * (w * x - y)).mean().item()
    return w


def fit_slope__wrong__best_slope(x, y, rate, steps):
    return ((x * y).sum() / (x * x).sum()).item()


def fit_slope__wrong__loss_returned(x, y, rate, steps):
    w = 0.0
    for _ in range(steps):
        w -= rate * (2 * x * (w * x - y)).mean().item()
    return ((w * x - y) ** 2).mean().item()


def probability_of_targets__right__log_and_back(logits, targets):
    return logits.log_softmax(-1).gather(2, targets.unsqueeze(-1)).squeeze(-1).exp()


def probability_of_targets__right__one_hot(logits, targets):
    hot = F.one_hot(targets, logits.shape[-1]).double()
    return torch.einsum("btv,btv->bt", logits.double().softmax(-1), hot)


def probability_of_targets__right__indices(logits, targets):
    B, T = targets.shape
    p = logits.softmax(dim=2)
    return p[torch.arange(B)[:, None], torch.arange(T)[None], targets]


def probability_of_targets__wrong__no_softmax(logits, targets):
    return logits.gather(-1, targets[..., None])[..., 0]


def probability_of_targets__wrong__softmax_over_time(logits, targets):
    return logits.softmax(1).gather(-1, targets[..., None])[..., 0]


def probability_of_targets__wrong__logarithm(logits, targets):
    return logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]


def probability_of_targets__wrong__likeliest(logits, targets):
    return logits.softmax(-1).max(-1).values


def probability_of_targets__wrong__axis_left(logits, targets):
    return logits.softmax(-1).gather(-1, targets[..., None])


def probability_of_targets__wrong__mean(logits, targets):
    return logits.softmax(-1).gather(-1, targets[..., None]).mean()


def probability_of_targets__wrong__exp_not_divided(logits, targets):
    return logits.exp().gather(-1, targets[..., None])[..., 0]


def probability_of_targets__wrong__shifted(logits, targets):
    return logits.softmax(-1).gather(-1, targets.roll(-1, 1)[..., None])[..., 0]


# The third set.


n_parameters__right__by_hand = 79 * 32 + (32 * 79 + 79)


n_parameters__right__asked_the_modules = sum(
    p.numel() for module in (nn.Embedding(79, 32), nn.Linear(32, 79)) for p in module.parameters()
)


# The biases belong to the 79 outputs, not to the 32 inputs: right is 5135.
n_parameters__wrong__bias_per_input = 79 * 32 + 32 * 79 + 32


# An embedding has no bias: right is 5135.
n_parameters__wrong__embedding_with_bias = 79 * 32 + 79 + 32 * 79 + 79


# The two tables are not shared here: right is 5135.
n_parameters__wrong__one_table_shared = 79 * 32 + 79


def merge_heads__right__cat_of_heads(x):
    return torch.cat(x.unbind(dim=1), dim=-1)


def merge_heads__right__filled_by_loop(x):
    B, H, T, D = x.shape
    out = x.new_empty(B, T, H * D)
    for h in range(H):
        out[:, :, h * D : (h + 1) * D] = x[:, h]
    return out


# H > 1 and D > 1: the heads' channels are interleaved; right is all of head 0, then head 1.
def merge_heads__wrong__heads_interleaved(x):
    return x.permute(0, 2, 3, 1).flatten(2)


# The numbers are right, but x itself has shape (B, T, H, D) afterwards; it must stay as it was.
def merge_heads__wrong__turns_the_input(x):
    B, H, T, D = x.shape
    x.transpose_(1, 2)
    return x.reshape(B, T, H * D)


# B = 1 (or T = 1): the axis of size 1 is lost; right is (1, T, H*D).
def merge_heads__wrong__squeezed(x):
    return torch.cat(x.split(1, dim=1), dim=-1).squeeze()


def fit_slope__right__autograd(x, y, rate, steps):
    w = torch.zeros((), requires_grad=True)
    for _ in range(steps):
        loss = ((w * x - y) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            w -= rate * w.grad
            w.grad.zero_()
    return w.detach()


def fit_slope__right__derivative_by_hand(x, y, rate, steps):
    xs, ys = x.flatten().tolist(), y.flatten().tolist()
    w = 0.0
    for _ in range(steps):
        slope = sum(2 * a * (w * a - b) for a, b in zip(xs, ys, strict=True)) / len(xs)
        w = w - rate * slope
    return w


# x = [1.], y = [1.], rate 0.1, 2 steps: right is 0.36, gradients added up give 0.56.
def fit_slope__wrong__gradients_add_up(x, y, rate, steps):
    w = torch.tensor(0.0, requires_grad=True)
    for _ in range(steps):
        ((w * x - y) ** 2).mean().backward()
        with torch.no_grad():
            w -= rate * w.grad
    return w.detach()


# x = y = [1., 1.], rate 0.1, 1 step: right is 0.2; the factor 2 of the derivative is missing: 0.1.
def fit_slope__wrong__no_factor_two(x, y, rate, steps):
    w = torch.tensor(0.0)
    for _ in range(steps):
        w = w - rate * (x * (w * x - y)).mean()
    return w


# x = [1., 2.], y = [1., 2.], rate 0.1, 1 step: right is 0.5; mean of each factor alone gives 0.45.
def fit_slope__wrong__product_of_means(x, y, rate, steps):
    w = 0.0
    for _ in range(steps):
        w = w - rate * 2 * x.mean() * (w * x - y).mean()
    return torch.as_tensor(w)


def fit_slope__wrong__step_for_each_example(x, y, rate, steps):
    w = torch.tensor(0.0)
    for _ in range(steps):
        for a, b in zip(x, y, strict=True):
            w = w - rate * 2 * a * (w * a - b)
    return w


def probability_of_targets__right__cross_entropy_undone(logits, targets):
    nats = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    return torch.exp(-nats)


def probability_of_targets__right__loop_in_float64(logits, targets):
    B, T = targets.shape
    out = torch.zeros(B, T, dtype=logits.dtype)
    for b in range(B):
        for t in range(T):
            scores = logits[b, t].double()
            target = scores[targets[b, t]]
            out[b, t] = 1 / sum(math.exp(min(s - target, 700)) for s in scores)
    return out


# T > 1: softmax over the positions; right is over the V tokens (T = 1 gives 1 everywhere).
def probability_of_targets__wrong__softmax_over_positions(logits, targets):
    chances = logits.softmax(dim=1)
    return chances.gather(-1, targets.unsqueeze(-1)).squeeze(-1)


# B = 1 or T = 1: squeeze() drops that axis too; right is always (B, T).
def probability_of_targets__wrong__squeezes_everything(logits, targets):
    return logits.softmax(-1).gather(-1, targets[..., None]).squeeze()


# Scores of 0 for V = 4 tokens: sigmoid gives 0.5; right is 0.25.
def probability_of_targets__wrong__sigmoid(logits, targets):
    return logits.sigmoid().gather(-1, targets[..., None])[..., 0]


def probability_of_targets__wrong__targets_in_other_order(logits, targets):
    B, T, V = logits.shape
    chances = logits.softmax(-1).reshape(B * T, V)
    picked = chances[torch.arange(B * T), targets.T.flatten()]
    return picked.reshape(B, T)
