"""The checkers of notebook 24 know the mistakes that people make."""

import graphlib
import math

import numpy as np
import pytest
import torch
from kill_table import assert_exercise, assert_right

from bhushgpt.exercises.nb24_without_torch import (
    GRAPH,
    SECOND,
    adamw_step,
    backward_order,
    loss_slopes,
    norm_back,
)

# ---------------------------------------------------------------------------- order of backward


def order_stub(parents, last): ...


def reached(parents, last):
    found = [last]
    for name in found:
        found += [parent for parent in parents[name] if parent not in found]
    return found


def forward(parents, last):
    order = list(graphlib.TopologicalSorter(parents).static_order())
    return [name for name in order if name in reached(parents, last)]


def depth_first(parents, last):
    order = []

    def visit(name):
        if name not in order:
            order.append(name)
            for parent in parents[name]:
                visit(parent)

    visit(last)
    return order


def breadth_first(parents, last):
    return reached(parents, last)


def every_path(parents, last):
    order = [last]
    for name in order:
        order += parents[name]
    return order


def all_names(parents, last):
    return list(graphlib.TopologicalSorter(parents).static_order())[::-1]


def without_leaves(parents, last):
    return [name for name in forward(parents, last)[::-1] if parents[name]]


def without_last(parents, last):
    return forward(parents, last)[::-1][1:]


def first_parents_only(parents, last):
    order = [last]
    while parents[order[-1]]:
        order.append(parents[order[-1]][0])
    return order


def one_step(parents, last):
    return [last, *parents[last]]


def alphabet(parents, last):
    return sorted(reached(parents, last))


def alphabet_backwards(parents, last):
    return sorted(reached(parents, last), reverse=True)


def most_parents_first(parents, last):
    return sorted(sorted(reached(parents, last)), key=lambda name: -len(parents[name]))


def as_a_set(parents, last):
    return set(reached(parents, last))


def nothing(parents, last):
    return []


def depths(parents, last):
    return [6, 5, 4, 3, 2, 1]


def last_in_the_middle(parents, last):
    order = forward(parents, last)[::-1]
    return [order[1], order[0], *order[2:]]


def swaps_two(parents, last):
    order = forward(parents, last)[::-1]
    return [*order[:2], order[3], order[2], *order[4:]]


def test_the_kill_table_of_backward_order():
    assert_exercise(
        backward_order,
        order_stub,
        {
            forward: "that is the way forward",
            depth_first: "down each branch to its end",
            breadth_first: "the longest way, not the shortest",
            every_path: "is visited 3 times",
            all_names: "was not made from 'aside'",
            without_leaves: "has no parents, but",
            without_last: "its own gradient, 1",
            first_parents_only: "follow all the parents of a name",
            one_step: "only the parents of 'loss'",
            alphabet: "order of the alphabet",
            alphabet_backwards: "the alphabet backwards",
            most_parents_first: "how many parents a name has",
            as_a_set: "a set came",
            nothing: "the list is empty",
            depths: "is no name of the graph",
            last_in_the_middle: "begin with 'loss'",
            swaps_two: "a name waits until",
        },
    )


def reversed_finishing(parents, last):
    order, seen = [], set()

    def visit(name):
        if name not in seen:
            seen.add(name)
            for parent in parents[name]:
                visit(parent)
            order.append(name)

    visit(last)
    return order[::-1]


def counting_children(parents, last):
    needed = reached(parents, last)
    open_children = {n: sum(parents[c].count(n) for c in needed) for n in needed}
    order = []
    ready = [last]
    while ready:
        name = ready.pop()
        order.append(name)
        for parent in parents[name]:
            open_children[parent] -= 1
            if not open_children[parent]:
                ready.append(parent)
    return tuple(order)


def by_the_library(parents, last):
    return reversed(forward(parents, last))


def test_other_right_orders_are_accepted():
    assert_right(backward_order, reversed_finishing, counting_children, by_the_library)


