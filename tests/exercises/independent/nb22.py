"""Answers to the exercises of notebook 22, written from its cards alone."""

from itertools import combinations
from statistics import fmean, mean, median

import numpy as np
import torch
import torch.nn.functional as F

a, b, c = 3.4445, -4.7750, 2.0315


def rms_norm__right__library(x, gain, eps):
    return F.rms_norm(x, gain.shape, gain, eps)


def rms_norm__right__einsum(x, gain, eps):
    square = torch.einsum("...c,...c->...", x, x) / x.shape[-1]
    return x * torch.rsqrt(square + eps)[..., None] * gain


def rms_norm__right__float64(x, gain, eps):
    y = x.double().clone()
    y /= (y.pow(2).mean(-1, keepdim=True) + eps).sqrt()
    return (y * gain).to(x.dtype)


def rms_norm__wrong__mean_taken_off(x, gain, eps):
    x = x - x.mean(-1, keepdim=True)
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * gain


def rms_norm__wrong__sum(x, gain, eps):
    return x / (x.pow(2).sum(-1, keepdim=True) + eps).sqrt() * gain


def rms_norm__wrong__no_root(x, gain, eps):
    return x / (x.pow(2).mean(-1, keepdim=True) + eps) * gain


def rms_norm__wrong__no_gain(x, gain, eps):
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()


def rms_norm__wrong__epsilon_outside(x, gain, eps):
    return x / (x.pow(2).mean(-1, keepdim=True).sqrt() + eps) * gain


def rms_norm__wrong__over_time(x, gain, eps):
    return x / (x.pow(2).mean(-2, keepdim=True) + eps).sqrt() * gain


def rms_norm__wrong__over_all(x, gain, eps):
    return x / (x.pow(2).mean() + eps).sqrt() * gain


def rms_norm__wrong__one_plus_gain(x, gain, eps):
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * (1 + gain)


def rms_norm__wrong__own_epsilon(x, gain, eps):
    return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * gain


def rms_norm__wrong__mean_of_sizes(x, gain, eps):
    return x / (x.abs().mean(-1, keepdim=True) + eps) * gain


