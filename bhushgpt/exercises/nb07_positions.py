"""Exercises of notebook 07 about order: turning a vector, and what attention notices.

Letters: D channels of one head.

Lesson: notebook 07.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bhushgpt.exercises.exercise import Exercise, ValueExercise, choices
from bhushgpt.exercises.same_numbers import mistake_in, same


def _turn(vector: Tensor, position: int) -> Tensor:
    half = len(vector) // 2
    angles = position * 10000.0 ** (-torch.arange(half) / half)
    a, b = vector[:half], vector[half:]
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()])


def _turned(a: Tensor, b: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
    return a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()


def _check_turn(answer: Callable[..., Any]) -> str | None:
    vector, position, half = torch.randn(6), 3, 3
    i = torch.arange(half)
    angles = position * 10000.0 ** (-i / half)
    a, b = vector[:half], vector[half:]
    neighbours = _turned(vector[0::2], vector[1::2], angles)
    mistakes = {
        "this turns the other way: (a, b) becomes (a cos - b sin, a sin + b cos).": (
            torch.cat(_turned(a, b, -angles))
        ),
        "a plus sign too many, so lengths change: the first half is a cos - b sin.": (
            torch.cat([a * angles.cos() + b * angles.sin(), a * angles.sin() + b * angles.cos()])
        ),
        "this pairs neighbours, channels 0 and 1, 2 and 3; here i goes with i + D/2.": (
            torch.stack(neighbours, dim=1).flatten()
        ),
        "the result alternates between the halves: put the two halves one behind the other.": (
            torch.stack(_turned(a, b, angles), dim=1).flatten()
        ),
        "the exponent is 2i / D; yours is i / D, so all but the first pair turn too fast.": (
            torch.cat(_turned(a, b, position * 10000.0 ** (-i / (2 * half))))
        ),
        "the angle is position *divided* by 10000 to the 2i / D, not multiplied.": (
            torch.cat(_turned(a, b, position * 10000.0 ** (i / half)))
        ),
        "every pair turned by the same angle: the exponent must grow with i.": (
            torch.cat(_turned(a, b, torch.tensor(float(position))))
        ),
        "the position is not used: all vectors turn by the angle of position 1.": (
            torch.cat(_turned(a, b, angles / position))
        ),
        "positions count from 0; this is the angle of the next one.": (
            torch.cat(_turned(a, b, angles / position * (position + 1)))
        ),
        "waves are added to the vector; rotary positions turn it.": (
            vector + torch.cat([angles.sin(), angles.cos()])
        ),
        "nothing was turned.": vector,
    }
    first = mistake_in(answer(vector.clone(), position), _turn(vector, position), mistakes)
    if first:
        return first
    if not same(answer(vector[:4], 0), vector[:4]):
        return "right for position 3, but position 0 should turn nothing."
    return None


turn = Exercise(
    name="turn",
    question="Return the vector (D,) turned for its position, channel i paired with i + D/2.",
    hints=(
        "half = len(vector) // 2; the angles are position / 10000 ** (torch.arange(half) / half).",
        "a, b = vector[:half], vector[half:]: two tensors turn as easily as two numbers.",
        "torch.cat([new_a, new_b]).",
    ),
    praise="scores between turned vectors now depend on their distance alone.",
    reference=_turn,
    axes_of_one=lambda: [(torch.randn(2), 3)],
    checks=_check_turn,
)


what_changes = ValueExercise(
    name="what_changes",
    question="What changes the output at 'd' of 'abcd': a), b), c) or d)?",
    hints=(
        "Without positions the past is a bag: which tokens, how many of each, in no order.",
        "Which of the changes puts something else into the bag that 'd' may look into?",
    ),
    praise="a bag knows how many of each it holds, so one 'a' more shifts the shares.",
    reference="b",
    checks=choices(
        "b",
        {
            "a": "exchanging two past tokens leaves the same bag, and the sum has no order.",
            "c": "'e' is in the future of 'd', and the mask hides it.",
            "d": "two of them change nothing, but one puts another share into the sum.",
        },
    ),
    why="With two 'a' the softmax has five terms, and 'a' gets twice its share",
)
