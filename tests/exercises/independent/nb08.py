"""Answers to the exercises of notebook 08, written from its cards alone."""

from functools import reduce

import torch
import torch.nn.functional as F

from bhushgpt.attention import CausalSelfAttention
from bhushgpt.transformer import MLP, Block


def layer_norm__right__moments(x, gain, bias):
    mean = x.double().mean(-1, keepdim=True)
    spread = (x.double() ** 2).mean(-1, keepdim=True) - mean**2
    return ((x - mean) / (spread + 1e-5) ** 0.5).to(x.dtype) * gain + bias


def layer_norm__right__library(x, gain, bias):
    return F.layer_norm(x, gain.shape, gain, bias, eps=1e-5)


def layer_norm__right__token_by_token(x, gain, bias):
    rows = []
    for row in x.flatten(0, 1):
        centred = row - row.sum() / len(row)
        rows.append(centred * (centred @ centred / len(row) + 1e-5).rsqrt() * gain + bias)
    return torch.stack(rows).view(x.shape)


def _norm(x, gain, bias, dim=-1, unbiased=False, eps=1e-5):
    return (x - x.mean(dim, keepdim=True)) / (
        x.var(dim, keepdim=True, unbiased=unbiased) + eps
    ).sqrt() * gain + bias


def layer_norm__wrong__over_time(x, gain, bias):
    return _norm(x, gain, bias, 1)


def layer_norm__wrong__over_batch(x, gain, bias):
    return _norm(x, gain, bias, 0)


def layer_norm__wrong__over_all_of_a_text(x, gain, bias):
    return _norm(x, gain, bias, (1, 2))


def layer_norm__wrong__sample_variance(x, gain, bias):
    return _norm(x, gain, bias, unbiased=True)


def layer_norm__wrong__epsilon_outside(x, gain, bias):
    return (x - x.mean(-1, keepdim=True)) / (
        x.var(-1, keepdim=True, unbiased=False).sqrt() + 1e-5
    ) * gain + bias


def layer_norm__wrong__no_epsilon(x, gain, bias):
    return _norm(x, gain, bias, eps=0.0)


def layer_norm__wrong__no_root(x, gain, bias):
    return (x - x.mean(-1, keepdim=True)) / (
        x.var(-1, keepdim=True, unbiased=False) + 1e-5
    ) * gain + bias


def layer_norm__wrong__mean_stays(x, gain, bias):
    return x / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt() * gain + bias


def layer_norm__wrong__bias_inside(x, gain, bias):
    return (_norm(x, 1.0, 0.0) + bias) * gain


def layer_norm__wrong__no_gain(x, gain, bias):
    return _norm(x, 1.0, bias)


def layer_norm__wrong__no_bias(x, gain, bias):
    return _norm(x, gain, 0.0)


def pre_norm_block__right__one_line_each(x, attention, mlp, norm_1, norm_2):
    x = attention(norm_1(x)) + x
    return torch.add(x, mlp(norm_2(x)))


def pre_norm_block__right__loop(x, attention, mlp, norm_1, norm_2):
    stream = x.clone()
    for part, norm in ((attention, norm_1), (mlp, norm_2)):
        stream += part(norm(stream))
    return stream


def pre_norm_block__wrong__post_norm(x, attention, mlp, norm_1, norm_2):
    x = norm_1(x + attention(x))
    return norm_2(x + mlp(x))


def pre_norm_block__wrong__no_residual(x, attention, mlp, norm_1, norm_2):
    return mlp(norm_2(attention(norm_1(x))))


def pre_norm_block__wrong__parallel(x, attention, mlp, norm_1, norm_2):
    return x + attention(norm_1(x)) + mlp(norm_2(x))


def pre_norm_block__wrong__mlp_first(x, attention, mlp, norm_1, norm_2):
    x = x + mlp(norm_2(x))
    return x + attention(norm_1(x))


def pre_norm_block__wrong__one_norm_twice(x, attention, mlp, norm_1, norm_2):
    x = x + attention(norm_1(x))
    return x + mlp(norm_1(x))


def pre_norm_block__wrong__normed_stream(x, attention, mlp, norm_1, norm_2):
    x = norm_1(x)
    x = x + attention(x)
    x = norm_2(x)
    return x + mlp(x)


def pre_norm_block__wrong__mlp_without_norm(x, attention, mlp, norm_1, norm_2):
    x = x + attention(norm_1(x))
    return x + mlp(x)


