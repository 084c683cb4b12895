"""Answers to the exercises of notebook 20, written from its cards alone."""

import math

import numpy as np
import torch

from bhushgpt.gpt import GPT, GPTConfig


def parameters__right__formula(vocab_size, context_length, n_layer, n_embd):
    C = n_embd
    return (vocab_size + context_length) * C + n_layer * (12 * C**2 + 13 * C) + 2 * C


def parameters__right__layers(vocab_size, context_length, n_layer, n_embd):
    C, total = n_embd, n_embd * vocab_size + n_embd * context_length
    for _ in range(n_layer):
        for a, b in ((C, 3 * C), (C, C), (C, 4 * C), (4 * C, C)):
            total += (a + 1) * b
        total += 2 * 2 * C
    return total + 2 * C


def parameters__wrong__head_counted(vocab_size, context_length, n_layer, n_embd):
    return (
        (2 * vocab_size + context_length) * n_embd
        + n_layer * (12 * n_embd**2 + 13 * n_embd)
        + 2 * n_embd
    )


def parameters__wrong__no_positions(vocab_size, context_length, n_layer, n_embd):
    return vocab_size * n_embd + n_layer * (12 * n_embd**2 + 13 * n_embd) + 2 * n_embd


def parameters__wrong__no_biases(vocab_size, context_length, n_layer, n_embd):
    return (
        (vocab_size + context_length) * n_embd
        + n_layer * (12 * n_embd**2 + 4 * n_embd)
        + 2 * n_embd
    )


def parameters__wrong__no_last_norm(vocab_size, context_length, n_layer, n_embd):
    return (vocab_size + context_length) * n_embd + n_layer * (12 * n_embd**2 + 13 * n_embd)


def parameters__wrong__matrices_only(vocab_size, context_length, n_layer, n_embd):
    return 12 * n_layer * n_embd**2


def parameters__wrong__gpt_2(vocab_size, context_length, n_layer, n_embd):
    return 124_439_808


def parameters__wrong__last_norm_without_bias(vocab_size, context_length, n_layer, n_embd):
    return (
        (vocab_size + context_length) * n_embd + n_layer * (12 * n_embd**2 + 13 * n_embd) + n_embd
    )


def training_days__right__steps(parameters, tokens, limit, mfu):
    seconds = 6 * parameters * tokens / (limit * mfu)
    return seconds / (24 * 3600)


def training_days__wrong__hours(parameters, tokens, limit, mfu):
    return 6 * parameters * tokens / (limit * mfu) / 3600


def training_days__wrong__mfu_multiplied(parameters, tokens, limit, mfu):
    return 6 * parameters * tokens / limit * mfu / 86400


def training_days__wrong__two(parameters, tokens, limit, mfu):
    return 2 * parameters * tokens / (limit * mfu) / 86400


def training_days__wrong__years(parameters, tokens, limit, mfu):
    return 6 * parameters * tokens / (limit * mfu) / 86400 / 365


def training_days__wrong__no_mfu(parameters, tokens, limit, mfu):
    return 6 * parameters * tokens / limit / 86400


def power_law__right__least_squares(sizes, losses):
    A = np.stack([np.ones(len(sizes)), -np.log(sizes)], axis=1)
    height, power = np.linalg.lstsq(A, np.log(losses), rcond=None)[0]
    return math.exp(height), power


def power_law__right__base_ten(sizes, losses):
    slope, height = np.polyfit(np.log10(sizes), np.log10(losses), 1)
    return 10**height, -slope


def power_law__right__by_hand(sizes, losses):
    x, y = [math.log(s) for s in sizes], [math.log(v) for v in losses]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum(
        (a - mx) ** 2 for a in x
    )
    return math.exp(my - slope * mx), -slope


def power_law__wrong__negative_power(sizes, losses):
    slope, height = np.polyfit(np.log(sizes), np.log(losses), 1)
    return np.exp(height), slope


