"""Everything that makes a training step faster or smaller, around a model that does not notice.

A loss function is all that the training loop knows of how a step is computed. So precision,
chunked loss, recomputed blocks and a CPU's quick forms are put into one, and loop and model stay as
they were in notebooks 05 and 08.

Letters: B batch, T time, C channels, N tokens (B * T), V vocabulary.

Lesson: notebook 14.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bhushgpt.activation_checkpoints import recomputed_blocks
from bhushgpt.blocked_attention import use_blocked_attention
from bhushgpt.cheap_dropout import use_cheap_dropout
from bhushgpt.chunked_loss import chunked_loss, headless
from bhushgpt.compilation import compile_trouble
from bhushgpt.errors import UserError, nearest
from bhushgpt.fused_bias import use_fused_bias
from bhushgpt.losses import next_token_loss
from bhushgpt.non_finite import explain_non_finite
from bhushgpt.precision import (
    PRECISIONS,
    GradientScaler,
    Precision,
    autocast,
    pick_precision,
    refuse_half_weights,
)
from bhushgpt.run_config import RunConfig
from bhushgpt.sigmoid_gelu import use_sigmoid_gelu
from bhushgpt.training import LossFunction

Compiling = Literal["auto", "on", "off"]
# From this vocabulary on the logits weigh more than the rest; so many tokens are scored at a time.
LARGE_VOCABULARY, CHUNK_TOKENS = 8192, 512


@dataclass(frozen=True, kw_only=True)
class Acceleration:
    """How a training step is computed; it changes speed and memory, and only roundings of results.

    Raises:
        UserError: If a setting cannot be used.

    Lesson: notebook 14.

    >>> Acceleration(precision="bfloat16", chunk_tokens=512).compile
    False
    """

    precision: Precision = "float32"
    """The type that matrix products are computed in."""
    compile: bool = False
    """Whether the model is compiled, in place."""
    chunk_tokens: int = 0
    """How many tokens are scored at a time by the chunked loss; 0 scores all at once."""
    activation_checkpointing: bool = False
    """Whether blocks keep their inputs only and are computed again in backward."""
    cheap_dropout: bool = False
    """Whether dropout draws its masks from 16 random bits each, on a CPU."""
    quick_layers: bool = False
    """Whether GELU, biases and attention are computed in the forms that are quickest on a CPU."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UserError(
                f"There is no precision {self.precision!r}. {nearest(self.precision, PRECISIONS)}"
            )
        if self.chunk_tokens < 0:
            raise UserError(f"chunk_tokens is {self.chunk_tokens}: it must be at least 0.")


def pick_acceleration(
    device: torch.device | str,
    config: RunConfig,
    precision: str = "auto",
    compile: Compiling = "auto",
) -> tuple[Acceleration, list[str]]:
    """Return what helps a run on a device, and a sentence for each wish that cannot be met.

    "auto" compiles on an NVIDIA card only: on a CPU it was measured to gain 10 to 14 % of a step
    of small models, after 9 to 28 s of compiling.

    Args:
        device: Where the model computes.
        config: The run.
        precision: "auto", or a type by name.
        compile: "auto", "on" or "off".

    Raises:
        UserError: If there is no such precision or the device cannot compute with it.

    Lesson: notebook 14.

    >>> from bhushgpt.presets import preset
    >>> pick_acceleration("cpu", preset("gpt-v1", 79), precision="float32")[0]
    Acceleration(precision='float32', compile=False, chunk_tokens=0, \
activation_checkpointing=False, cheap_dropout=False, quick_layers=True)
    """
    if compile not in ("auto", "on", "off"):
        raise UserError(f"compile is {compile!r}: it must be auto, on or off.")
    device = torch.device(device)
    compiled, notices = compile == "on" or (compile == "auto" and device.type == "cuda"), []
    if compiled and (trouble := compile_trouble(device.type)):
        compiled, notices = False, [trouble]
    large = config.model.vocab_size >= LARGE_VOCABULARY
    acceleration = Acceleration(
        precision=pick_precision(device, precision),
        compile=compiled,
        chunk_tokens=CHUNK_TOKENS if large and hasattr(config.model, "n_layer") else 0,
        cheap_dropout=device.type == "cpu" and getattr(config.model, "dropout", 0.0) > 0,
        quick_layers=device.type == "cpu",
    )
    return acceleration, notices


class AcceleratedLoss:
    """The mean next-token loss, computed as an `Acceleration` says.

    Args:
        acceleration: The settings.

    Attributes:
        scaler: Of float16, else None.

    Lesson: notebook 14.
    """

    def __init__(self, acceleration: Acceleration) -> None:
        self.acceleration = acceleration
        self.scaler = GradientScaler() if acceleration.precision == "float16" else None

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss (nats) of a model on inputs and targets, (B, T) each."""
        with ExitStack() as stack:
            stack.enter_context(autocast(inputs.device, self.acceleration.precision))
            if self.acceleration.activation_checkpointing:
                stack.enter_context(recomputed_blocks(model))
            loss = self._loss(model, inputs, targets)
        return loss if self.scaler is None else self.scaler.scaled(loss, model)

    def _loss(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        if not self.acceleration.chunk_tokens:
            return next_token_loss(model(inputs), targets)
        with headless(model) as head:
            hidden = model(inputs).flatten(0, 1)  # (N, C)
            return chunked_loss(
                hidden, head.weight, targets.flatten(), self.acceleration.chunk_tokens
            )

    def retry(self) -> bool:
        """Say whether a step that was not finite is computed again, with a lower scale."""
        return self.scaler is not None and self.scaler.retry()

    def explain(self, model: nn.Module, inputs: Tensor, targets: Tensor, *, step: int) -> str:
        """Return a sentence that names the first layer whose numbers are not finite."""
        return explain_non_finite(model, inputs, targets, self, step=step)


def accelerate(model: nn.Module, acceleration: Acceleration) -> LossFunction:
    """Prepare a model in place, and return the loss function to train it with.

    Its class, its weights and their names stay what they are, so it can be evaluated, sampled from
    and saved as before.

    Args:
        model: On its device.
        acceleration: From `pick_acceleration`, or your own.

    Raises:
        UserError: If the weights themselves are in float16: most steps would be rounded away.

    Lesson: notebook 14.

    >>> from bhushgpt.gpt import GPT, GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=7, context_length=4, n_layer=1, n_head=1, n_embd=8))
    >>> loss_function = accelerate(model, Acceleration(precision="bfloat16", chunk_tokens=2))
    >>> ids = torch.zeros(1, 4, dtype=torch.long)
    >>> 1.5 < loss_function(model, ids, ids).item() < 2.2
    True
    """
    refuse_half_weights(model)
    if acceleration.cheap_dropout:
        use_cheap_dropout(model)
    if acceleration.quick_layers:
        for use in (use_sigmoid_gelu, use_fused_bias, use_blocked_attention):
            use(model)
    if acceleration.compile:
        model.compile()
    return AcceleratedLoss(acceleration)
