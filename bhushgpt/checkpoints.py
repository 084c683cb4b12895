"""A run on disk: weights and optimizer as safetensors, everything else as JSON.

Neither format can carry code, so a checkpoint from a stranger cannot run any (notebook 10 shows
what a pickle can do). A checkpoint is one folder, complete or not there at all.

Lesson: notebook 10.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from bhushgpt.checkpoint_folders import checkpoints, latest_checkpoint, new_checkpoint
from bhushgpt.checkpoint_links import followed
from bhushgpt.checkpoint_match import refuse_other_model
from bhushgpt.checkpoint_parts import (
    MODEL,
    OPTIMIZER,
    PARTS,
    SETTINGS,
    Settings,
    read_random,
    write_settings,
)
from bhushgpt.disk_space import expected_bytes, other_bytes
from bhushgpt.errors import UserError
from bhushgpt.manifests import MANIFEST, verify_manifest
from bhushgpt.optimizer_states import optimizer_parts
from bhushgpt.presets import RunConfig
from bhushgpt.random_states import RandomState
from bhushgpt.run_settings import config_to_dict
from bhushgpt.state_files import StateReader, read_state
from bhushgpt.state_tensors import weights_once
from bhushgpt.tokenizers import Tokenizer
from bhushgpt.training import TrainState

__all__ = [
    "MODEL",
    "OPTIMIZER",
    "SETTINGS",
    "Checkpoint",
    "checkpoints",
    "config_to_dict",
    "expected_bytes",
    "latest_checkpoint",
    "load_checkpoint",
    "save_checkpoint",
]


@dataclass(frozen=True)
class Checkpoint:
    """What `load_checkpoint` gives back: enough to go on as if nothing had happened.

    Lesson: notebook 10.
    """

    state: TrainState
    """Model, optimizer and step."""
    config: RunConfig
    """Settings that the model was built from."""
    tokenizer: Tokenizer
    """What turns text into the model's ids and back."""
    random: RandomState | None = None
    """Where the global random numbers stood; `restore` it to go on. Format 1 had none."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What the caller added when saving."""
    folder: Path = Path()
    """The folder it was read from."""


def save_checkpoint(
    folder: Path,
    state: TrainState,
    config: RunConfig,
    tokenizer: Tokenizer,
    *,
    keep: int = 2,
    best: bool = False,
    extra: dict[str, Any] | None = None,
) -> Path:
    """Write `folder/step_00001000` and return it; it appears whole or not at all.

    The run's newest `keep` checkpoints stay, and those that `best` and `last` name. Older ones are
    deleted once the new one has been read again and found whole.

    Args:
        folder: The run's folder.
        state: Model, optimizer and step.
        config: Settings that the model was built from.
        tokenizer: Saved beside the weights: with another alphabet they would mean nothing.
        keep: The newest, and should it be damaged, those before it.
        best: Whether it is the best so far: `folder/best` will name it.
        extra: Anything more to remember that JSON can hold.

    Raises:
        UserError: If it cannot be written, or another run is writing there; what was saved before
            stays. A `NoRoom` if the disk is full.

    Lesson: notebook 10.
    """
    weights = {name: tensor.contiguous() for name, tensor in weights_once(state).items()}
    tensors, groups = optimizer_parts(state.optimizer.state_dict())
    needed = sum(t.nbytes for t in [*weights.values(), *tensors.values()]) + other_bytes(config)
    with new_checkpoint(folder, state.step, keep=keep, best=best, needed=needed) as temporary:
        write_settings(
            temporary,
            step=state.step,
            config=config,
            tokenizer=tokenizer,
            groups=groups,
            extra=extra or {},
        )
        save_file(weights, temporary / MODEL)
        save_file(tensors, temporary / OPTIMIZER)
    return folder.expanduser() / f"step_{state.step:08d}"


def load_checkpoint(
    folder: Path,
    device: torch.device | str = "cpu",
    *,
    asked: Any = None,
    asked_tokenizer: Tokenizer | None = None,
    read: StateReader = read_state,
) -> Checkpoint:
    """Return the state, settings and tokenizer of a checkpoint, its files verified first.

    Args:
        folder: A `step_...` folder, `last` or `best`, or a run's folder (its newest checkpoint).
        device: Where the model is wanted.
        asked: Model settings that it must have, such as a `GPTConfig`.
        asked_tokenizer: The tokenizer that it must have been trained with.
        read: Reads the tensors, given the verified folder (notebook 14 has another way).

    Raises:
        UserError: If the folder holds no checkpoint, a file is missing, damaged or foreign, or the
            checkpoint is not the one asked for.

    Lesson: notebook 10.
    """
    folder = _checkpoint_folder(folder.expanduser())
    manifest = verify_manifest(folder)
    version, files = manifest["format"], manifest["files"]
    missing = [name for name in PARTS[version] if name not in files]
    if missing:
        raise UserError(f"{folder} is not a checkpoint of a run: it has no {missing[0]}.")
    try:
        settings = Settings.read(folder, version)
        refuse_other_model(settings.config.model, asked, settings.tokenizer, asked_tokenizer)
        state = read(folder, settings, torch.device(device))
        random = read_random(folder, version)
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
    return Checkpoint(state, settings.config, settings.tokenizer, random, settings.extra, folder)


def _checkpoint_folder(folder: Path) -> Path:
    if (folder / MANIFEST).is_file():
        return folder
    if folder.is_file() or folder.is_symlink():
        found = followed(folder.parent, folder.name)
        if found is None:
            raise UserError(
                f"{folder} is not a checkpoint, which is a folder with a {MANIFEST} in it. A file "
                "such as .pt is not opened: it can carry code that runs when it is loaded."
            )
        return found
    return latest_checkpoint(folder)