def power_law__wrong__factor_in_logarithms(sizes, losses):
    slope, height = np.polyfit(np.log(sizes), np.log(losses), 1)
    return height, -slope


def power_law__wrong__exchanged(sizes, losses):
    slope, height = np.polyfit(np.log(sizes), np.log(losses), 1)
    return -slope, np.exp(height)


def power_law__wrong__no_logarithms(sizes, losses):
    slope, height = np.polyfit(sizes, losses, 1)
    return height, -slope


def power_law__wrong__sizes_as_they_are(sizes, losses):
    slope, height = np.polyfit(sizes, np.log(losses), 1)
    return np.exp(height), -slope


def power_law__wrong__first_and_last(sizes, losses):
    power = -(np.log(losses[-1]) - np.log(losses[0])) / (np.log(sizes[-1]) - np.log(sizes[0]))
    return losses[0] * sizes[0] ** power, power


def power_law__wrong__mixed_bases(sizes, losses):
    slope, height = np.polyfit(np.log10(sizes), np.log10(losses), 1)
    return np.exp(height), -slope


def power_law__wrong__axes_exchanged(sizes, losses):
    slope, height = np.polyfit(np.log(losses), np.log(sizes), 1)
    return np.exp(height), -slope


def together__right__logaddexp(logits, others):
    return torch.logaddexp(logits.log_softmax(-1), others.log_softmax(-1)) - math.log(2)


def together__right__stacked(logits, others):
    return torch.stack([logits, others]).double().softmax(-1).mean(0).log()


def together__wrong__mean_of_logits(logits, others):
    return ((logits + others) / 2).log_softmax(-1)


def together__wrong__mean_of_logarithms(logits, others):
    return (logits.log_softmax(-1) + others.log_softmax(-1)) / 2


def together__wrong__probabilities(logits, others):
    return (logits.softmax(-1) + others.softmax(-1)) / 2


def together__wrong__sum(logits, others):
    return (logits.softmax(-1) + others.softmax(-1)).log()


def together__wrong__over_time(logits, others):
    return ((logits.softmax(1) + others.softmax(1)) / 2).log()


def together__wrong__scores_as_they_are(logits, others):
    return torch.logaddexp(logits, others) - math.log(2)


def together__wrong__first_only(logits, others):
    return logits.log_softmax(-1)


def together__wrong__larger(logits, others):
    return torch.maximum(logits.softmax(-1), others.softmax(-1)).log()


def together__wrong__log2(logits, others):
    return ((logits.softmax(-1) + others.softmax(-1)) / 2).log2()


# The third set.


def parameters__right__third_formula(vocab_size, context_length, n_layer, n_embd):
    block = 12 * n_embd**2 + 13 * n_embd
    return (vocab_size + context_length) * n_embd + n_layer * block + 2 * n_embd


def parameters__right__counted_on_meta(vocab_size, context_length, n_layer, n_embd):
    sizes = dict(vocab_size=vocab_size, context_length=context_length)
    with torch.device("meta"):
        model = GPT(GPTConfig(**sizes, n_layer=n_layer, n_head=1, n_embd=n_embd))
    return sum(weights.numel() for weights in set(model.parameters()))


# wrong for every size: the head is counted once more, it is the token table
def parameters__wrong__head_counted_again(vocab_size, context_length, n_layer, n_embd):
    block = 12 * n_embd**2 + 13 * n_embd
    tables = (2 * vocab_size + context_length) * n_embd
    return tables + n_layer * block + 2 * n_embd


# wrong for every size: the norm after the last block (2 C) is missing
def parameters__wrong__last_norm_forgotten(vocab_size, context_length, n_layer, n_embd):
    C = n_embd
    attention = C * 3 * C + 3 * C + C * C + C
    mlp = C * 4 * C + 4 * C + 4 * C * C + C
    return (vocab_size + context_length) * C + n_layer * (attention + mlp + 4 * C)


