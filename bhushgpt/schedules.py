"""The learning rate as a function of the step, and of nothing else.

A scheduler object that is "stepped" is one more thing to save and to get wrong; a function of the
step cannot be out of date.

Lesson: notebook 05. Warm-up and decay in depth: notebook 14.
"""

import math
from typing import Literal, Protocol

Schedule = Literal["constant", "linear", "cosine", "wsd"]

SCHEDULES: tuple[Schedule, ...] = ("constant", "linear", "cosine", "wsd")


class ScheduleConfig(Protocol):
    """The settings that a schedule reads; `TrainingConfig` has them."""

    @property
    def steps(self) -> int:
        """How many steps the run takes."""
        ...

    @property
    def learning_rate(self) -> float:
        """The highest rate, reached after the warm-up."""
        ...

    @property
    def min_learning_rate(self) -> float:
        """The rate at the end of the run."""
        ...

    @property
    def warmup_steps(self) -> int:
        """Steps over which the rate rises from near 0 to the highest."""
        ...

    @property
    def decay_steps(self) -> int:
        """Steps of the way down at the end of `wsd`; 0 for a tenth of the run."""
        ...

    @property
    def schedule(self) -> Schedule:
        """The way down."""
        ...


def learning_rate(step: int, config: ScheduleConfig) -> float:
    """Return the learning rate that step `step` (0 is the first) is made with.

    The first `warmup_steps` rise in a straight line: AdamW's averages are still poor guesses
    then, and a full-sized step in a poor direction can spoil the run. After that the rate stays
    (`constant`), falls to `min_learning_rate` (`linear`, `cosine`), or stays until the last
    `decay_steps` and falls in a straight line there (`wsd`, for warm-up, stable, decay). A `wsd`
    run can be made longer later: until the decay begins it does not know how long it will be.

    Args:
        step: How many steps are done before this one.
        config: steps, learning_rate, min_learning_rate, warmup_steps, decay_steps and schedule.

    Lesson: notebook 05. Source of `wsd`: Hu et al., "MiniCPM", arXiv 2404.06395.

    >>> from bhushgpt.training_config import TrainingConfig
    >>> config = TrainingConfig(steps=10, learning_rate=1.0, warmup_steps=2, schedule="linear")
    >>> [round(learning_rate(step, config), 3) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.125]
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    begin = config.warmup_steps
    if config.schedule == "wsd":
        begin = max(begin, config.steps - (config.decay_steps or math.ceil(config.steps / 10)))
    # Capped, so that a run that is asked for more steps than planned stays at the minimum.
    done = min(1.0, max(0, step - begin) / max(1, config.steps - begin))
    shape = (1 + math.cos(math.pi * done)) / 2 if config.schedule == "cosine" else 1 - done
    return config.min_learning_rate + shape * (config.learning_rate - config.min_learning_rate)
