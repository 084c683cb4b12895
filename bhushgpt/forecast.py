"""How long a run will take and how much memory it needs, before it starts.

Letters: B batch, T time, C channels, H heads, V vocabulary.

Lesson: notebook 09.
"""

import math
import sys
import time
import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from statistics import median
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from bhushgpt.cpu_settings import threads_for
from bhushgpt.devices import abilities, describe_device, synchronize
from bhushgpt.environment import memory_size
from bhushgpt.errors import UserError
from bhushgpt.evaluation import windows_at_once
from bhushgpt.language_model import LanguageModel, ModelConfig, eval_mode, token_losses
from bhushgpt.presets import RunConfig
from bhushgpt.training import LossFunction, StepBatches, TrainState, batch_loss, train
from bhushgpt.training_config import TrainingConfig

# On a CPU a step takes as long as its tokens: a few of them, with about this many multiplications
# and additions, tell the speed in a second, where a whole batch may take ten.
TRIAL_WORK = 1e10
# Numbers that a table of positions may have to be computed where only its size is wanted.
SMALL_TABLE = 2**24
# Deeper models are counted by their first two layers.
FEW_LAYERS = 3
# A process on the CPU grows by more than its tensors, since the allocator leaves gaps between them:
# by 1.2 to 1.7 times as much in thirteen runs of eight presets, and by some MiB for its threads.
HOST_GROWTH, HOST_START = 1.4, 4 * 2**20


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What to expect of a run on this machine."""

    parameters: int
    """Numbers that the model has."""
    trained: int
    """How many of them are trained: all, but with LoRA (notebook 18)."""
    memory_bytes: int
    """What the process grows by while all tensors are there that ever are at once; torch itself is
    not counted."""
    seconds: float
    """Time for all steps, from steps that were timed."""
    other_seconds: float = 0.0
    """Time for what else the run does: looking at the held-out text, and its results."""
    tokens_per_second: float
    """Training speed of the timed steps."""
    process_bytes: int = 0
    """What the process held before: Python, torch and the other libraries. 0 if it is not said."""

    def __str__(self) -> str:
        part = "" if self.trained == self.parameters else f", {self.trained:,} of them trained"
        memory = memory_size(self.memory_bytes + self.process_bytes)
        where = "with Python and torch" if self.process_bytes else "on top of Python and torch"
        return (
            f"{self.parameters:,} parameters{part}, about {memory} {where}, about "
            f"{_duration(self.seconds + self.other_seconds)} at "
            f"{self.tokens_per_second:,.0f} tokens/s"
        )


def _duration(seconds: float) -> str:
    for name, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds > 1.5 * size:
            return f"{seconds / size:,.1f} {name}"
    return f"{seconds:.0f} s"


@cache
def without_memory(config: ModelConfig) -> LanguageModel:
    """Return a model whose weights have shapes and take no memory.

    Raises:
        RuntimeError: If it has more numbers than can be counted.
    """
    sizes = (getattr(config, name, 1) for name in ("context_length", "n_embd"))
    if math.prod(sizes) <= SMALL_TABLE:
        with weights_without_memory():
            return config.build()
    with torch.device("meta"):  # for its tables, too; this way loads torch's compiler, a second
        return config.build()


@contextmanager
def weights_without_memory() -> Iterator[None]:
    """Let weights that are made inside have no memory, so that none are drawn to be thrown away.

    Only the weights: tables that a model computes, such as those of its positions, are computed.
    """

    def to_meta(module: nn.Module, name: str, weight: Any) -> Any:
        if weight is not None and not weight.is_meta:
            return nn.Parameter(weight.to("meta"), weight.requires_grad)
        return None  # as it is: one that has two names stays one

    hook = register_module_parameter_registration_hook(to_meta)
    try:
        with torch.random.fork_rng(devices=[]), _NothingDrawn():
            yield
    finally:
        hook.remove()


class _NothingDrawn(TorchFunctionMode):
    """Leaves first weights undrawn."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", "") == nn.init.__name__:
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)