# wrong for every size: a norm has one number a channel, should be two
def parameters__wrong__norms_without_shift(vocab_size, context_length, n_layer, n_embd):
    C = n_embd
    linear = 12 * C * C + 9 * C
    return (vocab_size + context_length) * C + n_layer * (linear + 2 * C) + C


# wrong for every size: the layer for queries, keys and values has no bias, should have 3 C
def parameters__wrong__qkv_without_bias(vocab_size, context_length, n_layer, n_embd):
    block = 12 * n_embd**2 + 10 * n_embd
    return (vocab_size + context_length) * n_embd + n_layer * block + 2 * n_embd


def training_days__right__formula(parameters, tokens, limit, mfu):
    return 6 * parameters * tokens / (limit * mfu) / 86_400


def training_days__right__step_by_step(parameters, tokens, limit, mfu):
    operations = tokens * sum((2, 4)) * parameters
    operations_a_day = limit * mfu
    for unit in (60, 60, 24):
        operations_a_day *= unit
    return operations / operations_a_day


# wrong for mfu 0.4: taken as percent, 100 times too long
def training_days__wrong__mfu_as_percent(parameters, tokens, limit, mfu):
    return 6 * parameters * tokens / (limit * mfu / 100) / 86_400


# wrong for every input: a day of 24 * 60 seconds, 60 times too long
def training_days__wrong__day_of_1440_seconds(parameters, tokens, limit, mfu):
    return 6 * parameters * tokens / (limit * mfu) / (24 * 60)


# wrong for every input: forward counted twice instead of once and backward twice, 4 instead of 6
def training_days__wrong__four_operations(parameters, tokens, limit, mfu):
    return 4 * parameters * tokens / (limit * mfu) / 86_400


def power_law__right__polyfit(sizes, losses):
    slope, height = np.polyfit(np.log(sizes), np.log(losses), 1)
    return np.exp(height), -slope


def power_law__right__covariance_base_ten(sizes, losses):
    x = np.log10(np.asarray(sizes, dtype=float))
    y = np.log10(np.asarray(losses, dtype=float))
    dx, dy = x - x.mean(), y - y.mean()
    power = -float(dx @ dy) / float(dx @ dx)
    return 10 ** float(y.mean() + power * x.mean()), power


# wrong for every factor but 1: e to a height in powers of ten, should be 10 to it
def power_law__wrong__two_bases(sizes, losses):
    slope, height = np.polyfit(np.log10(sizes), np.log10(losses), 1)
    return math.exp(height), -slope


def power_law__wrong__first_and_last_point(sizes, losses):
    power = math.log(losses[0] / losses[-1]) / math.log(sizes[-1] / sizes[0])
    return losses[0] * sizes[0] ** power, power


def together__right__third_logaddexp(logits, others):
    both = torch.logaddexp(logits.log_softmax(-1), others.log_softmax(-1))
    return both - math.log(2)


def together__right__stack_and_logsumexp(logits, others):
    half = math.log(0.5)
    stacked = torch.stack(
        [scores - scores.logsumexp(dim=-1, keepdim=True) + half for scores in (logits, others)]
    )
    return stacked.logsumexp(dim=0)


# wrong for models that differ: the mean of scores, should be of probabilities
def together__wrong__third_mean_of_logits(logits, others):
    return ((logits + others) / 2).log_softmax(dim=-1)


def together__wrong__mean_of_log_p(logits, others):
    return (logits.log_softmax(dim=-1) + others.log_softmax(dim=-1)) / 2


# wrong for every input: ln of the sum, ln 2 too much
def together__wrong__ln_of_the_sum(logits, others):
    return torch.logaddexp(logits.log_softmax(dim=-1), others.log_softmax(dim=-1))


def together__wrong__raw_scores_added(logits, others):
    return torch.logaddexp(logits, others).log_softmax(dim=-1)
