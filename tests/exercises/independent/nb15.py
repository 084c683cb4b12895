"""Answers to the exercises of notebook 15, written from its cards alone."""

import math

import torch
import torch.nn.functional as F

from bhushgpt.training import batch_loss


def slope__right__one_hot(logits, answers):
    return (logits.softmax(-1) - F.one_hot(answers, logits.shape[1])) / len(answers)


def slope__right__rows(logits, answers):
    rows = []
    for row, target in zip(logits.double(), answers.tolist(), strict=True):
        e = (row - row.max()).exp()
        p = e / e.sum()
        p[target] -= 1
        rows.append(p / len(answers))
    return torch.stack(rows)


def slope__wrong__not_divided(logits, answers):
    return logits.softmax(-1) - F.one_hot(answers, logits.shape[1])


def slope__wrong__divided_by_v(logits, answers):
    return (logits.softmax(-1) - F.one_hot(answers, logits.shape[1])) / logits.shape[1]


def slope__wrong__divided_by_all(logits, answers):
    return (logits.softmax(-1) - F.one_hot(answers, logits.shape[1])) / logits.numel()


def slope__wrong__sign(logits, answers):
    return (F.one_hot(answers, logits.shape[1]) - logits.softmax(-1)) / len(answers)


def slope__wrong__no_target(logits, answers):
    return logits.softmax(-1) / len(answers)


def slope__wrong__over_rows(logits, answers):
    return (logits.softmax(0) - F.one_hot(answers, logits.shape[1])) / len(answers)


def slope__wrong__no_softmax(logits, answers):
    return (logits - F.one_hot(answers, logits.shape[1])) / len(answers)


def slope__wrong__one_off_before_division(logits, answers):
    p = logits.softmax(-1) / len(answers)
    return p - F.one_hot(answers, logits.shape[1])


def slope__wrong__autograd(logits, answers):
    z = logits.detach().clone().requires_grad_()
    F.cross_entropy(z, answers).backward()
    return z.grad


def slope__wrong__overflow(logits, answers):
    e = logits.exp()
    return (e / e.sum() - F.one_hot(answers, logits.shape[1])) / len(answers)


def busy__right__six(weights, tokens_per_second, limit):
    forward, backward = 2 * weights, 4 * weights
    return (forward + backward) * tokens_per_second / limit


def busy__right__order(weights, tokens_per_second, limit):
    return tokens_per_second / (limit / (6.0 * weights))


def busy__wrong__two(weights, tokens_per_second, limit):
    return 2 * weights * tokens_per_second / limit


def busy__wrong__percent(weights, tokens_per_second, limit):
    return 600 * weights * tokens_per_second / limit


def busy__wrong__upside_down(weights, tokens_per_second, limit):
    return limit / (6 * weights * tokens_per_second)


def busy__wrong__no_limit(weights, tokens_per_second, limit):
    return 6 * weights * tokens_per_second


def busy__wrong__four(weights, tokens_per_second, limit):
    return 4 * weights * tokens_per_second / limit


def busy__wrong__gigaflops(weights, tokens_per_second, limit):
    return 6 * weights * tokens_per_second / (limit * 1e9)


def busy__wrong__at_most_one(weights, tokens_per_second, limit):
    return min(1.0, weights * tokens_per_second / limit)


def busy__wrong__the_example(weights, tokens_per_second, limit):
    return 0.5


def accumulate__right__weighted(model, parts):
    model.zero_grad()
    rows = sum(len(x) for x, _ in parts)
    total = 0.0
    for x, y in parts:
        loss = batch_loss(model, x, y) * (len(x) / rows)
        loss.backward()
        total += loss.item()
    return total


def accumulate__right__one_graph(model, parts):
    for p in model.parameters():
        p.grad = None
    n = [y.numel() for _, y in parts]
    loss = sum(batch_loss(model, x, y) * k for (x, y), k in zip(parts, n, strict=True)) / sum(n)
    loss.backward()
    return loss.item()


def accumulate__wrong__mean_of_means(model, parts):
    model.zero_grad()
    total = 0.0
    for x, y in parts:
        loss = batch_loss(model, x, y) / len(parts)
        loss.backward()
        total += loss.item()
    return total


def accumulate__wrong__old_gradient_counts(model, parts):
    rows, total = sum(len(x) for x, _ in parts), 0.0
    for x, y in parts:
        loss = batch_loss(model, x, y) * len(x) / rows
        loss.backward()
        total += loss.item()
    return total


def accumulate__wrong__cleared_in_the_loop(model, parts):
    rows, total = sum(len(x) for x, _ in parts), 0.0
    for x, y in parts:
        model.zero_grad()
        loss = batch_loss(model, x, y) * len(x) / rows
        loss.backward()
        total += loss.item()
    return total


def accumulate__wrong__sum(model, parts):
    model.zero_grad()
    total = 0.0
    for x, y in parts:
        loss = batch_loss(model, x, y)
        loss.backward()
        total += loss.item()
    return total


