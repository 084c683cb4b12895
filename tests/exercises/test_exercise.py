import dataclasses
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from kill_table import assert_exercise
from torch import nn

from bhushgpt.exercises import attempts, exercise
from bhushgpt.exercises.attempts import given
from bhushgpt.exercises.exercise import Exercise, ValueExercise, choices


def halved(x):
    return x / 2


def checks_halved(answer):
    x = torch.tensor([2.0, 4.0])
    result = answer(x)
    if torch.equal(result, torch.tensor([1.0, 2.0])):
        return None
    if torch.equal(result, x):
        return "nothing was divided."
    if torch.equal(result, 2 * x):
        return "this doubles."
    return "each number must be half of what came."


halve = Exercise(
    name="halve",
    question="Return half of each number.",
    hints=("What is the opposite of doubling?", "Divide by 2."),
    reference=halved,
    checks=checks_halved,
)


class Doubler(nn.Module):
    def forward(self, x):
        return 2 * x


def checks_doubler(answer):
    result = given(answer()(torch.ones(2)))
    return None if torch.equal(result, torch.full((2,), 2.0)) else "ones must become twos."


double = Exercise(
    name="double",
    question="Write the module that doubles.",
    hints=("forward returns twice what came.",),
    reference=Doubler,
    checks=checks_doubler,
)

faces = ValueExercise(
    name="faces",
    question="How many faces has a die?",
    hints=("Count them.",),
    reference=6,
    checks=lambda n: None if n == 6 else ("a cube has more." if n < 6 else "a cube has fewer."),
    why="A die is a cube",
)


# Stubs, as learners leave them.


def stub_dots(x): ...


def stub_pass(x):
    pass


def stub_docstring(x):
    """Return half of each number."""


def stub_none(x):
    return None


def stub_raise(x):
    raise NotImplementedError("your code here")


def stub_place(x):
    result = ...  # your code here
    return result


def stub_none_place(x):
    result = None  # your code here
    return result


def stub_half_done(x):
    total = ...  # your code here
    return total / 2  # type: ignore


class StubModule(nn.Module):
    def forward(self, x): ...


class StubModuleRaises(nn.Module):
    def forward(self, x):
        raise NotImplementedError


STUBS = [
    None,
    ...,
    stub_dots,
    stub_pass,
    stub_docstring,
    stub_none,
    stub_raise,
    stub_place,
    stub_none_place,
    stub_half_done,
    lambda x: ...,
]


@pytest.mark.parametrize("stub", STUBS)
def test_a_stub_is_not_attempted(stub):
    assert str(halve.judge(stub)) == (
        "Not attempted yet: Return half of each number. (halve.hint() helps.)"
    )


@pytest.mark.parametrize("stub", [StubModule, StubModuleRaises])
def test_a_class_whose_method_is_a_stub_is_not_attempted(stub):
    assert double.judge(stub).status == "not attempted"


# Wrong answers.


def unchanged(x):
    return x


def doubled(x):
    return 2 * x


def no_return(x):
    x.div(2)


def crashes(x):
    y = x.reshape(-1)
    return y + torch.ones(3)


def crashes_in_library(x):
    return torch.softmax(x.long(), dim=-1)


def unknown_name(x):
    return y / 2  # type: ignore  # noqa: F821


def no_argument():
    return 1.0


def gives_a_list(x):
    return [1.0, 2.0]


def gives_another_shape(x):
    return torch.ones(3)


def test_the_kill_table_of_a_function():
    assert_exercise(
        halve,
        stub_dots,
        {
            unchanged: "nothing was divided",
            doubled: "this doubles",
            no_return: "gives nothing back. End it with `return`",
            crashes: "stopped with RuntimeError",
            crashes_in_library: "stopped with NotImplementedError",
            unknown_name: "stopped with NameError: name 'y' is not defined",
            no_argument: "takes 0 positional arguments but 1 was given",
            gives_a_list: "gives back a list, but a Tensor of shape (2,) is expected",
            (lambda x: x / 4): "each number must be half",
            3: "give check() your function itself, without brackets; an int came",
        },
    )


def test_an_error_is_placed_in_the_learners_own_line():
    line = crashes.__code__.co_firstlineno + 2
    message = halve.judge(crashes).message
    assert message.endswith(f"(line {line} of your cell).")
    assert len(message) < 300 and "Traceback" not in message
    assert "line" not in halve.judge(no_argument).message


def test_a_result_of_another_shape_is_named_when_the_check_stumbles_over_it():
    def stumbles(answer):
        return None if (answer(torch.ones(2)) + torch.ones(2)).sum() == 3.0 else "no."

    exercise = Exercise(name="e", question="q", hints=("h",), reference=halved, checks=stumbles)
    assert exercise.judge(halved).status == "right"
    assert exercise.judge(gives_another_shape).message == (
        "your function gives back a Tensor of shape (3,), but a Tensor of shape (2,) is expected."
    )


