"""Is it written in the vectors? Linear probes, and the control task that shows what they prove.

A probe predicts a property of the text from a model's vectors, by one linear layer. That it can
does not yet mean that the model knows: a probe of many channels can also learn by heart. So it is
asked for nonsense too, a random label for each kind of place; only what it gets right beyond that
counts.

Letters: N places in a text, C channels, K classes.

Lesson: notebook 21.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhushgpt.errors import UserError


def fit_probe(vectors: Tensor, labels: Tensor, *, penalty: float = 1e-3) -> nn.Linear:
    """Return the linear layer that predicts labels from vectors best: a logistic regression.

    The loss (mean cross-entropy, plus `penalty` / 2 times the squared weights of the channels
    brought to mean 0 and spread 1) has a single minimum, and LBFGS walks down to it: no seed.

    Args:
        vectors: (N, C).
        labels: (N,) classes, from 0.
        penalty: Larger ones keep the probe from learning by heart.

    Returns:
        A layer from C channels to as many scores as there are classes.

    Raises:
        UserError: If vectors and labels differ in number, a vector is not finite, or there are
            fewer than two classes.

    >>> vectors = torch.tensor([[0.0, 7.0], [1.0, 7.0], [8.0, 7.0], [9.0, 7.0]])
    >>> fit_probe(vectors, torch.tensor([0, 0, 1, 1]))(vectors).argmax(dim=1).tolist()
    [0, 0, 1, 1]
    """
    if vectors.dim() != 2 or labels.shape != vectors.shape[:1] or not len(labels):
        raise UserError(
            f"Vectors of the shape {tuple(vectors.shape)} and labels of the shape "
            f"{tuple(labels.shape)} came; a probe wants (N, C) and (N,): flatten(0, 1) joins "
            "batch and time."
        )
    if not torch.isfinite(vectors).all():
        raise UserError("A vector holds nan or infinity: a probe cannot learn from these.")
    if labels.is_floating_point() or labels.min() < 0 or labels.unique().numel() < 2:
        raise UserError("Labels must be whole numbers from 0, and at least two different ones.")
    # Detached and in double precision: LBFGS stops early where float32 cannot see the slope.
    inputs = vectors.detach().double()  # (N, C)
    mean = inputs.mean(dim=0)
    spread = inputs.std(dim=0, correction=0)
    spread = spread.where(spread > 0, torch.ones_like(spread))  # a channel that never changes
    level = (inputs - mean) / spread  # (N, C)
    classes = int(labels.max()) + 1
    weight = torch.zeros(classes, inputs.shape[1], dtype=torch.float64, device=inputs.device)
    bias = torch.zeros(classes, dtype=torch.float64, device=inputs.device)
    _descend(level, labels, weight, bias, penalty)
    probe = nn.Linear(inputs.shape[1], classes, device=vectors.device)
    # The levelling of the channels becomes part of the layer, which then takes vectors as they are.
    weight = weight / spread
    state = {"weight": weight, "bias": bias - weight @ mean}
    probe.load_state_dict({name: value.float() for name, value in state.items()})
    return probe


def _descend(level: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, penalty: float) -> None:
    """Move weight and bias to the minimum of the penalised loss."""
    weight.requires_grad_()
    bias.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=200, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        error = F.cross_entropy(level @ weight.T + bias, labels)
        total = error + penalty / 2 * weight.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    weight.requires_grad_(False)
    bias.requires_grad_(False)


def probe_accuracy(probe: nn.Linear, vectors: Tensor, labels: Tensor) -> float:
    """Return the share of vectors (N, C) whose highest score is their label (N,).

    Measure on places that the probe was not fitted to.
    """
    with torch.no_grad():
        return (probe(vectors).argmax(dim=1) == labels).double().mean().item()


def control_labels(kinds: Tensor, labels: Tensor, seed: int = 0) -> Tensor:
    """Return nonsense labels (N,): each kind of place has a random one, always the same.

    They are drawn as often as the true labels occur, so that guessing pays as well as before.

    Args:
        kinds: (N,) whole numbers from 0, such as the id of the token or of the last two.
        labels: (N,) the true ones.
        seed: Another one is another nonsense.

    Source: Hewitt and Liang, "Designing and interpreting probes with control tasks", arXiv
    1909.03368.

    >>> kinds = torch.tensor([3, 5, 3, 3, 5])
    >>> nonsense = control_labels(kinds, torch.tensor([0, 1, 2, 0, 1]))
    >>> len(set(nonsense[kinds == 3].tolist())), len(set(nonsense[kinds == 5].tolist()))
    (1, 1)
    """
    generator = torch.Generator().manual_seed(seed)
    n_kinds = int(kinds.max()) + 1
    chosen = torch.randint(len(labels), (n_kinds,), generator=generator).to(labels.device)
    return labels[chosen][kinds]
