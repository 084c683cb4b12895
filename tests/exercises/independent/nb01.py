"""Answers to the exercises of notebook 01, written from its cards alone."""

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