def test_a_class_answer_is_checked_and_its_errors_are_placed():
    class Wrong(nn.Module):
        def forward(self, x):
            return x

    class Crashes(nn.Module):
        def forward(self, x):
            return x @ torch.ones(3)

    assert double.judge(Doubler).status == "right"
    assert double.judge(Wrong).message == "ones must become twos."
    line = Crashes.forward.__code__.co_firstlineno + 1
    assert f"(line {line} of your cell)" in double.judge(Crashes).message
    assert double.judge(5).message.startswith("give check() your class itself")


def columns(x):
    return x.sum(dim=0, keepdim=True), x.sum(dim=0)


summed = Exercise(
    name="summed",
    question="Return the sum of the rows of x (N, C), as (1, C) and as (C,).",
    hints=("sum",),
    reference=columns,
    checks=lambda answer: None if answer(torch.ones(3, 2))[1].tolist() == [3, 3] else "not 3.",
    axes_of_one=lambda: [(torch.ones(1, 2),), (torch.ones(3, 1),)],
)


def test_an_axis_of_size_one_is_tried_after_the_checks():
    def crashes_there(x):
        return x.sum(dim=0, keepdim=True), x.squeeze().sum(dim=-2)

    assert summed.judge(columns).status == "right"
    assert summed.judge(lambda x: list(columns(x))).status == "right"
    assert summed.judge(lambda x: (x, x.sum(dim=0) + 1)).message == "not 3."
    lost = summed.judge(lambda x: tuple(each.squeeze() for each in columns(x))).message
    assert "the shape (2,) came, and (1, 2) is right" in lost and "squeeze() without a dim" in lost
    other = summed.judge(lambda x: (x.sum(0, True), x.sum(0) * (3 if len(x) == 1 else 1))).message
    assert "other numbers are right: the shape is (2,) there" in other
    crash = summed.judge(crashes_there).message
    assert crash.startswith("where an axis has size 1, your code stopped with IndexError")


def test_the_kill_table_of_a_value():
    assert_exercise(faces, ..., {4: "has more", 8: "has fewer", "six": "an int is expected"})


def test_the_kill_table_of_a_choice():
    quiz = ValueExercise(
        name="quiz",
        question="Which letter?",
        hints=("Not the first.",),
        reference="b",
        checks=choices("b", {"a": "too early.", "c": "too late."}),
    )
    assert_exercise(
        quiz, ..., {"a": "too early", "C": "too late", "d": "one of 'a', 'b', 'c', not 'd'"}
    )
    for written in ("b", " B ", "b)", "(b)", "B.", "b:", "'b'", "[b]", "b) about 0", "B. about 0"):
        assert quiz.judge(written).status == "right", written
    for written in ("about b", "bc", "a) b", "", "b or c", "ab)", 2, ["b"]):
        assert quiz.judge(written).status == "not yet", written


def test_check_prints_exactly_one_line(capsys):
    assert halve.check(halved) is None
    assert halve.check(doubled) is None
    assert capsys.readouterr().out == "Right: all checks passed.\nNot yet: this doubles.\n"


def test_hints_walk_from_the_first_to_the_last_and_start_again(capsys):
    exercise = Exercise(
        name="e", question="q", hints=("one", "two"), reference=halved, checks=checks_halved
    )
    for _ in range(3):
        exercise.hint()
    assert capsys.readouterr().out == "Hint 1 of 2: one\nHint 2 of 2: two\nHint 1 of 2: one\n"


def test_solution_prints_the_reference(capsys):
    halve.solution()
    faces.solution()
    assert capsys.readouterr().out == "def halved(x):\n    return x / 2\n6. A die is a cube.\n"


def test_a_check_leaves_the_random_numbers_alone_and_draws_the_same_ones_each_time():
    drawn = []

    def checks(answer):
        drawn.append(torch.rand(1).item())
        return None

    exercise = Exercise(name="e", question="q", hints=("h",), reference=halved, checks=checks)
    torch.manual_seed(7)
    expected = torch.rand(1).item()
    torch.manual_seed(7)
    exercise.judge(halved)
    exercise.judge(halved)
    assert torch.rand(1).item() == expected
    assert drawn[0] == drawn[1]


def test_ctrl_c_in_the_learners_code_is_not_swallowed():
    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        halve.judge(interrupted)


# The kill table itself must be able to fail.


