"""Answers to the exercises of notebook 00, written from its cards alone."""

import itertools
import re
from collections import Counter, defaultdict

import torch


def chances_after__right__counter(text, past):
    n = len(past)
    found = Counter(text[i + n] for i in range(len(text) - n) if text[i : i + n] == past)
    return {c: k / found.total() for c, k in found.items()}


def chances_after__right__lookahead(text, past):
    found = [m.group(1) for m in re.finditer("(?=" + re.escape(past) + "(.))", text, re.S)]
    return {c: found.count(c) / len(found) for c in set(found)}


def chances_after__right__find(text, past):
    found, at = {}, text.find(past)
    while at != -1 and at + len(past) < len(text):
        c = text[at + len(past)]
        found[c] = found.get(c, 0) + 1
        at = text.find(past, at + 1)
    whole = sum(found.values())
    return {c: k / whole for c, k in sorted(found.items())}


def chances_after__wrong__counts(text, past):
    n = len(past)
    return dict(Counter(text[i + n] for i in range(len(text) - n) if text[i : i + n] == past))


def chances_after__wrong__overlaps_skipped(text, past):
    found = re.findall(re.escape(past) + "(.)", text, re.S)
    return {c: found.count(c) / len(found) for c in set(found)}


def chances_after__wrong__last_character_only(text, past):
    found = [b for a, b in itertools.pairwise(text) if a == past[-1:]]
    return {c: found.count(c) / len(found) for c in set(found)}


def chances_after__wrong__percent(text, past):
    n = len(past)
    found = [text[i + n] for i in range(len(text) - n) if text[i : i + n] == past]
    return {c: 100 * found.count(c) / len(found) for c in set(found)}


def chances_after__wrong__end_of_text_in_the_sum(text, past):
    n = len(past)
    places = [i for i in range(len(text)) if text[i : i + n] == past]
    found = Counter(text[i + n] for i in places if i + n < len(text))
    return {c: k / len(places) for c, k in found.items()}


def chances_after__wrong__last_place_missed(text, past):
    n = len(past)
    found = [text[i + n] for i in range(len(text) - n - 1) if text[i : i + n] == past]
    return {c: found.count(c) / len(found) for c in set(found)}


def chances_after__wrong__none_for_unseen(text, past):
    n = len(past)
    found = [text[i + n] for i in range(len(text) - n) if text[i : i + n] == past]
    return {c: found.count(c) / len(found) for c in found} if found else None


def window__right__tril_less_tril(T, n):
    return torch.ones(T, T).tril() - torch.ones(T, T).tril(-n)


def window__right__loops(T, n):
    table = torch.zeros(T, T, dtype=torch.float64)
    for t in range(T):
        for s in range(max(0, t - n + 1), t + 1):
            table[t, s] = 1
    return table


def window__right__true_false(T, n):
    d = torch.arange(T).unsqueeze(1) - torch.arange(T)
    return torch.logical_and(d >= 0, d < n)


def window__wrong__one_too_wide(T, n):
    d = torch.arange(T)[:, None] - torch.arange(T)
    return ((d >= 0) & (d <= n)).int()


def window__wrong__looks_ahead(T, n):
    d = torch.arange(T)[None] - torch.arange(T)[:, None]
    return ((d >= 0) & (d < n)).int()


def window__wrong__both_sides(T, n):
    d = torch.arange(T)[:, None] - torch.arange(T)
    return (d.abs() < n).int()


def window__wrong__no_window(T, n):
    return torch.ones(T, T).tril()


def window__wrong__not_itself(T, n):
    d = torch.arange(T)[:, None] - torch.arange(T)
    return ((d > 0) & (d <= n)).int()


def window__wrong__always_two(T, n):
    d = torch.arange(T)[:, None] - torch.arange(T)
    return ((d >= 0) & (d < 2)).int()


def window__wrong__always_four_rows(T, n):
    d = torch.arange(4)[:, None] - torch.arange(4)
    return ((d >= 0) & (d < n)).int()


# The third set.


def chances_after__right__lookahead_regex(text, past):
    found = re.findall("(?=" + re.escape(past) + "(.))", text, flags=re.DOTALL)
    return {letter: n / len(found) for letter, n in Counter(found).items()}


def chances_after__right__find_loop(text, past):
    counts, place = defaultdict(int), text.find(past)
    while place != -1 and place + len(past) < len(text):
        counts[text[place + len(past)]] += 1
        place = text.find(past, place + 1)
    total = sum(counts.values())
    return {letter: n / total for letter, n in counts.items()}


# ("aaab", "aa") has overlapping places: right is a 1/2, b 1/2; this one gives {"a": 1.0}.
def chances_after__wrong__no_overlaps(text, past):
    found = re.findall(re.escape(past) + "(.)", text, flags=re.DOTALL)
    return {letter: n / len(found) for letter, n in Counter(found).items()}


# ("abcab", "ab") ends with the past: right is {"c": 1.0}; this one divides by 2 and gives 0.5.
def chances_after__wrong__divides_by_all_places(text, past):
    places = [i for i in range(len(text)) if text[i : i + len(past)] == past]
    counts = Counter(text[i + len(past)] for i in places if i + len(past) < len(text))
    return {letter: n / len(places) for letter, n in counts.items()}


def chances_after__wrong__minus_zero_slice(text, past):
    counts = Counter(text[i] for i in range(len(text)) if text[:i][-len(past) :] == past)
    total = sum(counts.values())
    return {letter: n / total for letter, n in counts.items()}


# ("abac", "a") misses the place 0: right is b 1/2, c 1/2; this one gives {"c": 1.0}.
def chances_after__wrong__first_place_left_out(text, past):
    counts = Counter()
    for i in range(len(past) + 1, len(text)):
        if text[i - len(past) : i] == past:
            counts[text[i]] += 1
    return {letter: n / counts.total() for letter, n in counts.items()}


def window__right__two_triangles(T, n):
    ones = torch.ones(T, T, dtype=torch.int64)
    return ones.tril() - ones.tril(-n)


def window__right__row_by_row(T, n):
    rows = torch.zeros(T, T)
    for t in range(T):
        rows[t, max(0, t - n + 1) : t + 1] = 1
    return rows


# (4, 2): position 2 also sees 0 (n before it, itself not counted); right is 0110 in row 2.
def window__wrong__one_too_many(T, n):
    distance = torch.arange(T)[:, None] - torch.arange(T)[None, :]
    return ((distance >= 0) & (distance <= n)).int()


# (4, 2): row 0 gets a 1 in the last column, since index -1 counts from the end; right is 1000.
def window__wrong__negative_index_wraps(T, n):
    table = torch.zeros(T, T)
    for t in range(T):
        for s in range(t - n + 1, t + 1):
            if s >= -T:
                table[t, s] = 1
    return table


# (4, 2): row 0 is 1100, it sees the future on both sides; right is 1000.
def window__wrong__third_both_sides(T, n):
    t = torch.arange(T)
    return (t[:, None] - t[None, :]).abs() < n


# (4, 2): blocks of n, so row 2 is 0010; right is 0110, the position before it counts too.
def window__wrong__fixed_blocks(T, n):
    t = torch.arange(T)
    same = (t // n)[:, None] == (t // n)[None, :]
    return (same & (t[:, None] >= t[None, :])).int()
