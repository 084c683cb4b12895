"""How long a run will take and how much memory it needs, before it starts.

Letters: B batch, T time, C channels, H heads, V vocabulary.

Lesson: notebook 08.
"""

import copy
import time
from dataclasses import dataclass
from statistics import median

import torch

from bhushgpt.devices import synchronize
from bhushgpt.gpt import GPTConfig
from bhushgpt.language_model import LanguageModel
from bhushgpt.presets import RunConfig
from bhushgpt.training import StepBatches, TrainState, train


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What to expect of a run on this machine."""

    parameters: int
    """Numbers that are trained."""
    memory_bytes: int
    """Weights, gradients, AdamW's two means and what backward keeps; torch itself not counted."""
    seconds: float
    """Time for all steps, from steps that were timed."""
    tokens_per_second: float
    """Training speed of the timed steps."""

    def __str__(self) -> str:
        minutes = (
            f"{self.seconds / 60:.1f} minutes" if self.seconds > 90 else f"{self.seconds:.0f} s"
        )
        return (
            f"{self.parameters:,} parameters, about {self.memory_bytes / 2**20:,.0f} MiB on top of "
            f"Python and torch, about {minutes} at {self.tokens_per_second:,.0f} tokens/s"
        )


def training_memory(config: RunConfig) -> int:
    """Return the bytes that a training step of a run needs, by formula, in float32.

    Each parameter is there four times: weight, gradient, AdamW's mean and mean of squares. What
    backward keeps is, for each token, a number of channels per block and the attention weights
    (the fused form of attention keeps no weights and so needs less).

    >>> from bhushgpt.presets import preset
    >>> 20 < training_memory(preset("gpt-v1", 79)) / 2**20 < 120
    True
    """
    model, rows = config.model, config.training.batch_size // config.training.accumulation_steps
    tokens = rows * model.context_length
    logits = 3 * model.vocab_size  # the scores, their log-softmax and its gradient
    if not isinstance(model, GPTConfig):
        return 4 * (4 * model.vocab_size**2 + tokens * logits)
    C, T = model.n_embd, model.context_length
    block = 12 * C * C + 13 * C
    parameters = model.n_layer * block + model.vocab_size * C + T * C + 2 * C
    # Kept per token and block: 2 norms' inputs and outputs (4 C), q, k, v (3 C), the heads' mix
    # (1 C), the wide layer before and after GELU (8 C), and a row of T weights in every head.
    # Dropout keeps a mask and a result beside each of its inputs.
    weights, masks = (3, 2 * C) if model.dropout else (1, 0)
    kept = model.n_layer * (16 * C + masks + weights * model.n_head * T) + logits
    return 4 * (4 * parameters + tokens * kept)


def forecast(
    config: RunConfig,
    model: LanguageModel,
    batches: StepBatches,
    device: torch.device,
    *,
    timed_steps: int = 3,
) -> Forecast:
    """Run a few steps on a copy of the model and say how long all of them will take.

    Args:
        config: The run.
        model: Its model; it is copied and not changed.
        batches: Its batches.
        device: Where it will run.
        timed_steps: Steps to time after one that warms up; the median counts.

    Lesson: notebook 08.
    """
    trial = TrainState.fresh(copy.deepcopy(model), config.training)
    seconds: list[float] = []
    begin = time.perf_counter()
    tokens = 0
    for report in train(trial, batches, config.training):
        synchronize(device)
        now = time.perf_counter()
        seconds.append(now - begin)
        begin, tokens = now, report.tokens
        if report.step > timed_steps:
            break
    per_step = median(seconds[1:] or seconds)  # the first step also warms up
    return Forecast(
        parameters=model.parameter_count(),
        memory_bytes=training_memory(config),
        seconds=per_step * config.training.steps,
        tokens_per_second=tokens / per_step,
    )
