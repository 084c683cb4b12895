"""Answers to the exercises of notebook 24, written from its cards alone."""

import math
from graphlib import TopologicalSorter


def _needed(parents, last):
    seen, waiting = set(), [last]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += parents[name]
    return seen


def backward_order__right__children_first(parents, last):
    done = []

    def visit(name):
        if name not in done:
            for parent in parents[name]:
                visit(parent)
            done.append(name)

    visit(last)
    return done[::-1]


def backward_order__right__library(parents, last):
    needed = _needed(parents, last)
    return list(TopologicalSorter({n: parents[n] for n in needed}).static_order())[::-1]


def backward_order__right__when_all_arrived(parents, last):
    needed, order = _needed(parents, last), []
    while len(order) < len(needed):
        for name in sorted(needed - set(order)):
            if all(child in order for child in needed if name in parents[child]):
                order.append(name)
    return order


def backward_order__wrong__depth_first(parents, last):
    order = []

    def visit(name):
        if name not in order:
            order.append(name)
            for parent in parents[name]:
                visit(parent)

    visit(last)
    return order


def backward_order__wrong__breadth_first(parents, last):
    order = [last]
    for name in order:
        order += [p for p in parents[name] if p not in order]
    return order


def backward_order__wrong__forwards(parents, last):
    return backward_order__right__children_first(parents, last)[::-1]


def backward_order__wrong__all_names(parents, last):
    return list(TopologicalSorter(parents).static_order())[::-1]


def backward_order__wrong__visited_twice(parents, last):
    order = [last]
    for name in order:
        order += parents[name]
    return order


def backward_order__wrong__last_left_out(parents, last):
    return backward_order__right__children_first(parents, last)[1:]


def backward_order__wrong__order_of_the_dictionary(parents, last):
    needed = _needed(parents, last)
    return [name for name in reversed(list(parents)) if name in needed]


def backward_order__wrong__direct_parents(parents, last):
    return [last, *parents[last]]


def loss_slopes__right__largest_off(scores, target):
    top = max(scores)
    e = [math.exp(s - top) for s in scores]
    return [x / sum(e) - (i == target) for i, x in enumerate(e)]


def loss_slopes__right__pairs(scores, target):
    p = [1 / sum(math.exp(min(700.0, other - s)) for other in scores) for s in scores]
    p[target] -= 1
    return p


def loss_slopes__wrong__softmax(scores, target):
    e = [math.exp(s - max(scores)) for s in scores]
    return [x / sum(e) for x in e]


def loss_slopes__wrong__sign(scores, target):
    e = [math.exp(s - max(scores)) for s in scores]
    return [(i == target) - x / sum(e) for i, x in enumerate(e)]


def loss_slopes__wrong__target_only(scores, target):
    e = [math.exp(s - max(scores)) for s in scores]
    return [x / sum(e) - 1 if i == target else 0.0 for i, x in enumerate(e)]


def loss_slopes__wrong__one_taken_from_all(scores, target):
    e = [math.exp(s - max(scores)) for s in scores]
    return [x / sum(e) - 1 for x in e]


def loss_slopes__wrong__not_divided(scores, target):
    e = [math.exp(s) for s in scores]
    return [x - (i == target) for i, x in enumerate(e)]


def loss_slopes__wrong__divided_by_length(scores, target):
    e = [math.exp(s - max(scores)) for s in scores]
    return [(x / sum(e) - (i == target)) / len(e) for i, x in enumerate(e)]


def loss_slopes__wrong__next_place(scores, target):
    e = [math.exp(s - max(scores)) for s in scores]
    return [x / sum(e) - (i == target + 1) for i, x in enumerate(e)]


def loss_slopes__wrong__the_loss(scores, target):
    e = [math.exp(s - max(scores)) for s in scores]
    return [-math.log(x / sum(e)) for x in e]


def _row(x):
    n = len(x)
    mean = sum(x) / n
    root = math.sqrt(sum((v - mean) ** 2 for v in x) / n + 1e-5)
    return n, root, [(v - mean) / root for v in x]


def norm_back__right__formula(x, g):
    n, root, y = _row(x)
    mean_g, along = sum(g) / n, sum(a * b for a, b in zip(g, y, strict=True)) / n
    return [(a - mean_g - b * along) / root for a, b in zip(g, y, strict=True)]


def norm_back__right__all_pairs(x, g):
    n, root, y = _row(x)
    return [
        sum(g[i] * ((i == j) - 1 / n - y[i] * y[j] / n) for i in range(n)) / root for j in range(n)
    ]


def norm_back__wrong__constants(x, g):
    _, root, _ = _row(x)
    return [a / root for a in g]


def norm_back__wrong__root_constant(x, g):
    n, root, _ = _row(x)
    return [(a - sum(g) / n) / root for a in g]


