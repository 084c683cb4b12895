"""The checkers of notebook 19 know the mistakes that people make."""

import math
from fractions import Fraction
from itertools import combinations, pairwise, permutations
from statistics import mean, median, pstdev, stdev

import numpy as np
import torch
from kill_table import assert_exercise, assert_right

from bhushgpt.exercises.nb19_evaluation import bits_per_byte, narrow, p_value, reliability

LN2 = math.log(2)


# 1. bits_per_byte


def bits_stub(nats, text): ...


def size(text):
    return len(text.encode())


def writes_over(nats, text):
    return (nats.div_(LN2)).sum() / size(text)


BITS_WRONG = [
    (lambda n, t: n.sum() / LN2 / size(t.strip()), "do not strip it"),
    (lambda n, t: n.mean(), "nats per token"),
    (lambda n, t: n.mean() / LN2, "bits per token"),
    (lambda n, t: n.sum() / size(t), "those are nats: divide"),
    (lambda n, t: n.sum() / LN2 / len(t), "bits per character"),
    (lambda n, t: n.sum() / LN2, "bits of the whole text"),
    (lambda n, t: n.sum() * LN2 / size(t), "multiply by ln 2"),
    (lambda n, t: n.mean().exp(), "perplexity"),
    (lambda n, t: n.mean() / LN2 / size(t), "the sum is meant"),
    (lambda n, t: size(t) / (n.sum() / LN2), "upside down"),
    (lambda n, t: n.mean().log2(), "logarithm already"),
    (lambda n, t: n.sum() / LN2 / len(n) ** 2, "divide twice"),
    (lambda n, t: n.sum() / LN2 / len(t.split()), "bits per word"),
    (lambda n, t: n.sum() / LN2 / len(t.encode("utf-16")), "UTF-16"),
    (lambda n, t: n.sum() / LN2 / size(t) / 8, "bits per bit"),
    (lambda n, t: n[1:].sum() / LN2 / size(t), "first token is left out"),
    (lambda n, t: -n.sum() / LN2 / size(t), "sign is wrong"),
    (lambda n, t: n / LN2, "a tensor of shape (7,) came"),
    (lambda n, t: "0.6", "a str came"),
    (lambda n, t: 0.123, "yours says 0.1230"),
    (writes_over, "your code changes `"),
]


def test_the_kill_table_of_bits_per_byte():
    assert_exercise(bits_per_byte, bits_stub, BITS_WRONG)


def test_other_ways_to_bits_per_byte_are_right():
    assert_right(
        bits_per_byte,
        lambda n, t: float(np.log2(np.exp(n.numpy())).sum()) / len(bytes(t, "utf-8")),
        lambda n, t: n.mean() / LN2 * (len(n) / size(t)),
        lambda n, t: sum(-math.log2(math.exp(-x)) for x in n.tolist()) / size(t),
    )


# 2. reliability


def reliability_stub(confidence, right, bins): ...


def table(c, r, bins, first=None, second=None, places=None):
    """Build the table row by row; what is not given is right."""
    places = (c * bins).long().clamp(max=bins - 1) if places is None else places
    rows = []
    for number in range(bins):
        inside = places == number
        said = first(c[inside], r[inside], number) if first else c[inside].mean()
        happened = second(c[inside], r[inside], number) if second else r[inside].float().mean()
        rows.append([float(said), float(happened)])
    return torch.tensor(rows)


def equally_many(c, r, bins):
    parts = c.argsort().tensor_split(bins)
    return torch.tensor([[c[i].mean(), r[i].float().mean()] for i in parts])


def sorts_in_place(c, r, bins):
    result = table(c, r, bins)
    c.copy_(c.sort().values)
    return result


def between_edges(confidence, right, bins):
    edges = torch.linspace(0, 1, bins + 1)
    rows = []
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        rows.append(torch.stack([confidence[inside].mean(), right[inside].float().mean()]))
    return torch.stack(rows)


def nought_is_nothing(confidence, right, bins):
    return reliability.reference(confidence[confidence > 0], right[confidence > 0], bins)


