"""What of a training state is tensors: each once and under a name, as a file of weights wants it.

Lesson: notebook 10.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from bhushgpt.errors import UserError
from bhushgpt.tensor_files import TensorFacts
from bhushgpt.training import TrainState

COMPILED, PARALLEL = "_orig_mod", "module"


def plain_name(name: str) -> str:
    """Return a tensor's name without what wrappers put before it.

    `torch.compile` puts `_orig_mod.` before the names of what it compiles, DistributedDataParallel
    `module.` before all.

    Lesson: notebook 10.

    >>> plain_name("module._orig_mod.blocks.0._orig_mod.norm.weight")
    'blocks.0.norm.weight'
    """
    parts = [part for part in name.split(".") if part != COMPILED]
    while len(parts) > 1 and parts[0] == PARALLEL:
        parts = parts[1:]
    return ".".join(parts)


def plain_names(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same tensors, or facts about them, under their plain names.

    Raises:
        UserError: If two of them would have the same name.

    Lesson: notebook 10.
    """
    plain = {plain_name(name): tensor for name, tensor in tensors.items()}
    if len(plain) < len(tensors):
        raise UserError("Two of the weights have the same name but for a wrapper's prefix.")
    return plain


def weights_once(state: TrainState) -> dict[str, Tensor]:
    """Return the model's tensors by their plain names, each storage once.

    Lesson: notebook 10.
    """
    tied = tied_names(state.model)
    weights = {n: tensor for n, tensor in state.model.state_dict().items() if n not in tied}
    return plain_names(weights)


def tied_names(model: nn.Module) -> set[str]:
    """Return second names of tensors that have two, such as the head tied to the embedding.

    Lesson: notebook 10.
    """
    unique = {name for name, _ in model.named_parameters()}
    return {name for name, _ in model.named_parameters(remove_duplicate=False)} - unique


def misfits(found: Mapping[str, TensorFacts], model: nn.Module) -> list[str]:
    """Return what of a file's tensors does not fit a model, a line each; an empty list is good.

    Args:
        found: The file's header, plain names.
        model: It may be on the device "meta", where it has shapes but takes no memory.

    Lesson: notebook 10.

    >>> import torch
    >>> found = {"weight": TensorFacts(torch.float32, (3, 2)), "more": TensorFacts(torch.int8, ())}
    >>> misfits(found, nn.Linear(4, 3, bias=False))
    ['weight: the checkpoint has (3, 2), the model (3, 4)', 'more: the model has no such weight']
    """
    tied = tied_names(model)
    wanted = {plain_name(n): tensor for n, tensor in model.state_dict().items() if n not in tied}
    lines = []
    for name, tensor in wanted.items():
        if name not in found:
            lines.append(f"{name}: the checkpoint has no such weight")
        elif found[name].shape != tuple(tensor.shape):
            sizes = f"{found[name].shape}, the model {tuple(tensor.shape)}"
            lines.append(f"{name}: the checkpoint has {sizes}")
        elif found[name].dtype.is_floating_point != tensor.dtype.is_floating_point:
            kinds = f"{found[name].dtype}, the model {tensor.dtype}"
            lines.append(f"{name}: the checkpoint has {kinds}")
    return lines + [f"{name}: the model has no such weight" for name in found if name not in wanted]
