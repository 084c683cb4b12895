"""The training loop, as a generator that the reader steps through.

A run is a function of (config, step): the batch, the learning rate and the random numbers of
step n depend on n alone. So the whole state is the model, the optimizer and the step, and
whatever happens between two steps (evaluating, sampling, saving, a crash) cannot change the next.

Letters: B batch, T time, V vocabulary.

Lesson: notebook 05.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from bhushgpt.errors import UserError
from bhushgpt.losses import next_token_loss
from bhushgpt.optimizers import make_optimizer
from bhushgpt.schedules import SCHEDULES, Schedule, learning_rate


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained. Frozen: another setting is another run."""

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
    """The way from the highest rate to the lowest: constant, linear or cosine."""
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
        wrong = [
            f"{name} is {getattr(self, name)}, it must be at least {least}"
            for name, least in (
                ("steps", 1),
                ("batch_size", 1),
                ("warmup_steps", 0),
                ("accumulation_steps", 1),
                ("learning_rate", 0),
                ("weight_decay", 0),
            )
            if not getattr(self, name) >= least
        ]
        if not self.max_grad_norm > 0:
            wrong.append(f"max_grad_norm is {self.max_grad_norm}, it must be above 0")
        if self.schedule not in SCHEDULES:
            wrong.append(f"schedule is {self.schedule!r}, there are {', '.join(SCHEDULES)}")
        if self.accumulation_steps > 0 and self.batch_size % self.accumulation_steps:
            wrong.append(
                f"batch_size {self.batch_size} cannot be cut into {self.accumulation_steps} "
                "equal parts"
            )
        if wrong:
            raise UserError("These training settings cannot be used: " + "; ".join(wrong) + ".")


@dataclass
class TrainState:
    """All that changes while a model trains, and so all that a checkpoint must hold."""

    model: nn.Module
    """The weights."""
    optimizer: torch.optim.Optimizer
    """AdamW's running means."""
    step: int = 0
    """How many steps are done."""

    @classmethod
    def fresh(cls, model: nn.Module, config: TrainingConfig) -> "TrainState":
        """Return the state before the first step, with the course's AdamW."""
        return cls(model, make_optimizer(model, config))


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one training step has to say."""

    step: int
    """Steps done, this one included."""
    loss: float
    """Mean nats per token of this step's batch, before the step changed the weights."""
    learning_rate: float
    """The rate this step was made with."""
    grad_norm: float
    """Length of the gradient before clipping."""
    tokens: int
    """Tokens seen in this step."""


class StepBatches(Protocol):
    """Anything that gives `(inputs, targets)` for a step number."""

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of a step, (B, T) each."""
        ...


LossFunction = Callable[[nn.Module, Tensor, Tensor], Tensor]


def batch_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean next-token loss (nats) of a model on inputs and targets, (B, T) each."""
    return next_token_loss(model(inputs), targets)


def train(
    state: TrainState,
    batches: StepBatches,
    config: TrainingConfig,
    loss_function: LossFunction = batch_loss,
) -> Iterator[Report]:
    """Train from `state.step` to `config.steps`, handing out a report after every step.

    The loop is the caller's: `for report in train(state, batches, config):`, and inside it plot,
    sample, save or `break`. Breaking off leaves a whole state; calling `train` again goes on.

    Args:
        state: Changed in place.
        batches: `batches[step]` gives (inputs, targets), such as `Batches`.
        config: Settings of the run.
        loss_function: Mean loss of (model, inputs, targets).

    Raises:
        UserError: If the loss or the gradient is not a finite number. The weights are still those
            from before the step.

    Lesson: notebook 05.
    """
    while state.step < config.steps:
        yield _train_step(state, batches, config, loss_function)


def _train_step(
    state: TrainState, batches: StepBatches, config: TrainingConfig, loss_function: LossFunction
) -> Report:
    rate = learning_rate(state.step, config)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    inputs, targets = batches[state.step]
    state.model.train()
    state.optimizer.zero_grad(set_to_none=True)
    loss = torch.zeros((), device=inputs.device)
    with step_randomness(config.seed, state.step, inputs.device):
        for part, answers in zip(
            inputs.chunk(config.accumulation_steps),
            targets.chunk(config.accumulation_steps),
            strict=True,
        ):
            part_loss = loss_function(state.model, part, answers) / config.accumulation_steps
            part_loss.backward()
            loss += part_loss.detach()
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.max_grad_norm)
    report = Report(
        step=state.step + 1,
        loss=loss.item(),
        learning_rate=rate,
        grad_norm=norm.item(),
        tokens=inputs.numel(),
    )
    _refuse_non_finite(report)
    state.optimizer.step()
    state.step += 1
    return report


def _refuse_non_finite(report: Report) -> None:
    if math.isfinite(report.loss) and math.isfinite(report.grad_norm):
        return
    raise UserError(
        f"Training stopped at step {report.step}: the loss is {report.loss} and the gradient's "
        f"length {report.grad_norm}. The weights are still those from before this step. Lower the "
        f"learning rate (it was {report.learning_rate:.2g}) or lengthen the warm-up, and start "
        "again from the last checkpoint."
    )


@contextmanager
def step_randomness(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Make torch's random numbers inside the `with` depend on (seed, step) alone.

    Outside it the global random state is what it was, so a learner's own `torch.rand` neither
    changes training nor is changed by it.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed((seed * 1_000_003 + step) % 2**63)
        yield
