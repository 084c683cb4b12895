"""Answers to the exercises of notebook 19, written from its cards alone."""

import math
from fractions import Fraction
from itertools import combinations, pairwise
from statistics import mean

import numpy as np
import torch


def bits_per_byte__right__loop(nats, text):
    return sum(x / math.log(2) for x in nats.tolist()) / len(bytes(text, "utf8"))


def bits_per_byte__right__tensor(nats, text):
    return nats.double().sum() * math.log2(math.e) / len(text.encode())


def bits_per_byte__wrong__characters(nats, text):
    return nats.sum().item() / math.log(2) / len(text)


def bits_per_byte__wrong__mean(nats, text):
    return nats.mean().item() / math.log(2)


def bits_per_byte__wrong__nats(nats, text):
    return nats.sum().item() / len(text.encode())


def bits_per_byte__wrong__times_ln_2(nats, text):
    return nats.sum().item() * math.log(2) / len(text.encode())


def bits_per_byte__wrong__mean_over_bytes(nats, text):
    return nats.mean().item() / math.log(2) / len(text.encode())


def bits_per_byte__wrong__whole_text(nats, text):
    return nats.sum().item() / math.log(2)


def bits_per_byte__wrong__log2_of_losses(nats, text):
    return nats.log2().sum().item() / len(text.encode())


def _bins(confidence, right, bins, *, top=True, empty=math.nan, share=True):
    out = torch.full((bins, 2), empty)
    place = (confidence * bins).long()
    if top:
        place = place.clamp(max=bins - 1)
    for b in range(bins):
        here = place == b
        if here.any():
            out[b, 0] = confidence[here].mean()
            out[b, 1] = right[here].float().mean() if share else right[here].float().sum()
    return out


def reliability__right__mask(confidence, right, bins):
    return _bins(confidence, right, bins)


def reliability__right__bincount(confidence, right, bins):
    place = torch.clamp((confidence * bins).floor().long(), max=bins - 1)
    n, c, r = (torch.zeros(bins, dtype=torch.float64) for _ in range(3))
    for p, conf, ok in zip(place.tolist(), confidence.tolist(), right.tolist(), strict=True):
        n[p] += 1
        c[p] += conf
        r[p] += bool(ok)
    return torch.stack([c / n, r / n], dim=1)


def reliability__wrong__one_lost(confidence, right, bins):
    return _bins(confidence, right, bins, top=False)


def reliability__wrong__empty_is_zero(confidence, right, bins):
    return _bins(confidence, right, bins, empty=0.0)


def reliability__wrong__number_right(confidence, right, bins):
    return _bins(confidence, right, bins, share=False)


def reliability__wrong__columns_exchanged(confidence, right, bins):
    return _bins(confidence, right, bins).flip(1)


def reliability__wrong__middle_of_the_bin(confidence, right, bins):
    out = _bins(confidence, right, bins)
    out[:, 0] = (torch.arange(bins) + 0.5) / bins
    return out


def reliability__wrong__equal_counts(confidence, right, bins):
    order = confidence.argsort()
    return torch.stack(
        [
            torch.stack([confidence[i].mean(), right[i].float().mean()])
            for i in order.tensor_split(bins)
        ]
    )


def reliability__wrong__always_ten(confidence, right, bins):
    return _bins(confidence, right, 10)


def reliability__wrong__rounded(confidence, right, bins):
    return _bins((confidence * bins).round() / bins, right, bins)


def reliability__wrong__transposed(confidence, right, bins):
    return _bins(confidence, right, bins).T


def reliability__wrong__empty_left_out(confidence, right, bins):
    out = _bins(confidence, right, bins)
    return out[~out.isnan().any(1)]


