"""Where the first number that is none came from: NaN and infinity spread, so the first one counts.

Letters: B batch, T time.

Lesson: notebook 12.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # here and below: the doctor, in this room too, must start where torch does not
    from torch import Tensor, nn

    from bhushgpt.training import LossFunction, StepBatches, TrainState
    from bhushgpt.training_config import TrainingConfig

LARGEST_HALF = 65_504  # of float16


class _Watch:
    """Looks at every module's output and at every gradient, and keeps the first bad one."""

    def __init__(self, model: nn.Module, rows: int) -> None:
        self.found: str | None = None
        self.half = False
        self._rows = rows
        self.handles: list[Any] = []
        for name, module in model.named_modules():
            self.handles.append(module.register_forward_hook(self._on_output(name)))
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                self.handles.append(parameter.register_hook(self._on_gradient(f"of {name}")))

    def _on_output(self, name: str) -> Callable[..., None]:
        import torch

        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            if not (torch.is_tensor(output) and output.is_floating_point()):
                return
            place = f"{name or 'the model'} ({type(module).__name__})"
            self._keep(output, f"is in the output of {place}{self._windows(output)}")
            if output.requires_grad:
                output.register_hook(self._on_gradient(f"at the output of {place}"))

        return look

    def _on_gradient(self, place: str) -> Callable[[Tensor], None]:
        return lambda gradient: self._keep(gradient, f"is, on the way back, the gradient {place}")

    def _keep(self, value: Tensor, what: str) -> None:
        if self.found is None and not _finite(value):
            self.found = what
            self.half = str(value.dtype) == "torch.float16"

    def _windows(self, output: Tensor) -> str:
        """Say in how many windows of the batch it is, if the output still has a row for each."""
        if output.dim() < 2 or output.shape[0] != self._rows:
            return ""
        bad = (~output.detach().isfinite()).flatten(1).any(dim=1)
        if not bad.any():
            return ""
        first = int(bad.nonzero()[0].item())
        return f", in {int(bad.sum())} of {self._rows} windows, the first is number {first}"


def explain_non_finite(
    state: TrainState,
    batches: StepBatches,
    config: TrainingConfig,
    loss_function: LossFunction | None = None,
    *,
    backward: bool = True,
) -> str:
    """Compute a bad step once more, watched, and return a sentence that names the first bad layer.

    For whoever has caught the `NonFinite` of `train`, with what was given to `train`: a step is a
    function of (config, step), so what went wrong goes wrong again. The weights are not changed;
    gradients are gone afterwards.

    Args:
        state: As the error left it.
        batches: `batches[state.step]` gives (inputs, targets), (B, T) each.
        config: Settings of the run.
        loss_function: Mean loss of (model, inputs, targets); left out, `batch_loss`.
        backward: Whether the way back is looked at, too.

    >>> import torch
    >>> from bhushgpt.bigram import Bigram, BigramConfig
    >>> from bhushgpt.training import TrainState, TrainingConfig
    >>> model, config = Bigram(BigramConfig(vocab_size=3)), TrainingConfig(steps=9)
    >>> with torch.no_grad():
    ...     model.table.weight[2, 0] = torch.nan
    >>> ids = torch.tensor([[0, 1]])
    >>> explain_non_finite(TrainState.fresh(model, config), [(ids, ids)], config)
    'The weights were spoilt before this step: table.weight holds a number that is not finite.'
    """
    import torch

    from bhushgpt.training import batch_loss, step_randomness

    model, step = state.model, state.step
    inputs, targets = batches[step]
    for name, weight in model.named_parameters():
        if not _finite(weight):
            return (
                f"The weights were spoilt before this step: {name} holds a number that is not "
                "finite."
            )
    watch = _Watch(model, len(inputs))
    with ExitStack() as stack:
        for handle in watch.handles:
            stack.callback(handle.remove)
        stack.callback(model.zero_grad, set_to_none=True)
        # Compiled code passes the hooks by.
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(step_randomness(config.seed, step, inputs.device))
        loss = (loss_function or batch_loss)(model, inputs, targets)
        if watch.found is None and not _finite(loss):
            watch.found = "is the loss itself: every layer's output is finite"
        if watch.found is None and backward:
            loss.backward()
    return _sentence(watch, step)


def _sentence(watch: _Watch, step: int) -> str:
    if watch.found is None:
        return (
            f"Computed once more layer by layer, batch {step} gives only finite numbers, so it was "
            "the precision, the compiled code or the hardware that failed."
        )
    half = f" float16 ends at {LARGEST_HALF:,}: take bfloat16." if watch.half else ""
    return f"The first number that is not finite {watch.found} (batch {step}).{half}"


def _finite(value: Tensor) -> bool:
    # One number comes back from the device instead of a mask of the tensor's size.
    return bool(value.detach().isfinite().all())
