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
from bhushgpt.presets import RunConfig, build_model
from bhushgpt.state_tensors import (
    misfits,
    optimizer_dict,
    optimizer_misfits,
    plain_names,
    tied_names,
)
from bhushgpt.tensor_files import TensorFacts, load_tensors, read_header
from bhushgpt.training import TrainState

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
    # Headers first: nothing is allocated before it is known to be what the settings say.
    weights = plain_names(read_header(folder / MODEL))
    _refuse_other_sizes(folder, weights, config)
    # As little as using it takes: a run from a larger machine may be completed on a smaller one.
    one_row = dataclasses.replace(config.training, batch_size=1, accumulation_steps=1)
    check_memory(dataclasses.replace(config, training=one_row), device)
    model = build_model(config, device)
    state = TrainState.fresh(model, config.training)
    shapes = [tuple(p.shape) for group in state.optimizer.param_groups for p in group["params"]]
    wrong = optimizer_misfits(read_header(folder / OPTIMIZER), shapes)
    if wrong:
        raise UserError(f"The optimizer in {folder} does not belong to its model. {wrong[0]}.")
    # A tied weight is stored once, under the name it has first.
    missing, unexpected = model.load_state_dict(
        plain_names(load_tensors(folder / MODEL, device)), strict=False
    )
    assert not unexpected and set(missing) <= tied_names(model), "the header was checked"
    tensors = load_tensors(folder / OPTIMIZER, device)
    state.optimizer.load_state_dict(optimizer_dict(tensors, settings.groups))
    state.step = settings.step
    return state


def _refuse_other_sizes(folder: Path, found: dict[str, TensorFacts], config: RunConfig) -> None:
    wrong = [f"{sum(facts.count for facts in found.values()):,} weights in {MODEL}"]
    # Counted before a model is built, even one without memory: a changed size must cost nothing.
    if sum(facts.count for facts in found.values()) == parameter_count(config):
        with torch.device("meta"):
            wrong = misfits(found, build_model(config, "meta"))
    if wrong:
        lines = "\n".join(wrong[:5])
        raise UserError(
            f"The weights in {folder} do not have the sizes that {SETTINGS} says.\n{lines}"
        )


# The file that tells a kind of checkpoint, and what reads its tensors. Later modules add theirs.
READERS: dict[str, StateReader] = {MODEL: read_state}
