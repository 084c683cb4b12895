"""Exercises of notebook 03: a cut that tears no line, merges undone, a loss per character.

Lesson: notebook 03.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from bhushgpt.corpus import split_point
from bhushgpt.exercises.exercise import Exercise

# Lines that grow, so that a share of the lines is not the same share of the characters.
LINES = "".join("word " * n + "\n" for n in range(1, 13))
HELD_OUT = 0.35


def _reference_split_at_line(text: str, held_out: float) -> tuple[str, str]:
    cut = split_point(len(text), held_out)
    # From one character earlier: the cut may be at the start of a line already.
    cut = text.index("\n", cut - 1) + 1
    return text[:cut], text[cut:]


def _check_split_at_line(answer: Callable[..., Any]) -> str | None:
    text, held_out = LINES, HELD_OUT
    train, test = answer(text, held_out)
    expected, _ = _reference_split_at_line(text, held_out)
    point = split_point(len(text), held_out)
    if not train or not test:
        which = "held-out" if train else "training"
        return f"the {which} part is empty; both need text."
    if test + train == text:
        return "the two parts are there, but the wrong way round: return the training part first."
    if sorted(train + test) == sorted(text) and train + test != text:
        return "the lines are in another order now: do not shuffle, cut once."
    if train + test != text:
        lost = len(text) - len(train + test)
        what = f"{lost} are gone" if lost > 0 else f"{-lost} stand in both"
        return f"the two parts must make the text again; of {len(text)} characters {what}."
    if len(train) == point:
        return f"that is the plain cut at {point}: the held-out part begins inside a line."
    if train == text[: text.rindex("\n", 0, point) + 1]:
        return "you moved the cut back to the line's start; move it forward to its end."
    lines = text.splitlines(keepends=True)
    if train == "".join(lines[: split_point(len(lines), held_out)]):
        return "that is a share of the lines; lines differ in length, so cut by characters."
    if len(train) == len(expected) - 1:
        return "the line's own end belongs to the line: cut after the line break, not before it."
    if train != expected:
        return f"the cut belongs at character {len(expected)}, yours is at {len(train)}."
    train, _ = answer("ab\ncd\nef\n", 1 / 3)
    if train != "ab\ncd\n":
        return "when the cut is at the start of a line already, it stays; yours moved on."
    train, _ = answer("abcd\nef\n.", 1 / 3)
    if train == "abcd\n":
        return "one letter behind the start of a line is inside it: move on, to the next line."
    if train != "abcd\nef\n":
        return f"of 'abcd\\nef\\n.' the first two lines are for training, not {train!r}."
    for held_out in (0.4, 0.4125):  # 9.6 and 9.4 characters; a line starts at 9
        train, _ = answer("abcdefgh\nb\ncd\ne\n", held_out)
        if len(train) != 11:
            return (
                f"of 16 characters {16 * (1 - held_out):g} would be for training, and split_point "
                f"makes 10 of it; lines start at 9 and 11. Yours cuts at {len(train)}: take "
                "split_point's number."
            )
    return None


split_at_line = Exercise(
    name="split_at_line",
    question="Return (train, held_out), cut at the first line start at or after the split point.",
    hints=(
        "split_point(len(text), held_out) gives the plain cut.",
        "text.index('\\n', start) gives the place of the first line break from start on.",
        "Cut behind that line break. Start the search at cut - 1, or a good cut moves on.",
    ),
    praise="no line is torn, no character is lost, and the held-out part is still the end.",
    reference=_reference_split_at_line,
    checks=_check_split_at_line,
)


def _reference_unmerge(ids: Sequence[int], merges: dict[int, tuple[int, int]]) -> list[int]:
    ids = list(ids)
    # The last merge first: what it was made of may itself be a merge.
    for new_id, pair in reversed(merges.items()):
        ids = [old for i in ids for old in (pair if i == new_id else (i,))]
    return ids


MERGES = {3: (0, 1), 4: (3, 2), 5: (4, 3)}


def _check_unmerge(answer: Callable[..., Any]) -> str | None:
    came = list(answer([2, 3, 3, 0], MERGES))
    if any(isinstance(i, (list, tuple)) for i in came):
        return f"the result holds lists inside a list: {came}. One flat list is wanted."
    mistakes = {
        (2, 1, 0, 1, 0, 0): "the two halves of a pair came out in the wrong order.",
        (0, 1, 0, 1): "ids that were never merged got lost; they stay as they are.",
        (2, 0, 1, 3, 0): "only the first place was undone; the same token can come again.",
        (2, 0, 0, 0): "a merged token stands for two; only its left half came back.",
        (2, 1, 1, 0): "a merged token stands for two; only its right half came back.",
        (2, 0, 1, 3, 0, 1, 3, 0): "the pair came back and the merged token stayed; it is replaced.",
        (2, 3, 3, 0): "nothing was undone: merges tells what 3 was made of.",
    }
    if tuple(came) in mistakes:
        return mistakes[tuple(came)]
    if came != [2, 0, 1, 0, 1, 0]:
        return f"unmerging [2, 3, 3, 0] with 3 = (0, 1) gives [2, 0, 1, 0, 1, 0], yours {came}."
    came = list(answer([5, 2], dict(MERGES)))
    if any(i in MERGES for i in came):
        left = [i for i in came if i in MERGES]
        return f"merged tokens are left: {left}. A pair can hold merges; undo the last one first."
    if came != [0, 1, 2, 0, 1, 2]:
        return f"5 stands for 0, 1, 2, 0, 1 once every merge is undone; yours gave {came}."
    if list(answer([2, 1], {})) != [2, 1] or list(answer([], dict(MERGES))) != []:
        return (
            "without any merges, or without any ids, there is nothing to undo: give the same ids."
        )
    return None


unmerge = Exercise(
    name="unmerge",
    question="Return the ids with every merge undone; merges maps a new id to its pair of ids.",
    hints=(
        "First undo a single merge: build a new list, and put in the pair wherever its id stands.",
        "Do that for every merge. In which order, if a pair may hold an earlier merge?",
        "for new_id, pair in reversed(merges.items()): the last merge first.",
    ),
    praise="this is the decoder of byte-pair encoding.",
    reference=_reference_unmerge,
    keeps_inputs=True,
    checks=_check_unmerge,
)


def _reference_bits_per_character(nats_per_token: float, ids: Sequence[int], text: str) -> float:
    nats = nats_per_token * len(ids)
    return nats / len(text) / math.log(2)


def _bits_mistakes(nats: float, tokens: int, characters: int, size: int) -> dict[str, float]:
    """Map each message to the number that this mistake gives."""
    share, ln2 = tokens / characters, math.log(2)
    return {
        "that is nats per character; one bit is ln 2 nats.": nats * share,
        "you multiplied by ln 2; a loss in bits is the larger number, so divide.": nats
        * share
        * ln2,
        "that is bits per token: the length of text and ids plays no part yet.": nats / ln2,
        "the ratio is upside down: fewer tokens must make it cheaper.": nats / share / ln2,
        "the loss is a logarithm already; do not take log2 of it.": math.log2(nats) * share,
        "that is bits for the whole text; divide by its characters.": nats * tokens / ln2,
        "that is bits per byte; é is one character and two bytes.": nats * tokens / size / ln2,
    }


def _check_bits_per_character(answer: Callable[..., Any]) -> str | None:
    nats, ids, text = 2.2, [3, 1, 4, 1, 5, 0, 1], "café à la Baker Street"
    came = float(answer(nats, ids, text))
    sizes = (len(ids), len(text), len(text.encode()))
    for message, number in _bits_mistakes(nats, *sizes).items():
        if math.isclose(came, number, rel_tol=1e-3):
            return message
    others = {
        "that is the loss for one token, shared out; multiply by how many tokens there are.": (
            nats / math.log(2) / len(text)
        ),
        "that is the logarithm to base 10; a bit is base 2.": nats * 7 / 22 / math.log(10),
        "exp(loss) is the perplexity; here the loss itself counts.": math.exp(nats) * 7 / 22,
        "each token counts, also one that was there before; set() drops those.": (
            nats / math.log(2) * len(set(ids)) / 22
        ),
        "each character counts, also one that was there before; set() drops those.": (
            nats / math.log(2) * 7 / len(set(text))
        ),
        "every token of ids has a loss: all 7 of them count.": nats / math.log(2) * 6 / 22,
        "that is bits per word; divide by the characters.": (
            nats / math.log(2) * 7 / len(text.split())
        ),
    }
    for message, number in others.items():
        if math.isclose(came, number, rel_tol=1e-3):
            return message
    expected = _reference_bits_per_character(nats, ids, text)
    if not math.isclose(came, expected, rel_tol=1e-3):
        return f"for 2.2 nats, 7 tokens and 22 characters it is {expected:.3f}, yours {came:.3f}."
    # The same sizes, with blanks at both ends.
    if not math.isclose(float(answer(nats, ids, f"\n {text[2:-1]}\n")), expected, rel_tol=1e-3):
        return "blanks and line breaks at the ends are characters, too: do not strip the text."
    return None


bits_per_character = Exercise(
    name="bits_per_character",
    question="Return the bits per character of a loss in nats per token, given ids and text.",
    hints=(
        "The whole text costs nats_per_token * len(ids) nats.",
        "Share that out among len(text) characters.",
        "A bit is ln 2 = 0.693 nats: divide by math.log(2).",
    ),
    praise="now models with different tokenizers can be compared.",
    reference=_reference_bits_per_character,
    checks=_check_bits_per_character,
)
