"""Muon: an optimizer that treats the weights of a layer as the matrix that they are.

A gradient's few strong directions drown its many weak ones. Muon makes all directions of a matrix
equally long before it steps: of the momentum U S V^T it keeps U V^T. `torch.optim.Muon` is the
oracle; `MuonConfig` trains with it, and leaves all that is no hidden matrix to AdamW.

Lesson: notebook 22. Sources: Jordan et al., "Muon: an optimizer for hidden layers in neural
networks", 2024; the size of its steps: Liu et al., arXiv 2502.16982.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bhushgpt.devices import abilities
from bhushgpt.errors import UserError
from bhushgpt.optimizers import parameter_groups
from bhushgpt.training_config import TrainingConfig

# a x + b x^3 + c x^5, five times over, brings every number from 0.01 to 1 between 0.68 and 1.13.
# With these it is steepest at 0, so that the weakest directions come up soonest.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
SMALLEST = 1e-7


def orthogonalised(matrix: Tensor, *, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Return a matrix with the directions of this one, all of them about equally long.

    Of U S V^T it is nearly U V^T, found without U and V: a polynomial of odd powers applied to a
    matrix is applied to its singular values and leaves the directions alone. Products are all that
    it needs (a Newton-Schulz iteration).

    Args:
        matrix: Two dimensions.
        dtype: What it is computed in; the result needs no more digits than bfloat16 has.

    >>> strong_and_weak = torch.diag(torch.tensor([1.0, 0.1]))
    >>> orthogonalised(strong_and_weak, dtype=torch.float32).diagonal().round(decimals=2)
    tensor([0.7000, 0.7100])
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(dtype)  # the smaller of the two products below
    x = x / x.norm().clamp(min=SMALLEST)  # no singular value is above 1 now
    for _ in range(5):
        square = x @ x.T
        factor = torch.addmm(square, square, square, beta=b, alpha=c)  # b x x^T + c (x x^T)^2
        x = torch.addmm(x, factor, x, beta=a)  # a x + b x x^T x + c (x x^T)^2 x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose directions are made equally long, by hand; for matrices only.

        mean   <- b mean + (1 - b) g
        ahead  <- (1 - b) g + b mean                        (Nesterov)
        w      <- w - lr * decay * w
        w      <- w - lr * 0.2 sqrt(max(rows, columns)) * orthogonalised(ahead)

    The last factor makes the steps about as large as AdamW's, so that both take the same rate.

    Args:
        params: Parameters of two dimensions, or groups of them.
        lr: Step size.
        momentum: b.
        weight_decay: Share of each weight, times lr, that is taken away each step.

    Raises:
        UserError: If a parameter is no matrix.

    >>> weight = nn.Parameter(torch.eye(2))
    >>> optimizer = Muon([weight], lr=0.1, weight_decay=0.0)
    >>> (weight * torch.diag(torch.tensor([1.0, 0.1]))).sum().backward()
    >>> optimizer.step()
    >>> weight.diagonal().round(decimals=2)  # both directions by the same, not by 1 and 0.1
    tensor([0.9800, 0.9800], grad_fn=<RoundBackward1>)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 3e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.dim() != 2:
                    raise UserError(
                        f"Muon turns matrices, and here is a parameter of shape "
                        f"{tuple(weight.shape)}. Give it to AdamW, as MuonConfig does."
                    )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient by one step."""
        assert closure is None, "this optimizer does not re-evaluate the loss"
        for group in self.param_groups:
            lr, b = group["lr"], group["momentum"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["mean"] = torch.zeros_like(weight)
                mean = state["mean"].lerp_(weight.grad, 1 - b)
                ahead = weight.grad.lerp(mean, b)
                weight.mul_(1 - lr * group["weight_decay"])
                size = 0.2 * math.sqrt(max(weight.shape))
                weight.add_(orthogonalised(ahead), alpha=-lr * size)


class Together(torch.optim.Optimizer):
    """Several optimizers that are stepped, stored and given their rate as one.

    Args:
        parts: Each has its own parameters. They belong to this one from now on.

    >>> layer = nn.Linear(2, 2)
    >>> both = Together(torch.optim.SGD([layer.weight]), torch.optim.AdamW([layer.bias]))
    >>> [len(group["params"]) for group in both.param_groups]
    [1, 1]
    """

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Let the parts work on the very groups and memory that this one is asked for."""
        groups = iter(self.param_groups)
        for part in self.parts:
            part.param_groups = [next(groups) for _ in part.param_groups]
            part.state = self.state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take another state: what `load_state_dict` ends with."""
        super().__setstate__(state)
        self._share()

    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Let every part make its step."""
        assert closure is None, "this optimizer does not re-evaluate the loss"
        for part in self.parts:
            part.step()


def hidden_matrices(model: nn.Module) -> list[Tensor]:
    """Return the weights of a model's linear layers but its `head`: what Muon is for.

    Tables of tokens and positions are rows that are looked up, and a head scores one token a row:
    matrices by their shape only.

    >>> from bhushgpt.gpt import GPTConfig
    >>> model = GPTConfig(vocab_size=7, n_layer=2, n_head=2, n_embd=12).build()
    >>> len(hidden_matrices(model))
    8
    """
    head = getattr(model, "head", None)
    linear = [part for part in model.modules() if isinstance(part, nn.Linear) and part is not head]
    weights = {id(part.weight): part.weight for part in linear if part.weight.requires_grad}
    return list(weights.values())


@dataclass(frozen=True, kw_only=True)
class MuonConfig(TrainingConfig):
    """Settings of a run that moves hidden matrices with Muon and all else with AdamW.

    >>> from bhushgpt.gpt import GPTConfig
    >>> model = GPTConfig(vocab_size=7, n_layer=2, n_head=2, n_embd=12).build()
    >>> [type(part).__name__ for part in MuonConfig(steps=3).optimizer(model).parts]
    ['Muon', 'AdamW']
    """

    momentum: float = 0.95
    """Muon's memory for the gradient."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.momentum < 1:
            raise UserError(f"momentum is {self.momentum}, it must be at least 0 and below 1.")

    def optimizer(self, model: nn.Module) -> Together:
        """Return torch's Muon for the hidden matrices, and its AdamW for everything else."""
        matrices = hidden_matrices(model)
        hidden = {id(weight) for weight in matrices}
        muon = torch.optim.Muon(
            matrices,
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            adjust_lr_fn="match_rms_adamw",
        )
        rest = [
            group | {"params": [weight for weight in group["params"] if id(weight) not in hidden]}
            for group in parameter_groups(model, self.weight_decay)
        ]
        devices = {parameter.device for parameter in model.parameters()}
        adamw = torch.optim.AdamW(
            [group for group in rest if group["params"]],
            lr=self.learning_rate,
            betas=self.betas,
            fused=all(abilities(device).one_pass for device in devices),
        )
        return Together(muon, adamw)
