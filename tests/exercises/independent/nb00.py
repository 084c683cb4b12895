"""Answers to the exercises of notebook 00, written from its cards alone."""

import itertools
import re
from collections import Counter

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
