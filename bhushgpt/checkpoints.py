"""A run on disk: weights and optimizer as safetensors, everything else as JSON.

Neither format can carry code, so a checkpoint from a stranger cannot run any (notebook 10 shows
what a pickle can do). A checkpoint is one folder, complete or not there at all.

Lesson: notebook 10.
"""

import dataclasses
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bhushgpt.errors import UserError
from bhushgpt.forecast import check_memory, parameter_count
from bhushgpt.manifests import MANIFEST, verify_manifest, write_manifest
from bhushgpt.presets import RunConfig, build_model
from bhushgpt.run_settings import config_from_dict, config_to_dict
from bhushgpt.state_tensors import optimizer_dict, optimizer_parts, tied_names, weights_once
from bhushgpt.tokenizers import Tokenizer, tokenizer_from_dict
from bhushgpt.training import TrainState

MODEL, OPTIMIZER, SETTINGS = "model.safetensors", "optimizer.safetensors", "config.json"
# The newest and, should it be damaged, the one before.
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """What `load_checkpoint` gives back: enough to go on as if nothing had happened.

    Lesson: notebook 10.
    """

    state: TrainState
    config: RunConfig
    tokenizer: Tokenizer


def save_checkpoint(
    folder: Path, state: TrainState, config: RunConfig, tokenizer: Tokenizer
) -> Path:
    """Write `folder/step_00001000` and return it; it appears whole or not at all.

    The run's last two checkpoints are kept, older ones go.

    Args:
        folder: The run's folder.
        state: Model, optimizer and step.
        config: Settings that the model was built from.
        tokenizer: Saved beside the weights: with another alphabet they would mean nothing.

    Raises:
        UserError: If it cannot be written; what was saved before stays.

    Lesson: notebook 10.
    """
    target = folder / f"step_{state.step:08d}"
    temporary = folder / f".{target.name}.{os.getpid()}.tmp"
    aside = folder / f".{target.name}.{os.getpid()}.old.tmp"
    try:
        for left in folder.glob(".step_*.tmp"):  # of a save that was killed
            shutil.rmtree(left, ignore_errors=True)
        temporary.mkdir(parents=True)
        _write_files(temporary, state, config, tokenizer)
        if target.exists():  # the same step again, after a resume
            target.replace(aside)
        temporary.replace(target)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"The checkpoint of step {state.step} cannot be written to {folder}: {reason}. "
            "Earlier checkpoints are as they were. Make room or choose another folder, and go on."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)
    _keep_newest(folder)
    return target


def _keep_newest(folder: Path) -> None:
    for older in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(older, ignore_errors=True)


def _write_files(folder: Path, state: TrainState, config: RunConfig, tokenizer: Tokenizer) -> None:
    weights = {name: tensor.contiguous() for name, tensor in weights_once(state).items()}
    save_file(weights, folder / MODEL)
    tensors, groups = optimizer_parts(state.optimizer.state_dict())
    save_file(tensors, folder / OPTIMIZER)
    settings = {
        "step": state.step,
        "config": config_to_dict(config),
        "optimizer_groups": groups,
        "tokenizer": tokenizer.to_dict(),
    }
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2), encoding="utf-8")
    write_manifest(folder)


def checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints of a run's folder, oldest first.

    Lesson: notebook 10.
    """
    return sorted(path.parent for path in folder.glob(f"step_*/{MANIFEST}"))


def latest_checkpoint(folder: Path) -> Path:
    """Return the newest complete checkpoint of a run's folder.

    Raises:
        UserError: If there is none.

    Lesson: notebook 10.
    """
    found = checkpoints(folder)
    if not found:
        raise UserError(
            f"There is no checkpoint in {folder}: no folder step_... with a {MANIFEST} in it. "
            "Name the folder of a run, or train a new one: python -m bhushgpt train"
        )
    return found[-1]


def load_checkpoint(folder: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Return the state, settings and tokenizer of a checkpoint, its files verified first.

    Args:
        folder: A `step_...` folder, or a run's folder (its newest checkpoint is taken).
        device: Where the model is wanted.

    Raises:
        UserError: If the folder holds no checkpoint, or a file is missing, damaged or foreign.

    Lesson: notebook 10.
    """
    if not (folder / MANIFEST).is_file():
        folder = latest_checkpoint(folder)
    verify_manifest(folder, (MODEL, OPTIMIZER, SETTINGS))
    try:
        return _read_files(folder, torch.device(device))
    except UserError:
        raise
    except (
        SafetensorError,
        ArithmeticError,
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        RuntimeError,
    ) as error:
        raise UserError(
            f"{folder} cannot be read as a checkpoint of this version ({type(error).__name__}). "
            "Nothing was changed. Take another checkpoint, or train again."
        ) from error


def _read_files(folder: Path, device: torch.device) -> Checkpoint:
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    config = config_from_dict(settings["config"])
    tokenizer = tokenizer_from_dict(settings["tokenizer"])
    step = settings["step"]
    if type(step) is not int or not 0 <= step <= config.training.steps:
        raise UserError(
            f"{folder / SETTINGS} says step {step!r} of {config.training.steps}: it was changed. "
            "Take another checkpoint."
        )
    if tokenizer.vocab_size != config.model.vocab_size:
        raise UserError(
            f"The tokenizer in {folder} has {tokenizer.vocab_size} tokens, its model "
            f"{config.model.vocab_size}: they do not belong together. Take another checkpoint."
        )
    weights = load_file(folder / MODEL, device=str(device))
    # Before a model is built: a changed size must not fill the memory.
    if sum(tensor.numel() for tensor in weights.values()) != parameter_count(config):
        raise UserError(f"The weights in {folder} do not have the sizes that {SETTINGS} says.")
    # As little as using it takes: a run from a larger machine may be completed on a smaller one.
    one_row = dataclasses.replace(config.training, batch_size=1, accumulation_steps=1)
    check_memory(dataclasses.replace(config, training=one_row), device)
    model = build_model(config, device)
    # A tied weight is stored once, under the name it has first.
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or set(missing) - tied_names(model):
        raise UserError(f"The weights in {folder} do not belong to its {SETTINGS}.")
    state = TrainState.fresh(model, config.training)
    tensors = load_file(folder / OPTIMIZER, device=str(device))
    state.optimizer.load_state_dict(optimizer_dict(tensors, settings["optimizer_groups"]))
    state.step = step
    return Checkpoint(state, config, tokenizer)