def borders_to_the_bin_below(confidence, right, bins):
    place = (confidence * bins).ceil().long().clamp(min=1) - 1
    rows = []
    for number in range(bins):
        inside = place == number
        rows.append(torch.stack([confidence[inside].mean(), right[inside].float().mean()]))
    return torch.stack(rows)


RELIABILITY_WRONG = [
    (borders_to_the_bin_below, "it belongs to the bin above"),
    (nought_is_nothing, "confidence 0.0 is lost"),
    (between_edges, "confidence 0.0 is in no bin"),
    (lambda c, r, b: table(c, r, b).flip(1), "columns are swapped"),
    (lambda c, r, b: table(c, r, b, lambda _, __, n: (n + 0.5) / b), "the middle of each bin"),
    (lambda c, r, b: table(c, r, b, lambda _, __, n: n / b), "the lower edge"),
    (lambda c, r, b: table(c, r, b, None, lambda _, x, __: x.sum()), "numbers of right ones"),
    (lambda c, r, b: table(c, r, b, None, lambda _, x, __: x.sum() / 11), "of all predictions"),
    (
        lambda c, r, b: table(c, r, b, lambda y, _, __: y.sum(), lambda _, x, __: x.sum()),
        "those are sums",
    ),
    (
        lambda c, r, b: table(c, r, b, None, lambda _, x, __: (~x).float().mean()),
        "the share of wrong ones",
    ),
    (lambda c, r, b: table(c, r, b).nan_to_num(), "nan, not 0"),
    (equally_many, "equally many"),
    (lambda c, r, b: table(c, r, b, places=(c * b).long()), "the confidence 1.0 is lost"),
    (lambda c, r, b: table(c, r, b).flip(0), "from high to low"),
    (lambda c, r, b: table(c, r, b, lambda y, x, _: y[x].mean()), "of the right ones only"),
    (
        lambda c, r, b: torch.stack([c.mean(), r.float().mean()]).expand(b, 2),
        "one mean for all",
    ),
    (
        lambda c, r, b: table(c, r, b, lambda y, x, _: y.mean() - x.float().mean()),
        "the gap between the two",
    ),
    (lambda c, r, b: 100 * table(c, r, b), "per cent"),
    (lambda c, r, b: table(c, r, b, lambda y, _, __: len(y)), "how many are in the bin"),
    (lambda c, r, b: table(c, r, b).T, "a row for each quantity"),
    (lambda c, r, b: table(c, r, b).tolist(), "a list came"),
    (lambda c, r, b: table(c, r, 5), "the shape is (5, 2)"),
    (lambda c, r, b: table(c, r, b) + 0.01, "not those of the formula"),
    (sorts_in_place, "your code changes `"),
]


def test_the_kill_table_of_reliability():
    assert_exercise(reliability, reliability_stub, RELIABILITY_WRONG)


def by_a_histogram(c, r, bins):
    edges = np.linspace(0, 1, bins + 1)
    counts, *_ = np.histogram(c, edges)
    sums, *_ = np.histogram(c, edges, weights=c.double().numpy())
    hits, *_ = np.histogram(c, edges, weights=r.double().numpy())
    with np.errstate(invalid="ignore"):
        return torch.from_numpy(np.stack([sums / counts, hits / counts], 1)).float()


def by_comparing_edges(c, r, bins):
    rows = []
    for n in range(bins):
        inside = (c >= n / bins) & ((c < (n + 1) / bins) | (n == bins - 1))
        rows.append([c[inside].mean().item(), r[inside].double().mean().item()])
    return torch.tensor(rows)


def by_adding_up(c, r, bins):
    place = torch.minimum((c * bins).floor(), torch.tensor(bins - 1.0)).long()
    sums = torch.zeros(bins, 3).index_add(0, place, torch.stack([c, r.float(), c * 0 + 1], 1))
    return sums[:, :2] / sums[:, 2:]


def test_other_ways_to_reliability_are_right():
    assert_right(reliability, by_a_histogram, by_comparing_edges, by_adding_up)


# 3. p_value


