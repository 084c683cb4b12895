"""Answers to the exercises of notebook 24, written from its cards alone."""

import math
from collections import Counter, deque
from graphlib import TopologicalSorter

import numpy as np


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


# The third set.


def backward_order__right__postorder_reversed(parents, last):
    done, order, stack = set(), [], [(last, False)]
    while stack:
        name, leave = stack.pop()
        if leave:
            order.append(name)
        elif name not in done:
            done.add(name)
            stack.append((name, True))
            stack += [(parent, False) for parent in parents[name]]
    return order[::-1]


def backward_order__right__when_all_parts_arrived(parents, last):
    needed, todo = {last}, [last]
    while todo:
        for parent in parents[todo.pop()]:
            if parent not in needed:
                needed.add(parent)
                todo.append(parent)
    waits = Counter(parent for name in needed for parent in parents[name])
    ready, order = deque([last]), []
    while ready:
        name = ready.popleft()
        order.append(name)
        for parent in parents[name]:
            waits[parent] -= 1
            if waits[parent] == 0:
                ready.append(parent)
    return order


def backward_order__wrong__third_breadth_first(parents, last):
    order, ready = [last], deque([last])
    while ready:
        for parent in parents[ready.popleft()]:
            if parent not in order:
                order.append(parent)
                ready.append(parent)
    return order


def backward_order__wrong__waits_for_strangers(parents, last):
    waits = Counter(parent for made_from in parents.values() for parent in made_from)
    ready, order = [last], []
    while ready:
        name = ready.pop()
        order.append(name)
        for parent in parents[name]:
            waits[parent] -= 1
            if waits[parent] == 0:
                ready.append(parent)
    return order


def backward_order__wrong__dict_turned_round(parents, last):
    names = list(parents)
    return names[names.index(last) :: -1]


def loss_slopes__right__softmax_minus_one(scores, target):
    top = max(scores)
    powers = [math.exp(score - top) for score in scores]
    total = sum(powers)
    return [power / total - (i == target) for i, power in enumerate(powers)]


def loss_slopes__right__log_sum_exp(scores, target):
    top = max(scores)
    log_sum = top + math.log(math.fsum(math.exp(s - top) for s in scores))
    slopes = [math.exp(s - log_sum) for s in scores]
    slopes[target] = math.expm1(scores[target] - log_sum)
    return slopes


# wrong for scores [1000, 0]: OverflowError, should be about [0, 0] or [1, -1]
def loss_slopes__wrong__exp_overflows(scores, target):
    powers = [math.exp(score) for score in scores]
    slopes = [power / sum(powers) for power in powers]
    slopes[target] -= 1
    return slopes


# wrong for every input: the slope of ln p, should be of -ln p
def loss_slopes__wrong__sign_turned(scores, target):
    top = max(scores)
    powers = [math.exp(score - top) for score in scores]
    return [(i == target) - power / sum(powers) for i, power in enumerate(powers)]


# wrong for every input with two scores or more: divided by their number, there is one loss
def loss_slopes__wrong__third_divided_by_length(scores, target):
    top = max(scores)
    powers = [math.exp(score - top) for score in scores]
    total = sum(powers)
    return [(q / total - (i == target)) / len(scores) for i, q in enumerate(powers)]


# wrong for [1, 2, 0], target 1: [0, p - 1, 0], the other scores move the loss, too
def loss_slopes__wrong__only_the_target(scores, target):
    top = max(scores)
    powers = [math.exp(score - top) for score in scores]
    slopes = [0.0] * len(scores)
    slopes[target] = powers[target] / sum(powers) - 1
    return slopes


def _normed(x):
    n = len(x)
    mean = sum(x) / n
    root = math.sqrt(sum((a - mean) ** 2 for a in x) / n + 1e-5)
    return [(a - mean) / root for a in x], root


def norm_back__right__two_means_off(x, g):
    y, root = _normed(x)
    n = len(x)
    level = sum(g) / n
    along = sum(a * b for a, b in zip(g, y, strict=False)) / n
    return [(a - level - along * b) / root for a, b in zip(g, y, strict=False)]


