"""Model and optimizer of a checkpoint, read once their headers are known to be right.

Lesson: notebook 10.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch

from bhushgpt.checkpoint_parts import MODEL, OPTIMIZER, SETTINGS, Settings
from bhushgpt.errors import UserError
from bhushgpt.forecast import check_memory, parameter_count
from bhushgpt.optimizer_states import merged_groups, optimizer_dict, optimizer_misfits
from bhushgpt.presets import RunConfig, build_model
from bhushgpt.state_tensors import misfits, plain_names, tied_names
from bhushgpt.tensor_files import load_tensors, read_header
from bhushgpt.training import TrainState

# Returns the training state of a verified folder, on a device.
StateReader = Callable[[Path, Settings, torch.device], TrainState]


def read_state(folder: Path, settings: Settings, device: torch.device) -> TrainState:
    """Return the training state in a checkpoint's folder.

    Args:
        folder: Its files are already verified.
        settings: What its JSON files say.
        device: Where the model is wanted.

    Raises:
        UserError: If the tensors are not those of the settings' model, or would not fit into the
            memory; nothing of them was allocated then.

    Lesson: notebook 10.
    """
    config = settings.config
    check_headers(folder, config)
    # As little as using it takes: a run from a larger machine may be completed on a smaller one.
    one_row = dataclasses.replace(config.training, batch_size=1, accumulation_steps=1)
    check_memory(dataclasses.replace(config, training=one_row), device)
    model = build_model(config, device)
    weights = plain_names(load_tensors(folder / MODEL, device))
    # A tied weight is stored once, under the name it has first.
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= tied_names(model), "the header was checked"
    state = TrainState.fresh(model, config.training)
    groups = merged_groups(settings.groups, state.optimizer.state_dict()["param_groups"])
    tensors = load_tensors(folder / OPTIMIZER, device)
    state.optimizer.load_state_dict(optimizer_dict(tensors, groups))
    state.step = settings.step
    return state


def check_headers(folder: Path, config: RunConfig) -> None:
    """Compare what the files say they hold with the model of the settings, allocating nothing.

    Raises:
        UserError: If something does not fit; the message lists it.

    Lesson: notebook 10.
    """
    found = plain_names(read_header(folder / MODEL))
    count = sum(facts.count for facts in found.values())
    if count != parameter_count(config) or len(found) < getattr(config.model, "n_layer", 1):
        # Counted before a model is built, even one without memory: a changed size costs nothing.
        _refuse(folder, [f"{MODEL} has {count:,} weights, {SETTINGS} {parameter_count(config):,}"])
    with torch.device("meta"):
        state = TrainState.fresh(build_model(config, "meta"), config.training)
    _refuse(folder, misfits(found, state.model))
    shapes = [tuple(p.shape) for group in state.optimizer.param_groups for p in group["params"]]
    _refuse(folder, optimizer_misfits(read_header(folder / OPTIMIZER), shapes))


def _refuse(folder: Path, wrong: list[str]) -> None:
    if wrong:
        lines = "\n".join([*wrong[:5], f"and {len(wrong) - 5} more"] if len(wrong) > 5 else wrong)
        raise UserError(
            f"The tensors in {folder} do not have the sizes that its {SETTINGS} says. Nothing was "
            f"loaded. Take another checkpoint.\n{lines}"
        )