def rms_norm__wrong__changes_x(x, gain, eps):
    x /= (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()
    return x * gain


def may_look__right__difference(n, window):
    d = torch.arange(n)[:, None] - torch.arange(n)[None]
    return (0 <= d) & (d < window)


def may_look__right__loops(n, window):
    return torch.tensor([[i - window < j <= i for j in range(n)] for i in range(n)])


def may_look__right__triangles(n, window):
    whole = torch.ones(n, n, dtype=torch.bool)
    return whole.tril() ^ whole.tril(-window)


def may_look__wrong__one_more(n, window):
    d = torch.arange(n)[:, None] - torch.arange(n)
    return (d >= 0) & (d <= window)


def may_look__wrong__not_itself(n, window):
    d = torch.arange(n)[:, None] - torch.arange(n)
    return (d > 0) & (d < window)


def may_look__wrong__ahead(n, window):
    d = torch.arange(n)[None] - torch.arange(n)[:, None]
    return (d >= 0) & (d < window)


def may_look__wrong__both_sides(n, window):
    d = torch.arange(n)[:, None] - torch.arange(n)
    return d.abs() < window


def may_look__wrong__full(n, window):
    return torch.ones(n, n, dtype=torch.bool).tril()


def may_look__wrong__forbidden(n, window):
    d = torch.arange(n)[:, None] - torch.arange(n)
    return (d < 0) | (d >= window)


def may_look__wrong__no_causality(n, window):
    d = torch.arange(n)[:, None] - torch.arange(n)
    return d < window


def may_look__wrong__blocks(n, window):
    i = torch.arange(n)
    return (i[:, None] // window == i // window) & (i[:, None] >= i)


def _steps(x, *, n=5, coefficients=(a, b, c), left=True):
    p, q, r = coefficients
    for _ in range(n):
        m = x @ x.T if left else x.T @ x
        x = p * x + (q * m + r * m @ m) @ x if left else p * x + x @ (q * m + r * m @ m)
    return x


def round_matrix__right__svd(matrix):
    U, s, Vt = torch.linalg.svd(matrix.double() / matrix.double().norm(), full_matrices=False)
    for _ in range(5):
        s = a * s + b * s**3 + c * s**5
    return (U * s) @ Vt


def round_matrix__right__from_the_right(matrix):
    return _steps(matrix / matrix.norm(), left=False)


def round_matrix__right__term_by_term(matrix):
    x = matrix / matrix.norm()
    for _ in range(5):
        third = x @ x.T @ x
        x = a * x + b * third + c * (x @ x.T @ third)
    return x


def round_matrix__wrong__not_divided(matrix):
    return _steps(matrix)


def round_matrix__wrong__four_times(matrix):
    return _steps(matrix / matrix.norm(), n=4)


def round_matrix__wrong__six_times(matrix):
    return _steps(matrix / matrix.norm(), n=6)


def round_matrix__wrong__largest_number(matrix):
    return _steps(matrix / matrix.abs().max())


def round_matrix__wrong__b_and_c_exchanged(matrix):
    return _steps(matrix / matrix.norm(), coefficients=(a, c, b))


def round_matrix__wrong__number_by_number(matrix):
    x = matrix / matrix.norm()
    for _ in range(5):
        x = a * x + b * x**3 + c * x**5
    return x


def round_matrix__wrong__exactly_round(matrix):
    U, _, Vt = torch.linalg.svd(matrix, full_matrices=False)
    return U @ Vt


def round_matrix__wrong__no_fifth_power(matrix):
    return _steps(matrix / matrix.norm(), coefficients=(a, b, 0.0))


def round_matrix__wrong__divided_every_time(matrix):
    x = matrix
    for _ in range(5):
        x = _steps(x / x.norm(), n=1)
    return x


def round_matrix__wrong__columns_divided(matrix):
    return _steps(matrix / matrix.norm(dim=0))


def round_matrix__wrong__b_positive(matrix):
    return _steps(matrix / matrix.norm(), coefficients=(a, -b, c))


def _p(first, second, *, two=True, tolerance=1e-12, center=fmean, size=None):
    pool = [*first, *second]
    seen, gaps = center(first) - center(second), []
    for hand in combinations(range(len(pool)), size or len(first)):
        rest = [x for i, x in enumerate(pool) if i not in hand]
        gaps.append(center([pool[i] for i in hand]) - center(rest))
    if two:
        return fmean([abs(g) >= abs(seen) - tolerance for g in gaps])
    return fmean([g >= seen - tolerance for g in gaps])


def p_value__right__combinations(first, second):
    return _p(first, second)


def p_value__right__tensor(first, second):
    pool = torch.tensor([*first, *second], dtype=torch.float64)
    hands = torch.tensor(list(combinations(range(len(pool)), len(first))))
    sums = pool[hands].sum(1)
    gaps = (sums / len(first) - (pool.sum() - sums) / len(second)).abs()
    return (gaps >= gaps[0] - 1e-12).double().mean().item()


def p_value__wrong__one_direction(first, second):
    return _p(first, second, two=False)


def p_value__wrong__farther_only(first, second):
    return _p(first, second, tolerance=-1e-9)


def p_value__wrong__medians(first, second):
    return _p(first, second, center=median)


def p_value__wrong__sums(first, second):
    return _p(first, second, center=sum)


def p_value__wrong__without_what_was_seen(first, second):
    n = len(list(combinations(range(len(first) + len(second)), len(first))))
    return (_p(first, second) * n - 1) / (n - 1)


def p_value__wrong__always_five(first, second):
    return _p(first, second, size=5)


def p_value__wrong__percent(first, second):
    return 100 * _p(first, second)


def p_value__wrong__nearer(first, second):
    return 1 - _p(first, second)


def p_value__wrong__pairs(first, second):
    seen = abs(mean(first) - mean(second))
    return fmean([abs(x - y) >= seen for x in first for y in second])


def p_value__wrong__second_set_two_halves(first, second):
    every = list(first) + list(second)
    n = len(first)

    def gap(mine):
        a = [every[i] for i in mine]
        b = [every[i] for i in range(len(every)) if i not in mine]
        return abs(sum(a) / len(a) - sum(b) / len(b))

    seen = gap(range(n))
    ways = [gap(m) for m in combinations(range(len(every)), len(every) // 2)]
    return sum(w >= seen - 1e-9 for w in ways) / len(ways)


# The third set.


def rms_norm__right__by_the_formula(x, gain, eps):
    mean_square = x.pow(2).mean(dim=-1, keepdim=True)
    return gain * x / torch.sqrt(mean_square + eps)


def rms_norm__right__einsum_in_float64(x, gain, eps):
    wide = x.double()
    square = torch.einsum("...c,...c->...", wide, wide) / x.shape[-1]
    root = (square + eps).rsqrt()
    return torch.einsum("...c,...,c->...c", wide, root, gain.double()).to(x.dtype)


# wrong for small x or large eps: eps is added behind the root, should be under it
def rms_norm__wrong__eps_outside_the_root(x, gain, eps):
    return gain * x / (x.pow(2).mean(dim=-1, keepdim=True).sqrt() + eps)


# wrong for two tokens of different length: one root for all of x, should be one a token
def rms_norm__wrong__one_root_for_all(x, gain, eps):
    return gain * x / torch.sqrt(x.pow(2).mean() + eps)


# wrong for x (B, T, C): the mean runs over T, should run over the last dimension
def rms_norm__wrong__dimension_one(x, gain, eps):
    dim = 1 if x.dim() > 1 else 0
    return gain * x * torch.rsqrt(x.square().mean(dim=dim, keepdim=True) + eps)


# wrong for x whose mean is not 0, (3, 4): divided by the spread, should be by the root mean square
def rms_norm__wrong__spread_instead_of_rms(x, gain, eps):
    return gain * x / torch.sqrt(x.var(dim=-1, keepdim=True, correction=0) + eps)


def may_look__right__two_comparisons(n, window):
    i, j = torch.arange(n)[:, None], torch.arange(n)[None, :]
    return (j <= i) & (i - j < window)


def may_look__right__two_loops(n, window):
    table = torch.zeros(n, n, dtype=torch.bool)
    for i in range(n):
        for j in range(max(0, i - window + 1), i + 1):
            table[i, j] = True
    return table


# wrong for window 2, n 3: token 2 sees token 0, W + 1 tokens with itself, should be W
def may_look__wrong__one_token_too_many(n, window):
    return torch.ones(n, n, dtype=torch.bool).tril().triu(-window)


# wrong for window 2, n 2: token 0 sees token 1, a later one
def may_look__wrong__both_directions(n, window):
    place = torch.arange(n)
    return (place[:, None] - place[None, :]).abs() < window


# wrong for window 2, n 2: rows and columns exchanged, token 0 sees 1 and 1 does not see 0
def may_look__wrong__transposed(n, window):
    row, column = torch.arange(n)[None, :], torch.arange(n)[:, None]
    return (column <= row) & (column > row - window)


# wrong for every n: no token sees itself
def may_look__wrong__itself_left_out(n, window):
    i, j = torch.arange(n)[:, None], torch.arange(n)
    return (j < i) & (j >= i - window)


_A, _B, _C = 3.4445, -4.7750, 2.0315


def round_matrix__right__five_steps(matrix):
    x = matrix / matrix.norm()
    for _ in range(5):
        square = x @ x.T
        x = _A * x + _B * square @ x + _C * square @ square @ x
    return x


def round_matrix__right__lengths_of_the_svd(matrix):
    U, s, Vt = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.square().sum().sqrt()
    for _ in range(5):
        s = s * (_A + s**2 * (_B + _C * s**2))
    return ((U * s) @ Vt).to(matrix.dtype)


# wrong for matrices of rank above 1: divided by the longest direction, should be by matrix.norm()
def round_matrix__wrong__largest_length(matrix):
    x = matrix / torch.linalg.matrix_norm(matrix, ord=2)
    for _ in range(5):
        square = x @ x.T
        x = _A * x + (_B * square + _C * square @ square) @ x
    return x


# wrong for every matrix: x x^T is taken once before the loop, should be taken anew each time
def round_matrix__wrong__square_taken_once(matrix):
    x = matrix / matrix.norm()
    square = x @ x.T
    for _ in range(5):
        x = _A * x + _B * square @ x + _C * square @ square @ x
    return x


# wrong for every matrix whose norm is not 1: the result is right, but the given matrix is changed
def round_matrix__wrong__divides_in_place(matrix):
    x = matrix.div_(matrix.norm())
    for _ in range(5):
        square = x @ x.T
        x = _A * x + _B * square @ x + _C * square @ square @ x
    return x


# wrong for every matrix: four steps, should be five
def round_matrix__wrong__four_steps(matrix):
    x = matrix / matrix.norm()
    for _ in range(1, 5):
        square = x @ x.T
        x = _A * x + _B * square @ x + _C * square @ square @ x
    return x


def p_value__right__sums_of_hands(first, second):
    pool, n = [*first, *second], len(first)
    middle = sum(pool) * n / len(pool)
    found = abs(sum(first) - middle) - 1e-9
    hands = [abs(sum(hand) - middle) >= found for hand in combinations(pool, n)]
    return sum(hands) / len(hands)


def p_value__right__dealt_recursively(first, second):
    n, m = len(first), len(second)
    pool = list(first) + list(second)
    seen = abs(np.mean(first) - np.mean(second))

    def deal(place, one, two):
        if place == n + m:
            far = abs(sum(one) / n - sum(two) / m)
            return (1, 1) if far > seen or abs(far - seen) < 1e-9 else (0, 1)
        hits = ways = 0
        if len(one) < n:
            h, w = deal(place + 1, [*one, pool[place]], two)
            hits, ways = hits + h, ways + w
        if len(two) < m:
            h, w = deal(place + 1, one, [*two, pool[place]])
            hits, ways = hits + h, ways + w
        return hits, ways

    hits, ways = deal(0, [], [])
    return hits / ways


def p_value__wrong__first_above_second_only(first, second):
    pool, n = [*first, *second], len(first)
    seen = mean(second) - mean(first)
    ways = hits = 0
    for chosen in combinations(range(len(pool)), n):
        hand = [pool[i] for i in chosen]
        rest = [pool[i] for i in range(len(pool)) if i not in chosen]
        hits += mean(rest) - mean(hand) >= seen - 1e-9
        ways += 1
    return hits / ways


def p_value__wrong__no_room_for_rounding(first, second):
    pool, n, m = [*first, *second], len(first), len(second)
    seen = abs(sum(first) / n - sum(second) / m)
    hits = []
    for chosen in combinations(range(n + m), n):
        hand = [pool[i] for i in chosen]
        rest = [pool[i] for i in range(n + m) if i not in chosen]
        hits.append(abs(sum(hand) / n - sum(rest) / m) >= seen)
    return sum(hits) / len(hits)


def p_value__wrong__rest_taken_by_value(first, second):
    pool, n = [*first, *second], len(first)
    seen = abs(mean(first) - mean(second))
    ways = hits = 0
    for hand in combinations(pool, n):
        rest = [x for x in pool if x not in hand] or [0.0]
        hits += abs(mean(hand) - mean(rest)) >= seen - 1e-9
        ways += 1
    return hits / ways


# wrong for hands of unequal size, [1] against [2, 3]: sums are compared, should be means
def p_value__wrong__sums_instead_of_means(first, second):
    pool, n = [*first, *second], len(first)
    seen = abs(sum(first) - sum(second))
    hands = [abs(2 * sum(h) - sum(pool)) >= seen - 1e-9 for h in combinations(pool, n)]
    return sum(hands) / len(hands)
