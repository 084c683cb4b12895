"""Tasks with answers that can be checked: two sides that never mix, and counting successes."""

from itertools import combinations
from random import Random

import pytest
import torch

from bhushgpt.checked_tasks import (
    Problem,
    Task,
    additions,
    exact,
    is_held_out,
    majority,
    pass_at_k,
)
from bhushgpt.errors import UserError


@pytest.fixture(scope="module")
def task() -> Task:
    return additions()


def test_the_two_sides_share_no_sum_in_either_order_and_leave_none_out(task):
    sides = [
        {tuple(sorted(map(int, p.question[:-1].split("+")))) for p in side}
        for side in (task.train, task.held_out)
    ]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 100 * 101 / 2
    assert len(task.train) + len(task.held_out) == 10_000
    assert 0.08 < len(task.held_out) / 10_000 < 0.12


def test_every_answer_of_the_additions_is_the_sum_read_from_the_right(task):
    for problem in (*task.train, *task.held_out):
        a, b = problem.question[:-1].split("+")
        assert int(problem.answer[::-1]) == int(a) + int(b)


def test_the_split_depends_on_the_problems_own_key_alone():
    problems = [Problem(f"{n:02d}", "x") for n in range(60)]
    whole = Task(problems)
    shuffled = Random(0).sample(problems, 60)
    assert set(Task(shuffled).held_out) == set(whole.held_out)
    rest = [p for p in problems if p is not whole.train[0]]
    assert set(Task(rest).held_out) == set(whole.held_out)
    assert all(map(is_held_out, whole.held_out)) and not any(map(is_held_out, whole.train))


def test_rows_hold_question_answer_and_end_marks_and_texts_reads_them_back(task):
    problems = task.train[:3]
    rows = task.rows(problems, ["", "59", "8888"])
    assert rows.shape == (3, 6 + 4)
    assert torch.equal(rows[:, :6], task.questions(problems))
    assert task.tokenizer.decode(rows[1, 6:].tolist()) == "59.."
    assert task.texts(rows[:, 6:]) == [".", "59.", "8888"]  # the last one never ended


@pytest.mark.parametrize("written", ["", ".", "5.", "59", "59..", "590.", "95.", " 59.", "59.0"])
def test_exact_accepts_nothing_but_the_closed_answer(written):
    assert exact(Problem("37+58=", "59"), "59.") == 1
    assert exact(Problem("37+58=", "59"), written) == 0


@pytest.mark.parametrize(("n", "n_right"), [(5, 0), (5, 1), (5, 3), (5, 5), (7, 2)])
def test_pass_at_k_counts_the_subsets_with_a_right_answer(n, n_right):
    answers = [True] * n_right + [False] * (n - n_right)
    for k in range(1, n + 1):
        subsets = list(combinations(answers, k))
        assert pass_at_k(n, n_right, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_the_majority_is_the_most_frequent_and_the_first_of_equals():
    assert majority(["a", "b", "b", "a", "b"]) == "b"
    assert majority(["b", "a", "a", "b"]) == "b"


GOOD = [Problem(f"{n:02d}", "1") for n in range(60)]


@pytest.mark.parametrize(
    ("problems", "sentence"),
    [
        ([*GOOD, Problem("60", "")], "'60' has no answer to check against"),
        ([*GOOD, Problem("60", None)], "'60' has no answer to check against"),  # type: ignore
        ([*GOOD, Problem("60", "1.")], "holds the end mark '.'"),
        ([*GOOD, Problem("07", "2")], "'07' has two answers, '1' and '2'"),
        ([*GOOD, Problem("7", "1")], "have 1 to 2 characters, but a batch needs one length"),
        (GOOD[:1], "both sides need at least one"),
        ([], "both sides need at least one"),
    ],
)
def test_a_task_that_cannot_be_checked_is_refused_in_one_sentence(problems, sentence):
    with pytest.raises(UserError) as refusal:
        Task(problems)
    assert sentence in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(("n", "n_right", "k"), [(4, 5, 1), (4, 2, 0), (4, 2, 5), (4, -1, 1)])
def test_pass_at_k_refuses_what_cannot_be_counted(n, n_right, k):
    with pytest.raises(UserError, match="k must be 1 to n"):
        pass_at_k(n, n_right, k)