def pre_norm_block__wrong__changes_x(x, attention, mlp, norm_1, norm_2):
    x += attention(norm_1(x))
    x += mlp(norm_2(x))
    return x


def pre_norm_block__wrong__second_addition_missing(x, attention, mlp, norm_1, norm_2):
    x = x + attention(norm_1(x))
    return mlp(norm_2(x))


def block_parameters__right__layers(n_embd):
    def linear(a, b):
        return a * b + b

    C = n_embd
    return linear(C, 3 * C) + linear(C, C) + linear(C, 4 * C) + linear(4 * C, C) + 2 * (C + C)


def block_parameters__right__formula(n_embd):
    return n_embd * (12 * n_embd + 13)


def block_parameters__wrong__no_biases(n_embd):
    return 12 * n_embd**2 + 4 * n_embd


def block_parameters__wrong__one_norm(n_embd):
    return 12 * n_embd**2 + 11 * n_embd


def block_parameters__wrong__matrices(n_embd):
    return 12 * n_embd**2


def block_parameters__wrong__no_norms(n_embd):
    return 12 * n_embd**2 + 9 * n_embd


def block_parameters__wrong__no_projection(n_embd):
    return 11 * n_embd**2 + 12 * n_embd


def block_parameters__wrong__narrow_mlp(n_embd):
    return 6 * n_embd**2 + 10 * n_embd


def block_parameters__wrong__768_always(n_embd):
    return 7087872


# The third set.


def layer_norm__right__var_mean(x, gain, bias):
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + 1e-5) * gain + bias


def layer_norm__right__third_token_by_token(x, gain, bias):
    out = torch.empty_like(x)
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            numbers = x[b, t].double()
            off = numbers - numbers.sum() / len(numbers)
            variance = (off * off).sum() / len(numbers)
            out[b, t] = (off / (variance + 1e-5).sqrt() * gain + bias).to(x.dtype)
    return out


# (1, 1, 5, 5): variance with C - 1, 5.33 in place of 4; right is -1, -1, 1, 1.
def layer_norm__wrong__variance_with_c_minus_one(x, gain, bias):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * gain + bias


# x = (0.001, -0.001): 1e-5 beside the root gives 0.99; right, under the root, is 0.30.
def layer_norm__wrong__beside_the_root(x, gain, bias):
    mean = x.mean(-1, keepdim=True)
    spread = x.std(-1, correction=0, keepdim=True)
    return (x - mean) / (spread + 1e-5) * gain + bias


def layer_norm__wrong__over_tokens_too(x, gain, bias):
    mean = x.mean((1, 2), keepdim=True)
    variance = x.var((1, 2), correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * gain + bias


# gain 2, bias 1: the bias is multiplied, too; right is gain first, then bias.
def layer_norm__wrong__bias_before_gain(x, gain, bias):
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return ((x - mean) / (variance + 1e-5) ** 0.5 + bias) * gain


def pre_norm_block__right__two_lines(x, attention, mlp, norm_1, norm_2):
    x = x + attention(norm_1(x))
    return x + mlp(norm_2(x))


def pre_norm_block__right__folded(x, attention, mlp, norm_1, norm_2):
    steps = [(norm_1, attention), (norm_2, mlp)]
    return reduce(lambda stream, p: torch.add(p[1](p[0](stream)), stream), steps, x)


def block_parameters__right__sum_of_layers(n_embd):
    def linear(a, b):
        return a * b + b

    C, norm = n_embd, 2 * n_embd
    attention = linear(C, 3 * C) + linear(C, C)
    return norm + attention + norm + linear(C, 4 * C) + linear(4 * C, C)


def block_parameters__right__built_and_counted(n_embd):
    block = Block(n_embd, CausalSelfAttention(n_embd, 1), MLP(n_embd))
    return sum(p.numel() for p in block.parameters())


# n_embd 1: 23; right is 25, the norms have biases as well as gains.
def block_parameters__wrong__norms_without_bias(n_embd):
    return 12 * n_embd**2 + 9 * n_embd + 2 * n_embd


# n_embd 1: 22; right is 25, queries, keys and values have 3C biases.
def block_parameters__wrong__queries_without_bias(n_embd):
    C = n_embd
    attention = 3 * C * C + (C * C + C)
    return attention + (4 * C * C + 4 * C) + (4 * C * C + C) + 4 * C


# n_embd 1: 23; right is 25, attention has a projection (C * C + C) at its end.
def block_parameters__wrong__third_no_projection(n_embd):
    C = n_embd
    return 3 * (C * C + C) + (8 * C * C + 5 * C) + 4 * C
