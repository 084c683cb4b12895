"""Whether a device computes what the CPU computes: Apple's GPUs, above all, did not always.

Lesson: notebook 11.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.training import batch_loss

# In float32 the order of additions moves the seventh digit; this is a thousand times more.
TOLERANCE = 1e-3
Computation = Callable[[GPT, Tensor, torch.device], dict[str, Tensor]]


def self_check(device: torch.device | str, compute: Computation | None = None) -> str | None:
    """Compute a small GPT's scores, loss and gradients on a device and on the CPU.

    Args:
        device: What to check.
        compute: Computes them, given the model, the ids and the device; left out, the real thing.

    Returns:
        None if they agree, else a sentence that says what differs and what to do.

    Lesson: notebook 11.

    >>> self_check("cpu") is None
    True
    """
    device = torch.device(device)
    compute = compute or _computed
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = GPT(GPTConfig(vocab_size=17, context_length=16, n_layer=2, n_head=2, n_embd=32))
        ids = torch.randint(17, (4, 16))
    right = _computed(model, ids, torch.device("cpu"))
    try:
        found = compute(model, ids, device)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        return f"The device {device} fails at a small model ({reason}). Use --device cpu."
    for name, values in right.items():
        if not found[name].isfinite().all():
            return (
                f"The device {device} gives NaN or infinity for {name}, where the CPU gives "
                "numbers. Update PyTorch and the system, or use --device cpu."
            )
        largest = (found[name] - values).abs().max().item()
        if largest > TOLERANCE:
            return (
                f"The device {device} differs from the CPU by {largest:.2g} for {name}; up to "
                f"{TOLERANCE:g} is rounding. Update PyTorch and the system, or use --device cpu."
            )
    return None


def _computed(model: GPT, ids: Tensor, device: torch.device) -> dict[str, Tensor]:
    """Return what a training step computes, all of it back on the CPU."""
    model, ids = model.to(device), ids.to(device)
    model.zero_grad(set_to_none=True)
    loss = batch_loss(model, ids, ids.roll(-1, dims=1))
    loss.backward()
    found = {"the loss": loss, "the scores": model(ids)}
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            found[f"the gradient of {name}"] = weight.grad
    return {name: value.detach().float().cpu().clone() for name, value in found.items()}


def device_notices(device: torch.device | str) -> list[str]:
    """Return what to say before a run on a device whose results are not to be trusted unseen.

    Lesson: notebook 11.

    >>> device_notices("cpu")
    []
    """
    if torch.device(device).type != "mps":
        return []
    trouble = self_check(device)
    return [trouble] if trouble else []