def norm_back__wrong__mean_constant(x, g):
    n, root, y = _row(x)
    along = sum(a * b for a, b in zip(g, y, strict=True)) / n
    return [(a - b * along) / root for a, b in zip(g, y, strict=True)]


def norm_back__wrong__not_divided(x, g):
    n, _, y = _row(x)
    along = sum(a * b for a, b in zip(g, y, strict=True)) / n
    return [a - sum(g) / n - b * along for a, b in zip(g, y, strict=True)]


def norm_back__wrong__x_for_y(x, g):
    n, root, _ = _row(x)
    along = sum(a * b for a, b in zip(g, x, strict=True)) / n
    return [(a - sum(g) / n - b * along) / root for a, b in zip(g, x, strict=True)]


def norm_back__wrong__sum_for_mean(x, g):
    n, root, y = _row(x)
    along = sum(a * b for a, b in zip(g, y, strict=True))
    return [(a - sum(g) / n - b * along) / root for a, b in zip(g, y, strict=True)]


def norm_back__wrong__plus(x, g):
    n, root, y = _row(x)
    along = sum(a * b for a, b in zip(g, y, strict=True)) / n
    return [(a - sum(g) / n + b * along) / root for a, b in zip(g, y, strict=True)]


def norm_back__wrong__multiplied(x, g):
    return [a * _row(x)[1] for a in norm_back__right__formula(x, g)]


def norm_back__wrong__forwards(x, g):
    return _row(x)[2]


def _adamw(
    w,
    g,
    mean,
    square,
    n,
    rate,
    decay,
    *,
    b1=0.9,
    b2=0.999,
    correct=True,
    root=True,
    coupled=False,
    wd=True,
    back="plain",
    inside=False,
    power=0,
):
    if coupled:
        g = g + decay * w
    mean, square = b1 * mean + (1 - b1) * g, b2 * square + (1 - b2) * g * g
    m, s = (
        (mean / (1 - b1 ** (n + power)), square / (1 - b2 ** (n + power)))
        if correct
        else (mean, square)
    )
    down = math.sqrt(s + 1e-8) if inside else (math.sqrt(s) if root else s) + 1e-8
    new = w - rate * m / down - (rate * decay * w if wd and not coupled else 0)
    return (new, mean, square) if back == "plain" else (new, m, s)


def adamw_step__right__plain(w, g, mean, square, n, rate, decay):
    return _adamw(w, g, mean, square, n, rate, decay)


def adamw_step__right__decay_first(w, g, mean, square, n, rate, decay):
    w *= 1 - rate * decay
    mean += 0.1 * (g - mean)
    square += 0.001 * (g**2 - square)
    w -= rate * (mean / (1 - 0.9**n)) / ((square / (1 - 0.999**n)) ** 0.5 + 1e-8)
    return w, mean, square


def adamw_step__wrong__not_corrected(w, g, mean, square, n, rate, decay):
    return _adamw(w, g, mean, square, n, rate, decay, correct=False)


def adamw_step__wrong__corrected_ones_back(w, g, mean, square, n, rate, decay):
    return _adamw(w, g, mean, square, n, rate, decay, back="corrected")


def adamw_step__wrong__old_adam(w, g, mean, square, n, rate, decay):
    return _adamw(w, g, mean, square, n, rate, decay, coupled=True)


def adamw_step__wrong__no_decay(w, g, mean, square, n, rate, decay):
    return _adamw(w, g, mean, square, n, rate, decay, wd=False)


def adamw_step__wrong__no_root(w, g, mean, square, n, rate, decay):
    return _adamw(w, g, mean, square, n, rate, decay, root=False)


def adamw_step__wrong__epsilon_inside(w, g, mean, square, n, rate, decay):
    return _adamw(w, g, mean, square, n, rate, decay, inside=True)


def adamw_step__wrong__counted_from_zero(w, g, mean, square, n, rate, decay):
    return _adamw(w, g, mean, square, n, rate, decay, power=-1) if n > 1 else (w, mean, square)


def adamw_step__wrong__memories_exchanged(w, g, mean, square, n, rate, decay):
    return _adamw(w, g, mean, square, n, rate, decay, b1=0.999, b2=0.9)


def adamw_step__wrong__memory_0_99(w, g, mean, square, n, rate, decay):
    return _adamw(w, g, mean, square, n, rate, decay, b2=0.99)


def adamw_step__wrong__only_the_weight(w, g, mean, square, n, rate, decay):
    return _adamw(w, g, mean, square, n, rate, decay)[0]


def adamw_step__wrong__uphill(w, g, mean, square, n, rate, decay):
    return _adamw(w, g, mean, square, n, -rate, decay)
