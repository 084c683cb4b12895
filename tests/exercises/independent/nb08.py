"""Answers to the exercises of notebook 08, written from its cards alone."""

import torch
import torch.nn.functional as F


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
