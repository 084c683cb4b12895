"""One switch for how much the notebooks compute: smoke, laptop or gpu.

Lesson: notebook 00.
"""

import os
from typing import Literal, TypeVar, cast

import torch

from bhushgpt.errors import UserError, nearest

Scale = Literal["smoke", "laptop", "gpu"]
Value = TypeVar("Value")

SCALES: tuple[Scale, ...] = ("smoke", "laptop", "gpu")


def current_scale() -> Scale:
    """Return the scale that the notebooks run at.

    The environment variable BHUSHGPT_SCALE decides: `smoke` is what the tests run (seconds),
    `laptop` is at most about three minutes a notebook on two CPU cores, `gpu` needs CUDA. Without
    the variable it is `gpu` on a machine with CUDA and `laptop` on any other.

    Raises:
        UserError: If the variable holds another word.

    Lesson: notebook 00.
    """
    named = os.environ.get("BHUSHGPT_SCALE")
    if not named:
        return "gpu" if torch.cuda.is_available() else "laptop"
    if named not in SCALES:
        raise UserError(f"BHUSHGPT_SCALE is {named!r}. {nearest(named, SCALES)}")
    return cast(Scale, named)


def pick(*, smoke: Value, laptop: Value, gpu: Value | None = None) -> Value:
    """Return the value for the current scale; `gpu` left out means the laptop's value.

    >>> pick(smoke="a few steps", laptop="three minutes") in ("a few steps", "three minutes")
    True
    """
    scale = current_scale()
    if scale == "smoke":
        return smoke
    if scale == "gpu" and gpu is not None:
        return gpu
    return laptop