def test_the_graphs_have_names_that_lead_nowhere_and_ways_that_meet_again():
    assert set(GRAPH) - set(reached(GRAPH, "loss")) == {"aside"}
    assert len(every_path(GRAPH, "loss")) > len(reached(GRAPH, "loss"))
    assert len(every_path(SECOND, "end")) > len(reached(SECOND, "end"))


# ------------------------------------------------------------------------------- loss slopes


def softmax(scores):
    powers = [math.exp(s - max(scores)) for s in scores]
    return [power / sum(powers) for power in powers]


def hot(scores, target):
    return [float(place == target) for place in range(len(scores))]


def minus(a, b):
    return [x - y for x, y in zip(a, b, strict=True)]


def slopes_stub(scores, target): ...


def probabilities(scores, target):
    return softmax(scores)


def sign_turned(scores, target):
    return minus(hot(scores, target), softmax(scores))


def one_off_everywhere(scores, target):
    return [p - 1 for p in softmax(scores)]


def target_only(scores, target):
    return [y * (p - 1) for p, y in zip(softmax(scores), hot(scores, target), strict=True)]


def of_the_probability(scores, target):
    p = softmax(scores)
    return [p[target] * (y - q) for q, y in zip(p, hot(scores, target), strict=True)]


def of_minus_the_probability(scores, target):
    return [-slope for slope in of_the_probability(scores, target)]


def averaged(scores, target):
    return [s / len(scores) for s in minus(softmax(scores), hot(scores, target))]


def stops_at_the_probability(scores, target):
    return [-y / softmax(scores)[target] for y in hot(scores, target)]


def counts_from_one(scores, target):
    return minus(softmax(scores), hot(scores, target + 1))


def raw_scores(scores, target):
    return minus(scores, hot(scores, target))


def not_normalised(scores, target):
    return minus([math.exp(s) for s in scores], hot(scores, target))


def logarithms(scores, target):
    return minus([math.log(p) for p in softmax(scores)], hot(scores, target))


def squashed(scores, target):
    return minus([1 / (1 + math.exp(-s)) for s in scores], hot(scores, target))


def before_softmax(scores, target):
    return softmax(minus(scores, hot(scores, target)))


def the_loss(scores, target):
    return -math.log(softmax(scores)[target])


def overflows(scores, target):
    powers = [math.exp(s) for s in scores]
    return minus([power / sum(powers) for power in powers], hot(scores, target))


def clamps_large_scores(scores, target):
    return minus(softmax([min(s, 50.0) for s in scores]), hot(scores, target))


def one_too_many(scores, target):
    return [*minus(softmax(scores), hot(scores, target)), 0.0]


def a_word(scores, target):
    return 7


def nothing_below_nought_is_taken_off(scores, target):
    powers = [math.exp(score - max(0.0, *scores)) for score in scores]
    return [power / sum(powers) - (place == target) for place, power in enumerate(powers)]


def by_the_score(scores, target):
    return [
        slope - (score == scores[target]) + (place == target)
        for place, (score, slope) in enumerate(
            zip(scores, loss_slopes.reference(scores, target), strict=True)
        )
    ]


def test_the_kill_table_of_loss_slopes():
    assert_exercise(
        loss_slopes,
        slopes_stub,
        {
            by_the_score: "where scores are alike",
            nothing_below_nought_is_taken_off: "near -1000 every exp",
            probabilities: "those are the probabilities",
            sign_turned: "the sign is turned",
            one_off_everywhere: "1 goes off at every place",
            target_only: "the other scores matter too",
            of_the_probability: "the slope of p(target)",
            of_minus_the_probability: "the logarithm is missing",
            averaged: "do not divide by V",
            stops_at_the_probability: "-1 / p is the slope",
            counts_from_one: "the place after the target",
            raw_scores: "those begin with the raw scores",
            not_normalised: "exp alone makes no probabilities",
            logarithms: "begins with ln p",
            squashed: "squashes each score by itself",
            before_softmax: "off the score, before softmax",
            the_loss: "that is the loss itself",
            overflows: "scores near 1000 overflow",
            clamps_large_scores: "not for 900, 1000 and 950",
            one_too_many: "5 numbers are expected, but 6 came",
            a_word: "5 numbers in a list are expected",
        },
    )


