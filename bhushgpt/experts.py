"""A mixture of experts in miniature: many MLPs, of which each token passes through a few.

The model has the weights of all its experts and computes with those of P: size without the time.
A router learns which. Left alone it sends ever more tokens to the experts that were better first,
and the others stay untrained; `balanced_loss` adds a price for that.

Letters: N tokens (B * T), C channels, E experts, P experts picked for a token.

Lesson: notebook 22. Sources: Shazeer et al., arXiv 1701.06538; the price: Fedus et al., "Switch
transformers", arXiv 2101.03961, section 2.2.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bhushgpt.errors import UserError
from bhushgpt.training import batch_loss


class Experts(nn.Module):
    """The P best-scored of E experts work on a token; their answers are added by their scores.

    The scores of the P picked, a softmax among them, sum to one. With P = 1 that would be 1
    whatever the score, and no loss would reach the router: then an answer counts by its probability
    among all, as in Switch. No expert is ever full: which experts a token gets depends on that
    token alone, so that a future token changes nothing and generating with a cache gives the same
    text.

    Args:
        n_embd: C.
        n_expert: E.
        per_token: P.
        expert: Makes an expert, (N, C) to (N, C).

    Attributes:
        probabilities: An identity module that the router's softmax over all experts (N, E) passes
            through: hook it to see which token goes where.

    Raises:
        UserError: If a token cannot have so many experts.

    >>> experts = Experts(12, n_expert=3, per_token=2, expert=lambda: nn.Linear(12, 12))
    >>> experts(torch.randn(2, 5, 12)).shape
    torch.Size([2, 5, 12])
    """

    def __init__(
        self, n_embd: int, *, n_expert: int, per_token: int, expert: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        if not 1 <= per_token <= n_expert:
            raise UserError(
                f"experts_per_token is {per_token}: with n_expert {n_expert} it must be from 1 to "
                f"{n_expert}."
            )
        self.per_token = per_token
        self.router = nn.Linear(n_embd, n_expert, bias=False)
        self.probabilities = nn.Identity()
        self.experts = nn.ModuleList(expert() for _ in range(n_expert))

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of x, (..., C)."""
        tokens = x.flatten(0, -2)  # (N, C)
        # In float32 whatever the rest computes in: a rounding must not decide who works.
        with torch.autocast(x.device.type if x.device.type != "meta" else "cpu", enabled=False):
            scores = self.probabilities(self.router(tokens.float()).softmax(dim=-1))  # (N, E)
        best, chosen = scores.topk(self.per_token, dim=-1)  # 2 x (N, P)
        shares = best if self.per_token == 1 else best / best.sum(dim=-1, keepdim=True)  # (N, P)
        mixed = torch.zeros_like(tokens)  # (N, C)
        for number, expert in enumerate(self.experts):
            rows, place = self._asked(chosen == number)
            answers = expert(tokens[rows]) * shares[rows, place, None]  # (_, C)
            mixed = mixed.index_add(0, rows, answers.to(mixed.dtype))  # (N, C)
        return mixed.view_as(x)

    def _asked(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return which tokens want an expert, and as which of their P, for a mask (N, P)."""
        # Shapes without numbers are counted as if all experts had equally many tokens.
        if chosen.untyped_storage().device.type == "meta":
            count = -(-chosen.numel() // len(self.experts))
            ids = torch.zeros(count, dtype=torch.long, device=chosen.device)
            return ids, ids
        rows, place = chosen.nonzero(as_tuple=True)
        return rows, place


def imbalance(probabilities: Tensor, per_token: int = 1) -> Tensor:
    """Return how unevenly a router spreads its tokens: 1 if evenly, E if one expert gets all.

        E * sum over experts of (share of the tokens) * (mean probability)

    The shares have no slope, the probabilities have: a busy expert's are pushed down.

    Args:
        probabilities: (N, E), of the router.
        per_token: P.

    >>> imbalance(torch.tensor([[0.9, 0.1], [0.2, 0.8]])).item()
    1.0
    """
    N, E = probabilities.shape
    chosen = probabilities.topk(per_token, dim=-1).indices.flatten()
    shares = torch.bincount(chosen, minlength=E) / (N * per_token)  # (E,)
    return E * (shares * probabilities.mean(dim=0)).sum()


def balanced_loss(
    model: nn.Module, inputs: Tensor, targets: Tensor, *, price: float = 0.01
) -> Tensor:
    """Return the mean next-token loss plus a price for uneven experts; a loss for `train`.

    Args:
        model: Of any kind; without `Experts` in it the price is zero.
        inputs: (B, T).
        targets: (B, T).
        price: Of an `imbalance` above its least, mean over the layers.
    """
    seen: list[Tensor] = []
    layers = [part for part in model.modules() if isinstance(part, Experts)]

    def watch(layer: Experts) -> torch.utils.hooks.RemovableHandle:
        def note(module: nn.Module, given: object, probabilities: Tensor) -> None:
            seen.append(imbalance(probabilities, layer.per_token))

        return layer.probabilities.register_forward_hook(note)

    hooks = [watch(layer) for layer in layers]
    try:
        loss = batch_loss(model, inputs, targets)
    finally:
        for hook in hooks:
            hook.remove()
    return loss + price * (torch.stack(seen).mean() - 1) if seen else loss