def p_stub(first, second): ...


def ways(a, b, middle=mean, k=None):
    pool = a + b
    for chosen in combinations(range(len(pool)), k or len(a)):
        mine = [pool[i] for i in chosen]
        yield middle(mine) - middle([x for i, x in enumerate(pool) if i not in chosen])


def share(a, b, counts, middle=mean):
    seen = middle(a) - middle(b)
    found = [counts(way, seen) for way in ways(a, b, middle)]
    return sum(found) / len(found)


def far(way, seen):
    return abs(way) >= abs(seen) - 1e-9


def z(a, b):
    return abs(mean(a) - mean(b)) / math.sqrt(stdev(a) ** 2 / len(a) + stdev(b) ** 2 / len(b))


def equal_sizes(a, b):
    pool = a + b
    half = len(pool) // 2
    return share(pool[:half], pool[half:], far)


def without_the_seen(a, b):
    found = [far(way, mean(a) - mean(b)) for way in ways(a, b)]
    return (sum(found) - 1) / (len(found) - 1)


def empties_a_list(a, b):
    result = share(a, b, far)
    a.clear()
    return result


def rounds(a, b):
    return share(a, b, far) if len(a) > 2 else 0.3


def stops_on_equals(a, b):
    return share(a, b, far) if len(set(a + b)) > 1 else 0.0


def hands_that_differ(first, second):
    numbers = sorted([*first, *second])
    seen = abs(mean(first) - mean(second)) - 1e-9
    hands = set(combinations(numbers, len(first)))
    rest = [(sum(numbers) - sum(hand)) / len(second) for hand in hands]
    far = [abs(mean(hand) - other) >= seen for hand, other in zip(hands, rest, strict=True)]
    return sum(far) / len(far)


P_WRONG = [
    (hands_that_differ, "ways that look alike"),
    (lambda a, b: share(a, b, lambda w, s: w <= s + 1e-9), "one direction only"),
    (lambda a, b: share(a, b, lambda w, s: w >= -s - 1e-9), "to the other side only"),
    (lambda a, b: share(a, b, lambda w, s: abs(w) > abs(s) + 1e-9), ">=, not >"),
    (without_the_seen, "leave it in above and below"),
    (lambda a, b: 1 - share(a, b, far), "less far apart"),
    (lambda a, b: share(a, b, far) * 56, "how many ways there are"),
    (lambda a, b: 100 * share(a, b, far), "per cent"),
    (lambda a, b: share(a, b, far, median), "you compare medians"),
    (lambda a, b: abs(mean(a) - mean(b)), "difference of the means itself"),
    (z, "in standard errors"),
    (lambda a, b: math.erfc(z(a, b) / math.sqrt(2)), "the bell curve"),
    (lambda a, b: abs(mean(a) - mean(b)) / pstdev(a + b), "in standard deviations"),
    (lambda a, b: share(a, b, far) * 56 / math.factorial(8), "take combinations"),
    (equal_sizes, "equal groups"),
    (lambda a, b: 2 * share(a, b, far), "both directions are counted already"),
    (lambda a, b: 0.5, "yours says 0.5000"),
    (lambda a, b: [0.1], "a list came"),
    (empties_a_list, "your code changes `"),
    (rounds, "of 6 ways 2"),
    (stops_on_equals, "where all numbers are the same"),
]


def test_the_kill_table_of_p_value():
    assert_exercise(p_value, p_stub, P_WRONG)


def by_sums(a, b):
    total, n = sum(a + b), len(a + b)
    seen = abs(sum(a) - len(a) * total / n) - 1e-9
    sums = [sum(chosen) for chosen in combinations(a + b, len(a))]
    return sum(abs(s - len(a) * total / n) >= seen for s in sums) / len(sums)


def by_all_orders_of_small_ones(a, b):
    if len(a + b) > 4:
        return share(a, b, far)
    orders = list(permutations(a + b))
    k, seen = len(a), mean(a) - mean(b)
    return sum(far(mean(o[:k]) - mean(o[k:]), seen) for o in orders) / len(orders)


