"""Numbers of half the size: which of them a device is fast with, and how to compute with them.

    float32    1 sign, 8 exponent, 23 fraction bits   to 3.4e38, 7 digits
    bfloat16   1       8            7                 to 3.4e38, 2 to 3 digits
    float16    1       5           10                 to 65,504, 3 to 4 digits

Autocast computes matrix products in the small type and leaves weights, norms, losses and the
optimizer in float32. A gradient below 6e-8 is zero in float16, so there the loss is multiplied by
a large number before backward and the gradients are divided by it after.

Lesson: notebook 15. Source: Micikevicius et al., "Mixed precision training", arXiv 1710.03740.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, Literal, cast, get_args
from weakref import WeakSet

import torch
from torch import Tensor, nn

from bhushgpt.devices import abilities, describe_device
from bhushgpt.errors import UserError, nearest
from bhushgpt.timing import alternate, speedup
from bhushgpt.training import LossFunction, NonFinite, Report, StepBatches, TrainState, train
from bhushgpt.training_config import TrainingConfig

Precision = Literal["float32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
# Below this a smaller type is not worth its digits.
WORTHWHILE = 1.2
FIRST_SCALE, LARGEST_SCALE = 2.0**16, 2.0**24


def pick_precision(device: torch.device | str, wanted: str = "auto") -> Precision:
    """Return the type to compute matrix products in, the one that helps on this device.

    "auto" is bfloat16 on NVIDIA cards that compute with it, and on CPUs that do if a matrix product
    of a layer's shape was measured to be faster; float16 on NVIDIA cards that are too old for that
    (V100, T4), and float32 elsewhere.

    Args:
        device: Where the model computes.
        wanted: "auto", or a type by name.

    Raises:
        UserError: If there is no such type, or the device cannot compute with it.

    >>> pick_precision("cpu", "float32")
    'float32'
    """
    device = torch.device(device)
    able, can = describe_device(device).dtypes, abilities(device)
    if wanted == "auto":
        if "bfloat16" in able and (can.small_types or (can.host and _measured(device))):
            return "bfloat16"
        return "float16" if can.small_types and "float16" in able else "float32"
    for precision in PRECISIONS:
        if precision == wanted:
            if can.small_types and precision not in able:
                raise UserError(
                    f"This card cannot compute with {wanted}; it can with {', '.join(able)}. Use "
                    f"--precision {pick_precision(device)}, or auto."
                )
            return precision
    raise UserError(f"There is no precision {wanted!r}. {nearest(wanted, ['auto', *PRECISIONS])}")


def _measured(device: torch.device) -> bool:
    return bfloat16_speedup(device) > WORTHWHILE


@cache
def bfloat16_speedup(device: torch.device) -> float:
    """Measure how many times faster a bfloat16 product is than float32; takes a moment, once."""
    generator = torch.Generator(device).manual_seed(0)  # its own: measuring changes no run
    x = torch.randn(1024, 256, device=device, generator=generator)
    w = torch.randn(256, 1024, device=device, generator=generator)
    half_x, half_w = x.bfloat16(), w.bfloat16()
    times = alternate({"whole": lambda: x @ w, "half": lambda: half_x @ half_w}, device, repeats=5)
    return speedup(times["whole"], times["half"])


def autocast(device: torch.device | str, precision: Precision) -> AbstractContextManager[Any]:
    """Return a `with` in which matrix products are computed in `precision`.

    >>> layer = nn.Linear(3, 2)
    >>> with autocast("cpu", "bfloat16"):
    ...     layer(torch.ones(1, 3)).dtype, layer.weight.dtype
    (torch.bfloat16, torch.float32)
    """
    if precision == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=getattr(torch, precision))


def refuse_half_weights(model: nn.Module) -> None:
    """Refuse to train weights that are in float16 themselves: small steps would change nothing.

    Raises:
        UserError: If there is one; the message names it.
    """
    half = [name for name, weight in model.named_parameters() if weight.dtype == torch.float16]
    if half:
        raise UserError(
            f"The weights are in float16 ({half[0]}), in which a small step changes nothing. Call "
            "model.float(), and train with precision float16, which brings a scaler along."
        )


class GradientScaler:
    """Multiplies the gradient by a power of two on its way, and divides it again at the weights.

    Loss and gradients keep their values, only what happens between them is lifted out of reach of
    float16's smallest number. Where the lifted numbers pass the largest one, `lower` lowers the
    scale, and the step is computed again (`train_scaled`): none is lost. Nothing need be saved,
    since the scale does not change what comes out, except for what is still rounded to zero.

    Args:
        scale: To begin with.
        growth_interval: After so many losses without overflow the scale is doubled.

    Attributes:
        retries: How often the scale was lowered.

    Raises:
        UserError: If the scale is not a power of two of at least 1: it would change the digits.

    >>> weight = nn.Linear(1, 1, bias=False)
    >>> scaler = GradientScaler(scale=1024.0)
    >>> loss = scaler.scaled(weight(torch.ones(1, 1)).sum(), weight)
    >>> loss.backward()
    >>> weight.weight.grad
    tensor([[1.]])
    """

    def __init__(self, *, scale: float = FIRST_SCALE, growth_interval: int = 2000) -> None:
        if scale < 1 or not math.log2(scale).is_integer():
            raise UserError(f"scale is {scale}: it must be a power of two, such as 65536.")
        self.scale = scale
        self.growth_interval = growth_interval
        self.retries = 0
        self._calm = 0
        self._watched: WeakSet[nn.Module] = WeakSet()

    def scaled(self, loss: Tensor, model: nn.Module) -> Tensor:
        """Return the same loss, with a gradient that is `scale` times as large inside the model."""
        if model not in self._watched:
            self._watched.add(model)
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.register_hook(lambda gradient: gradient / self.scale)
        self._calm += 1
        if self._calm > self.growth_interval:
            self.scale, self._calm = min(2 * self.scale, LARGEST_SCALE), 1
        return cast(Tensor, _Scaled.apply(loss, self.scale))

    def lower(self) -> bool:
        """Lower the scale after a gradient that is no number; False if it is 1 already."""
        if self.scale == 1:
            return False
        self.scale, self._calm = max(1.0, self.scale / 4), 0
        self.retries += 1
        return True


class _Scaled(torch.autograd.Function):
    """The identity, with a slope of `scale`."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient * ctx.scale, None


def train_scaled(
    state: TrainState,
    batches: StepBatches,
    config: TrainingConfig,
    loss_function: LossFunction,
    scaler: GradientScaler | None,
) -> Iterator[Report]:
    """Train as `train` does, where a step that overflows float16 is made again at a lower scale.

    Args:
        state: Changed in place.
        batches: See `train`.
        config: See `train`.
        loss_function: See `train`; it multiplies gradients by the scaler.
        scaler: None leaves `train` as it is.

    Raises:
        NonFinite: If a step is not finite at a scale of 1 either.
    """
    while True:
        try:
            return (yield from train(state, batches, config, loss_function))
        except NonFinite:
            # The step was not made, so that training goes on by making it.
            if scaler is None or not scaler.lower():
                raise
