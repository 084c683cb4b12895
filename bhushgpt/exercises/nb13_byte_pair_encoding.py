"""Exercises of notebook 13: encoding a piece, one ratio for many texts, one row from many pages.

Lesson: notebook 13.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from bhushgpt.bpe import END_OF_TEXT, BPETokenizer
from bhushgpt.bpe_by_hand import Merge, merge
from bhushgpt.exercises.exercise import Exercise


def _reference_encode_piece(ids: Sequence[int], merges: Sequence[Merge]) -> list[int]:
    ids = list(ids)
    learned = {pair: number for number, pair in enumerate(merges)}
    while here := [pair for pair in pairwise(ids) if pair in learned]:
        first = min(here, key=learned.__getitem__)
        ids = merge(ids, first, 256 + learned[first])
    return ids


# 1 2 is learned after 2 3, and the pair of the last merge is itself made of merges.
MERGES = [(2, 3), (1, 2), (1, 256), (4, 4), (258, 259)]


def _check_encode_piece(answer: Callable[..., Any]) -> str | None:
    came = answer([1, 2, 3], MERGES)
    mistakes = {
        (257, 3): "(1, 2) comes first in the piece, but (2, 3) was learned first; that decides.",
        (1, 256): "after a merge look again: now the pair (1, 256) is there, and it was learned.",
        (1, 2, 3): "nothing was merged: (2, 3) is there, and merges[0] makes it 256.",
        (1, 0): "the new id is 256 + the merge's place; 0 to 255 are the bytes.",
        (2,): "the new id is 256 + the merge's place; 0 to 255 are the bytes.",
        (0,): "merges[0] makes 256, not 0: the ids below are the bytes.",
    }
    if tuple(came) in mistakes:
        return mistakes[tuple(came)]
    if list(came) != [258]:
        return f"[1, 2, 3] becomes [1, 256], then [258]; yours gave {list(came)}."
    came = list(answer([2, 3, 9, 2, 3], list(MERGES)))
    if came == [256, 9, 2, 3]:
        return "only the first place was merged; the pair may come again in the same piece."
    if came == [2, 3, 9, 256]:
        return "only the last place was merged; the pair may come again in the same piece."
    if came != [256, 9, 256]:
        return f"[2, 3, 9, 2, 3] becomes [256, 9, 256]; yours gave {came}."
    came = list(answer([4, 4, 4], list(MERGES)))
    if came == [4, 259]:
        return "of 4 4 4 the first two are merged: go from left to right."
    if came != [259, 4]:
        return f"[4, 4, 4] becomes [259, 4]: each id is used once; yours gave {came}."
    if (came := list(answer([3, 2], list(MERGES)))) != [3, 2]:
        return f"(3, 2) is another pair than (2, 3), and was not learned; yours gave {came}."
    if (came := list(answer([1, 2, 3, 4, 4], list(MERGES)))) != [260]:
        return f"the last merge counts, too: [1, 2, 3, 4, 4] becomes [260]; yours gave {came}."
    if (came := list(answer([1, 2, 9, 1, 2, 3], list(MERGES)))) != [257, 9, 258]:
        return (
            "in [1, 2, 9, 1, 2, 3] the pair (1, 2) comes twice, and how often a pair comes decides "
            f"nothing: (2, 3) was learned earlier, so it is [257, 9, 258]; yours gave {came}."
        )
    if list(answer([], list(MERGES))) != [] or list(answer([0], list(MERGES))) != [0]:
        return "a piece of one id, or none, has no pair and stays as it is."
    return None


encode_piece = Exercise(
    name="encode_piece",
    question="Return the ids after merging; of the pairs there, the one learned first goes first.",
    hints=(
        "Which pairs are there? list(pairwise(ids)), from itertools.",
        "learned = {pair: n for n, pair in enumerate(merges)} tells when each was learned.",
        "While one of the pairs is in learned: take the one with the smallest n, replace it "
        "everywhere by 256 + n (my_merge above does that), and look again.",
    ),
    praise="this is what happens inside tiktoken for every piece.",
    reference=_reference_encode_piece,
    keeps_inputs=True,
    checks=_check_encode_piece,
)


def _reference_bytes_per_token(
    texts: Sequence[str], encode: Callable[[str], Sequence[int]]
) -> float:
    n_bytes = sum(len(text.encode("utf-8")) for text in texts)
    return n_bytes / sum(len(encode(text)) for text in texts)


# A long plain text and two short ones whose characters take several bytes.
TEXTS = ["the woman of the house and the man of the street " * 3, "house naïve", "猫睡"]


def _ratio_mistakes(counts: list[tuple[int, int, int]], joined: int) -> dict[str, float]:
    """Map each message to the number that this mistake gives; counts: bytes, characters, ids."""
    n_bytes, n_characters, n_ids = (sum(each) for each in zip(*counts, strict=True))
    return {
        "that is the mean of the texts' ratios; a long text must count more than a short one.": (
            sum(b / i for b, _, i in counts) / len(counts)
        ),
        "those are characters per token; ï is one character and two bytes.": n_characters / n_ids,
        "the ratio is upside down: that is tokens per byte.": n_ids / n_bytes,
        "that is the mean length in bytes of a text; divide by the tokens.": n_bytes / len(counts),
        "those are bytes alone; divide by the tokens.": float(n_bytes),
        "those are tokens alone; how many bytes come on one?": float(n_ids),
        "a ratio is no whole number: / instead of //.": float(n_bytes // n_ids),
        "you divided twice: the number of texts plays no part.": n_bytes / n_ids / len(counts),
        "you added the texts' ratios up; add bytes and tokens first, and divide once.": (
            sum(b / i for b, _, i in counts)
        ),
        "that is the middle one of the texts' ratios; all texts count, by their length.": (
            sorted(b / i for b, _, i in counts)[len(counts) // 2]
        ),
        "that is only the first text.": counts[0][0] / counts[0][2],
        "that is only the last text.": counts[-1][0] / counts[-1][2],
        "the texts were joined before encoding, so a piece reached from one into the next.": (
            n_bytes / joined
        ),
    }


def _check_bytes_per_token(answer: Callable[..., Any]) -> str | None:
    encode = BPETokenizer.train([TEXTS[0]], 280).encode
    came = float(answer(list(TEXTS), encode))
    counts = [(len(text.encode()), len(text), len(encode(text))) for text in TEXTS]
    joined = len(encode("".join(TEXTS)))
    for message, number in _ratio_mistakes(counts, joined).items():
        if math.isclose(came, number, rel_tol=1e-6):
            return message
    expected = _reference_bytes_per_token(TEXTS, encode)
    stripped = "blanks and line breaks at the ends have bytes, too: do not strip the texts."
    if math.isclose(came, _reference_bytes_per_token([text.strip() for text in TEXTS], encode)):
        return stripped
    if not math.isclose(came, expected, rel_tol=1e-6):
        return f"for these three texts it is {expected:.4f}, yours is {came:.4f}."
    twice = [*TEXTS, TEXTS[1], TEXTS[1]]
    if not _right_ratio(answer, twice, encode):
        return "a text that is there three times counts three times."
    if not _right_ratio(answer, [f" {TEXTS[1]} \n\n"], encode):
        return stripped
    return None


def _right_ratio(answer: Callable[..., Any], texts: list[str], encode: Callable[..., Any]) -> bool:
    expected = _reference_bytes_per_token(texts, encode)
    return math.isclose(float(answer(list(texts), encode)), expected, rel_tol=1e-6)


bytes_per_token = Exercise(
    name="exercise_2",
    question="Return the bytes of all texts divided by the tokens of all texts.",
    hints=(
        "Two sums: the bytes of all texts, and the ids of all texts.",
        "The bytes of a text: len(text.encode('utf-8')).",
        "Divide once, at the end; do not average the texts' own ratios.",
    ),
    praise="sums first, one division last: the ratio of the whole.",
    reference=_reference_bytes_per_token,
    checks=_check_bytes_per_token,
)


def _reference_token_row(documents: Sequence[str], tokenizer: BPETokenizer) -> list[int]:
    row: list[int] = []
    for document in documents:
        row += [*tokenizer.encode(document), tokenizer.eot_id]
    return row


DOCUMENTS = ["one ", f"two {END_OF_TEXT} three", "", " four"]


def _check_token_row(answer: Callable[..., Any]) -> str | None:
    tokenizer = BPETokenizer.train(["one two three four one  four"], 268)
    end, row = tokenizer.eot_id, list(answer(list(DOCUMENTS), tokenizer))
    expected = _reference_token_row(DOCUMENTS, tokenizer)
    if any(isinstance(each, list) for each in row):
        return "the result holds lists inside a list; one flat list of ids is wanted."
    if row == expected:
        if list(answer(["two", "two"], tokenizer)) != 2 * [*tokenizer.encode("two"), end]:
            return "a document that is there twice comes twice."
        return None
    count = row.count(end)
    text = tokenizer.decode([i for i in row if i != end])
    if count == 0 and text.count(END_OF_TEXT) > 1:
        return "you wrote the end of text as text, so it became ordinary ids; append the id."
    if count == 0:
        return "no end of text is in the row: nobody can tell where a document begins."
    if count == len(DOCUMENTS) + 1 and row[0] != end:
        return "a document's own <|endoftext|> became the special id; that must stay text."
    if count == len(DOCUMENTS) + 1:
        return "there is one end of text too many: none belongs before the first document."
    if row[0] == end:
        return "the end of text stands before each document; it belongs after each."
    if count == len(DOCUMENTS) - 1 and row[-1] != end:
        return "the last document has no end of text; put it after each, not between two."
    if count == 1:
        return "only one end of text is in the row; each document needs its own."
    if count == len(DOCUMENTS) - 1:
        return "an empty document is a document, too: its end of text is missing."
    if text != "".join(DOCUMENTS):
        return f"without the special ids the row must be the text of the documents, not {text!r}."
    return f"the row should be {expected}; yours is {row}."


token_row = Exercise(
    name="token_row",
    question="Return one flat list: each document's ids, and tokenizer.eot_id after each.",
    hints=(
        "Start with an empty list and go through the documents.",
        "tokenizer.encode(document) reads everything in it as text; that is what you want.",
        "row += [*tokenizer.encode(document), tokenizer.eot_id]",
    ),
    praise="this row, a few billion ids long, is what GPT-2 was trained on.",
    reference=_reference_token_row,
    checks=_check_token_row,
)
