"""How long a run will take and how much memory it needs, before it starts.

Letters: B batch, T time, C channels, H heads, V vocabulary.

Lesson: notebook 09.
"""

import copy
import sys
import time
from dataclasses import dataclass, replace
from functools import cache
from statistics import median

import torch
from torch import Tensor

from bhushgpt.devices import abilities, describe_device, synchronize
from bhushgpt.errors import UserError
from bhushgpt.language_model import LanguageModel, ModelConfig
from bhushgpt.presets import RunConfig
from bhushgpt.training import LossFunction, StepBatches, TrainState, batch_loss, train

# On a CPU a step takes as long as its tokens: a few of them, with about this many multiplications
# and additions, tell the speed in half a second, where a whole batch may take ten.
TRIAL_WORK = 2e10


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What to expect of a run on this machine."""

    parameters: int
    """Numbers that the model has."""
    trained: int
    """How many of them are trained: all, but with LoRA (notebook 18)."""
    memory_bytes: int
    """Weights, gradients, AdamW's two means and what backward keeps; torch itself not counted."""
    seconds: float
    """Time for all steps, from steps that were timed."""
    tokens_per_second: float
    """Training speed of the timed steps."""

    def __str__(self) -> str:
        part = "" if self.trained == self.parameters else f", {self.trained:,} of them trained"
        return (
            f"{self.parameters:,} parameters{part}, about {self.memory_bytes / 2**20:,.0f} MiB on "
            f"top of Python and torch, about {_duration(self.seconds)} at "
            f"{self.tokens_per_second:,.0f} tokens/s"
        )


def _duration(seconds: float) -> str:
    for name, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds > 1.5 * size:
            return f"{seconds / size:,.1f} {name}"
    return f"{seconds:.0f} s"


@cache
def _without_memory(model: ModelConfig) -> LanguageModel:
    """Return the model on the device "meta", where tensors have shapes and take no memory."""
    if getattr(model, "attention_form", None) == "auto":  # counted as a CPU computes it
        model = replace(model, attention_form="explicit")
    with torch.device("meta"):
        return model.build()


def parameter_count(config: RunConfig) -> int:
    """Return how many numbers the model of a run has, without taking the memory for it.

    >>> from bhushgpt.presets import build_model, preset
    >>> small = preset("gpt-v1-smoke", 79)
    >>> parameter_count(small) == build_model(small).parameter_count()
    True
    """
    return _without_memory(config.model).parameter_count()


def training_memory(config: RunConfig) -> int:
    """Return the bytes that a training step of a run needs, in float32.

    Each parameter is there four times: weight, gradient, AdamW's mean and mean of squares; one that
    is not trained, once. What backward keeps is counted while the model computes a part of a batch
    on the device "meta".

    >>> from bhushgpt.presets import preset
    >>> 20 < training_memory(preset("gpt-v1", 79)) / 2**20 < 120
    True
    """
    try:
        model = _without_memory(config.model).train()
        numbers = model.parameter_count() + 3 * model.trained_count()
        return 4 * numbers + _kept_bytes(model, config)
    except RuntimeError:  # a size of more bytes than 64 bits can count
        return sys.maxsize


def _kept_bytes(model: LanguageModel, config: RunConfig) -> int:
    """Return the bytes that backward needs of a part of a batch."""
    rows = config.training.batch_size // config.training.accumulation_steps
    ids = torch.empty(rows, config.model.context_length, dtype=torch.long, device="meta")
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}  # views of one tensor are in memory once

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        batch_loss(model, ids, ids)
    sizes = [storage.nbytes() for storage in kept.values()]
    # On the way back a block's gradients stand beside what it kept, as large as that.
    block = sum(sizes) // getattr(config.model, "n_layer", 1)
    return sum(sizes) + block + 2 * max(sizes)


def check_memory(config: RunConfig, device: torch.device) -> None:
    """Refuse a run that cannot fit, before anything of it is allocated.

    Raises:
        UserError: If it needs more than the device has; the message gives both.

    >>> from bhushgpt.presets import preset
    >>> check_memory(preset("gpt-v1", 79), torch.device("cpu"))
    """
    there = describe_device(device).memory_bytes
    try:
        needed = training_memory(config)
    except RuntimeError:  # a tensor of more bytes than torch can count, without memory or with
        needed = 2**63
    if needed > there:
        raise UserError(
            f"This run needs about {needed / 2**30:,.1f} GiB of memory, and {device.type} has "
            f"{there / 2**30:,.1f}. The vocabulary has {config.model.vocab_size:,} tokens and the "
            f"context {config.model.context_length:,}. Take a smaller preset, or a text with "
            "fewer different characters."
        )


@dataclass(frozen=True)
class _FirstRows:
    """Batches of which only the first rows are taken."""

    batches: StepBatches
    rows: int

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self.batches[step]
        return inputs[: self.rows], targets[: self.rows]


def forecast(
    config: RunConfig,
    model: LanguageModel,
    batches: StepBatches,
    device: torch.device,
    *,
    timed_steps: int = 3,
    loss_function: LossFunction = batch_loss,
) -> Forecast:
    """Run a few steps, or parts of steps, on a copy of the model and say how long all will take.

    Args:
        config: The run.
        model: Its model; it is copied and not changed.
        batches: Its batches.
        device: Where it will run.
        timed_steps: Steps to time after one that warms up; the median counts.
        loss_function: What it will be trained with.
    """
    rows = _trial_rows(config, device)
    trial = (copy.deepcopy(model), _FirstRows(batches, rows), timed_steps, loss_function)
    seconds = _step_seconds(config, *trial)
    context = config.model.context_length
    speed = rows * context / median(seconds[1:])  # the first step also warms up
    return Forecast(
        parameters=model.parameter_count(),
        trained=model.trained_count(),
        memory_bytes=training_memory(config),
        seconds=config.training.steps * config.training.batch_size * context / speed,
        tokens_per_second=speed,
    )


def _step_seconds(
    config: RunConfig, model: LanguageModel, batches: _FirstRows, timed: int, loss: LossFunction
) -> list[float]:
    """Train a model for a few steps and return what each took."""
    steps = max(config.training.steps, timed + 1)
    training = replace(config.training, steps=steps, batch_size=batches.rows, accumulation_steps=1)
    trial = TrainState.fresh(model, training)
    device = next(model.parameters()).device
    seconds: list[float] = []
    begin = time.perf_counter()
    for report in train(trial, batches, training, loss):
        synchronize(device)
        now = time.perf_counter()
        seconds.append(now - begin)
        begin = now
        if report.step > timed:
            break
    return seconds


def _trial_rows(config: RunConfig, device: torch.device) -> int:
    rows = config.training.batch_size // config.training.accumulation_steps
    if not abilities(device).host:
        return rows
    # Forward and backward take about six operations per weight and token.
    work = 6 * parameter_count(config) * config.model.context_length
    return max(1, min(rows, round(TRIAL_WORK / work)))


def expected_bytes(config: RunConfig) -> int:
    """Return about how many bytes one checkpoint of a run will take, before anything is built.

    >>> from bhushgpt.presets import preset
    >>> 9 < expected_bytes(preset("gpt-v1", 79)) / 2**20 < 11
    True
    """
    # Weights and AdamW's two means, in float32.
    model = _without_memory(config.model)
    return 4 * (model.parameter_count() + 2 * model.trained_count()) + other_bytes(config)


def other_bytes(config: RunConfig) -> int:
    """Return about how many bytes of a checkpoint are not tensors: most are the tokenizer's."""
    return 2**17 + 64 * config.model.vocab_size
