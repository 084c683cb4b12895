"""The checkers of notebook 22 know the mistakes that people make."""

import math
from itertools import combinations, permutations
from statistics import mean, median

import numpy as np
import torch
import torch.nn.functional as F
from kill_table import assert_exercise, assert_right

from bhushgpt.exercises.nb22_modern_gpt import may_look, p_value, rms_norm, round_matrix
from bhushgpt.muon import orthogonalised

# 1. rms_norm


def rms_norm_stub(x, gain, eps): ...


def square_of(x):
    return x.pow(2).mean(-1, keepdim=True)


def centred(x):
    return x - x.mean(-1, keepdim=True)


def overwrites(x, gain, eps):
    return x.div_((square_of(x) + eps).sqrt()).mul_(gain)


def for_three_axes_only(x, gain, eps):
    return (
        x
        / (x.pow(2).mean(2 if x.dim() == 3 else 0) + eps).sqrt()[..., None]
        * gain
        * (1 if x.dim() == 3 else 2)
    )


RMS_NORM_WRONG = [
    (lambda x, g, e: F.layer_norm(x, x.shape[-1:], g, None, e), "that is LayerNorm"),
    (lambda x, g, e: centred(x) / (square_of(x) + e).sqrt() * g, "above and not below"),
    (lambda x, g, e: x / (square_of(centred(x)) + e).sqrt() * g, "the spread around the mean"),
    (lambda x, g, e: x / (square_of(x).sqrt() + e) * g, "eps belongs under the root"),
    (lambda x, g, e: x / square_of(x).sqrt() * g, "eps is missing"),
    (lambda x, g, e: x / (x.pow(2).sum(-1, keepdim=True) + e).sqrt() * g, "the sum of the squares"),
    (lambda x, g, e: x / (square_of(x) + e) * g, "the root is missing"),
    (lambda x, g, e: x * (square_of(x) + e).sqrt() * g, "you multiply by the root mean square"),
    (lambda x, g, e: x / (square_of(x) + e).sqrt(), "the gain is not used"),
    (lambda x, g, e: x / (square_of(x) + e).sqrt() + g, "the gain is added"),
    (lambda x, g, e: x / (square_of(x) + e).sqrt() / g, "the gain divides"),
    (lambda x, g, e: x / (square_of(x) + e).sqrt() * (1 + g), "1 + gain"),
    (lambda x, g, e: x / (x.pow(2).mean(1, keepdim=True) + e).sqrt() * g, "over the tokens"),
    (lambda x, g, e: x / (x.pow(2).mean() + e).sqrt() * g, "over everything"),
    (lambda x, g, e: x / (x.pow(2).mean(0, keepdim=True) + e).sqrt() * g, "over the texts"),
    (lambda x, g, e: x / (x.abs().mean(-1, keepdim=True) + e) * g, "the mean size"),
    (lambda x, g, e: x / (x.mean(-1, keepdim=True) ** 2 + e).sqrt() * g, "you square the mean"),
    (lambda x, g, e: x / (square_of(x) - e).sqrt() * g, "eps is taken off"),
    (lambda x, g, e: (x / (square_of(x) + e).sqrt() * g)[0], "the shape is (3, 5)"),
    (lambda x, g, e: x / (square_of(x) + 2 * e).sqrt() * g, "not those of the formula"),
    (lambda x, g, e: x.tolist(), "a list came"),
    (overwrites, "your code changes `"),
    (for_three_axes_only, "for one vector (C,)"),
]


def test_the_kill_table_of_rms_norm():
    assert_exercise(rms_norm, rms_norm_stub, RMS_NORM_WRONG)


def by_length(x, gain, eps):
    n = x.shape[-1]
    return x * n**0.5 / (x.norm(dim=-1, keepdim=True) ** 2 + n * eps).sqrt() * gain


def test_other_ways_to_rms_norm_are_right():
    assert_right(
        rms_norm,
        by_length,
        lambda x, gain, eps: F.rms_norm(x, x.shape[-1:], gain, eps),
        lambda x, gain, eps: (
            gain
            * x
            * torch.rsqrt(torch.einsum("...c,...c->...", x, x)[..., None] / x.shape[-1] + eps)
        ),
    )


# 2. may_look


def may_look_stub(n, window): ...


def axes(n):
    return torch.arange(n)[:, None], torch.arange(n)


def looks(rule):
    """Return an answer that applies a rule to query, key and window."""
    return lambda n, w: rule(*axes(n), w)


def window_of_three(n, w):
    q, k = axes(n)
    return (k <= q) & (k > q - 3)


def stops_at_the_length(n, w):
    q, k = axes(n)
    return (k <= q) & (k > q - w) if w <= n else torch.zeros(n, n, dtype=torch.bool)


