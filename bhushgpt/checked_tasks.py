"""Tasks whose answers can be checked: problems in two halves, the check, and counting successes.

Letters: B answers, Q tokens of a question, A tokens of an answer.

Lesson: notebook 23.
"""

import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bhushgpt.errors import UserError
from bhushgpt.tokenizers import CharTokenizer

END = "."  # closes an answer


@dataclass(frozen=True)
class Problem:
    """A question and the one answer that counts as right."""

    question: str
    """What the model is given."""
    answer: str
    """What it should write, without the end mark."""
    key: str = ""
    """Problems with the same key stay on the same side of the split; empty: the question."""


class Task:
    """Problems with answers that can be checked, split into train and held-out once and for all.

    A tenth of the keys is held out, by a checksum of the key: the split depends on nothing else,
    neither on a seed nor on the order or number of the problems.

    Args:
        problems: At least one on each side of the split; all questions are equally long.

    Attributes:
        tokenizer: Of all characters that occur.
        train: The problems to learn from.
        held_out: The problems to judge by.
        answer_length: A, the longest answer with its end mark.

    Raises:
        UserError: If an answer cannot be checked, or the problems cannot be used as a batch.

    >>> task = additions()
    >>> len(task.train), len(task.held_out), task.train[0]
    (9024, 976, Problem(question='00+00=', answer='0', key='00 00'))
    >>> Task([Problem("Is it beautiful?", "")])
    Traceback (most recent call last):
    bhushgpt.errors.UserError: The problem 'Is it beautiful?' has no answer to check against. Give \
each problem the text that is right; a task that only a person can judge needs preferences instead \
(dpo_loss).
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        problems = tuple(problems)
        _check_problems(problems)
        texts = "".join(problem.question + problem.answer for problem in problems)
        self.tokenizer = CharTokenizer.from_text(texts + END)
        self.answer_length = 1 + max((len(problem.answer) for problem in problems), default=0)
        self.train = tuple(problem for problem in problems if not is_held_out(problem))
        self.held_out = tuple(problem for problem in problems if is_held_out(problem))
        if not (self.train and self.held_out):
            raise UserError(
                f"Of {len(problems)} problems, {len(self.held_out)} fall into the held-out tenth: "
                "both sides need at least one. Give more problems, with different keys."
            )

    @property
    def end_id(self) -> int:
        """The id of the end mark."""
        return self.tokenizer.encode(END)[0]

    def questions(self, problems: Sequence[Problem]) -> Tensor:
        """Return the ids of the questions: (B, Q)."""
        return torch.tensor([self.tokenizer.encode(problem.question) for problem in problems])

    def rows(self, problems: Sequence[Problem], answers: Sequence[str]) -> Tensor:
        """Return questions with given answers, filled up with end marks: (B, Q + A)."""
        width = self.answer_length
        texts = [
            problem.question + (answer + END * width)[:width]
            for problem, answer in zip(problems, answers, strict=True)
        ]
        return torch.tensor([self.tokenizer.encode(text) for text in texts])

    def texts(self, ids: Tensor) -> list[str]:
        """Return what was written, ids (B, A), up to the end mark; without one, all of it."""
        characters = self.tokenizer.characters
        written = ["".join(characters[i] for i in row) for row in ids.tolist()]
        return [text[: text.find(END) + 1] or text for text in written]


def is_held_out(problem: Problem) -> bool:
    """Return whether a problem belongs to the held-out tenth: by the checksum of its key.

    >>> is_held_out(Problem("1+2=", "3", key="12")) == is_held_out(Problem("2+1=", "3", key="12"))
    True
    """
    return zlib.crc32((problem.key or problem.question).encode()) % 10 == 0


def additions(digits: int = 2) -> Task:
    """Return the sums of all pairs of numbers, answered units first, as one adds on paper.

    a + b and b + a have the same key: a sum that is held out is held out both ways round.

    >>> next(p for p in additions().train if p.question == "37+58=")
    Problem(question='37+58=', answer='59', key='37 58')
    """
    numbers = range(10**digits)
    return Task(
        Problem(
            f"{a:0{digits}}+{b:0{digits}}=",
            str(a + b)[::-1],
            key=f"{min(a, b):0{digits}} {max(a, b):0{digits}}",
        )
        for a in numbers
        for b in numbers
    )


def _check_problems(problems: Sequence[Problem]) -> None:
    answers: dict[str, str] = {}
    for problem in problems:
        if not (isinstance(problem.answer, str) and problem.answer):
            raise UserError(
                f"The problem {problem.question!r} has no answer to check against. Give each "
                "problem the text that is right; a task that only a person can judge needs "
                "preferences instead (dpo_loss)."
            )
        if END in problem.answer:
            raise UserError(
                f"The answer {problem.answer!r} to {problem.question!r} holds the end mark {END!r}."
                " Write it without."
            )
        if answers.setdefault(problem.question, problem.answer) != problem.answer:
            raise UserError(
                f"The problem {problem.question!r} has two answers, {answers[problem.question]!r} "
                f"and {problem.answer!r}, so none can be checked. Keep one."
            )
    lengths = {len(problem.question) for problem in problems}
    if len(lengths) > 1:
        raise UserError(
            f"The questions have {min(lengths)} to {max(lengths)} characters, but a batch needs "
            "one length. Fill the short ones up, for example 7 as 07."
        )


# Rewards: what an answer is worth

Reward = Callable[[Problem, str], float]  # (problem, what was written, end mark included)


def exact(problem: Problem, written: str) -> float:
    """Return 1 for the right answer, closed by one end mark, and 0 for anything else.

    >>> sum_ = Problem("37+58=", "59")
    >>> [exact(sum_, written) for written in ("59.", "59", "590.", ".", "95.")]
    [1.0, 0.0, 0.0, 0.0, 0.0]
    """
    return float(written == problem.answer + END)


def checked_rewards(problems: Sequence[Problem], written: Sequence[str], reward: Reward) -> Tensor:
    """Return the reward of each answer: (B,).

    Raises:
        UserError: If one is not a finite number: a single one would spoil all weights.
    """
    values = []
    for problem, text in zip(problems, written, strict=True):
        value = reward(problem, text)
        if not (isinstance(value, int | float) and math.isfinite(value)):
            raise UserError(
                f"The reward of {text!r} as an answer to {problem.question!r} is {value!r}, but it "
                "must be a finite number. The weights are as before this round: mend the reward "
                "function (a division by a length of 0 is the usual cause)."
            )
        values.append(float(value))
    return torch.tensor(values)


def pass_at_k(n: int, n_right: int, k: int) -> float:
    """Return the chance that at least one of k answers is right, when n_right of n were.

    Counts the ways to take k of the n answers that miss every right one, so it is unbiased for
    every k up to n; 1 - (1 - n_right / n)**k is too low. Source: Chen et al., arXiv 2107.03374.

    >>> pass_at_k(n=4, n_right=2, k=2)  # of 6 pairs one holds no right answer
    0.8333333333333334
    """
    if not (0 <= n_right <= n and 1 <= k <= n):
        raise UserError(
            f"pass@{k} cannot be told from {n_right} right answers of {n}: k must be 1 to n."
        )
    return 1 - math.comb(n - n_right, k) / math.comb(n, k)


def majority(answers: Sequence[str]) -> str:
    """Return the most frequent answer; of equally frequent ones, the one that came first.

    Source: "self-consistency", Wang et al., arXiv 2203.11171.

    >>> majority(["58.", "59.", "59."])
    '59.'
    """
    return Counter(answers).most_common(1)[0][0]
