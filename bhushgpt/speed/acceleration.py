"""Everything that makes a training step faster or smaller, around a model that does not notice.

A loss function is all that the training loop knows of how a step is computed. So precision,
chunked loss, recomputed blocks and a CPU's quick forms are put into one, and loop and model stay as
they were in notebooks 05 and 09.

Letters: B batch, T time, C channels, N tokens (B * T), V vocabulary.

Lesson: notebook 15. Source of recomputed blocks: Chen et al., "Training deep nets with sublinear
memory cost", arXiv 1604.06174.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bhushgpt.devices import abilities
from bhushgpt.errors import UserError, nearest
from bhushgpt.language_model import next_token_loss
from bhushgpt.presets import RunConfig
from bhushgpt.speed.cpu_layers import QUICK, CheapDropout
from bhushgpt.speed.large_vocabulary import chunked_loss
from bhushgpt.speed.precision import (
    PRECISIONS,
    GradientScaler,
    Precision,
    autocast,
    pick_precision,
    refuse_half_weights,
)
from bhushgpt.speed.views import view


@cache
def compile_trouble(kind: str) -> str | None:
    """Compile one line for a kind of device; None if that works, else why not."""
    try:
        torch.compile(lambda x: x * 2 + 1)(torch.ones(8, device=kind))
    except Exception as error:  # whatever it is, training goes on without
        reason = str(error).strip().partition("\n")[0][:200].rstrip(".")
        return (
            f"The model is not compiled, since torch.compile does not work here ({reason}). It "
            "trains all the same; a C++ compiler (and Triton for a GPU) would make it work."
        )
    return None


Compiling = Literal["auto", "on", "off"]
# From this vocabulary on the logits weigh more than the rest; so many tokens are scored at a time.
LARGE_VOCABULARY, CHUNK_TOKENS = 8192, 512


@dataclass(frozen=True, kw_only=True)
class Acceleration:
    """How a training step is computed; it changes speed and memory, and only roundings of results.

    Raises:
        UserError: If a setting cannot be used.

    >>> Acceleration(precision="bfloat16", chunk_tokens=512).compile
    False
    """

    precision: Precision = "float32"
    """The type that matrix products are computed in."""
    compile: bool = False
    """Whether the view of the model that computes is compiled."""
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

    def loss_function(self) -> "AcceleratedLoss":
        """Return a loss function that computes so; `accelerate` looks at the model first."""
        return AcceleratedLoss(self)


def pick_acceleration(
    device: torch.device | str,
    config: RunConfig,
    precision: str = "auto",
    compile: Compiling = "auto",
) -> tuple[Acceleration, list[str]]:
    """Return what helps a run on a device, and a sentence for each wish that cannot be met.

    "auto" compiles on an NVIDIA card only: on a CPU it was measured to gain 10 to 14 % of a step
    of small models, after 9 to 28 s of compiling. With today's parts (notebook 22), which are more
    and smaller operations, it gains 20 to 30 % after 20 to 50 s: worth asking for in a long run.

    Args:
        device: Where the model computes.
        config: The run.
        precision: "auto", or a type by name.
        compile: "auto", "on" or "off".

    Raises:
        UserError: If there is no such precision or the device cannot compute with it.

    >>> from bhushgpt.presets import preset
    >>> pick_acceleration("cpu", preset("gpt-v1", 79), precision="float32")[0]
    Acceleration(precision='float32', compile=False, chunk_tokens=0, \
activation_checkpointing=False, cheap_dropout=False, quick_layers=True)
    """
    if compile not in ("auto", "on", "off"):
        raise UserError(f"compile is {compile!r}: it must be auto, on or off.")
    device = torch.device(device)
    can = abilities(device)
    compiled, notices = compile == "on" or (compile == "auto" and can.compiles), []
    if compiled and (trouble := compile_trouble(device.type)):
        compiled, notices = False, [trouble]
    large = config.model.vocab_size >= LARGE_VOCABULARY
    acceleration = Acceleration(
        precision=pick_precision(device, precision),
        compile=compiled,
        chunk_tokens=CHUNK_TOKENS if large and hasattr(config.model, "n_layer") else 0,
        cheap_dropout=can.host and getattr(config.model, "dropout", 0.0) > 0,
        quick_layers=can.host,
    )
    return acceleration, notices


class Recomputed(nn.Module):
    """A block of which a forward keeps only the input (B, T, C) for backward.

    A third more arithmetic, and activations of one block at a time instead of all. Dropout draws
    the same mask again.

    Args:
        block: (B, T, C) to (B, T, C).
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, past: object = None) -> Tensor:
        """Return the block's (B, T, C)."""
        return cast(Tensor, checkpoint(self.block, x, past, use_reentrant=False))


