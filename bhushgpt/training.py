"""The training loop, as a generator that the reader steps through.

A run is a function of (config, step): the batch, the learning rate and the random numbers of
step n depend on n alone. So the whole state is the model, the optimizer and the step, and
whatever happens between two steps (evaluating, sampling, saving, a crash) cannot change the next.

Letters: B batch, T time, V vocabulary.

Lesson: notebook 05.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from bhushgpt.deferral import interrupt_deferred
from bhushgpt.errors import UserError
from bhushgpt.losses import next_token_loss
from bhushgpt.non_finite import explain_non_finite
from bhushgpt.optimizers import make_optimizer
from bhushgpt.randomness import step_randomness
from bhushgpt.schedules import learning_rate
from bhushgpt.step_reports import NonFinite, Report
from bhushgpt.training_config import TrainingConfig

__all__ = [
    "LossFunction",
    "NonFinite",
    "Report",
    "StepBatches",
    "TrainState",
    "batch_loss",
    "train",
]


@dataclass
class TrainState:
    """All that changes while a model trains, and so all that a checkpoint must hold.

    Lesson: notebook 05.
    """

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


class StepBatches(Protocol):
    """Anything that gives `(inputs, targets)` for a step number."""

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of a step, (B, T) each."""
        ...


# Mean loss of (model, inputs, targets). An object that is called like this may also have two
# methods: `retry()` is asked when a number is not finite and says whether to compute the step once
# more; `explain(model, inputs, targets, step=...)` finds the cause (notebook 14 uses both).
LossFunction = Callable[[nn.Module, Tensor, Tensor], Tensor]


def batch_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean next-token loss (nats) of a model on inputs and targets, (B, T) each.

    Lesson: notebook 05.
    """
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
        NonFinite: If the loss or the gradient is not a finite number: the weights are still those
            from before the step, and the message names the first layer that went wrong.
        UserError: If a batch cannot be cut into `accumulation_steps` equal parts.

    Lesson: notebook 05.

    >>> import numpy as np
    >>> from bhushgpt.batches import Batches
    >>> from bhushgpt.bigram import Bigram, BigramConfig
    >>> config = TrainingConfig(steps=3, batch_size=4, learning_rate=1.0)
    >>> state = TrainState.fresh(Bigram(BigramConfig(vocab_size=2)), config)
    >>> batches = Batches(np.arange(100) % 2, config.batch_size, context_length=8)
    >>> for report in train(state, batches, config):
    ...     print(report.step, round(report.loss, 3))
    1 0.693
    2 0.127
    3 0.031
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
    if len(inputs) % config.accumulation_steps:
        raise UserError(
            f"A batch of {len(inputs)} windows cannot be cut into accumulation_steps = "
            f"{config.accumulation_steps} equal parts. Give the batches the config's batch_size "
            f"({config.batch_size})."
        )
    state.model.train()
    report = _gradient(state, inputs, targets, config, loss_function, rate)
    while not report.finite and getattr(loss_function, "retry", bool)():
        report = _gradient(state, inputs, targets, config, loss_function, rate)
    if not report.finite:
        raise _stopped(state, inputs, targets, config, loss_function, report)
    with interrupt_deferred():  # half a step would leave weights that belong to no step
        state.optimizer.step()
        state.step += 1
    return report


def _gradient(
    state: TrainState,
    inputs: Tensor,
    targets: Tensor,
    config: TrainingConfig,
    loss_function: LossFunction,
    rate: float,
) -> Report:
    """Compute the gradient of a step, clipped, and say what there is to say about it."""
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
    return Report(
        step=state.step + 1,
        loss=loss.item(),
        learning_rate=rate,
        grad_norm=norm.item(),
        tokens=inputs.numel(),
    )


def _stopped(
    state: TrainState,
    inputs: Tensor,
    targets: Tensor,
    config: TrainingConfig,
    loss_function: LossFunction,
    report: Report,
) -> NonFinite:
    """Return the error that says what happened, where it began, and what to do."""
    with step_randomness(config.seed, state.step, inputs.device):
        if hasattr(loss_function, "explain"):
            cause = loss_function.explain(state.model, inputs, targets, step=state.step)
        else:
            cause = explain_non_finite(state.model, inputs, targets, loss_function, step=state.step)
    state.optimizer.zero_grad(set_to_none=True)
    return NonFinite(
        f"Training stopped at step {report.step}: the loss is {report.loss} and the gradient's "
        f"length {report.grad_norm}. {cause} The weights are still those from before this step. "
        f"Lower the learning rate (it was {report.learning_rate:.2g}) or lengthen the warm-up, and "
        "start again from the last checkpoint; or leave this batch out "
        f"(SkippedBatches(batches, steps=[{state.step}])).",
        state.step,
    )
