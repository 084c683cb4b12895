"""Answers to the exercises of notebook 15, written from its cards alone."""

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