MAY_LOOK_WRONG = [
    (looks(lambda q, k, w: (q <= k) & (q > k - w)), "yours is turned over"),
    (looks(lambda q, k, w: (k <= q) & (k >= q - w)), "one token too many"),
    (looks(lambda q, k, w: (k <= q) & (k > q - w + 1)), "one token too few"),
    (looks(lambda q, k, w: (q - k).abs() < w), "may look ahead"),
    (looks(lambda q, k, w: k <= q), "there is no window"),
    (looks(lambda q, k, w: k > q - w), "there is no past"),
    (looks(lambda q, k, w: (k < q) & (k > q - w)), "does not see itself in yours."),
    (looks(lambda q, k, w: (k < q) & (k >= q - w)), "itself in yours, and one more"),
    (looks(lambda q, k, w: (k > q) | (k <= q - w)), "yours says what is hidden"),
    (looks(lambda q, k, w: (k <= q) & (k // w == q // w)), "those are blocks: the window"),
    (looks(lambda q, k, w: k // w == q // w), "blocks, and their tokens look ahead"),
    (looks(lambda q, k, w: (k <= q) & (k < w)), "the first tokens"),
    (looks(lambda q, k, w: k == q - w + 1), "the far end"),
    (looks(lambda q, k, w: (k <= q) & (k <= q - w)), "all but the window"),
    (looks(lambda q, k, w: (k > q) & (k <= q)), "all is hidden"),
    (looks(lambda q, k, w: ((k <= q) & (k > q - w)).float()), "the numbers are torch.float32"),
    (
        looks(lambda q, k, w: torch.where((k <= q) & (k > q - w), 0.0, -torch.inf)),
        "what is added to scores",
    ),
    (lambda n, w: torch.ones(n, w).bool(), "the shape is (7, 3)"),
    (lambda n, w: [[True] * n] * n, "a list came"),
    (looks(lambda q, k, w: (k <= q) & (k > q - w) & (k != 2)), "token 2 sees [0, 1, 2]; in yours"),
    (window_of_three, "in a window of 1"),
    (stops_at_the_length, "longer than the text"),
]


def test_the_kill_table_of_may_look():
    assert_exercise(may_look, may_look_stub, MAY_LOOK_WRONG)


def looks_by_loop(n, window):
    return torch.tensor([[i - window < j <= i for j in range(n)] for i in range(n)])


def looks_by_triangles(n, window):
    return torch.ones(n, n).tril().triu(1 - window).bool()


def test_other_ways_to_may_look_are_right():
    assert_right(
        may_look,
        looks_by_loop,
        looks_by_triangles,
        lambda n, window: torch.from_numpy(
            np.tri(n, dtype=bool) & ~np.tri(n, k=-window, dtype=bool)
        ),
    )


# 3. round_matrix

A, B, C = 3.4445, -4.7750, 2.0315


def round_matrix_stub(matrix): ...


def steps(x, n=5, b=B, c=C):
    for _ in range(n):
        s = x @ x.T
        x = A * x + b * s @ x + c * s @ s @ x
    return x


def unit(m):
    return m / m.norm()


def each_number(m):
    x = unit(m)
    for _ in range(5):
        x = A * x + B * x**3 + C * x**5
    return x


def exactly(m):
    u, _, v = torch.linalg.svd(m, full_matrices=False)
    return u @ v


def round_in_place(m):
    return steps(m.div_(m.norm()))


def square_where_tall(m):
    return steps(unit(m)) if m.shape[0] < m.shape[1] else steps(unit(m)).T


def each_row_by_its_norm(m):
    return steps(m / m.norm(dim=1, keepdim=True))


def coefficients_exchanged(m):
    return steps(unit(m), b=C, c=B)


ROUND_WRONG = [
    (lambda m: steps(m), "your numbers run away"),
    (lambda m: steps(unit(m), 1), "that is one step"),
    (lambda m: steps(unit(m), 4), "those are four"),
    (lambda m: steps(unit(m), 6), "those are six"),
    (each_number, "powers of the single numbers"),
    (exactly, "that is U V^T"),
    (lambda m: steps(m / torch.linalg.matrix_norm(m, 2)), "the largest singular value"),
    (lambda m: steps(m / m.abs().sum()), "sum of the entries' sizes"),
    (lambda m: steps(unit(m)) * m.norm(), "multiplied with the norm again"),
    (unit, "the steps are missing"),
    (lambda m: steps(unit(m)).T, "the result is turned"),
    (lambda m: steps(unit(m))[:2], "the shape is (2, 7)"),
    (round_in_place, "your code changes `"),
    (square_where_tall, "with more rows than columns"),
]


def test_the_kill_table_of_round_matrix():
    assert_exercise(round_matrix, round_matrix_stub, ROUND_WRONG)


def test_all_that_runs_away_is_told_what_may_have_done_it():
    for answer in (each_row_by_its_norm, coefficients_exchanged):
        assert "your numbers run away" in round_matrix.judge(answer).message


def from_the_other_side(m):
    x = unit(m)
    for _ in range(5):
        s = x.T @ x
        x = x @ (A * torch.eye(len(s)) + B * s + C * s @ s)
    return x


def on_singular_values(m):
    u, lengths, v = torch.linalg.svd(m, full_matrices=False)
    x = lengths / lengths.norm()
    for _ in range(5):
        x = A * x + B * x**3 + C * x**5
    return u @ torch.diag(x) @ v


def test_other_ways_to_round_matrix_are_right():
    package = lambda m: orthogonalised(m, dtype=torch.float32)  # noqa: E731
    assert_right(round_matrix, from_the_other_side, on_singular_values, package)


# 4. p_value


def p_value_stub(first, second): ...


def deals(first, second, middle=mean):
    numbers = [*first, *second]
    for places in combinations(range(len(numbers)), len(first)):
        hand = [numbers[i] for i in places]
        rest = [numbers[i] for i in range(len(numbers)) if i not in places]
        yield middle(hand) - middle(rest)


def share(rule, middle=mean):
    """Return an answer: the share of deals that a rule picks by their gap and the found one."""

    def answer(first, second):
        found = middle(first) - middle(second)
        ways = [rule(gap, found) for gap in deals(first, second, middle)]
        return sum(ways) / len(ways)

    return answer


SLACK = 1e-12
right = share(lambda gap, found: abs(gap) >= abs(found) - SLACK)


def count(first, second):
    return round(right(first, second) * math.comb(len(first) + len(second), len(first)))


def ways(first, second):
    return math.comb(len(first) + len(second), len(first))


def only_where_first_is_better(first, second):
    return right(first, second) if mean(first) < mean(second) else 1 - right(first, second)


def nan_for_equal_means(first, second):
    return right(first, second) if mean(first) != mean(second) else 0.0


def hands_that_differ(first, second):
    numbers = sorted([*first, *second])
    seen = abs(mean(first) - mean(second)) - 1e-9
    hands = set(combinations(numbers, len(first)))
    rest = [(sum(numbers) - sum(hand)) / len(second) for hand in hands]
    far = [abs(mean(hand) - other) >= seen for hand, other in zip(hands, rest, strict=True)]
    return sum(far) / len(far)


P_VALUE_WRONG = [
    (hands_that_differ, "deals that look alike"),
    (share(lambda gap, found: abs(gap) > abs(found) + SLACK), "left out the deal that is there:"),
    (share(lambda gap, found: gap <= found + SLACK), "you count one direction"),
    (share(lambda gap, found: gap >= found - SLACK), "the other direction: what speaks"),
    (share(lambda gap, found: abs(gap) < abs(found) - SLACK), "less far apart"),
    (count, "that is how many ways there are"),
    (ways, "the number of all ways to deal"),
    (lambda a, b: mean(a) - mean(b), "that is the difference of the means"),
    (lambda a, b: abs(mean(a) - mean(b)), "the size of the difference"),
    (share(lambda gap, found: abs(gap) >= abs(found) - SLACK, median), "you compare medians"),
    (lambda a, b: 2 * share(lambda gap, f: gap <= f + SLACK)(a, b), "one direction times two"),
    (lambda a, b: 1 / ways(a, b), "1 over the number of ways"),
    (lambda a, b: (count(a, b) + 1) / (ways(a, b) + 1), "ways drawn by chance"),
    (lambda a, b: 100 * right(a, b), "per cent"),
    (lambda a, b: (count(a, b) - 1) / (ways(a, b) - 1), "is there, above"),
    (lambda a, b: count(a, b) / math.factorial(len(a) + len(b)), "not of orders"),
    (lambda a, b: 0.987, "yours says 0.9870"),
    (lambda a, b: "0.1", "a str came"),
    (only_where_first_is_better, "first and second exchanged"),
    (nan_for_equal_means, "where the means are equal"),
]


def test_the_kill_table_of_p_value():
    assert_exercise(p_value, p_value_stub, P_VALUE_WRONG)


def by_orders(first, second):
    numbers, n = np.array([*first, *second]), len(first)
    found = abs(numbers[:n].mean() - numbers[n:].mean()) - SLACK
    hits = [
        abs(numbers[list(o[:n])].mean() - numbers[list(o[n:])].mean()) >= found
        for o in permutations(range(len(numbers)))
    ]
    return float(np.mean(hits))


def by_sums(first, second):
    numbers, n = [*first, *second], len(first)
    m, total = len(second), sum(first) + sum(second)
    found = abs(sum(first) * (n + m) - total * n) - 1e-9
    hits = [abs(sum(hand) * (n + m) - total * n) >= found for hand in combinations(numbers, n)]
    return sum(hits) / len(hits)


def test_other_ways_to_p_value_are_right():
    assert_right(p_value, by_orders, by_sums, lambda a, b: torch.tensor(right(a, b)).double())