def norm_back__right__jacobian_in_numpy(x, g):
    x, g = np.asarray(x, dtype=np.float64), np.asarray(g, dtype=np.float64)
    n = len(x)
    centre = np.eye(n) - np.full((n, n), 1 / n)
    d = centre @ x
    root = np.sqrt(d @ d / n + 1e-5)
    jacobian = centre / root - np.outer(d, d) / (n * root**3)
    return (g @ jacobian).tolist()


# wrong for g with a part along y: the root is taken as fixed, should depend on x
def norm_back__wrong__root_fixed(x, g):
    _, root = _normed(x)
    level = sum(g) / len(g)
    return [(a - level) / root for a in g]


# wrong for g of all ones: not 0; the mean is taken as fixed, the slopes should sum to 0
def norm_back__wrong__mean_fixed(x, g):
    y, root = _normed(x)
    along = sum(a * b for a, b in zip(g, y, strict=False)) / len(x)
    return [(a - along * b) / root for a, b in zip(g, y, strict=False)]


# wrong for x whose root is not 1: not divided by the root
def norm_back__wrong__not_divided_by_root(x, g):
    y, _ = _normed(x)
    n = len(x)
    level = sum(g) / n
    along = sum(a * b for a, b in zip(g, y, strict=False)) / n
    return [a - level - along * b for a, b in zip(g, y, strict=False)]


# wrong for every short row: the variance is divided by n - 1, should be by n
def norm_back__wrong__variance_over_n_minus_1(x, g):
    n = len(x)
    mean = sum(x) / n
    root = math.sqrt(sum((a - mean) ** 2 for a in x) / (n - 1) + 1e-5)
    y = [(a - mean) / root for a in x]
    level = sum(g) / n
    along = sum(a * b for a, b in zip(g, y, strict=False)) / n
    return [(a - level - along * b) / root for a, b in zip(g, y, strict=False)]


def adamw_step__right__as_in_the_paper(w, g, mean, square, n, rate, decay):
    mean = 0.9 * mean + 0.1 * g
    square = 0.999 * square + 0.001 * g * g
    step = mean / (1 - 0.9**n) / (math.sqrt(square / (1 - 0.999**n)) + 1e-8)
    return w - rate * decay * w - rate * step, mean, square


def adamw_step__right__corrections_in_the_rate(w, g, mean, square, n, rate, decay):
    mean += (1 - 0.9) * (g - mean)
    square += (1 - 0.999) * (g**2 - square)
    root = (1 - 0.999**n) ** 0.5
    w *= 1 - rate * decay
    w -= rate * root / (1 - 0.9**n) * mean / (square**0.5 + 1e-8 * root)
    return w, mean, square


# wrong for every n: the corrected means come back, should be the plain ones
def adamw_step__wrong__corrected_means_returned(w, g, mean, square, n, rate, decay):
    mean = (0.9 * mean + 0.1 * g) / (1 - 0.9**n)
    square = (0.999 * square + 0.001 * g * g) / (1 - 0.999**n)
    w = w * (1 - rate * decay) - rate * mean / (math.sqrt(square) + 1e-8)
    return w, mean, square


def adamw_step__wrong__decay_in_the_gradient(w, g, mean, square, n, rate, decay):
    g = g + decay * w
    mean = 0.9 * mean + 0.1 * g
    square = 0.999 * square + 0.001 * g * g
    move = mean / (1 - 0.9**n) / (math.sqrt(square / (1 - 0.999**n)) + 1e-8)
    return w - rate * move, mean, square


# wrong for small gradients, 1e-4: epsilon is under the root, should be behind it
def adamw_step__wrong__epsilon_under_the_root(w, g, mean, square, n, rate, decay):
    mean = 0.9 * mean + 0.1 * g
    square = 0.999 * square + 0.001 * g * g
    move = mean / (1 - 0.9**n) / math.sqrt(square / (1 - 0.999**n) + 1e-8)
    return w * (1 - rate * decay) - rate * move, mean, square


# wrong for decay > 0: the weight after the move decays, should be the weight as it was
def adamw_step__wrong__decay_after_the_move(w, g, mean, square, n, rate, decay):
    mean = 0.9 * mean + 0.1 * g
    square = 0.999 * square + 0.001 * g * g
    move = mean / (1 - 0.9**n) / (math.sqrt(square / (1 - 0.999**n)) + 1e-8)
    w = w - rate * move
    return w * (1 - rate * decay), mean, square