@pytest.mark.parametrize(
    ("stub", "wrong", "complaint"),
    [
        (halved, {unchanged: "nothing", doubled: "doubles", no_return: "return"}, "a stub is"),
        (stub_dots, {unchanged: "nothing", doubled: "doubles"}, "only 2 wrong answers"),
        (stub_dots, {unchanged: "nothing", doubled: "doubles", halved: "half"}, "halved passes"),
        (stub_dots, {unchanged: "this", doubled: "doubles", no_return: "return"}, "unchanged is"),
        (stub_dots, {unchanged: "no", doubled: "no", no_return: "return"}, "share a message"),
        (stub_dots, {unchanged: "nothing", doubled: "doubles", no_return: "back"}, "no_return is"),
    ],
)
def test_the_kill_table_fails_on(stub, wrong, complaint):
    with pytest.raises(AssertionError, match=complaint):
        assert_exercise(halve, stub, wrong)


def checked_total(answer):
    numbers = torch.arange(3.0)
    return None if float(answer(numbers)) == float(numbers.sum()) == 3 else "that is not the sum."


def total(numbers):
    return numbers.sum()


FREE = Exercise(name="free", question="Add.", hints=("sum",), reference=total, checks=checked_total)
KEPT = dataclasses.replace(FREE, keeps_inputs=True)


def total_in_place(numbers):
    result = numbers.sum()
    numbers.zero_()
    return result


def test_an_answer_that_changes_its_inputs_spoils_nothing_and_is_told_where_it_may_not() -> None:
    assert FREE.judge(total_in_place).status == "right"
    assert KEPT.judge(total).status == "right"
    assert "your code changes `numbers`" in KEPT.judge(total_in_place).message
    assert KEPT.judge(None).message.startswith("Add. What it is given stays as it was.")
    by_name = dataclasses.replace(
        KEPT, checks=lambda answer: answer(numbers=torch.ones(2)) and None
    )
    assert "your code changes `numbers`" in by_name.judge(total_in_place).message


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ([1, [2]], [1, [2]], True),
        ([1, [2]], [1, [3]], False),
        ({"a": np.ones(2)}, {"a": np.zeros(2)}, False),
        ({"a": 1}, {"b": 1}, False),
        (torch.tensor([math.nan]), torch.tensor([math.nan]), True),
        (torch.ones(2), torch.ones(2, 1), False),
        ((1, 2), (1, 2, 3), False),
    ],
)
def test_what_was_copied_is_compared_whole(before, after, same) -> None:
    assert attempts.unchanged(before, attempts.copied(before))
    assert attempts.unchanged(before, after) == same


def test_an_answer_that_exits_is_told_so() -> None:
    assert "your code stopped with SystemExit: 3" in FREE.judge(lambda numbers: sys.exit(3)).message


def test_an_answer_that_never_ends_is_stopped(monkeypatch) -> None:
    monkeypatch.setattr(exercise, "TIME_LIMIT", 0.2)

    def endless(numbers):
        while True:
            pass

    outcome = FREE.judge(endless)
    assert outcome.status == "not yet"
    assert "still running after 0.2 seconds" in outcome.message
    assert FREE.judge(total).status == "right"


def test_a_check_whose_reference_cannot_be_called_any_more_ends_in_a_sentence() -> None:
    def checks(answer):
        with tempfile.TemporaryDirectory() as folder:
            size = answer(Path(folder))
        return None if size.is_integer() else "no."

    def reference(folder):
        return float(len(list(folder.iterdir())))

    gone = dataclasses.replace(FREE, reference=reference, checks=checks)
    assert gone.judge(reference).status == "right"
    assert gone.judge(lambda folder: "0").status == "not yet"


def test_a_model_left_in_another_mode_is_put_back_and_named() -> None:
    model = torch.nn.Sequential(torch.nn.Dropout())

    def checks(answer):
        return None if answer(model) == 1 else "no."

    mode = dataclasses.replace(FREE, checks=checks)
    assert mode.judge(lambda model: 1).status == "right"
    said = mode.judge(lambda model: model.eval() and 1).message
    assert "leaves the model in eval mode, and it came in train mode" in said
    assert model.training and model[0].training
    model.eval()
    said = mode.judge(lambda model: bool(model.train())).message
    assert "leaves the model in train mode" in said
    assert not model[0].training


def test_the_ellipsis_of_einsum_is_a_mistake_and_no_empty_place():
    def answer(x):
        return torch.einsum("bti->bt", x)

    asked = Exercise(
        name="summed",
        question="Sum the rows.",
        hints=("Use sum.",),
        reference=lambda x: x.sum(-1),
        checks=lambda answer: None if answer(torch.ones(2, 3)) is not None else "nothing came.",
    )
    outcome = asked.judge(answer)
    assert outcome.status == "not yet" and "einsum" in outcome.message
