"""A second view of a model: the same weights, computed with in another way.

A view is a module of its own whose parts share weights, buffers and hooks with the model's parts
but may be of another class. Training it trains the model; the model itself, and everybody else who
uses it, notices nothing.

Lesson: notebook 15.
"""

from collections.abc import Mapping

from torch import nn


def view(
    model: nn.Module,
    kinds: Mapping[type[nn.Module], type[nn.Module]],
    parts: Mapping[str, nn.Module] | None = None,
) -> nn.Module:
    """Return a module with the weights of a model that computes in another way.

    Args:
        model: It is not changed.
        kinds: For classes of parts the class to compute with instead, a subclass with the same
            attributes.
        parts: Other modules in the place of the model's own parts of these names.

    >>> import torch
    >>> class Loud(nn.Linear):
    ...     def forward(self, input):
    ...         return 10 * super().forward(input)
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    >>> loud, x = view(model, {nn.Linear: Loud}), torch.ones(1, 2)
    >>> torch.allclose(loud(x), 10 * model(x)), loud[0].weight is model[0].weight
    (True, True)
    """
    children = {name: view(child, kinds) for name, child in model.named_children()}
    new = nn.Module.__new__(kinds.get(type(model), type(model)))
    # One dictionary of parameters for both: what a later change puts into one is in the other.
    vars(new).update(vars(model), _modules=children | dict(parts or {}))
    return new