def slopes_by_numpy(scores, target):
    powers = np.exp(np.array(scores) - max(scores))
    p = powers / powers.sum()
    p[target] -= 1
    return p


def slopes_by_autograd(scores, target):
    x = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    (-x.log_softmax(dim=0)[target]).backward()
    assert x.grad is not None
    return x.grad.tolist()


def slopes_by_logarithm(scores, target):
    top = max(scores)
    whole = top + math.log(sum(math.exp(s - top) for s in scores))
    return tuple(math.exp(s - whole) - (i == target) for i, s in enumerate(scores))


def test_other_right_slopes_are_accepted():
    assert_right(loss_slopes, slopes_by_numpy, slopes_by_autograd, slopes_by_logarithm)


# --------------------------------------------------------------------------------- norm back


def norm_stub(x, g): ...


def parts(x, g, eps=1e-5, freedom=0):
    x, g = np.array(x), np.array(g)
    root = np.sqrt(x.var(ddof=freedom) + eps)
    y = (x - x.mean()) / root
    return x, g, y, root


def fixed_statistics(x, g):
    x, g, _y, root = parts(x, g)
    return g / root


def spread_dropped(x, g):
    x, g, _y, root = parts(x, g)
    return (g - g.mean()) / root


def mean_dropped(x, g):
    x, g, y, root = parts(x, g)
    return (g - y * (g * y).mean()) / root


def not_divided(x, g):
    x, g, y, _root = parts(x, g)
    return g - g.mean() - y * (g * y).mean()


def multiplied(x, g):
    return not_divided(x, g) * parts(x, g)[3]


def by_the_variance(x, g):
    return not_divided(x, g) / parts(x, g)[3] ** 2


def sums(x, g):
    x, g, y, root = parts(x, g)
    return (g - g.sum() - y * (g * y).sum()) / root


def sum_along(x, g):
    x, g, y, root = parts(x, g)
    return (g - g.mean() - y * (g * y).sum()) / root


def sum_of_g(x, g):
    x, g, y, root = parts(x, g)
    return (g - g.sum() - y * (g * y).mean()) / root


def along_x(x, g):
    x, g, _y, root = parts(x, g)
    return (g - g.mean() - x * (g * x).mean()) / root


def along_centred(x, g):
    x, g, _y, root = parts(x, g)
    centred = x - x.mean()
    return (g - g.mean() - centred * (g * centred).mean()) / root


def second_added(x, g):
    x, g, y, root = parts(x, g)
    return (g - g.mean() + y * (g * y).mean()) / root


def first_added(x, g):
    x, g, y, root = parts(x, g)
    return (g + g.mean() - y * (g * y).mean()) / root


def divides_by_one_less(x, g):
    x, g, y, root = parts(x, g, freedom=1)
    return (g - g.mean() - y * (g * y).mean()) / root


def no_epsilon(x, g):
    x, g, y, root = parts(x, g, eps=0)
    return (g - g.mean() - y * (g * y).mean()) / root


def way_forward(x, g):
    return parts(x, g)[2]


def for_the_gain(x, g):
    x, g, y, _root = parts(x, g)
    return g * y


def single_number(x, g):
    return float(np.mean(g))


def too_few(x, g):
    return [0.0]


