"""Full memory, put into words: what to change, and what each setting would need.

`memory_explained` turns the error of a full device into a table of knobs, each turned just far
enough by the count of `forecast`.

Lesson: notebook 12.
"""

from __future__ import annotations

import dataclasses
import traceback
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bhushgpt.environment import memory_size
from bhushgpt.errors import UserError

if TYPE_CHECKING:  # here and below: the doctor, in this room too, must start where torch does not
    import torch

    from bhushgpt.presets import RunConfig
    from bhushgpt.speed import Acceleration


def is_memory_error(error: BaseException) -> bool:
    """Return whether an error says that the memory is full, on whatever device.

    >>> is_memory_error(MemoryError()), is_memory_error(ValueError("no"))
    (True, False)
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
        return True
    # On the CPU it is a plain RuntimeError with the allocator's name in it.
    words = ("DefaultCPUAllocator", "MPS backend out of memory", "CUDA out of memory")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


# What is advised leaves this share of a device's memory free: growth is no exact thing.
SPARE = 0.15


@contextmanager
def memory_explained(
    config: RunConfig, device: torch.device | str, how: Acceleration | None = None
) -> Iterator[None]:
    """Turn full memory inside the `with` into the table of knobs.

    What is free is measured on entering: when the memory is full, the failed step still holds it.

    Args:
        config: The run.
        device: Where it computes.
        how: How its steps are computed; nothing means float32 and all at once.

    Raises:
        UserError: With `memory_advice`, if the memory is full.
    """
    from bhushgpt.devices import free_memory

    there = free_memory(device)
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_memory_error(error):
            raise
        # What failed holds its tensors, and counting takes some memory, too.
        traceback.clear_frames(error.__traceback__)
        where = str(device).partition(":")[0]
        try:
            # By the count it may fit; it did not, so the advice starts below what failed.
            room = min(there, round(_needed(config, where, how) * (1 - SPARE)))
            advice = memory_advice(config, room, where, how)
        except (MemoryError, SystemError, RuntimeError):  # even counting found no room
            advice = (
                "Compute each batch in more parts (--accumulation), which changes nothing else, or "
                "take a shorter context or a smaller model."
            )
        raise UserError(f"The memory is full. {advice}") from error


@dataclass(frozen=True)
class Knob:
    """One setting that makes a run smaller, turned until the run fits."""

    name: str
    """What it is about: batch, context, width or precision."""
    setting: str
    """What to write."""
    memory_bytes: int
    """What the run would then need."""
    fits: bool
    """Whether that is enough by itself."""


def knobs(
    config: RunConfig, room: int, where: str = "cpu", how: Acceleration | None = None
) -> list[Knob]:
    """Return each knob turned just far enough for a run to fit, or to its end.

    Args:
        config: The run as it was wanted.
        room: Bytes that there are.
        where: The kind of device.
        how: How its steps are computed.

    >>> from bhushgpt.presets import preset
    >>> for knob in knobs(preset("gpt-v1-smoke", 79), room=2**30):
    ...     print(knob.name, knob.setting.partition("=")[0])
    batch accumulation_steps
    context context_length
    width n_embd
    precision bfloat16
    """
    from bhushgpt.gpt import GPTConfig
    from bhushgpt.speed import Acceleration

    enough = room * (1 - SPARE)
    training, model = config.training, config.model
    parts = [n for n in _divisors(training.batch_size) if n >= training.accumulation_steps]
    tried = [("batch", "accumulation_steps={}", [(n, _in_parts(config, n)) for n in parts])]
    contexts = _halves(model.context_length, 8)
    shorter = [(n, _with_model(config, context_length=n)) for n in contexts]
    tried.append(("context", "context_length={}", shorter))
    if isinstance(model, GPTConfig):
        step = model.n_head * (2 if model.position == "rotary" else 1)
        widths = [n for n in _halves(model.n_embd, 16) if n % step == 0]
        tried.append(("width", "n_embd={}", [(n, _with_model(config, n_embd=n)) for n in widths]))
    found = [_turned(name, words, ways, enough, where, how) for name, words, ways in tried if ways]
    half = dataclasses.replace(how or Acceleration(), precision="bfloat16")
    needed = _needed(config, where, half)
    return [*found, Knob("precision", "bfloat16", needed, needed <= enough)]


def largest_batch(
    config: RunConfig, room: int, where: str = "cpu", how: Acceleration | None = None
) -> int:
    """Return the most windows that fit at a time; 0 if not even one does.

    >>> from bhushgpt.presets import preset
    >>> config = preset("gpt-v1-smoke", 79)
    >>> 0 < largest_batch(config, 2**24) < largest_batch(config, 2**25)
    True
    >>> largest_batch(config, 2**10)
    0
    """

    def needed(rows: int) -> int:
        return _needed(_of_batch(config, rows), where, how)

    enough = room * (1 - SPARE)
    if needed(1) > enough:
        return 0
    fitting, too_many = 1, max(2, config.training.batch_size)
    while needed(too_many) <= enough:
        fitting, too_many = too_many, 2 * too_many
    while too_many - fitting > 1:  # nearly a line: where it crosses, or the next one above
        slope = (needed(too_many) - needed(fitting)) / (too_many - fitting)
        middle = fitting + max(1, int((enough - needed(fitting)) / slope))
        middle = min(middle, too_many - 1)
        fitting, too_many = (middle, too_many) if needed(middle) <= enough else (fitting, middle)
    return fitting


def memory_advice(
    config: RunConfig, room: int, where: str = "cpu", how: Acceleration | None = None
) -> str:
    """Return the table of knobs for people, and the batch that fits.

    Args: see `knobs`.

    >>> from bhushgpt.presets import preset
    >>> advice = memory_advice(preset("gpt-v1-smoke", 79), 2**24)
    >>> "cpu has at most 16 MiB for it" in advice, len(advice.splitlines())
    (True, 6)
    """
    rows = [
        f"\n  {knob.name:<11}{knob.setting:<22}{memory_size(knob.memory_bytes):>12}  "
        f"{'fits' if knob.fits else 'too large'}"
        for knob in knobs(config, room, where, how)
    ]
    most, needed = largest_batch(config, room, where, how), _needed(config, where, how)
    batch = (
        f"A batch of up to {most:,} windows fits at a time."
        if most
        else (
            "Not even a batch of one window fits: take a smaller preset, or close other programs."
        )
    )
    return (
        f"This run needs about {memory_size(needed)} of memory, and {where} "
        f"has at most {memory_size(room)} for it. Any one of these makes it smaller:"
        f"{''.join(rows)}\n"
        f"{batch} With accumulation_steps the batch is computed in parts and the result stays the "
        "same; another context or width is another model, and bfloat16 rounds more coarsely."
    )


def _needed(config: RunConfig, where: str, how: Acceleration | None) -> int:
    from bhushgpt.forecast import PlainLoss, grown, training_memory

    return grown(training_memory(config, where, how or PlainLoss()), where)


def _turned(
    name: str,
    words: str,
    ways: list[tuple[int, RunConfig]],
    enough: float,
    where: str,
    how: Acceleration | None,
) -> Knob:
    def fits(place: int) -> bool:
        return _needed(ways[place][1], where, how) <= enough

    first = bisect_left(range(len(ways)), True, key=fits)  # each needs less than the one before
    value, config = ways[min(first, len(ways) - 1)]
    needed = _needed(config, where, how)
    return Knob(name, words.format(value), needed, needed <= enough)


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _halves(number: int, least: int) -> list[int]:
    """Return half, a quarter ... of a number, none below the least."""
    return [number >> n for n in range(1, number.bit_length()) if number >> n >= least]


def _in_parts(config: RunConfig, parts: int) -> RunConfig:
    training = dataclasses.replace(config.training, accumulation_steps=parts)
    return dataclasses.replace(config, training=training)


def _of_batch(config: RunConfig, rows: int) -> RunConfig:
    training = dataclasses.replace(config.training, batch_size=rows, accumulation_steps=1)
    return dataclasses.replace(config, training=training)


def _with_model(config: RunConfig, **sizes: int) -> RunConfig:
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **sizes))