def _p(first, second, *, two=True, strict=False, size=None, center=mean):
    pool = [*first, *second]
    seen = center(first) - center(second)
    hits = total = 0
    for chosen in combinations(range(len(pool)), size or len(first)):
        a = [pool[i] for i in chosen]
        b = [pool[i] for i in range(len(pool)) if i not in chosen]
        gap = center(a) - center(b)
        if two:
            hit = abs(gap) > abs(seen) + 1e-12 if strict else abs(gap) >= abs(seen) - 1e-12
        else:
            hit = gap >= seen - 1e-12
        hits, total = hits + hit, total + 1
    return hits / total


def p_value__right__fractions(first, second):
    a, b = [[Fraction(x).limit_denominator(10**9) for x in g] for g in (first, second)]
    pool, whole = a + b, sum(a + b)

    def apart(s):
        return abs(s / len(a) - (whole - s) / len(b))

    sums = [sum(chosen) for chosen in combinations(pool, len(a))]
    return sum(apart(s) >= apart(sum(a)) for s in sums) / len(sums)


def p_value__right__masks(first, second):
    return _p(first, second)


def p_value__right__bits(first, second):
    pool, hits, total = list(first) + list(second), 0, 0
    seen = abs(sum(first) / len(first) - sum(second) / len(second))
    for bits in range(2 ** len(pool)):
        if bits.bit_count() != len(first):
            continue
        a = [x for i, x in enumerate(pool) if bits >> i & 1]
        b = [x for i, x in enumerate(pool) if not bits >> i & 1]
        hits += abs(sum(a) / len(a) - sum(b) / len(b)) > seen - 1e-9
        total += 1
    return hits / total


def p_value__wrong__one_direction(first, second):
    return _p(first, second, two=False)


def p_value__wrong__more_not_as_much(first, second):
    return _p(first, second, strict=True)


def p_value__wrong__the_complement(first, second):
    return 1 - _p(first, second)


def p_value__wrong__number_of_ways(first, second):
    return _p(first, second) * math.comb(len(first) + len(second), len(first))


def p_value__wrong__difference(first, second):
    return abs(mean(first) - mean(second))


def p_value__wrong__half(first, second):
    return _p(first, second) / 2