def parameter_count(config: RunConfig) -> int:
    """Return how many numbers the model of a run has, without taking the memory for it.

    >>> from bhushgpt.presets import build_model, preset
    >>> small = preset("gpt-v1-smoke", 79)
    >>> parameter_count(small) == build_model(small).parameter_count()
    True
    """
    return without_memory(config.model).parameter_count()


class _Alive(TorchDispatchMode):
    """Counts the bytes of the tensors that are there at once, while operations make and drop them.

    Attributes:
        most: The largest count so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Let an operation happen, and count the tensors that it made."""
        if func is torch.ops.aten._local_scalar_dense.default:
            return 0  # somebody checks a number; without memory there is none, and none is wrong
        result = func(*args, **(kwargs or {}))
        for made in result if isinstance(result, list | tuple) else (result,):
            if isinstance(made, Tensor):
                self._note(made.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata  # views of one tensor share it
        if key not in self._known:
            self._known.add(key)
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._gone, key, storage.nbytes())

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size

    def most_of_each(self, phases: Iterator[None]) -> Iterator[int]:
        """Go through the phases of something, and yield the largest count of each."""
        for _ in phases:
            yield self.most
            self.most = self.now


class _NoMasks(TorchFunctionMode):
    """Counts fused attention as a card computes it: without keeping the mask of its dropout."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Let a function happen; the CPU's fused attention, which cannot drop, does not drop."""
        changed = {"dropout_p": 0.0} if func is F.scaled_dot_product_attention else {}
        return func(*args, **{**(kwargs or {}), **changed})


class LossMaker(Protocol):
    """How a run computes its loss: the settings of notebook 15, which make a loss function."""

    def loss_function(self) -> LossFunction:
        """Return what `train` calls."""
        ...


@dataclass(frozen=True)
class PlainLoss:
    """The loss as notebook 05 computes it, in float32 and all at once."""

    def loss_function(self) -> LossFunction:
        """Return `batch_loss`."""
        return batch_loss


def training_memory(
    config: RunConfig, device: torch.device | str = "cpu", maker: LossMaker = PlainLoss()
) -> int:
    """Return the bytes of all tensors that are there at once in a training step, taking none.

    A step is made of tensors that have shapes and types but no numbers, with the loss function that
    the run will have: what is computed in parts or in a smaller type is counted so, and what is
    never kept is not. So weights, gradients, the optimizer's means and what backward needs.

    Args:
        config: The run.
        device: Where it will run, for the form of attention that is quickest there.
        maker: Makes what it will be trained with, such as an `Acceleration`.

    >>> from bhushgpt.presets import preset
    >>> 20 < training_memory(preset("gpt-v1", 79)) / 2**20 < 120
    True
    """
    return max(_phases(config, device, maker)[:2])


def run_memory(
    config: RunConfig, device: torch.device | str = "cpu", maker: LossMaker = PlainLoss()
) -> int:
    """Return the same of a whole run: between steps it looks at the held-out text, too.

    Args: see `training_memory`.
    """
    return max(_phases(config, device, maker))


def _phases(config: RunConfig, device: torch.device | str, maker: LossMaker) -> tuple[int, ...]:
    """Return the most bytes that are there while a run learns, changes weights, and is judged."""
    model, host = config.model, abilities(device).host
    if getattr(model, "attention_form", None) == "auto":
        model = replace(model, attention_form="explicit" if host else "fused")
    # What does not change the memory, so that it is counted once.
    training = replace(config.training, steps=10**9, seed=0)
    layers = getattr(model, "n_layer", 0)
    try:
        if layers <= FEW_LAYERS:
            return _counted(model, training, maker, host)
        # Layers are alike: what the second one adds, all others add as well.
        one, two = (
            _counted(replace(model, n_layer=n), training, maker, host)  # type: ignore[call-arg]
            for n in (1, 2)
        )
        return tuple(a + (b - a) * (layers - 1) for a, b in zip(one, two, strict=True))
    except (RuntimeError, OverflowError):  # a size of more bytes than 64 bits can count
        return (sys.maxsize,)


