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
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bhushgpt.bigram import BigramConfig
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPTConfig
from bhushgpt.manifests import MANIFEST, verify_manifest, write_manifest
from bhushgpt.presets import RunConfig, build_model
from bhushgpt.tokenizers import Tokenizer, tokenizer_from_dict
from bhushgpt.training import TrainingConfig, TrainState

MODEL, OPTIMIZER, SETTINGS = "model.safetensors", "optimizer.safetensors", "config.json"


@dataclass(frozen=True)
class Checkpoint:
    """What `load_checkpoint` gives back: enough to go on as if nothing had happened."""

    state: TrainState
    config: RunConfig
    tokenizer: Tokenizer


def save_checkpoint(
    folder: Path, state: TrainState, config: RunConfig, tokenizer: Tokenizer
) -> Path:
    """Write `folder/step_00001000` and return it; it appears whole or not at all.

    Args:
        folder: The run's folder.
        state: Model, optimizer and step.
        config: Settings that the model was built from.
        tokenizer: Saved beside the weights: with another alphabet they would mean nothing.

    Lesson: notebook 10.
    """
    target = folder / f"step_{state.step:08d}"
    temporary = folder / f".{target.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    weights = {name: tensor.contiguous() for name, tensor in _weights(state).items()}
    save_file(weights, temporary / MODEL)
    tensors, groups = _optimizer_parts(state.optimizer.state_dict())
    save_file(tensors, temporary / OPTIMIZER)
    settings = {
        "step": state.step,
        "config": _config_to_dict(config),
        "optimizer_groups": groups,
        "tokenizer": tokenizer.to_dict(),
    }
    (temporary / SETTINGS).write_text(json.dumps(settings, indent=2), encoding="utf-8")
    write_manifest(temporary)
    if target.exists():  # the same step again, after a resume
        shutil.rmtree(target)
    temporary.replace(target)
    return target


def latest_checkpoint(folder: Path) -> Path:
    """Return the newest complete checkpoint of a run's folder.

    Raises:
        UserError: If there is none.
    """
    found = sorted(path.parent for path in folder.glob(f"step_*/{MANIFEST}"))
    if not found:
        raise UserError(
            f"There is no checkpoint in {folder}. A run makes one: "
            f"python -m bhushgpt train --out {folder}"
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
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        config = _config_from_dict(settings["config"])
        tokenizer = tokenizer_from_dict(settings["tokenizer"])
        model = build_model(config, device)
        weights = load_file(folder / MODEL, device=str(device))
        # A tied weight is stored once, under the name it has first.
        missing, unexpected = model.load_state_dict(weights, strict=False)
        if unexpected or set(missing) - _tied_names(model):
            raise UserError(f"The weights in {folder} do not belong to its {SETTINGS}.")
        state = TrainState.fresh(model, config.training)
        tensors = load_file(folder / OPTIMIZER, device=str(device))
        state.optimizer.load_state_dict(_optimizer_dict(tensors, settings["optimizer_groups"]))
        state.step = int(settings["step"])
    except (SafetensorError, KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
        raise UserError(
            f"{folder} cannot be read as a checkpoint of this version ({type(error).__name__}). "
            "Nothing was changed. Take another checkpoint, or train again."
        ) from error
    return Checkpoint(state, config, tokenizer)


def _weights(state: TrainState) -> dict[str, Tensor]:
    """Return the model's tensors by name, each storage once."""
    tied = _tied_names(state.model)
    return {name: tensor for name, tensor in state.model.state_dict().items() if name not in tied}


def _tied_names(model: torch.nn.Module) -> set[str]:
    """Return second names of tensors that have two, such as the head tied to the embedding."""
    unique = {name for name, _ in model.named_parameters()}
    return {name for name, _ in model.named_parameters(remove_duplicate=False)} - unique


def _optimizer_parts(state: dict[str, Any]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Split an optimizer's state into tensors, named `<parameter>.<what>`, and plain settings."""
    tensors = {
        f"{number}.{name}": tensor.contiguous()
        for number, entry in state["state"].items()
        for name, tensor in entry.items()
    }
    return tensors, state["param_groups"]


def _optimizer_dict(tensors: dict[str, Tensor], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Put an optimizer's state together again."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".")
        state.setdefault(int(number), {})[name] = tensor
    return {"state": state, "param_groups": groups}


def _config_to_dict(config: RunConfig) -> dict[str, Any]:
    kind = "gpt" if isinstance(config.model, GPTConfig) else "bigram"
    return {"kind": kind, **dataclasses.asdict(config)}


def _config_from_dict(data: dict[str, Any]) -> RunConfig:
    data = dict(data)
    sizes = {"gpt": GPTConfig, "bigram": BigramConfig}[data.pop("kind")]
    training = dict(data.pop("training"))
    training["betas"] = tuple(training["betas"])  # JSON knows lists only
    model = sizes(**data.pop("model"))
    return RunConfig(model=model, training=TrainingConfig(**training), **data)
