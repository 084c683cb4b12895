"""The settings of a training run, and its learning rate as a function of the step.

A scheduler object that is "stepped" is one more thing to save and to get wrong; a function of the
step cannot be out of date.

Letters: B batch.

Lesson: notebook 05. Warm-up and decay in depth: notebook 15.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from bhushgpt.errors import UserError, too_small
from bhushgpt.optimizers import make_optimizer

Schedule = Literal["constant", "linear", "cosine", "wsd"]

SCHEDULES: tuple[Schedule, ...] = ("constant", "linear", "cosine", "wsd")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained. Frozen: another setting is another run.

    Raises:
        UserError: If settings cannot be used; one message names all of them.

    >>> TrainingConfig(steps=0, schedule="up")
    Traceback (most recent call last):
    bhushgpt.errors.UserError: These training settings cannot be used: steps is 0, it must be at \
least 1; schedule is 'up', there are constant, linear, cosine, wsd.
    """

    steps: int
    """Optimizer steps in the whole run."""
    batch_size: int = 32
    """B, windows in one step."""
    learning_rate: float = 3e-3
    """The highest learning rate, reached after the warm-up."""
    min_learning_rate: float = 0.0
    """The learning rate at the end of the run."""
    warmup_steps: int = 0
    """Steps over which the rate rises."""
    schedule: Schedule = "constant"
    """The way from the highest rate to the lowest: constant, linear, cosine or wsd."""
    decay_steps: int = 0
    """Steps of the way down at the end of wsd; 0 for a tenth of the run."""
    weight_decay: float = 0.1
    """AdamW's pull of the matrices towards zero."""
    betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's memory for the gradient and for its square."""
    max_grad_norm: float = 1.0
    """Longer gradients are shortened to this length; infinity leaves them alone."""
    accumulation_steps: int = 1
    """The batch is computed in this many parts, one after the other, to save memory."""
    seed: int = 1337
    """Decides the batches and the dropout."""

    def __post_init__(self) -> None:
        least = {"steps": 1, "batch_size": 1, "warmup_steps": 0, "decay_steps": 0}
        least |= {"accumulation_steps": 1, "seed": 0}
        found = [too_small(name, getattr(self, name), bound) for name, bound in least.items()]
        wrong = [trouble for trouble in found if trouble]
        wrong += [
            f"{name} is {getattr(self, name)}, it must be at least 0"
            for name in ("learning_rate", "min_learning_rate", "weight_decay")
            if not getattr(self, name) >= 0
        ]
        wrong += [
            f"{name} is infinite"
            for name in ("learning_rate", "min_learning_rate", "weight_decay")
            if getattr(self, name) == math.inf
        ]
        if not wrong:
            wrong += self._misfits()
        if not all(0 <= beta < 1 for beta in self.betas):
            wrong.append(f"betas are {self.betas}, each must be at least 0 and below 1")
        if not self.max_grad_norm > 0:
            wrong.append(f"max_grad_norm is {self.max_grad_norm}, it must be above 0")
        if self.schedule not in SCHEDULES:
            wrong.append(f"schedule is {self.schedule!r}, there are {', '.join(SCHEDULES)}")
        if wrong:
            raise UserError("These training settings cannot be used: " + "; ".join(wrong) + ".")

    def _misfits(self) -> list[str]:
        """Return what is wrong about settings that are each allowed, but not together."""
        wrong = []
        if self.min_learning_rate > self.learning_rate:
            wrong.append(
                f"min_learning_rate {self.min_learning_rate} is above learning_rate "
                f"{self.learning_rate}"
            )
        if self.decay_steps and self.schedule != "wsd":
            wrong.append(f"decay_steps is {self.decay_steps}, but only the schedule wsd has them")
        if self.batch_size % self.accumulation_steps:
            wrong.append(
                f"batch_size {self.batch_size} cannot be cut into {self.accumulation_steps} "
                "equal parts"
            )
        return wrong

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return what turns this model's gradients into steps: AdamW here."""
        return make_optimizer(
            model,
            learning_rate=self.learning_rate,
            betas=self.betas,
            weight_decay=self.weight_decay,
        )


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Return the learning rate that step `step` (0 is the first) is made with.

    The first `warmup_steps` rise in a straight line: AdamW's averages are still poor guesses
    then, and a full-sized step in a poor direction can spoil the run. After that the rate stays
    (`constant`), falls to `min_learning_rate` (`linear`, `cosine`), or stays until the last
    `decay_steps` and falls in a straight line there (`wsd`, for warm-up, stable, decay). A `wsd`
    run can be made longer later: until the decay begins it does not know how long it will be.

    Args:
        step: How many steps are done before this one.
        config: steps, learning_rate, min_learning_rate, warmup_steps, decay_steps and schedule.

    Source of `wsd`: Hu et al., "MiniCPM", arXiv 2404.06395.

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