@cache
def _counted(
    model: ModelConfig, training: TrainingConfig, maker: LossMaker, host: bool
) -> tuple[int, ...]:
    """Count one model by making a step of it; see `_phases`."""
    with (
        warnings.catch_warnings(action="ignore"),
        torch.random.fork_rng(devices=[]),
        torch.compiler.set_stance("force_eager"),
        nullcontext() if host else _NoMasks(),
        FakeTensorMode(),
        _Alive() as alive,
    ):
        return tuple(alive.most_of_each(_one_step(model, training, maker.loss_function())))


def _one_step(
    config: ModelConfig, training: TrainingConfig, loss_function: LossFunction
) -> Iterator[None]:
    """Make a step that is not the first, then predict as much as is looked at between two."""
    model = config.build()
    optimizer, parts = training.optimizer(model), training.accumulation_steps
    _give_gradients(model)
    optimizer.step()  # now its means are there
    if parts == 1:  # from the second part on there are gradients already
        optimizer.zero_grad(set_to_none=True)
    ids = torch.empty(training.batch_size // parts, config.context_length, dtype=torch.long)
    loss_function(model.train(), ids, ids).backward()
    yield
    torch.nn.utils.clip_grad_norm_(model.parameters(), training.max_grad_norm)
    optimizer.step()
    yield
    rows = windows_at_once(config.context_length, config.vocab_size)
    ids = torch.empty(rows, config.context_length, dtype=torch.long)
    with torch.no_grad(), eval_mode(model):
        token_losses(model(ids), ids)
    yield


def _give_gradients(model: LanguageModel) -> None:
    for weight in model.parameters():
        if weight.requires_grad:
            weight.grad = torch.empty_like(weight)


def grown(tensors: int, device: torch.device | str = "cpu") -> int:
    """Return by how many bytes a process grows that holds so many bytes of tensors at once.

    >>> grown(100 * 2**20) // 2**20, grown(100 * 2**20, "cuda") // 2**20
    (144, 100)
    """
    return round(HOST_GROWTH * tensors) + HOST_START if abilities(device).host else tensors


def check_memory(config: RunConfig, device: torch.device, maker: LossMaker = PlainLoss()) -> None:
    """Refuse a run that cannot fit, before anything of it is allocated.

    Args:
        config: The run.
        device: Where it will run.
        maker: See `training_memory`.

    Raises:
        UserError: If it needs more than the device has; the message gives both.

    >>> from bhushgpt.presets import preset
    >>> check_memory(preset("gpt-v1", 79), torch.device("cpu"))
    """
    refuse_too_large(config, device, grown(run_memory(config, device, maker), device))


def refuse_too_large(config: RunConfig, device: torch.device, needed: int) -> None:
    """Refuse to take more bytes for a run than a device has.

    Raises:
        UserError: With both numbers, and what the model's sizes are.
    """
    there = describe_device(device).memory_bytes
    if needed > there:
        raise UserError(
            f"This run needs about {memory_size(needed)} of memory, and {device.type} has "
            f"{memory_size(there)}. The vocabulary has {config.model.vocab_size:,} tokens and the "
            f"context {config.model.context_length:,}. Take a smaller preset, or a text with "
            "fewer different characters."
        )


def forecast(
    config: RunConfig,
    model: LanguageModel,
    batches: StepBatches,
    device: torch.device,
    *,
    timed_steps: int = 3,
    loss_function: LossFunction = batch_loss,
    maker: LossMaker = PlainLoss(),
) -> Forecast:
    """Count the memory of a run, and make a few trial steps to say how long all will take.

    Args:
        config: The run.
        model: Its model; it is not changed.
        batches: Its batches.
        device: Where it will run.
        timed_steps: Steps to time of each size, after one that warms up; the median counts.
        loss_function: What it will be trained with.
        maker: What makes such a loss function, for counting.
    """
    parts = (config, model, batches, device)
    seconds = step_seconds(*parts, timed_steps=timed_steps, loss_function=loss_function)
    return Forecast(
        parameters=model.parameter_count(),
        trained=model.trained_count(),
        memory_bytes=grown(run_memory(config, device, maker), device),
        seconds=config.training.steps * seconds,
        tokens_per_second=config.training.batch_size * config.model.context_length / seconds,
    )


@dataclass(frozen=True)
class _Rows:
    """Batches of which only the first rows are taken, of each step another number."""

    batches: StepBatches
    rows: Sequence[int]

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self.batches[step]
        return inputs[: self.rows[step]], targets[: self.rows[step]]


def step_seconds(
    config: RunConfig,
    model: LanguageModel,
    batches: StepBatches,
    device: torch.device,
    *,
    timed_steps: int = 3,
    loss_function: LossFunction = batch_loss,
) -> float:
    """Make steps of size zero, or small parts of them, and return how long a whole step will take.

    A rate of zero leaves the model as it is, so that no second one has to be in the memory.

    Args: see `forecast`.
    """
    whole = config.training.batch_size // config.training.accumulation_steps
    few = _trial_rows(config, device)
    # A part of r rows takes a + b r; where it is too large to try, two small sizes tell a and b.
    sizes = [whole] if 2 * few > whole else [few, 2 * few]
    rows = [sizes[-1], *sizes * timed_steps]
    with threads_for(step_operations(config)):
        times = _timed(config, model, _Rows(batches, rows), loss_function, len(rows))[1:]
    first, last = median(times[:: len(sizes)]), median(times[len(sizes) - 1 :: len(sizes)])
    part = last
    if len(sizes) == 2:
        each = max(last - first, last / 3) / few  # the larger one took longer, whatever the clock
        part = last + each * (whole - 2 * few)
    return config.training.accumulation_steps * part


def _timed(
    config: RunConfig, model: LanguageModel, batches: _Rows, loss: LossFunction, steps: int
) -> list[float]:
    """Return what each of some steps took that change nothing."""
    training = replace(
        config.training,
        steps=max(config.training.steps, steps),
        accumulation_steps=1,
        learning_rate=0.0,
        min_learning_rate=0.0,
    )
    trial, mode = TrainState.fresh(model, training), model.training
    device = next(model.parameters()).device
    seconds: list[float] = []
    try:
        begin = time.perf_counter()
        for report in train(trial, batches, training, loss):
            synchronize(device)
            now = time.perf_counter()
            seconds.append(now - begin)
            begin = now
            if report.step == steps:
                break
    finally:
        trial.optimizer.zero_grad(set_to_none=True)
        model.train(mode)
    return seconds


def _trial_rows(config: RunConfig, device: torch.device) -> int:
    """Return how many rows of a part to try: all of them, but where a few keep a device busy."""
    rows = config.training.batch_size // config.training.accumulation_steps
    if not abilities(device).host:
        return rows
    return max(1, min(rows, round(TRIAL_WORK * rows / step_operations(config))))


def step_operations(config: RunConfig) -> float:
    """Return about how many floating-point operations a part of a step takes, there and back."""
    training = config.training
    tokens = config.model.context_length * training.batch_size / training.accumulation_steps
    return 6 * parameter_count(config) * tokens


def loading_memory(config: RunConfig, *, optimizer: bool = False) -> int:
    """Return the bytes that a trained model takes, its computed tables included.

    Args:
        config: Of its run.
        optimizer: Whether the optimizer's two means of each weight are loaded, too.
    """
    model = without_memory(config.model)
    try:
        tables = sum(table.nbytes for table in model.buffers())
    except RuntimeError:  # more bytes than 64 bits can count
        return sys.maxsize
    means = 2 * model.trained_count() if optimizer else 0
    return 4 * (model.parameter_count() + means) + tables


def expected_bytes(config: RunConfig) -> int:
    """Return about how many bytes one checkpoint of a run will take, before anything is built.

    >>> from bhushgpt.presets import preset
    >>> 9 < expected_bytes(preset("gpt-v1", 79)) / 2**20 < 11
    True
    """
    # Weights and AdamW's two means, in float32.
    model = without_memory(config.model)
    return 4 * (model.parameter_count() + 2 * model.trained_count()) + other_bytes(config)


def other_bytes(config: RunConfig) -> int:
    """Return about how many bytes of a checkpoint are not tensors: most are the tokenizer's."""
    return 2**17 + 64 * config.model.vocab_size
