import re
import tomllib
from collections import Counter

import nbformat
import pytest
import torch
from kill_table import assert_exercise

from bhushgpt.environment import project_root
from bhushgpt.exercises.nb00_start_here import (
    SENTENCES,
    chances_after,
    chances_by_counting,
    window,
    window_mask,
)

# Exercise 1: wrong answers.


def counts(text, past):
    size = len(past)
    return Counter(text[i + size] for i in range(len(text) - size) if text[i : i + size] == past)


def shares(found):
    return {letter: n / sum(found.values()) for letter, n in found.items()}


def only_counts(text, past):
    return dict(counts(text, past))


def shares_of_the_text(text, past):
    return {letter: n / len(text) for letter, n in counts(text, past).items()}


def last_character_only(text, past):
    return chances_by_counting(text, past[-1])


def first_of_the_past(text, past):
    found = Counter(text[i] for i in range(len(text)) if text[i:].startswith(past))
    return shares(found)


def most_likely(text, past):
    return counts(text, past).most_common(1)[0][0]


def sums_to_more(text, past):
    return {letter: n / 3 for letter, n in counts(text, past).items()}


def before_the_past(text, past):
    found = Counter(text[i - 1] for i in range(1, len(text)) if text[i:].startswith(past))
    return shares(found)


def by_split(text, past):
    return shares(Counter(part[0] for part in text.split(past)[1:] if part))


def end_of_text_counts(text, past):
    size, found = len(past), Counter()
    for i in range(len(text)):
        if text[i : i + size] == past:
            found[text[i + size : i + size + 1]] += 1
    return shares(found)


def unseen_is_none_at_all(text, past):
    found = counts(text, past)
    if past not in text:
        return {letter: 1 / 3 for letter in set(text)}
    return shares(found)


def index_error(text, past):
    size = len(past)
    return shares(Counter(text[i + size] for i in range(len(text)) if text[i : i + size] == past))


def percent(text, past):
    return {letter: 100 * p for letter, p in chances_by_counting(text, past).items()}


