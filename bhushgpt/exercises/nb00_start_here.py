"""The exercises of notebook 00: chances of the next character, and a window on the past.

Lesson: notebook 00.
"""

from collections import Counter
from collections.abc import Callable
from math import isclose
from typing import Any

import torch

from bhushgpt.exercises.exercise import Exercise

Chances = dict[str, float]

SENTENCES = "the cat sat on the mat. the rat sat on the cat. "


def chances_by_counting(text: str, past: str) -> Chances:
    """Return how likely each character comes after `past`, by counting in `text`.

    Lesson: notebook 00.

    >>> chances_by_counting("abac", "a")
    {'b': 0.5, 'c': 0.5}
    """
    size = len(past)
    places = range(len(text) - size)  # the last place is left out: nothing follows there
    counts = Counter(text[i + size] for i in places if text[i : i + size] == past)
    return {letter: n / counts.total() for letter, n in counts.items()}


def window_mask(T: int, n: int) -> torch.Tensor:
    """Return 1 where position t (row) may look at position s (column), else 0.

    Lesson: notebook 00.

    >>> window_mask(3, 2)
    tensor([[1, 0, 0],
            [1, 1, 0],
            [0, 1, 1]])
    """
    t = torch.arange(T)
    distance = t[:, None] - t[None, :]  # (T, T)
    return ((distance >= 0) & (distance < n)).long()


def _equal(one: Chances, other: Chances) -> bool:
    # A character with probability 0 may be listed or left out.
    letters = set(one) | set(other)
    return all(isclose(one.get(c, 0.0), other.get(c, 0.0), abs_tol=1e-6) for c in letters)


def _chances_mistakes(right: Chances) -> dict[str, Chances]:
    """Map each sentence to what its misconception gives after 'the ', which comes 4 times."""
    return {
        "these are counts. Divide each by their sum to get probabilities.": (
            {c: 4 * p for c, p in right.items()}
        ),
        "divide by how often the past occurs, not by the length of the text.": (
            {c: 4 * p / len(SENTENCES) for c, p in right.items()}
        ),
        "these are percent; probabilities lie between 0 and 1.": (
            {c: 100 * p for c, p in right.items()}
        ),
        "they are all 0: // cuts the digits behind the point off. Divide with /.": (
            dict.fromkeys(right, 0.0)
        ),
        "that is how frequent each character is; what stands before it plays no part yet.": (
            {c: n / len(SENTENCES) for c, n in Counter(SENTENCES).items()}
        ),
        "only the last character of the past was looked at; compare all of it.": (
            chances_by_counting(SENTENCES, " ")
        ),
    }


def _check_chances(answer: Callable[..., Any]) -> str | None:
    came = answer(SENTENCES, "the ")
    if not isinstance(came, dict):
        return f"a dictionary such as {{'c': 0.5}} is expected, but {came!r} came."
    right = chances_by_counting(SENTENCES, "the ")
    total = sum(came.values())
    for sentence, mistake in _chances_mistakes(right).items():
        if _equal(came, mistake):
            return sentence
    if _equal(came, dict.fromkeys(right, 1 / len(right))):
        if _equal(answer("abac", "a"), {"c": 1.0}):
            return "one place is missed: the text itself begins with the past, at i = 0."
        return "all followers came out equally likely; 'c' follows twice, so count how often."
    if set(came) == {"t"}:
        return "'t' begins the past 'the ' itself. Look at the character behind the whole past."
    if any(len(key) != 1 for key in came):
        return f"the keys are single characters, those behind the past; yours are {list(came)}."
    if not isclose(total, 1.0, abs_tol=1e-6):
        return f"after 'the ' the probabilities sum to {total:.3g} instead of 1."
    if not _equal(came, right):
        return f"after 'the ' should come {right}, but {came} came."
    return _check_hard_texts(answer)


def _check_hard_texts(answer: Callable[..., Any]) -> str | None:
    if not _equal(answer(SENTENCES, "sat"), {" ": 1.0}):
        return "it is right after 'the ' but not after 'sat': take len(past) instead of a fixed 4."
    if not _equal(answer("aaab", "aa"), {"a": 0.5, "b": 0.5}):
        return (
            "in 'aaab' the past 'aa' occurs twice, at places that overlap: 'a' follows once and "
            "'b' once."
        )
    if not _equal(answer("abab", "ab"), {"a": 1.0}):
        return "in 'abab' nothing follows the second 'ab', so it does not count."
    if not _equal(answer("abc", "c"), {}):
        return "in 'abc' nothing follows 'c', so the answer for it is {}."
    if any(not _equal(answer(text, past), {}) for text, past in (("abc", "x"), ("a", "ab"))):
        return "a past that never occurs has the answer {}."
    if not _equal(answer("abab", ""), {"a": 0.5, "b": 0.5}):
        return (
            "an empty past stands before every character: in 'abab' it gives 'a' and 'b' 0.5 each. "
            "Mind that text[-0:] is all of the text."
        )
    if not _equal(answer("aA\n", "A"), {"\n": 1.0}):
        return "large letters, blanks and line breaks are characters of their own: change no text."
    return None