def by_numpy(a, b):
    pool = np.array(a + b)
    chosen = np.array(list(combinations(range(len(pool)), len(a))))
    first = pool[chosen].mean(axis=1)
    rest = (pool.sum() - pool[chosen].sum(axis=1)) / len(b)
    return np.mean(np.abs(first - rest) >= abs(np.mean(a) - np.mean(b)) - 1e-9)


def test_other_ways_to_a_p_value_are_right():
    assert_right(p_value, by_sums, by_all_orders_of_small_ones, by_numpy)


# 4. narrow


def narrow_stub(low, width, bounds, symbol): ...


def F(a, b):
    return Fraction(a, b)


def clears(low, width, bounds, symbol):
    result = right(low, width, bounds, symbol)
    bounds.clear()
    return result


def right(low, w, b, s):
    return low + w * F(b[s], b[-1]), w * F(b[s + 1] - b[s], b[-1])


NARROW_WRONG = [
    (lambda o, w, b, s: (right(o, w, b, s)[0], sum(right(o, w, b, s))), "where the interval ends"),
    (lambda o, w, b, s: right(o, w, b, s)[::-1], "numbers are swapped"),
    (lambda o, w, b, s: right(F(0, 1), w, b, s), "begin at 0 each time"),
    (lambda o, w, b, s: (o, right(o, w, b, s)[1]), "did not move"),
    (lambda o, w, b, s: right(o, F(1, 1), b, s), "not of the whole, but of the old width"),
    (lambda o, w, b, s: (right(o, w, b, s)[0], w), "did not shrink"),
    (
        lambda o, w, b, s: (right(o, w, b, s)[0], F(b[s + 1] - b[s], b[-1])),
        "times the old width",
    ),
    (lambda o, w, b, s: (o + F(b[s], b[-1]), right(o, w, b, s)[1]), "it moves by a share"),
    (lambda o, w, b, s: (o + w * b[s], w * (b[s + 1] - b[s])), "the sum of all frequencies"),
    (
        lambda o, w, b, s: (o + w * b[s] / len(b), w * (b[s + 1] - b[s]) / len(b)),
        "how many bounds there are",
    ),
    (lambda o, w, b, s: right(o, w, b, s + 1), "the symbol after it"),
    (lambda o, w, b, s: right(o, w, b, s - 1), "the symbol before it"),
    (
        lambda o, w, b, s: (right(o, w, b, s)[0], w * F(b[s + 1], b[-1])),
        "from the beginning of all",
    ),
    (lambda o, w, b, s: (o + w * F(s, 4), w / 4), "every symbol got the same share"),
    (lambda o, w, b, s: (o * (1 + F(b[s], b[-1])), right(o, w, b, s)[1]), "is no factor"),
    (
        lambda o, w, b, s: (o + w * (1 - F(b[s + 1], b[-1])), right(o, w, b, s)[1]),
        "go up from its beginning",
    ),
    (lambda o, w, b, s: right(o, w, b, s)[0], "give back two numbers"),
    (lambda o, w, b, s: (0.1, 0.2), "it should begin at"),
    (clears, "your code changes `"),
]


def test_the_kill_table_of_narrow():
    assert_exercise(narrow, narrow_stub, NARROW_WRONG)


def by_both_ends(low, width, bounds, symbol):
    ends = [low + width * Fraction(bounds[symbol + i], bounds[-1]) for i in (0, 1)]
    return ends[0], ends[1] - ends[0]


def by_floats(low, width, bounds, symbol):
    unit = float(width) / bounds[-1]
    return [float(low) + unit * bounds[symbol], unit * (bounds[symbol + 1] - bounds[symbol])]


def symbol_by_symbol(low, width, bounds, symbol):
    for before, after in pairwise(bounds[: symbol + 1]):
        low += width * Fraction(after - before, bounds[-1])
    return low, width * Fraction(bounds[symbol + 1] - bounds[symbol], bounds[-1])


def test_other_ways_to_narrow_are_right():
    assert_right(narrow, by_both_ends, by_floats, symbol_by_symbol)
