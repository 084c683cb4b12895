"""Every wrong answer of notebook 03 fails with a message of its own."""

import math
import random

import pytest
from kill_table import assert_exercise

from bhushgpt.corpus import split_point, split_text
from bhushgpt.exercises.nb03_text_and_tokens import bits_per_character, split_at_line, unmerge

# --- split_at_line


def moves_back(text, held_out):
    cut = text.rindex("\n", 0, split_point(len(text), held_out)) + 1
    return text[:cut], text[cut:]


def cuts_before_the_break(text, held_out):
    cut = text.index("\n", split_point(len(text), held_out))
    return text[:cut], text[cut:]


def moves_on(text, held_out):
    cut = text.index("\n", split_point(len(text), held_out)) + 1
    return text[:cut], text[cut:]


def loses_the_break(text, held_out):
    cut = text.index("\n", split_point(len(text), held_out))
    return text[:cut], text[cut + 1 :]


def share_of_lines(text, held_out):
    lines = text.splitlines(keepends=True)
    cut = split_point(len(lines), held_out)
    return "".join(lines[:cut]), "".join(lines[cut:])


def shuffled(text, held_out):
    lines = text.splitlines(keepends=True)
    random.Random(0).shuffle(lines)
    return moves_on("".join(lines), held_out)


def wrong_way_round(text, held_out):
    return moves_on(text, held_out)[::-1]


def first_part_held_out(text, held_out):
    cut = text.index("\n", int(held_out * len(text))) + 1
    return text[:cut], text[cut:]


def nothing_held_out(text, held_out):
    return text, ""


def break_in_both(text, held_out):
    cut = text.index("\n", split_point(len(text), held_out))
    return text[: cut + 1], text[cut:]


def rounds_the_point(text, held_out):
    point = int(len(text) * (1 - held_out))
    cut = text.index("\n", max(point - 1, 0)) + 1
    return text[:cut], text[cut:]


SPLITS = [
    (rounds_the_point, "take split_point"),
    (nothing_held_out, "the held-out part is empty"),
    (break_in_both, "of 402 characters 1 stand in both"),
    (split_text, "begins inside a line"),
    (moves_back, "move it forward to its end"),
    (cuts_before_the_break, "cut after the line break, not before it"),
    (moves_on, "at the start of a line already, it stays"),
    (loses_the_break, "of 402 characters 1 are gone"),
    (share_of_lines, "cut by characters"),
    (shuffled, "do not shuffle"),
    (wrong_way_round, "the wrong way round"),
    (first_part_held_out, "the cut belongs at character"),
]


# --- unmerge


def one_level(ids, merges):
    return [old for i in ids for old in merges.get(i, (i,))]


def swapped(ids, merges):
    return [old for i in ids for old in reversed(merges.get(i, (i,)))]


def loses_the_rest(ids, merges):
    return [old for i in ids if i in merges for old in merges[i]]


def nested(ids, merges):
    return [list(merges[i]) if i in merges else i for i in ids]


def first_place_only(ids, merges):
    ids = list(ids)
    for new_id, pair in merges.items():
        if new_id in ids:
            place = ids.index(new_id)
            ids[place : place + 1] = pair
    return ids


def left_half(ids, merges):
    return [merges[i][0] if i in merges else i for i in ids]


def right_half(ids, merges):
    return [merges[i][1] if i in merges else i for i in ids]


def keeps_the_merged(ids, merges):
    return [old for i in ids for old in ((*merges[i], i) if i in merges else (i,))]


def empties_merges(ids, merges):
    ids = list(ids)
    while merges:
        new_id, pair = merges.popitem()
        ids = [old for i in ids for old in (pair if i == new_id else (i,))]
    return ids


def unchanged(ids, merges):
    return list(ids)


def in_place(ids, merges):
    for new_id, pair in reversed(merges.items()):
        while new_id in ids:
            place = ids.index(new_id)
            ids[place : place + 1] = pair
    return ids


def adds_a_zero(ids, merges):
    return [*one_level(ids, merges), 0]


def forgets_to_begin(ids, merges):
    result = []
    for new_id, pair in reversed(merges.items()):
        result = [old for i in (result or ids) for old in (pair if i == new_id else (i,))]
    return result


UNMERGES = [
    (forgets_to_begin, "without any merges"),
    (one_level, "merged tokens are left: [4, 3]"),
    (swapped, "in the wrong order"),
    (loses_the_rest, "got lost"),
    (nested, "lists inside a list"),
    (first_place_only, "only the first place"),
    (left_half, "only its left half"),
    (right_half, "only its right half"),
    (keeps_the_merged, "the merged token stayed"),
    (empties_merges, "your code changes `merges`"),
    (unchanged, "nothing was undone"),
    (in_place, "your code changes `ids`"),
    (adds_a_zero, "unmerging [2, 3, 3, 0] with 3 = (0, 1)"),
]


# --- bits_per_character


LN2 = math.log(2)


def of_the_stripped_text(nats, ids, text):
    return nats * len(ids) / len(text.strip()) / math.log(2)


BITS = [
    (of_the_stripped_text, "do not strip the text"),
    (lambda n, ids, text: n * len(ids) / len(text), "that is nats per character"),
    (lambda n, ids, text: n * len(ids) / len(text) * LN2, "you multiplied by ln 2"),
    (lambda n, ids, text: n / LN2, "that is bits per token"),
    (lambda n, ids, text: n * len(text) / len(ids) / LN2, "upside down"),
    (lambda n, ids, text: math.log2(n) * len(ids) / len(text), "do not take log2"),
    (lambda n, ids, text: n * len(ids) / LN2, "for the whole text"),
    (lambda n, ids, text: n * len(ids) / len(text.encode()) / LN2, "that is bits per byte"),
    (lambda n, ids, text: 1.0, "7 tokens and 22 characters it is 1.010, yours 1.000"),
]


@pytest.mark.parametrize(
    ("exercise", "stub", "wrong"),
    [
        (split_at_line, lambda text, held_out: ..., SPLITS),
        (unmerge, lambda ids, merges: ..., UNMERGES),
        (bits_per_character, lambda nats_per_token, ids, text: ..., BITS),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_each_wrong_answer_gets_its_own_message(exercise, stub, wrong):
    assert_exercise(exercise, stub, wrong)


def test_recursion_passes_as_well_as_the_reference():
    def recursive(ids, merges):
        result = []
        for i in ids:
            result += recursive(merges[i], merges) if i in merges else [i]
        return result

    assert unmerge.judge(recursive).status == "right"
