"""Answers to the exercises of notebook 22, written from its cards alone."""

from itertools import combinations
from statistics import fmean, mean, median

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