def accumulate__wrong__gradient_of_means(model, parts):
    model.zero_grad()
    rows, total = sum(len(x) for x, _ in parts), 0.0
    for x, y in parts:
        loss = batch_loss(model, x, y)
        (loss / len(parts)).backward()
        total += loss.item() * len(x) / rows
    return total


def accumulate__wrong__last_loss(model, parts):
    model.zero_grad()
    rows = sum(len(x) for x, _ in parts)
    loss = None
    for x, y in parts:
        loss = batch_loss(model, x, y) * len(x) / rows
        loss.backward()
    return loss.item()


def accumulate__wrong__no_backward(model, parts):
    model.zero_grad()
    rows = sum(len(x) for x, _ in parts)
    return sum(batch_loss(model, x, y).item() * len(x) / rows for x, y in parts)


def accumulate__wrong__weighted_loss_plain_gradient(model, parts):
    model.zero_grad()
    rows, total = sum(len(x) for x, _ in parts), 0.0
    for x, y in parts:
        loss = batch_loss(model, x, y)
        loss.backward()
        total += loss.item() * len(x) / rows
    return total


def wsd__right__lowest_of_three(step, steps, warmup, decay, peak):
    up = (step + 1) / warmup if warmup else 1.0
    down = (steps - step) / decay if decay else 1.0
    return peak * min(up, 1.0, down)


def wsd__right__ifs(step, steps, warmup, decay, peak):
    if step < warmup:
        return peak * (step + 1) / warmup
    if step > steps - decay:
        return peak * (steps - step) / decay
    return peak


def wsd__wrong__first_rate_zero(step, steps, warmup, decay, peak):
    return peak * min(step / warmup, 1.0, (steps - step) / decay)


def wsd__wrong__last_rate_zero(step, steps, warmup, decay, peak):
    return peak * min((step + 1) / warmup, 1.0, (steps - 1 - step) / decay)


def wsd__wrong__no_decay(step, steps, warmup, decay, peak):
    return peak * min((step + 1) / warmup, 1.0)


def wsd__wrong__warmup_one_longer(step, steps, warmup, decay, peak):
    return peak * min((step + 1) / (warmup + 1), 1.0, (steps - step) / decay)


def wsd__wrong__falls_at_once(step, steps, warmup, decay, peak):
    return peak * min((step + 1) / warmup, (steps - step) / (steps - warmup))


def wsd__wrong__no_peak(step, steps, warmup, decay, peak):
    return min((step + 1) / warmup, 1.0, (steps - step) / decay)


def wsd__wrong__decay_one_longer(step, steps, warmup, decay, peak):
    return peak * min((step + 1) / warmup, 1.0, (steps - step) / (decay + 1))


def wsd__wrong__squared(step, steps, warmup, decay, peak):
    return peak * min((step + 1) / warmup, 1.0, ((steps - step) / decay) ** 2)


def accumulate__wrong__second_set_mean_of_means(model, parts):
    model.zero_grad()
    rows = sum(len(x) for x, _ in parts)
    total = 0.0
    for x, y in parts:
        loss = batch_loss(model, x, y) * len(x) / rows
        loss.backward()
        total += loss.item() * rows / len(x) / len(parts)
    return total


# The third set.


def slope__right__softmax_minus_one_hot(logits, answers):
    with torch.no_grad():
        p = logits.softmax(dim=-1)
        return (p - F.one_hot(answers, logits.shape[-1]).to(p)) / len(logits)


def slope__right__plain_loop(logits, answers):
    rows = logits.detach().double().tolist()
    out = []
    for row, answer in zip(rows, answers.tolist(), strict=False):
        top = max(row)
        powers = [math.exp(score - top) for score in row]
        total = sum(powers)
        out.append([(q / total - (i == answer)) / len(rows) for i, q in enumerate(powers)])
    return torch.tensor(out, dtype=logits.dtype)


# wrong for N > 1: gradient of the sum, should be divided by N
def slope__wrong__gradient_of_the_sum(logits, answers):
    p = logits.detach().softmax(dim=-1)
    p[torch.arange(len(p)), answers] -= 1
    return p


# wrong for N > 1: takes 1 off every answer's column in all rows, should be one place a row
def slope__wrong__whole_columns(logits, answers):
    p = logits.detach().softmax(dim=-1)
    p[:, answers] -= 1
    return p / len(logits)


# wrong for scores of 1000: exp is inf and the result nan, should be softmax of the differences
def slope__wrong__exp_overflows(logits, answers):
    powers = logits.detach().exp()
    p = powers / powers.sum(dim=1, keepdim=True)
    p[torch.arange(len(p)), answers] -= 1
    return p / len(logits)


# wrong for every V > 1: the mean runs over all N * V places, should be over the N tokens
def slope__wrong__mean_over_all_scores(logits, answers):
    p = logits.detach().softmax(dim=-1)
    p[torch.arange(len(p)), answers] -= 1
    return p / logits.numel()


def busy__right__six_operations(weights, tokens_per_second, limit):
    return 6 * weights * tokens_per_second / limit


def busy__right__seconds_a_token(weights, tokens_per_second, limit):
    forward, backward = 2.0 * weights, 4.0 * weights
    fastest = (forward + backward) / limit  # seconds a token at best
    return fastest * tokens_per_second