def p_value__wrong__groups_of_half(first, second):
    return _p(first, second, size=(len(first) + len(second)) // 2)


def p_value__wrong__sums_not_means(first, second):
    return _p(first, second, center=sum)


def p_value__wrong__largest_losses(first, second):
    return _p(first, second, center=max)


def narrow__right__scaled(low, width, bounds, symbol):
    unit = width / bounds[-1]
    return low + unit * bounds[symbol], unit * (bounds[symbol + 1] - bounds[symbol])


def narrow__right__from_ends(low, width, bounds, symbol):
    begin, end = (low + width * bounds[s] / bounds[-1] for s in (symbol, symbol + 1))
    return begin, end - begin


def narrow__wrong__end_not_width(low, width, bounds, symbol):
    return low + width * bounds[symbol] / bounds[-1], low + width * bounds[symbol + 1] / bounds[-1]


def narrow__wrong__not_divided(low, width, bounds, symbol):
    return low + width * bounds[symbol], width * (bounds[symbol + 1] - bounds[symbol])


def narrow__wrong__low_forgotten(low, width, bounds, symbol):
    return width * bounds[symbol] / bounds[-1], width * (
        bounds[symbol + 1] - bounds[symbol]
    ) / bounds[-1]


def narrow__wrong__width_first(low, width, bounds, symbol):
    width = width * (bounds[symbol + 1] - bounds[symbol]) / bounds[-1]
    return low + width * bounds[symbol] / bounds[-1], width


def narrow__wrong__next_symbol(low, width, bounds, symbol):
    return low + width * bounds[symbol + 1] / bounds[-1], width * (
        bounds[symbol + 1] - bounds[symbol]
    ) / bounds[-1]


def narrow__wrong__width_up_to_the_bound(low, width, bounds, symbol):
    return low + width * bounds[symbol] / bounds[-1], width * bounds[symbol + 1] / bounds[-1]


def narrow__wrong__width_stays(low, width, bounds, symbol):
    return low + width * bounds[symbol] / bounds[-1], (
        bounds[symbol + 1] - bounds[symbol]
    ) / bounds[-1]


def narrow__wrong__from_zero(low, width, bounds, symbol):
    return low, width * (bounds[symbol + 1] - bounds[symbol]) / bounds[-1]


def narrow__wrong__exchanged(low, width, bounds, symbol):
    return width * (bounds[symbol + 1] - bounds[symbol]) / bounds[-1], low + width * bounds[
        symbol
    ] / bounds[-1]


# The third set.


def bits_per_byte__right__sum_over_bytes(nats, text):
    return float(torch.as_tensor(nats).double().sum()) / math.log(2) / len(text.encode("utf-8"))


def bits_per_byte__right__bits_first_fsum(nats, text):
    bits = math.fsum(float(n) * math.log2(math.e) for n in nats)
    return bits / sum(1 for _ in bytes(text, "utf-8"))


# wrong for every N > 1: the mean depends on the tokens, should be the sum
def bits_per_byte__wrong__mean_of_losses(nats, text):
    return nats.mean().item() / math.log(2) / len(text.encode("utf-8"))


# wrong for a text that ends with a line break: its byte is not counted, should be
def bits_per_byte__wrong__text_is_stripped(nats, text):
    return nats.sum().item() / math.log(2) / len(text.strip().encode())


def reliability__right__mask_for_each_bin(confidence, right, bins):
    place = (confidence * bins).long().clamp(max=bins - 1)
    rows = []
    for b in range(bins):
        inside = place == b
        rows.append([confidence[inside].mean().item(), right[inside].float().mean().item()])
    return torch.tensor(rows)


def reliability__right__third_bincount(confidence, right, bins):
    place = torch.minimum((confidence * bins).long(), torch.tensor(bins - 1))
    counts = torch.bincount(place, minlength=bins).double()
    said = torch.bincount(place, weights=confidence.double(), minlength=bins)
    came = torch.bincount(place, weights=right.double(), minlength=bins)
    return (torch.stack([said, came], dim=1) / counts[:, None]).float()


# wrong for an empty bin: 0 and 0, should be nan
def reliability__wrong__empty_bin_is_zero(confidence, right, bins):
    place = (confidence * bins).long().clamp(max=bins - 1)
    table = torch.zeros(bins, 2)
    for b in place.unique().tolist():
        inside = place == b
        table[b, 0] = confidence[inside].mean()
        table[b, 1] = right[inside].float().mean()
    return table


# wrong for a confidence of 1.0: it is in no bin, should be in the last
def reliability__wrong__one_is_lost(confidence, right, bins):
    rows = []
    for b in range(bins):
        inside = (confidence * bins >= b) & (confidence * bins < b + 1)
        rows.append(torch.stack([confidence[inside].mean(), right[inside].float().mean()]))
    return torch.stack(rows)


def reliability__wrong__zero_is_lost(confidence, right, bins):
    edges = torch.linspace(0, 1, bins + 1)
    rows = []
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        rows.append(torch.stack([confidence[inside].mean(), right[inside].float().mean()]))
    return torch.stack(rows)


# wrong for confidences 0.6 and 0.7 in two bins: says 0.75, the middle of the bin, should be 0.65
def reliability__wrong__third_middle_of_the_bin(confidence, right, bins):
    place = (confidence * bins).long().clamp(max=bins - 1)
    table = torch.full((bins, 2), torch.nan)
    for b in range(bins):
        inside = place == b
        if inside.any():
            table[b, 0] = (b + 0.5) / bins
            table[b, 1] = right[inside].float().mean()
    return table


def p_value__right__combinations_of_places(first, second):
    pool = [*first, *second]
    seen = abs(mean(first) - mean(second))
    hits = []
    for chosen in combinations(range(len(pool)), len(first)):
        rest = [x for i, x in enumerate(pool) if i not in chosen]
        hits.append(abs(mean(pool[i] for i in chosen) - mean(rest)) >= seen - 1e-9)
    return sum(hits) / len(hits)


def p_value__right__bit_masks_in_numpy(first, second):
    pool = np.array([*first, *second], dtype=np.float64)
    n, m = len(first), len(second)
    numbers = np.arange(2 ** (n + m))[:, None] >> np.arange(n + m) & 1
    hands = numbers[numbers.sum(axis=1) == n].astype(np.float64)
    apart = np.abs(hands @ pool / n - (1 - hands) @ pool / m)
    seen = abs(pool[:n].mean() - pool[n:].mean())
    return float((apart > seen - 1e-10).mean())


# wrong for [1, 2] against [3, 4]: 1/6, should be 2/6 (either direction)
def p_value__wrong__third_one_direction(first, second):
    pool = [*first, *second]
    sign = 1 if mean(first) >= mean(second) else -1
    seen = sign * (mean(first) - mean(second))
    hits = []
    for chosen in combinations(range(len(pool)), len(first)):
        rest = [x for i, x in enumerate(pool) if i not in chosen]
        hits.append(sign * (mean(pool[i] for i in chosen) - mean(rest)) >= seen - 1e-9)
    return sum(hits) / len(hits)


# wrong for [1] against [2]: 0, should be 1 (at least as much)
def p_value__wrong__strictly_more(first, second):
    pool = [*first, *second]
    seen = abs(mean(first) - mean(second))
    hits = []
    for chosen in combinations(range(len(pool)), len(first)):
        rest = [x for i, x in enumerate(pool) if i not in chosen]
        hits.append(abs(mean(pool[i] for i in chosen) - mean(rest)) > seen + 1e-9)
    return sum(hits) / len(hits)


def p_value__wrong__two_halves(first, second):
    pool = [*first, *second]
    seen = abs(mean(first) - mean(second))
    hits = []
    for chosen in combinations(range(len(pool)), len(pool) // 2):
        rest = [x for i, x in enumerate(pool) if i not in chosen]
        hits.append(abs(mean(pool[i] for i in chosen) - mean(rest)) >= seen - 1e-9)
    return sum(hits) / len(hits)


def p_value__wrong__equal_hands_counted_once(first, second):
    pool = sorted([*first, *second])
    total, n, m = sum(pool), len(first), len(second)
    seen = abs(mean(first) - mean(second))
    hands = set(combinations(pool, n))
    as_far = [abs(sum(h) / n - (total - sum(h)) / m) >= seen - 1e-9 for h in hands]
    return sum(as_far) / len(as_far)


def narrow__right__two_edges(low, width, bounds, symbol):
    begin, end = (low + width * edge / bounds[-1] for edge in bounds[symbol : symbol + 2])
    return begin, end - begin


# wrong for every second symbol of a message: returns where the part ends, should be how wide it is
def narrow__wrong__end_instead_of_width(low, width, bounds, symbol):
    unit = width / bounds[-1]
    return low + unit * bounds[symbol], low + unit * bounds[symbol + 1]


# wrong for width < 1 and symbol 1: the beginning moves by a share of 1, should be of width
def narrow__wrong__start_not_scaled_by_width(low, width, bounds, symbol):
    share = (bounds[symbol + 1] - bounds[symbol]) / bounds[-1]
    return low + bounds[symbol] / bounds[-1], width * share


# wrong for symbol 1: its width is counted from 0, should be from its own lower bound
def narrow__wrong__width_from_zero(low, width, bounds, symbol):
    unit = width / bounds[-1]
    return low + unit * bounds[symbol], unit * bounds[symbol + 1]


# wrong for bounds [0, 3, 4]: out of 7, their sum, should be out of 4, the last
def narrow__wrong__out_of_the_sum(low, width, bounds, symbol):
    unit = width / sum(bounds)
    return low + unit * bounds[symbol], unit * (bounds[symbol + 1] - bounds[symbol])