def whole_divisions(text, past):
    found = counts(text, past)
    return {letter: n // found.total() for letter, n in found.items()}


def equally_likely(text, past):
    found = counts(text, past)
    return {letter: 1 / len(found) for letter in found}


def misses_the_first_place(text, past):
    return chances_by_counting("?" + text[1:], past)


def frequencies(text, past):
    return shares(Counter(text))


def keys_with_the_past(text, past):
    return {past + letter: p for letter, p in chances_by_counting(text, past).items()}


def four_is_fixed(text, past):
    size = 4
    places = range(len(text) - size)
    return shares(Counter(text[i + size] for i in places if text[i : i + size] == past))


def stub_chances(text, past): ...


def slices_from_minus_nought(text, past):
    ends = [i for i in range(len(text)) if text[:i][-len(past) :] == past]
    return {c: n / len(ends) for c, n in Counter(text[i] for i in ends).items()}


def of_small_letters(text, past):
    return chances_by_counting(text.lower(), past.lower())


def test_the_kill_table_of_chances_after():
    assert_exercise(
        chances_after,
        stub_chances,
        {
            of_small_letters: "of their own: change no text",
            slices_from_minus_nought: "an empty past stands before every character",
            only_counts: "these are counts",
            shares_of_the_text: "not by the length of the text",
            last_character_only: "only the last character",
            first_of_the_past: "begins the past",
            most_likely: "a dictionary such as",
            sums_to_more: "sum to 1.33 instead of 1",
            before_the_past: "after 'the ' should come",
            by_split: "overlap",
            end_of_text_counts: "nothing follows the second",
            percent: "these are percent",
            whole_divisions: "// cuts the digits",
            equally_likely: "equally likely",
            misses_the_first_place: "one place is missed",
            frequencies: "plays no part yet",
            keys_with_the_past: "the keys are single characters",
            four_is_fixed: "instead of a fixed 4",
            unseen_is_none_at_all: "a past that never occurs",
            index_error: "stopped with IndexError: string index out of range",
        },
    )


def test_a_character_of_probability_zero_may_be_listed():
    def listed(text, past):
        found = counts(text, past)
        return {c: found[c] / max(found.total(), 1) for c in set(text)}

    assert chances_after.judge(listed).status == "right"


def test_the_reference_sums_to_one_for_every_past():
    for size in (1, 2, 5):
        for i in range(len(SENTENCES) - size):
            assert sum(chances_by_counting(SENTENCES, SENTENCES[i : i + size]).values()) == (
                pytest.approx(1.0)
            )


# Exercise 2: wrong answers.


def distance(T):
    return torch.arange(T)[:, None] - torch.arange(T)[None, :]


def both_sides(T, n):
    return distance(T).abs() < n


def whole_past(T, n):
    return torch.tril(torch.ones(T, T))


def swapped_axes(T, n):
    return window_mask(T, n).T


def without_itself(T, n):
    return (distance(T) > 0) & (distance(T) < n)


def one_too_wide(T, n):
    return (distance(T) >= 0) & (distance(T) <= n)


def one_too_narrow(T, n):
    return (distance(T) >= 0) & (distance(T) < n - 1)


def hides_what_is_allowed(T, n):
    return 1 - window_mask(T, n)


def shares_of_the_row(T, n):
    table = window_mask(T, n).double()
    return table / table.sum(1, keepdim=True)


def one_row(T, n):
    return window_mask(T, n)[-1]


def first_rows_full(T, n):
    table = window_mask(T, n)
    table[:n, :n] = 1
    return table


def fixed_size(T, n):
    table = torch.zeros(T, T)
    for t in range(T):
        for back in range(n):
            if t - back >= 0:
                table[t, t - back] = 1
    return table if n <= T else torch.ones(T, T)


def joined_with_or(T, n):
    return (distance(T) >= 0) | (distance(T) < n)


def all_zero(T, n):
    return torch.zeros(T, T)


def only_itself(T, n):
    return torch.eye(T)


def distances(T, n):
    return distance(T)


def added_to_scores(T, n):
    return torch.zeros(T, T).masked_fill(window_mask(T, n) == 0, -torch.inf)


def first_positions(T, n):
    return (distance(T) >= 0) & (torch.arange(T) < n)


def blocks(T, n):
    block = torch.arange(T) // n
    return (distance(T) >= 0) & (block[:, None] == block)


def joined_with_and(T, n):
    return (distance(T) >= 0) and (distance(T) < n)


def stub_window(T, n): ...


def test_the_kill_table_of_window():
    assert_exercise(
        window,
        stub_window,
        {
            both_sides: "the future is visible",
            whole_past: "the whole past is visible",
            swapped_axes: "rows and columns are swapped",
            without_itself: "look at itself too",
            one_too_wide: "one too wide",
            one_too_narrow: "here is one missing",
            hides_what_is_allowed: "zeros and ones are swapped",
            shares_of_the_row: "not a share of the row",
            one_row: "needs 6 rows and columns",
            joined_with_or: "instead of |",
            all_zero: "everything is 0",
            only_itself: "nothing but itself",
            distances: "those are distances",
            added_to_scores: "minus infinity comes later",
            first_positions: "the first n positions of the text",
            blocks: "cut into blocks",
            joined_with_and: "Boolean value of Tensor",
            first_rows_full: "row 0 should be [1, 0, 0, 0, 0, 0]",
            fixed_size: "wider than the text",
        },
    )


@pytest.mark.parametrize("as_type", [torch.Tensor.bool, torch.Tensor.float, torch.Tensor.tolist])
def test_any_type_of_numbers_is_taken(as_type):
    assert window.judge(lambda T, n: as_type(window_mask(T, n))).status == "right"


# The reading list of the notebook.


def reading_rows():
    notebook = nbformat.read(project_root() / "notebooks" / "00_start_here.ipynb", as_version=4)
    cells = [cell.source for cell in notebook.cells if "| notebook | read |" in cell.source]
    assert len(cells) == 1
    rows = [line.strip("| ").split(" | ") for line in cells[0].splitlines() if line[:1] == "|"]
    return rows[2:]


def test_every_written_notebook_has_something_to_read():
    course = tomllib.loads((project_root() / "curriculum.toml").read_text(encoding="utf-8"))
    spine = {
        e["name"][:2]
        for e in course["notebook"]
        if e["name"][:2] in "01 02 03 04 05 07 08 09 10".split()
    }
    listed = {number for row in reading_rows() for number in row[0].split(", ")}
    assert spine <= listed, sorted(spine - listed)


def test_every_reading_says_who_wrote_it_where_it_is_and_what_to_read():
    for row in reading_rows():
        assert len(row) == 3 and all(row), row
        assert re.search(r"\b\d{4}\.\d{4,5}\b|\b(19|20)\d\d\b", row[1]), row
        assert re.search(r"^[A-Z][a-zé-]+.*\*[A-Z]", row[1]), row
