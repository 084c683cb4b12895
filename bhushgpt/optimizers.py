"""The rule that turns gradients into better weights.

`AdamW` is written out to be read and is equal to torch's, number for number; `make_optimizer`
gives the same rule in torch's fused form, which makes one pass over memory instead of a dozen.

Lesson: notebook 05.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bhushgpt.devices import abilities


class AdamW(torch.optim.Optimizer):
    """Adam with decoupled weight decay, by hand.

    For each weight w with gradient g it keeps a running mean of g and one of g squared:

        mean   <- b1 mean   + (1 - b1) g
        square <- b2 square + (1 - b2) g^2
        w      <- w - lr * decay * w
        w      <- w - lr * (mean / (1 - b1^n)) / (sqrt(square / (1 - b2^n)) + eps)

    The divisions by 1 - b^n correct for both means starting at zero.

    Args:
        params: Parameters, or groups of them as dicts with their own settings.
        lr: Step size.
        betas: b1 and b2, how slowly the two means forget.
        eps: Keeps the division finite.
        weight_decay: Share of each weight, times lr, that is taken away each step.

    Source: Loshchilov and Hutter, arXiv 1711.05101.

    >>> weight = nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = AdamW([weight], lr=0.1, weight_decay=0.0)
    >>> (weight**2).sum().backward()
    >>> optimizer.step()
    >>> round(weight.item(), 4)
    0.9
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, settings)  # a group without a setting of its own takes these

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient by one step."""
        assert closure is None, "this optimizer does not re-evaluate the loss"
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["step"] = torch.zeros(())  # n; a tensor, as all that is saved
                    state["mean"] = torch.zeros_like(weight)
                    state["square"] = torch.zeros_like(weight)
                state["step"] += 1
                n, mean, square = state["step"].item(), state["mean"], state["square"]
                mean.mul_(b1).add_(weight.grad, alpha=1 - b1)
                square.mul_(b2).addcmul_(weight.grad, weight.grad, value=1 - b2)
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                root = (square / (1 - b2**n)).sqrt_().add_(group["eps"])
                weight.addcdiv_(mean, root, value=-group["lr"] / (1 - b1**n))


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return the model's parameters in two groups: matrices decay, vectors do not.

    Weight decay keeps products of matrices from growing; a bias or a norm's gain has nothing to
    multiply, and pulling it to zero only fights the data. Every parameter that is trained is in
    exactly one group, a tied one once.

    >>> groups = parameter_groups(nn.Linear(3, 2), weight_decay=0.1)
    >>> [(len(group["params"]), group["weight_decay"]) for group in groups]
    [(1, 0.1), (1, 0.0)]
    """
    trained = [p for p in model.parameters() if p.requires_grad]  # a tied weight comes once
    matrices: list[Tensor] = [p for p in trained if p.dim() >= 2]
    vectors: list[Tensor] = [p for p in trained if p.dim() < 2]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def make_optimizer(
    model: nn.Module, *, learning_rate: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.AdamW:
    """Return torch's AdamW over the two parameter groups, fused where the device can.

    Args:
        model: Its parameters must already be on the device they will train on.
        learning_rate: Step size.
        betas: How slowly the two running means forget.
        weight_decay: Of the matrices.
    """
    devices = {parameter.device for parameter in model.parameters()}
    return torch.optim.AdamW(
        parameter_groups(model, weight_decay),
        lr=learning_rate,
        betas=betas,
        fused=all(abilities(device).one_pass for device in devices),
    )
