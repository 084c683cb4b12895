"""An optimizer's state as tensors with names and plain numbers, and back.

Lesson: notebook 10.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bhushgpt.errors import UserError
from bhushgpt.tensor_files import TensorFacts

# How a step is computed, not what: that is this machine's to decide.
MANNERS = ("foreach", "fused", "capturable", "differentiable")


def optimizer_parts(state: dict[str, Any]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Split an optimizer's state into tensors, named `<parameter>.<what>`, and plain settings.

    Lesson: notebook 10.
    """
    tensors = {}
    for number, entry in state["state"].items():
        for name, tensor in entry.items():
            if not isinstance(tensor, Tensor):
                raise UserError(
                    f"The optimizer keeps {name} as {type(tensor).__name__}, and a checkpoint "
                    "holds tensors only. Train with `make_optimizer`, as `TrainState.fresh` does."
                )
            tensors[f"{number}.{name}"] = tensor.contiguous()
    return tensors, state["param_groups"]


def optimizer_misfits(found: Mapping[str, TensorFacts], shapes: list[tuple[int, ...]]) -> list[str]:
    """Return what of an optimizer's file does not fit the parameters it is for, a line each.

    Args:
        found: The file's header.
        shapes: Of the parameters in the optimizer's order. Each may have numbers of its own shape
            (the running means) and single numbers (the count of steps).

    Lesson: notebook 10.
    """
    lines = []
    names: dict[str, set[str]] = {}
    for key, facts in found.items():
        number, _, name = key.partition(".")
        if not (number.isascii() and number.isdecimal() and int(number) < len(shapes)):
            lines.append(f"{key}: there is no such parameter")
        elif facts.shape not in ((), (1,), shapes[int(number)]):
            lines.append(f"{key}: has {facts.shape}, its parameter {shapes[int(number)]}")
        names.setdefault(number, set()).add(name)
    # A parameter that was never trained has none; one that was has what the others have.
    complete = set().union(*names.values())
    for number, found_names in names.items():
        lines += [f"{number}.{name}: is missing" for name in sorted(complete - found_names)]
    return lines


def optimizer_dict(tensors: dict[str, Tensor], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Put an optimizer's state together again.

    Lesson: notebook 10.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".")
        # Written by several processes it has a dimension (notebook 14).
        state.setdefault(int(number), {})[name] = tensor.reshape(()) if name == "step" else tensor
    return {"state": state, "param_groups": groups}


def merged_groups(saved: Any, fresh: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the saved numbers of an optimizer's groups in the form that a fresh one has here.

    Raises:
        UserError: If they belong to other parameters, or are no numbers.

    Lesson: notebook 10.

    >>> fresh = [{"lr": 0.1, "fused": True, "params": [0, 1]}]
    >>> merged_groups([{"lr": 0.2, "fused": False, "params": [0, 1]}], fresh)
    [{'lr': 0.2, 'fused': True, 'params': [0, 1]}]
    """
    if not isinstance(saved, list) or len(saved) != len(fresh):
        raise UserError("The optimizer's settings in the checkpoint are of another optimizer.")
    groups = []
    for group, here in zip(saved, fresh, strict=True):
        if group["params"] != here["params"]:
            raise UserError("The optimizer's settings in the checkpoint are of another model.")
        groups.append(
            {
                name: value if name in MANNERS else _alike(name, group.get(name, value), value)
                for name, value in here.items()
            }
        )
    return groups


def _alike(name: str, saved: Any, fresh: Any) -> Any:
    """Return a saved value if it is of the kind that a fresh one is."""
    if isinstance(fresh, tuple | list):
        if isinstance(saved, tuple | list) and len(saved) == len(fresh):
            return type(fresh)(_alike(name, a, b) for a, b in zip(saved, fresh, strict=True))
    elif isinstance(fresh, bool) or not isinstance(fresh, int | float):
        if type(saved) is type(fresh):
            return saved
    elif isinstance(saved, int | float) and not isinstance(saved, bool):
        return saved
    raise UserError(f"The optimizer's {name} in the checkpoint is {saved!r}: it was changed.")