def test_the_kill_table_of_norm_back():
    assert_exercise(
        norm_back,
        norm_stub,
        {
            fixed_statistics: "takes mean and spread as fixed",
            spread_dropped: "the spread depends on x as well",
            mean_dropped: "the mean depends on x as well",
            not_divided: "so the slope is divided by it too",
            multiplied: "you multiply by the root",
            by_the_variance: "you divide by the variance",
            sums: "both terms are means",
            sum_along: "the part along y is a sum",
            sum_of_g: "the mean of g is a sum",
            along_x: "the second term uses x;",
            along_centred: "the second term uses x - mean",
            second_added: "the second of yours is added",
            first_added: "the first of yours is added",
            divides_by_one_less: "divides by C - 1",
            no_epsilon: "1e-5 under the root is missing",
            way_forward: "that is y, the way forward",
            for_the_gain: "the gradient for the gain",
            single_number: "numbers in a list are expected",
            too_few: "numbers are expected, but 1 came",
        },
    )


def norm_by_autograd(x, g):
    row = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.layer_norm(row, (len(x),))
    y.backward(torch.tensor(g, dtype=torch.float64))
    assert row.grad is not None
    return row.grad


def norm_by_numpy(x, g):
    x, g, y, root = parts(x, g)
    return (g - g.mean() - y * (g @ y) / len(g)) / root


def norm_by_a_matrix(x, g):
    x, g, y, root = parts(x, g)
    jacobian = (np.eye(len(x)) - 1 / len(x) - np.outer(y, y) / len(x)) / root
    return (jacobian.T @ g).tolist()


def test_other_right_norms_are_accepted():
    assert_right(norm_back, norm_by_autograd, norm_by_numpy, norm_by_a_matrix)


# -------------------------------------------------------------------------------- AdamW step


def adamw_stub(w, g, mean, square, n, rate, decay): ...


def adamw(
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
    fix=(1, 1),
    power=0,
    kept=None,
    sign=1,
    inside=0.0,
    outside=1e-8,
    root=0.5,
):
    mean, square = b1 * mean + (1 - b1) * g, b2 * square + (1 - b2) * g * g
    m = mean / (1 - 0.9 ** (n + power)) if fix[0] else mean
    s = square / (1 - 0.999 ** (n + power)) if fix[1] else square
    move = m / ((s + inside) ** root + outside)
    kept = w - rate * decay * w if kept is None else kept
    return kept - sign * rate * move, mean, square


def variant(name, **change):
    def answer(w, g, mean, square, n, rate, decay):
        return adamw(w, g, mean, square, n, rate, decay, **change)

    answer.__name__ = name
    return answer


def coupled(w, g, mean, square, n, rate, decay):
    return adamw(w, g + decay * w, mean, square, n, rate, 0)


def decay_without_rate(w, g, mean, square, n, rate, decay):
    return adamw(w, g, mean, square, n, rate, decay, kept=w - decay * w)


def decay_afterwards(w, g, mean, square, n, rate, decay):
    new, mean, square = adamw(w, g, mean, square, n, rate, 0)
    return new * (1 - rate * decay), mean, square


def no_decay(w, g, mean, square, n, rate, decay):
    return adamw(w, g, mean, square, n, rate, 0)


def decay_outwards(w, g, mean, square, n, rate, decay):
    return adamw(w, g, mean, square, n, rate, -decay)


def no_rate(w, g, mean, square, n, rate, decay):
    return adamw(w, g, mean, square, n, 1, 0, kept=w - rate * decay * w)


def corrected_memory(w, g, mean, square, n, rate, decay):
    w, mean, square = adamw(w, g, mean, square, n, rate, decay)
    return w, mean / (1 - 0.9**n), square / (1 - 0.999**n)


def old_memory(w, g, mean, square, n, rate, decay):
    return adamw(w, g, mean, square, n, rate, decay)[0], mean, square


def plain_gradient(w, g, mean, square, n, rate, decay):
    _, new_mean, new_square = adamw(w, g, mean, square, n, rate, decay)
    move = g / (math.sqrt(new_square / (1 - 0.999**n)) + 1e-8)
    return w - rate * decay * w - rate * move, new_mean, new_square


