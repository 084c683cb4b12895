"""The training loop, as a generator that the reader steps through.

A run is a function of (config, step): the batch, the learning rate and the random numbers of
step n depend on n alone. So the whole state is the model, the optimizer and the step, and
whatever happens between two steps (evaluating, sampling, saving, a crash) cannot change the next.

Ctrl-C waits until a step is complete. Python raises KeyboardInterrupt between any two operations;
in the middle of an optimizer's step it would leave weights that belong to no step, some moved and
some not.

Letters: B batch, T time, V vocabulary.

Lesson: notebook 05.
"""

import math
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol, Self

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bhushgpt.devices import random_state, restore_random, seed_random
from bhushgpt.environment import in_notebook
from bhushgpt.errors import UserError
from bhushgpt.language_model import next_token_loss
from bhushgpt.training_config import TrainingConfig, learning_rate


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

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are numbers that a step can be made with."""
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


class NonFinite(UserError):
    """A loss or a gradient that is no number: the run stopped with the weights as they were.

    Attributes:
        step: Of the batch, `batches[step]`, so that it can be left out (`Batches(skip=[step])`).
    """

    def __init__(self, message: str, step: int = 0) -> None:
        super().__init__(message)
        self.step = step

    @classmethod
    def of(cls, report: Report) -> Self:
        """Return the error for a step that could not be made."""
        return cls(
            f"Training stopped at step {report.step}: the loss is {report.loss} and the gradient's "
            f"length {report.grad_norm}. The weights are still those from before this step. "
            f"Lower the learning rate (it was {report.learning_rate:.2g}) or lengthen the warm-up, "
            "and start again from the last checkpoint; or leave this batch out "
            f"(Batches(..., skip=[{report.step - 1}])).",
            report.step - 1,
        )


@contextmanager
def interrupt_deferred() -> Iterator[None]:
    """Let Ctrl-C, or the notebook's stop button, wait until the end of the `with`.

    Outside the main thread, where Python never interrupts, it does nothing.

    >>> done = []
    >>> try:
    ...     with interrupt_deferred():
    ...         signal.raise_signal(signal.SIGINT)
    ...         done.append("the change")
    ... except KeyboardInterrupt:
    ...     print(done, "and then the interrupt")
    ['the change'] and then the interrupt
    """
    came: list[FrameType | None] = []
    try:
        before = signal.signal(signal.SIGINT, lambda number, frame: came.append(frame))
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        # None: a handler that Python did not set and so cannot put back.
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
        if came and callable(before):
            before(signal.SIGINT, came[0])


@contextmanager
def step_randomness(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Make torch's random numbers inside the `with` depend on (seed, step) alone.

    Outside it the global random state is what it was, so a learner's own `torch.rand` neither
    changes training nor is changed by it.

    >>> before = torch.get_rng_state()
    >>> with step_randomness(seed=1, step=5, device=torch.device("cpu")):
    ...     first = torch.rand(3)
    >>> with step_randomness(seed=1, step=5, device=torch.device("cpu")):
    ...     print(bool((torch.rand(3) == first).all()))
    True
    >>> bool((torch.get_rng_state() == before).all())
    True
    """
    number = (seed * 1_000_003 + step) % 2**63
    before, own = torch.get_rng_state(), random_state(device)
    try:
        torch.default_generator.manual_seed(number)
        seed_random(device, number)
        yield
    finally:
        torch.set_rng_state(before)
        restore_random(device, own)


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
        """Return the state before the first step, with the optimizer of its settings."""
        return cls(model, config.optimizer(model))


class StepBatches(Protocol):
    """Anything that gives `(inputs, targets)` for a step number."""

    def __getitem__(self, step: int, /) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of a step, (B, T) each."""
        ...


# Mean loss of (model, inputs, targets).
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
        NonFinite: If the loss or the gradient is not a finite number: the weights are still those
            from before the step, the gradients are gone, and calling `train` again tries it again.
            `explain_non_finite` (notebook 12) finds the first layer that went wrong.
        UserError: If a batch cannot be cut into `accumulation_steps` equal parts.

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
    if not report.finite:
        state.optimizer.zero_grad(set_to_none=True)
        raise NonFinite.of(report)
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
            del part_loss  # else what is left of its graph lies between the next part's tensors
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.max_grad_norm)
    return Report(
        step=state.step + 1,
        loss=loss.item(),
        learning_rate=rate,
        grad_norm=norm.item(),
        tokens=inputs.numel(),
    )


# The plain-text bar, in notebooks too: it needs no widget and stays readable in a stored notebook.


def progress(reports: Iterable[Report], steps: int, *, start: int = 0) -> Iterator[Report]:
    """Pass reports through and show them as one progress bar.

    It goes to the error stream; in a notebook, which shows that in pink, to the other one.

    Args:
        reports: What `train` yields.
        steps: The step that the run ends at (`config.steps`).
        start: The step it starts from (`state.step` before training), for a resumed run.

    Yields:
        The same reports. Leaving the loop early closes the bar.

    >>> report = Report(step=1, loss=2.5, learning_rate=0.1, grad_norm=1.0, tokens=64)
    >>> [passed is report for passed in progress([report], steps=1)]
    [True]
    """
    form = "{percentage:3.0f}%|{bar:20}| step {n_fmt}/{total_fmt}{postfix}, {remaining} left"
    average = weight = 0.0
    stream = sys.stdout if in_notebook() else sys.stderr
    with tqdm(total=steps, initial=start, bar_format=form, mininterval=0.5, file=stream) as bar:
        for report in reports:
            # One batch is noisy: show an average over about the last 20, corrected for its start
            # from 0 as Adam's means are.
            average, weight = 0.95 * average + 0.05 * report.loss, 0.95 * weight + 0.05
            rate = bar.format_dict["rate"]
            speed = f", {rate * report.tokens:,.0f} tokens/s" if rate else ""
            bar.set_postfix_str(f"loss {average / weight:.3f}{speed}", refresh=False)
            bar.update(report.step - bar.n)
            yield report