class AcceleratedLoss:
    """The mean next-token loss, computed as an `Acceleration` says.

    The model is not changed: what computes is a view of it (`view`), so that evaluating and drawing
    from the model never meet the compiled form.

    Args:
        acceleration: The settings.

    Attributes:
        scaler: Of float16, else None.
        alone: The same for this process by itself, where several compute a loss together.
    """

    def __init__(self, acceleration: Acceleration) -> None:
        self.acceleration = acceleration
        self.scaler = GradientScaler() if acceleration.precision == "float16" else None
        self.alone = self
        self._views: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss (nats) of a model on inputs and targets, (B, T) each."""
        with autocast(inputs.device, self.acceleration.precision):
            loss = self._loss(model, inputs, targets)
        return loss if self.scaler is None else self.scaler.scaled(loss, model)

    def _loss(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        quick = self.view(model)
        if not self.acceleration.chunk_tokens:
            return next_token_loss(quick(inputs), targets)
        hidden = quick(inputs).flatten(0, 1)  # (N, C)
        weight = _head(model).weight
        return chunked_loss(hidden, weight, targets.flatten(), self.acceleration.chunk_tokens)

    def view(self, model: nn.Module) -> nn.Module:
        """Return the view of a model that computes; without its head if the loss is chunked."""
        seen = self._views.get(model)
        if seen is None:
            seen = self._views[model] = _seen(model, self.acceleration)
        if seen.training != model.training:
            seen.train(model.training)
        return seen


def _seen(model: nn.Module, acceleration: Acceleration) -> nn.Module:
    kinds = dict(QUICK) if acceleration.quick_layers else {}
    if acceleration.cheap_dropout:
        kinds[nn.Dropout] = CheapDropout
    parts: dict[str, nn.Module] = {}
    if acceleration.chunk_tokens:
        _head(model)
        parts["head"] = nn.Identity()
    if acceleration.activation_checkpointing:
        blocks = getattr(model, "blocks", None)
        if not isinstance(blocks, nn.ModuleList):
            raise UserError(
                "Only a model of blocks, such as a GPT, can compute its blocks again; this one is "
                f"a {type(model).__name__}. Leave activation checkpointing off."
            )
        parts["blocks"] = nn.ModuleList(Recomputed(view(block, kinds)) for block in blocks)
    seen = view(model, kinds, parts)
    if acceleration.compile:
        seen.compile()
    return seen


def _head(model: nn.Module) -> nn.Linear:
    head = getattr(model, "head", None)
    if not isinstance(head, nn.Linear) or head.bias is not None:
        raise UserError(
            "The chunked loss needs a model whose last layer is a linear `head` without a bias, "
            f"as a GPT's is; this one is a {type(model).__name__}. Set chunk_tokens to 0."
        )
    return head


def accelerate(model: nn.Module, acceleration: Acceleration) -> AcceleratedLoss:
    """Return the loss function to train a model with; the model stays as it is.

    Args:
        model: On its device.
        acceleration: From `pick_acceleration`, or your own.

    Raises:
        UserError: If the weights themselves are in float16: most steps would be rounded away.

    >>> from bhushgpt.gpt import GPT, GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=7, context_length=4, n_layer=1, n_head=1, n_embd=8))
    >>> loss_function = accelerate(model, Acceleration(precision="bfloat16", chunk_tokens=2))
    >>> ids = torch.zeros(1, 4, dtype=torch.long)
    >>> 1.5 < loss_function(model, ids, ids).item() < 2.2
    True
    """
    refuse_half_weights(model)
    return AcceleratedLoss(acceleration)
