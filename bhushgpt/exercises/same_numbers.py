"""Which mistake gives exactly these numbers? Answers that are tensors, compared and explained.

Lesson: notebook 00.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from bhushgpt.exercises.attempts import kind


def same(result: object, expected: Tensor, tolerance: float = 1e-5) -> bool:
    """Return whether a result is a tensor of the expected shape and numbers.

    Only where nan is expected is it right.

    Lesson: notebook 00.

    >>> ones = torch.ones(2)
    >>> same(ones, ones), same(torch.ones(2, 1), ones), same(1, ones)
    (True, False, False)
    """
    if not isinstance(result, Tensor) or result.shape != expected.shape:
        return False
    return torch.allclose(result.double(), expected.double(), atol=tolerance, equal_nan=True)


def mistake_in(result: object, expected: Tensor, mistakes: Mapping[str, Tensor]) -> str | None:
    """Return None for the expected numbers, or the sentence about what went wrong.

    Args:
        result: What the learner's code gave.
        expected: What is right.
        mistakes: Sentence -> what that mistake gives.

    Lesson: notebook 00.

    >>> mistakes = {"this is twice the number.": torch.tensor(6.0)}
    >>> mistake_in(torch.tensor(6.0), torch.tensor(9.0), mistakes)
    'this is twice the number.'
    >>> mistake_in(torch.tensor(5.0), torch.tensor(9.0), mistakes)
    'the shape is right, but the numbers are not those of the formula.'
    >>> mistake_in([9.0], torch.tensor(9.0), mistakes)
    'a Tensor of shape () is expected, but a list came.'
    """
    if same(result, expected):
        return None
    for sentence, wrong in mistakes.items():
        if same(result, wrong):
            return sentence
    if not isinstance(result, Tensor):
        return f"{kind(expected)} is expected, but {kind(result)} came."
    if result.shape != expected.shape:
        return f"the shape is {tuple(result.shape)}, expected {tuple(expected.shape)}."
    return "the shape is right, but the numbers are not those of the formula."
