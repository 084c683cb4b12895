"""Exercises of notebook 24: the order of backward, three gradients and steps without a library.

Lesson: notebook 24.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bhushgpt.exercises.attempts import Stopped, kind
from bhushgpt.exercises.exercise import Exercise

Parents = dict[str, tuple[str, ...]]
Numbers = list[float]

# ------------------------------------------------------------------------ 1. order of backward

# y was made from h and k, and k from h as well; nothing that leads to the loss was made from aside.
GRAPH: Parents = {
    "x": (),
    "w": (),
    "h": ("x", "w"),
    "k": ("h",),
    "y": ("h", "k"),
    "loss": ("y", "x"),
    "aside": ("h",),
}
# The same question with other names, where the parents of `end` differ in how far they reach.
SECOND: Parents = {
    "p": (),
    "q": ("p",),
    "r": ("q", "p"),
    "s": ("r", "p"),
    "t": ("s",),
    "end": ("p", "r", "t", "q"),
}


def _reference_order(parents: Parents, last: str) -> list[str]:
    def depth(name: str) -> int:
        return 1 + max((depth(parent) for parent in parents[name]), default=0)

    needed, waiting = {last}, [last]
    while waiting:
        new = set(parents[waiting.pop()]) - needed
        needed |= new
        waiting += new
    return sorted(needed, key=lambda name: (-depth(name), name))


def _too_early(order: Sequence[str], parents: Parents) -> tuple[str, str] | None:
    """Return a name and one that was made from it but comes later, or None."""
    place = {name: number for number, name in enumerate(order)}
    for child, names in parents.items():
        for parent in names:
            if child in place and place[parent] < place[child]:
                return parent, child
    return None


def _depth_first(parents: Parents, name: str, seen: list[str]) -> list[str]:
    if name not in seen:
        seen.append(name)
        for parent in parents[name]:
            _depth_first(parents, parent, seen)
    return seen


def _breadth_first(parents: Parents, last: str) -> list[str]:
    order = [last]
    for name in order:
        order += [parent for parent in parents[name] if parent not in order]
    return order


def _wrong_names(
    order: list[Any], needed: Sequence[str], last: str, parents: Parents
) -> str | None:
    """Return what is wrong with the names themselves, whatever their order."""
    if not order:
        return "the list is empty; even alone, the last name itself is visited first."
    twice = [name for name in order if order.count(name) > 1]
    if twice:
        return (
            f"{twice[0]!r} is visited {order.count(twice[0])} times; its gradient would go back "
            "again each time."
        )
    if any(name not in parents for name in order):
        strange = next(name for name in order if name not in parents)
        return f"{strange!r} is no name of the graph; give the names themselves."
    missing = [name for name in needed if name not in order]
    if missing == [last]:
        return f"{last!r} is missing: its own gradient, 1, is where everything starts."
    if missing and all(not parents[name] for name in missing):
        return f"{missing[0]!r} has no parents, but its gradient is what we are after: list it too."
    if missing and set(order) <= set(parents[last]) | {last}:
        return (
            f"only the parents of {last!r} are there; go on to their parents, until none is left."
        )
    if missing:
        return f"{missing[0]!r} is missing: follow all the parents of a name, not only one."
    beyond = [name for name in order if name not in needed]
    if beyond:
        return f"{last!r} was not made from {beyond[0]!r}, so no gradient ever comes there."
    return None


def _check_order(answer: Callable[..., Any]) -> str | None:
    for parents, last in ((GRAPH, "loss"), (dict(sorted(SECOND.items())), "end"), (GRAPH, "x")):
        needed = _reference_order(parents, last)
        result = answer(dict(parents), last)
        if isinstance(result, set | frozenset | dict | str):
            return f"{kind(result)} came; give a list, its order is the whole question."
        order = list(result)
        mistake = _wrong_names(order, needed, last, parents)
        if mistake:
            return mistake
        early = _too_early(order, parents)
        if early is None:
            continue
        parent, child = early
        fact = f"{parent!r} comes before {child!r}, which was made from it"
        if _too_early(order[::-1], parents) is None:
            return "that is the way forward, from the inputs to the loss; backward runs against it."
        if order == _depth_first(parents, last, []):
            return f"{fact}: down each branch to its end is too soon where branches meet again."
        if order == _breadth_first(parents, last):
            return f"{fact}: the steps that lie between are the longest way, not the shortest."
        if order == [name for name in reversed(parents) if name in order]:
            return f"{fact}: the place in the dictionary says nothing about the graph."
        if order == sorted(order):
            return f"{fact}: names in the order of the alphabet say nothing about the graph."
        if order == sorted(order, reverse=True):
            return f"{fact}: the alphabet backwards is no better than forwards."
        if order == sorted(sorted(order), key=lambda name: -len(parents[name])):
            return f"{fact}: how many parents a name has does not say when its turn is."
        if order[0] != last:
            return f"{fact}: begin with {last!r}, from where all gradients come."
        return f"{fact}: a name waits until all that was made from it has had its turn."
    return None


backward_order = Exercise(
    name="backward_order",
    question="Return the names that `last` was made from, in an order in which backward may run.",
    hints=(
        "First collect: start with last, add parents, and parents of parents, each name once.",
        "Give every name a depth: one more than the deepest of its parents, 1 without parents.",
        "A parent is never as deep as what was made from it: sort by depth, the deepest first.",
    ),
    praise="by the time of a name, all that was made from it has sent its gradient.",
    reference=_reference_order,
    checks=_check_order,
)


# ----------------------------------------------------------------------------- plain numbers


def _close(result: Sequence[float], expected: Sequence[float]) -> bool:
    return len(result) == len(expected) and all(
        math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12)
        for a, b in zip(result, expected, strict=True)
    )


def _numbers(result: object, count: int) -> Numbers | str:
    """Return the numbers of an answer, or the sentence about an answer of another kind."""
    try:
        numbers = [float(value) for value in result]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return f"{count} numbers in a list are expected, but {kind(result)} came."
    if len(numbers) != count:
        return f"{count} numbers are expected, but {len(numbers)} came."
    return numbers


def _mistake(result: Numbers, expected: Numbers, mistakes: Mapping[str, Numbers]) -> str | None:
    if _close(result, expected):
        return None
    for sentence, wrong in mistakes.items():
        if _close(result, wrong):
            return sentence
    shown = ", ".join(f"{value:.4g}" for value in expected[:3])
    came = ", ".join(f"{value:.4g}" for value in result[:3])
    return f"trying small steps gives {shown}, ..., yours are {came}, ..."


# ----------------------------------------------------- 2. softmax and cross-entropy, backwards


def _softmax(scores: Numbers) -> Numbers:
    highest = max(scores)
    powers = [math.exp(score - highest) for score in scores]
    return [power / sum(powers) for power in powers]


def _reference_slopes(scores: Numbers, target: int) -> Numbers:
    slopes = _softmax(scores)
    slopes[target] -= 1
    return slopes


def _slope_mistakes(scores: Numbers, target: int) -> dict[str, Numbers]:
    p, places = _softmax(scores), range(len(scores))
    hot = [float(place == target) for place in places]
    next_hot = [float(place == target + 1) for place in places]
    q = p[target]

    def minus_hot(values: Numbers) -> Numbers:
        return [value - y for value, y in zip(values, hot, strict=True)]

    return {
        "those are the probabilities; something happens at the target's place.": p,
        "the sign is turned: a higher score of the target makes the loss smaller.": (
            [y - value for value, y in zip(p, hot, strict=True)]
        ),
        "1 goes off at every place; only the target's score has it.": [v - 1 for v in p],
        "the other scores matter too: each takes probability away from the target.": (
            [y * (value - 1) for value, y in zip(p, hot, strict=True)]
        ),
        "that is the slope of p(target); the loss is its negative logarithm.": (
            [q * (y - value) for value, y in zip(p, hot, strict=True)]
        ),
        "that is the slope of -p(target); the logarithm is missing.": (
            [q * (value - y) for value, y in zip(p, hot, strict=True)]
        ),
        "there is one text position here, so nothing is averaged: do not divide by V.": (
            [value / len(p) for value in minus_hot(p)]
        ),
        "-1 / p is the slope for the probability; go on, through softmax, to the scores.": (
            [-y / q for y in hot]
        ),
        "1 goes off at the place after the target: ids count from 0.": (
            [value - y for value, y in zip(p, next_hot, strict=True)]
        ),
        "those begin with the raw scores; softmax has to make probabilities first.": (
            minus_hot(scores)
        ),
        "exp alone makes no probabilities: divide by the sum of all of them.": (
            minus_hot([math.exp(score) for score in scores])
        ),
        "that begins with ln p; the slope begins with p.": minus_hot([math.log(v) for v in p]),
        "that squashes each score by itself; softmax lets them share one whole.": (
            minus_hot([1 / (1 + math.exp(-score)) for score in scores])
        ),
        "you take 1 off the score, before softmax; take it off the probability.": (
            _softmax(minus_hot(scores))
        ),
    }


def _check_slopes(answer: Callable[..., Any]) -> str | None:
    scores, target = [1.5, -0.5, 0.25, 2.0, -1.0], 2
    expected, mistakes = _reference_slopes(scores, target), _slope_mistakes(scores, target)
    loss = -math.log(_softmax(scores)[target])
    result = answer(list(scores), target)
    if isinstance(result, float) and math.isclose(result, loss, rel_tol=1e-6):
        return "that is the loss itself; wanted is how fast it grows with each score."
    numbers = _numbers(result, len(scores))
    sentence = numbers if isinstance(numbers, str) else _mistake(numbers, expected, mistakes)
    if sentence:
        return sentence
    try:
        large = _numbers(answer([900.0, 1000.0, 950.0], 0), 3)
    except Exception as error:
        if "OverflowError" in str(error):
            return "scores near 1000 overflow in exp: take the largest off all of them first."
        raise
    if isinstance(large, str) or not _close(large, [-1.0, 1.0, 0.0]):
        return "right for small scores, but not for 900, 1000 and 950."
    alike = _numbers(answer([1.0, 1.0, 1.0, 1.0], 2), 4)
    if isinstance(alike, str) or not _close(alike, [0.25, 0.25, -0.75, 0.25]):
        return "where scores are alike, the place still says which one is the target's."
    try:
        small = _numbers(answer([-900.0, -1000.0, -950.0], 0), 3)
    except Stopped as error:
        if "ZeroDivisionError" in str(error):
            small = [math.nan] * 3
        else:
            raise
    if isinstance(small, str) or not _close(small, [0.0, 0.0, 0.0]):
        return (
            "where all scores are near -1000 every exp is rounded to 0: take the largest off all."
        )
    return None


loss_slopes = Exercise(
    name="loss_slopes",
    question="Return how fast -ln softmax(scores)[target] grows with each score, as a list.",
    hints=(
        "Write the loss as ln(sum of exp(scores)) - scores[target], and take it term by term.",
        "The slope of ln(sum of exp(s)) for one score is exp(of that score) / the sum.",
        "So it is the probability, and at the target's place 1 less.",
    ),
    praise="the guess minus the truth. That is all that flows back from a loss.",
    reference=_reference_slopes,
    checks=_check_slopes,
)


# ------------------------------------------------------------------------ 3. a norm, backwards


def _reference_norm_back(x: Numbers, g: Numbers) -> Numbers:
    mean = sum(x) / len(x)
    root = math.sqrt(sum((v - mean) ** 2 for v in x) / len(x) + 1e-5)
    y = [(v - mean) / root for v in x]
    shift = sum(g) / len(g)
    along = sum(a * b for a, b in zip(g, y, strict=True)) / len(g)
    return [(a - shift - b * along) / root for a, b in zip(g, y, strict=True)]


def _norm_mistakes(x: Numbers, g: Numbers) -> dict[str, Numbers]:
    C, mean = len(x), sum(x) / len(x)
    centred = [v - mean for v in x]
    variance = sum(v * v for v in centred) / C
    root, shift = math.sqrt(variance + 1e-5), sum(g) / C
    y = [v / root for v in centred]
    along = sum(a * b for a, b in zip(g, y, strict=True)) / C

    def back(by: float = root, m: float = shift, n: float = along, z: Numbers = y) -> Numbers:
        return [(a - m - b * n) / by for a, b in zip(g, z, strict=True)]

    def with_root(other: float) -> Numbers:
        z = [v / other for v in centred]
        return back(by=other, n=sum(a * b for a, b in zip(g, z, strict=True)) / C, z=z)

    on_x = sum(a * b for a, b in zip(g, x, strict=True)) / C
    on_centred = sum(a * b for a, b in zip(g, centred, strict=True)) / C
    return {
        "that takes mean and spread as fixed; both depend on every number of x.": back(m=0, n=0),
        "the spread depends on x as well: a part along y is still to be taken off.": back(n=0),
        "the mean depends on x as well: the mean of g is still to be taken off.": back(m=0),
        "y is x divided by the root, so the slope is divided by it too.": back(by=1),
        "you multiply by the root; a row with a large spread gets small slopes.": back(by=1 / root),
        "you divide by the variance; it is the root that x was divided by.": back(by=root * root),
        "those are sums over the row; both terms are means.": back(m=shift * C, n=along * C),
        "the part along y is a sum; divide it by C.": back(n=along * C),
        "the mean of g is a sum; divide it by C.": back(m=shift * C),
        "the second term uses x; it runs along y, the row after the norm.": back(n=on_x, z=x),
        "the second term uses x - mean; divide that by the root, it runs along y.": (
            back(n=on_centred, z=centred)
        ),
        "both terms are taken off; the second of yours is added.": back(n=-along),
        "both terms are taken off; the first of yours is added.": back(m=-shift),
        "this variance divides by C - 1; LayerNorm divides by C.": (
            with_root(math.sqrt(variance * C / (C - 1) + 1e-5))
        ),
        "the 1e-5 under the root is missing.": with_root(math.sqrt(variance)),
        "that is y, the way forward; wanted is the gradient for x.": y,
        "g times y, number by number, is the gradient for the gain.": (
            [a * b for a, b in zip(g, y, strict=True)]
        ),
    }


def _check_norm_back(answer: Callable[..., Any]) -> str | None:
    # The first row has a usual spread; the second is so narrow that the 1e-5 matters; in
    # the third numbers come twice.
    rows = [[2.0, -1.0, 0.5, 3.0, 1.0], [0.004, 0.001, -0.002], [1.0, 1.0, -2.0, 4.0]]
    gradients = [[0.3, -0.7, 1.1, 0.2, 0.6], [0.5, -0.2, 0.9], [0.8, 0.3, 0.3, -0.4]]
    expected, mistakes = [], {}
    for x, g in zip(rows, gradients, strict=True):
        expected += _reference_norm_back(x, g)
        for sentence, wrong in _norm_mistakes(x, g).items():
            mistakes.setdefault(sentence, []).extend(wrong)
    results: Numbers = []
    for x, g in zip(rows, gradients, strict=True):
        numbers = _numbers(answer(list(x), list(g)), len(x))
        if isinstance(numbers, str):
            return numbers
        results += numbers
    return _mistake(results, expected, mistakes)


norm_back = Exercise(
    name="norm_back",
    question="Return the gradient for x, given g, the gradient for y = (x - mean) / root.",
    hints=(
        "root is math.sqrt(variance + 1e-5); compute y first, you need it.",
        "If all of x grows by the same amount, y stays: so the slopes must sum to 0. Take the mean "
        "of g off.",
        "If x is stretched, y stays: take off y times the mean of g * y, then divide by root.",
    ),
    praise="what shifts or stretches a row cannot change it, so no gradient points there.",
    reference=_reference_norm_back,
    checks=_check_norm_back,
)


# ------------------------------------------------------------------------ 4. one step of AdamW


def _reference_adamw(
    w: float, g: float, mean: float, square: float, n: int, rate: float, decay: float
) -> tuple[float, float, float]:
    mean = 0.9 * mean + 0.1 * g
    square = 0.999 * square + 0.001 * g * g
    move = (mean / (1 - 0.9**n)) / (math.sqrt(square / (1 - 0.999**n)) + 1e-8)
    return w - rate * decay * w - rate * move, mean, square


def _adamw_mistakes(
    w: float, g: float, mean: float, square: float, n: int, rate: float, decay: float
) -> dict[str, Numbers]:
    m, s = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g * g
    fixed_m, fixed_s = m / (1 - 0.9**n), s / (1 - 0.999**n)
    move = fixed_m / (math.sqrt(fixed_s) + 1e-8)
    kept = w - rate * decay * w

    def to(new_w: float, new_m: float = m, new_s: float = s) -> Numbers:
        return [new_w, new_m, new_s]

    def moved(by_m: float, by_s: float) -> float:
        return kept - rate * by_m / (math.sqrt(by_s) + 1e-8)

    h, unsquared = g + decay * w, 0.999 * square + 0.001 * g
    coupled = _reference_adamw(w, h, mean, square, n, rate, 0.0)
    swapped_m, swapped_s = 0.1 * mean + 0.9 * g, 0.001 * square + 0.999 * g * g
    return {
        "neither mean is corrected for having started at 0.": to(moved(m, s)),
        "the mean of g is corrected, that of its square is not.": to(moved(fixed_m, s)),
        "the mean of the square is corrected, that of g is not.": to(moved(m, fixed_s)),
        "the powers in the corrections are one too high: n is the number of this step.": (
            to(moved(m / (1 - 0.9 ** (n + 1)), s / (1 - 0.999 ** (n + 1))))
        ),
        "the decay went into the gradient, and from there into both means: that is Adam.": (
            list(coupled)
        ),
        "the decay is not multiplied by the rate.": to(w - decay * w - rate * move),
        "the decay takes its share of the new weight; it is a share of the old one.": (
            to((w - rate * move) * (1 - rate * decay))
        ),
        "the weight does not decay.": to(w - rate * move),
        "the decay has the wrong sign: it pulls the weight towards 0.": (
            to(w + rate * decay * w - rate * move)
        ),
        "you walk uphill: the move is taken off the weight.": to(kept + rate * move),
        "the 1e-8 stands under the root; it is added to the root.": (
            to(kept - rate * fixed_m / math.sqrt(fixed_s + 1e-8))
        ),
        "the 1e-8 is missing.": to(kept - rate * fixed_m / math.sqrt(fixed_s)),
        "the root is missing.": to(kept - rate * fixed_m / (fixed_s + 1e-8)),
        "the move is not multiplied by the rate.": to(kept - move),
        "the means come back corrected; keep them as they are, or it happens twice.": (
            to(kept - rate * move, fixed_m, fixed_s)
        ),
        "the means come back as they went in; the next step needs the new ones.": (
            to(kept - rate * move, mean, square)
        ),
        "0.1 of the old mean and 0.9 of g: the other way round, the past weighs more.": (
            to(moved(swapped_m / (1 - 0.9**n), swapped_s / (1 - 0.999**n)), swapped_m, swapped_s)
        ),
        "the plain gradient moves the weight; the mean of g should.": to(moved(g, fixed_s)),
        "the second mean is of g squared: 0.999 of the old one and 0.001 of g * g.": (
            to(moved(fixed_m, unsquared / (1 - 0.999**n)), m, unsquared)
        ),
    }


def _check_adamw(answer: Callable[..., Any]) -> str | None:
    # The second gradient is so small that the 1e-8 matters.
    cases = [(2.0, -3.0, -0.5, 0.4, 3, 0.05, 0.7), (-1.5, 2e-8, 1e-8, 3e-16, 7, 0.03, 0.2)]
    expected: Numbers = []
    mistakes: dict[str, Numbers] = {}
    for case in cases:
        expected += _scaled(_reference_adamw(*case), case)
        for sentence, wrong in _adamw_mistakes(*case).items():
            mistakes.setdefault(sentence, []).extend(_scaled(wrong, case))
    results: Numbers = []
    for case in cases:
        result = answer(*case)
        if isinstance(result, float | int):
            return "the new weight alone came; return (w, mean, square), the next step needs all."
        numbers = _numbers(result, 3)
        if isinstance(numbers, str):
            return numbers
        results += _scaled(numbers, case)
    return _mistake(results, expected, mistakes)


def _scaled(numbers: Sequence[float], case: Sequence[float]) -> Numbers:
    """Bring the three numbers of a case to sizes that can be compared."""
    w, mean, square = numbers
    gradient = abs(case[1])
    return [w, mean / gradient, square / gradient**2]


adamw_step = Exercise(
    name="adamw_step",
    question="Return (w, mean, square) after step n of AdamW, with memories 0.9 and 0.999.",
    hints=(
        "First the two running means: 0.9 * mean + 0.1 * g, and 0.999 * square + 0.001 * g * g.",
        "For the move, and only there, divide them by 1 - 0.9**n and 1 - 0.999**n.",
        "w - rate * decay * w - rate * move, where move is the mean over (the root + 1e-8).",
    ),
    praise="that is notebook 05's rule, for one number; a GPT does it for each of its weights.",
    reference=_reference_adamw,
    checks=_check_adamw,
)
