"""Answers to the exercises of notebook 03, written from its cards alone."""

import math

from bhushgpt.corpus import split_point


def split_at_line__right__walk(text, held_out):
    p = split_point(len(text), held_out)
    while p > 0 and text[p - 1] != "\n":
        p += 1
    return text[:p], text[p:]


def split_at_line__right__line_by_line(text, held_out):
    p, train, rest = split_point(len(text), held_out), "", ""
    for line in text.split("\n")[:-1]:
        if len(train) < p:
            train += line + "\n"
        else:
            rest += line + "\n"
    return train, rest


def split_at_line__right__partition(text, held_out):
    p = split_point(len(text), held_out) - 1
    line, end, rest = text[p:].partition("\n")
    return text[:p] + line + end, rest


def split_at_line__wrong__skips_a_whole_line(text, held_out):
    p = text.index("\n", split_point(len(text), held_out)) + 1
    return text[:p], text[p:]


def split_at_line__wrong__break_at_the_front(text, held_out):
    p = text.index("\n", split_point(len(text), held_out) - 1)
    return text[:p], text[p:]


def split_at_line__wrong__break_lost(text, held_out):
    p = text.index("\n", split_point(len(text), held_out) - 1)
    return text[:p], text[p + 1 :]


def split_at_line__wrong__line_before(text, held_out):
    p = text.rindex("\n", 0, split_point(len(text), held_out)) + 1
    return text[:p], text[p:]


def split_at_line__wrong__exchanged(text, held_out):
    p = text.index("\n", split_point(len(text), held_out) - 1) + 1
    return text[p:], text[:p]


def split_at_line__wrong__tears_the_line(text, held_out):
    p = split_point(len(text), held_out)
    return text[:p], text[p:]


def split_at_line__wrong__share_from_the_front(text, held_out):
    p = text.index("\n", int(len(text) * held_out) - 1) + 1
    return text[:p], text[p:]


def unmerge__right__recursion(ids, merges):
    out = []
    for i in ids:
        out += unmerge__right__recursion(merges[i], merges) if i in merges else [i]
    return out


def unmerge__right__stack(ids, merges):
    out, waiting = [], list(ids)[::-1]
    while waiting:
        i = waiting.pop()
        if i in merges:
            left, right = merges[i]
            waiting += [right, left]
        else:
            out.append(i)
    return out


def unmerge__right__until_nothing_moves(ids, merges):
    new = list(ids)
    while any(i in merges for i in new):
        new = [j for i in new for j in merges.get(i, (i,))]
    return new


def unmerge__wrong__one_pass(ids, merges):
    return [j for i in ids for j in merges.get(i, (i,))]


def unmerge__wrong__first_merge_first(ids, merges):
    for new, pair in sorted(merges.items()):
        ids = [j for i in ids for j in (pair if i == new else (i,))]
    return ids


def unmerge__wrong__pair_exchanged(ids, merges):
    out = []
    for i in ids:
        out += unmerge__wrong__pair_exchanged(merges[i][::-1], merges) if i in merges else [i]
    return out


def unmerge__wrong__nested(ids, merges):
    return [unmerge__wrong__nested(merges[i], merges) if i in merges else i for i in ids]


def unmerge__wrong__right_half_stays(ids, merges):
    out = []
    for i in ids:
        if i in merges:
            out += [*unmerge__wrong__right_half_stays([merges[i][0]], merges), merges[i][1]]
        else:
            out.append(i)
    return out


def unmerge__wrong__changes_the_list(ids, merges):
    n = 0
    while n < len(ids):
        if ids[n] in merges:
            ids[n : n + 1] = merges[ids[n]]
        else:
            n += 1
    return ids


def unmerge__wrong__plain_ids_lost(ids, merges):
    out = []
    for i in ids:
        if i in merges:
            out += [j for k in merges[i] for j in merges.get(k, (k,))]
    return out


def bits_per_character__right__log2_e(nats_per_token, ids, text):
    return nats_per_token * math.log2(math.e) / (len(text) / len(ids))


def bits_per_character__right__whole_text(nats_per_token, ids, text):
    whole = sum(nats_per_token for _ in ids)
    return whole / math.log(2) / len(text)


def bits_per_character__wrong__per_token(nats_per_token, ids, text):
    return nats_per_token / math.log(2)


def bits_per_character__wrong__nats(nats_per_token, ids, text):
    return nats_per_token * len(ids) / len(text)