# What each misconception computes from d, how far column s lies before row t.
WINDOW_MISTAKES: dict[str, Callable[[torch.Tensor, int], torch.Tensor]] = {
    "the future is visible: nothing right of the diagonal may be 1.": lambda d, n: d.abs() < n,
    "the whole past is visible; only the last n positions may be.": lambda d, n: d >= 0,
    "rows and columns are swapped: row t says what position t may look at.": (
        lambda d, n: (d <= 0) & (d > -n)
    ),
    "a position may look at itself too: the diagonal must be 1.": lambda d, n: (d > 0) & (d < n),
    "the window is one too wide: n counts the position itself.": lambda d, n: (d >= 0) & (d <= n),
    "the position itself and n - 1 before it are n in all; here is one missing.": (
        lambda d, n: (d >= 0) & (d < n - 1)
    ),
    "zeros and ones are swapped.": lambda d, n: (d < 0) | (d >= n),
    "everything is 1: both conditions must hold, so join them with & instead of |.": (
        lambda d, n: (d >= 0) | (d < n)
    ),
    "everything is 0: nobody may look at anything.": lambda d, n: torch.zeros_like(d),
    "each position sees nothing but itself; n - 1 before it are allowed, too.": (
        lambda d, n: d == 0
    ),
    "those are distances; the answer says which of them are allowed.": lambda d, n: d,
    "minus infinity comes later, in the scores; here 0 says that looking is not allowed.": (
        lambda d, n: torch.where((d >= 0) & (d < n), 0.0, -torch.inf)
    ),
    "those are the first n positions of the text; the window holds the last n.": (
        lambda d, n: (d >= 0) & (torch.arange(len(d)) < n)
    ),
    "the text is cut into blocks; the window slides along, one step with each row.": (
        lambda d, n: (d >= 0) & (torch.arange(len(d)) >= torch.arange(len(d))[:, None] // n * n)
    ),
    "the answer is 1 or 0 for each pair, not a share of the row.": (
        lambda d, n: window_mask(len(d), n) / window_mask(len(d), n).sum(1, keepdim=True)
    ),
}


def _check_window(answer: Callable[..., Any]) -> str | None:
    T, n = 6, 3
    came = torch.as_tensor(answer(T, n))
    if tuple(came.shape) != (T, T):
        return f"for T = {T} the table needs {T} rows and columns, but it is {tuple(came.shape)}."
    came, right = came.double(), window_mask(T, n).double()
    t = torch.arange(T)
    for sentence, mistake in WINDOW_MISTAKES.items():
        if torch.allclose(came, mistake(t[:, None] - t[None, :], n).double()):
            return sentence
    if not torch.equal(came, right):
        row = int((came != right).any(1).nonzero()[0])
        found = [round(v, 3) if v % 1 else int(v) for v in came[row].nan_to_num().tolist()]
        return f"row {row} should be {right[row].int().tolist()}, but it is {found}."
    if not torch.equal(torch.as_tensor(answer(2, 5)).double(), window_mask(2, 5).double()):
        return "it fails where the window is wider than the text, for T = 2 and n = 5."
    return None


chances_after = Exercise(
    name="chances_after",
    question="Return the probability of each character that follows the past in the text.",
    hints=(
        "Count first, divide afterwards; collections.Counter counts.",
        "At each place i with text[i : i + len(past)] == past, take text[i + len(past)].",
        "Stop len(past) characters before the end: behind the last ones nothing follows.",
    ),
    reference=chances_by_counting,
    checks=_check_chances,
    praise="counts became probabilities, also where pasts overlap, end the text or never occur.",
)

window = Exercise(
    name="window",
    question="Return the T by T table of who may look at whom.",
    hints=(
        "distance = t[:, None] - t[None, :] is 0 on the diagonal and grows to the left.",
        "Two conditions must hold: not in the future, and not too long ago. Join them with &.",
        "Allowed are the distances 0, 1, ..., n - 1.",
    ),
    reference=window_mask,
    axes_of_one=lambda: [(1, 3)],
    checks=_check_window,
    praise="each position sees itself and the n - 1 before it, and nothing of the future.",
)