# wrong for the text's example: 50, should be 0.5
def busy__wrong__in_percent(weights, tokens_per_second, limit):
    return 100 * 6 * weights * tokens_per_second / limit


# wrong for a share of 0.333: 0.33, should be the number itself
def busy__wrong__rounded(weights, tokens_per_second, limit):
    return round(6 * weights * tokens_per_second / limit, 2)


# wrong for the text's example: 0.25, should be 0.5 (add and multiply counted as one)
def busy__wrong__multiply_add_is_one(weights, tokens_per_second, limit):
    return 3 * weights * tokens_per_second / limit


def accumulate__right__share_of_rows(model, parts):
    model.zero_grad()
    rows = sum(len(inputs) for inputs, _ in parts)
    total = 0.0
    for inputs, targets in parts:
        loss = batch_loss(model, inputs, targets) * len(inputs) / rows
        loss.backward()
        total += loss.item()
    return total


def accumulate__right__gradients_by_hand(model, parts):
    weights = [p for p in model.parameters() if p.requires_grad]
    sums, value, tokens = [None] * len(weights), 0.0, 0
    for inputs, targets in parts:
        loss = batch_loss(model, inputs, targets)
        grads = torch.autograd.grad(loss, weights, allow_unused=True)
        n = targets.numel()
        for i, grad in enumerate(grads):
            if grad is not None:
                sums[i] = n * grad if sums[i] is None else sums[i] + n * grad
        value, tokens = value + n * loss.item(), tokens + n
    for weight, grad in zip(weights, sums, strict=False):
        weight.grad = None if grad is None else grad / tokens
    return value / tokens


def accumulate__right__one_large_batch(model, parts):
    inputs, targets = (torch.cat(column) for column in zip(*parts, strict=False))
    for weight in model.parameters():
        weight.grad = None
    loss = batch_loss(model, inputs, targets)
    loss.backward()
    return loss.item()


# wrong for parts of 3 and 1 rows: each counts half, should be 3/4 and 1/4
def accumulate__wrong__third_mean_of_means(model, parts):
    model.zero_grad()
    total = 0.0
    for inputs, targets in parts:
        loss = batch_loss(model, inputs, targets) / len(parts)
        loss.backward()
        total += loss.item()
    return total


# wrong for a model with gradients from before: they are still in the sum
def accumulate__wrong__old_gradients_stay(model, parts):
    rows = sum(len(inputs) for inputs, _ in parts)
    total = 0.0
    for inputs, targets in parts:
        loss = batch_loss(model, inputs, targets) * len(inputs) / rows
        loss.backward()
        total += loss.item()
    return total


# wrong for two parts or more: only the last part's gradient is left
def accumulate__wrong__zeroed_before_each_part(model, parts):
    rows = sum(len(inputs) for inputs, _ in parts)
    total = 0.0
    for inputs, targets in parts:
        model.zero_grad()
        loss = batch_loss(model, inputs, targets) * len(inputs) / rows
        loss.backward()
        total += loss.item()
    return total


# wrong for unequal parts: the number is right, the gradient is that of the mean of means
def accumulate__wrong__only_the_number_is_weighed(model, parts):
    model.zero_grad()
    tokens = sum(targets.numel() for _, targets in parts)
    total = 0.0
    for inputs, targets in parts:
        loss = batch_loss(model, inputs, targets)
        (loss / len(parts)).backward()
        total += loss.item() * targets.numel()
    return total / tokens


def wsd__right__three_parts(step, steps, warmup, decay, peak):
    if step < warmup:
        return peak * (step + 1) / warmup
    if step >= steps - decay:
        return peak * (steps - step) / decay
    return peak


def wsd__right__smallest_of_lines(step, steps, warmup, decay, peak):
    lines = [1.0]
    if warmup > step:
        lines.append((1 + step) / warmup)
    if decay and steps - step <= decay:
        lines.append((steps - step) / decay)
    return peak * min(lines)


# wrong for step 0, warmup 10: 0, should be peak / 10
def wsd__wrong__first_rate_is_zero(step, steps, warmup, decay, peak):
    if step < warmup:
        return peak * step / warmup
    if step >= steps - decay:
        return peak * (steps - step) / decay
    return peak


# wrong for the last step, steps - 1: 0, should be peak / decay
def wsd__wrong__zero_at_the_last_step(step, steps, warmup, decay, peak):
    if step < warmup:
        return peak * (step + 1) / warmup
    if step >= steps - decay:
        return peak * (steps - 1 - step) / decay
    return peak


# wrong for warmup 0 or decay 0: ZeroDivisionError, should be the other parts alone
def wsd__wrong__divides_by_zero(step, steps, warmup, decay, peak):
    return peak * min(1.0, (step + 1) / warmup, (steps - step) / decay)


# wrong in the last part: jumps down, since it falls along a line that begins at the warm-up
def wsd__wrong__line_from_the_warm_up(step, steps, warmup, decay, peak):
    if step < warmup:
        return peak * (step + 1) / warmup
    if step >= steps - decay:
        return peak * (steps - step) / (steps - warmup)
    return peak
