"""What of a training state is tensors: each once and under a name, as a file of weights wants it.

Lesson: notebook 10.
"""

from typing import Any

from torch import Tensor, nn

from bhushgpt.training import TrainState


def weights_once(state: TrainState) -> dict[str, Tensor]:
    """Return the model's tensors by name, each storage once.

    Lesson: notebook 10.
    """
    tied = tied_names(state.model)
    return {name: tensor for name, tensor in state.model.state_dict().items() if name not in tied}


def tied_names(model: nn.Module) -> set[str]:
    """Return second names of tensors that have two, such as the head tied to the embedding.

    Lesson: notebook 10.
    """
    unique = {name for name, _ in model.named_parameters()}
    return {name for name, _ in model.named_parameters(remove_duplicate=False)} - unique


def optimizer_parts(state: dict[str, Any]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Split an optimizer's state into tensors, named `<parameter>.<what>`, and plain settings.

    Lesson: notebook 10.
    """
    tensors = {
        f"{number}.{name}": tensor.contiguous()
        for number, entry in state["state"].items()
        for name, tensor in entry.items()
    }
    return tensors, state["param_groups"]


def optimizer_dict(tensors: dict[str, Tensor], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Put an optimizer's state together again.

    Lesson: notebook 10.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".")
        state.setdefault(int(number), {})[name] = tensor
    return {"state": state, "param_groups": groups}