def bits_per_character__wrong__upside_down(nats_per_token, ids, text):
    return nats_per_token / math.log(2) * len(text) / len(ids)


def bits_per_character__wrong__times_ln_2(nats_per_token, ids, text):
    return nats_per_token * math.log(2) * len(ids) / len(text)


def bits_per_character__wrong__bytes(nats_per_token, ids, text):
    return nats_per_token * len(ids) / math.log(2) / len(text.encode())


def bits_per_character__wrong__log2_of_the_loss(nats_per_token, ids, text):
    return math.log2(nats_per_token) * len(ids) / len(text)


def bits_per_character__wrong__kinds(nats_per_token, ids, text):
    return nats_per_token * len(set(ids)) / math.log(2) / len(set(text))


# The third set.


def split_at_line__right__index(text, held_out):
    point = split_point(len(text), held_out)
    if point == 0 or text[point - 1] == "\n":
        return text[:point], text[point:]
    cut = text.index("\n", point) + 1
    return text[:cut], text[cut:]


def split_at_line__right__adds_whole_lines(text, held_out):
    point, train = split_point(len(text), held_out), ""
    lines = [line + "\n" for line in text.split("\n")[:-1]]
    while len(train) < point:
        train += lines.pop(0)
    return train, "".join(lines)


def split_at_line__wrong__skips_a_line_start(text, held_out):
    cut = text.index("\n", split_point(len(text), held_out)) + 1
    return text[:cut], text[cut:]


# "aaaa\n" * 4, 0.3: held-out begins with the line break; right is that it ends the training part.
def split_at_line__wrong__break_in_held_out(text, held_out):
    cut = text.index("\n", split_point(len(text), held_out) - 1)
    return text[:cut], text[cut:]


# "aaaa\n" * 4, 0.3 (point 14): cut at 10, before the point; right is 15, at or after it.
def split_at_line__wrong__line_start_before(text, held_out):
    cut = text.rfind("\n", 0, split_point(len(text), held_out)) + 1
    return text[:cut], text[cut:]


def split_at_line__wrong__point_rounded_down(text, held_out):
    point = int(len(text) * (1 - held_out))
    cut = text.index("\n", max(point - 1, 0)) + 1
    return text[:cut], text[cut:]


def unmerge__right__third_stack(ids, merges):
    waiting, out = list(ids)[::-1], []
    while waiting:
        token = waiting.pop()
        if token in merges:
            first, second = merges[token]
            waiting += [second, first]
        else:
            out.append(token)
    return out


def unmerge__right__until_nothing_is_left(ids, merges):
    out = [*ids]
    while any(token in merges for token in out):
        out = [part for token in out for part in merges.get(token, (token,))]
    return out


# [5] with {4: (1, 2), 5: (4, 3)}: gives [4, 3]; right is [1, 2, 3].
def unmerge__wrong__third_one_pass(ids, merges):
    out = []
    for token in ids:
        out.extend(merges.get(token, [token]))
    return out


def unmerge__wrong__two_levels(ids, merges):
    out = []
    for token in ids:
        for part in merges.get(token, (token,)):
            out.extend(merges.get(part, (part,)))
    return out


def unmerge__wrong__oldest_first(ids, merges):
    out = list(ids)
    for new in sorted(merges):
        undone = []
        for token in out:
            undone += merges[new] if token == new else [token]
        out = undone
    return out


def unmerge__wrong__changes_the_ids(ids, merges):
    i = 0
    while i < len(ids):
        if ids[i] in merges:
            ids[i : i + 1] = merges[ids[i]]
        else:
            i += 1
    return list(ids)


def bits_per_character__right__totals(nats_per_token, ids, text):
    total_nats = nats_per_token * len(ids)
    return total_nats / math.log(2) / len(text)


def bits_per_character__right__tokens_each_character(nats_per_token, ids, text):
    tokens = sum(1 for _ in ids)
    characters = sum(1 for _ in text)
    return nats_per_token * math.log2(math.e) * (tokens / characters)


# text "é" with 1 id: two bytes, one character, so this gives half of the right number.
def bits_per_character__wrong__third_bytes(nats_per_token, ids, text):
    return nats_per_token * len(ids) / (math.log(2) * len(text.encode()))


# "ab cd\n": spaces and line breaks are not counted, 4 in place of 6; right is every character.
def bits_per_character__wrong__spaces_not_counted(nats_per_token, ids, text):
    visible = sum(not letter.isspace() for letter in text)
    return nats_per_token * len(ids) / math.log(2) / max(visible, 1)