def weight_alone(w, g, mean, square, n, rate, decay):
    return adamw(w, g, mean, square, n, rate, decay)[0]


def not_squared(w, g, mean, square, n, rate, decay):
    mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g
    move = mean / (1 - 0.9**n) / (math.sqrt(square / (1 - 0.999**n)) + 1e-8)
    return w - rate * decay * w - rate * move, mean, square


def two_come_back(w, g, mean, square, n, rate, decay):
    return adamw(w, g, mean, square, n, rate, decay)[:2]


def test_the_kill_table_of_adamw_step():
    assert_exercise(
        adamw_step,
        adamw_stub,
        {
            variant("no_correction", fix=(0, 0)): "neither mean is corrected",
            variant("square_uncorrected", fix=(1, 0)): "that of its square is not",
            variant("mean_uncorrected", fix=(0, 1)): "that of g is not",
            variant("one_too_high", power=1): "one too high",
            coupled: "that is Adam",
            decay_without_rate: "the decay is not multiplied",
            decay_afterwards: "share of the new weight",
            no_decay: "the weight does not decay",
            decay_outwards: "the decay has the wrong sign",
            variant("uphill", sign=-1): "you walk uphill",
            variant("epsilon_inside", inside=1e-8, outside=0): "stands under the root",
            variant("no_epsilon", outside=0): "the 1e-8 is missing",
            variant("no_root", root=1): "the root is missing",
            no_rate: "the move is not multiplied",
            corrected_memory: "the means come back corrected",
            old_memory: "as they went in",
            variant("betas_turned", b1=0.1, b2=0.001): "the other way round",
            plain_gradient: "the plain gradient moves",
            weight_alone: "the new weight alone",
            not_squared: "the second mean is of g squared",
            two_come_back: "3 numbers are expected, but 2 came",
        },
    )


def adamw_by_torch(w, g, mean, square, n, rate, decay):
    weight = torch.nn.Parameter(torch.tensor([w], dtype=torch.float64))
    optimizer = torch.optim.AdamW([weight], lr=rate, weight_decay=decay)
    state = {
        "step": torch.tensor(float(n - 1)),
        "exp_avg": torch.tensor([mean], dtype=torch.float64),
        "exp_avg_sq": torch.tensor([square], dtype=torch.float64),
    }
    optimizer.state[weight] = state
    weight.grad = torch.tensor([g], dtype=torch.float64)
    optimizer.step()
    return [weight.item(), state["exp_avg"].item(), state["exp_avg_sq"].item()]


def adamw_multiplying(w, g, mean, square, n, rate, decay):
    mean += 0.1 * (g - mean)
    square += 0.001 * (g**2 - square)
    size = (square / (1 - 0.999**n)) ** 0.5 + 1e-8
    return np.array([w * (1 - rate * decay) - rate / (1 - 0.9**n) * mean / size, mean, square])


def adamw_decay_first(w, g, mean, square, n, rate, decay):
    w *= 1 - rate * decay
    return adamw(w, g, mean, square, n, rate, 0)


def test_other_right_steps_are_accepted():
    assert_right(adamw_step, adamw_by_torch, adamw_multiplying, adamw_decay_first)


# ------------------------------------------------------------------------- for all of them


@pytest.mark.parametrize("exercise", [backward_order, loss_slopes, norm_back, adamw_step])
def test_no_answer_may_change_what_is_expected(exercise):
    """An answer that spoils its arguments is judged like any other, and the next one as usual."""

    def spoils(*arguments):
        result = exercise.reference(*[a.copy() if hasattr(a, "copy") else a for a in arguments])
        for argument in arguments:
            if hasattr(argument, "clear"):
                argument.clear()
        return result

    assert exercise.judge(spoils).status == "right"
    assert exercise.judge(exercise.reference).status == "right"
