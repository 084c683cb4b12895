"""The files of one checkpoint, written and read; format 1 too, which had fewer.

    model.safetensors      weights
    optimizer.safetensors  AdamW's running means and step counts
    random.safetensors     where the random numbers stand (new in format 2)
    config.json            settings, step, the optimizer's plain numbers, and what the caller adds
    tokenizer.json         the alphabet or the merges (format 1 had it in config.json)

Lesson: notebook 10.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from bhushgpt.errors import UserError
from bhushgpt.files import open_regular
from bhushgpt.presets import RunConfig
from bhushgpt.random_states import RandomState
from bhushgpt.run_settings import config_from_dict, config_to_dict
from bhushgpt.tensor_files import load_tensors
from bhushgpt.tokenizers import Tokenizer, tokenizer_from_dict

MODEL, OPTIMIZER, RANDOM = "model.safetensors", "optimizer.safetensors", "random.safetensors"
SETTINGS, TOKENIZER = "config.json", "tokenizer.json"
PARTS = {
    1: (MODEL, OPTIMIZER, SETTINGS),
    2: (MODEL, OPTIMIZER, RANDOM, SETTINGS, TOKENIZER),
}
# A vocabulary of 50,000 merges takes about 3 MB.
LONGEST_JSON = 2**26


def write_settings(
    folder: Path,
    *,
    step: int,
    config: RunConfig,
    tokenizer: Tokenizer,
    groups: list[dict[str, Any]],
    extra: dict[str, Any],
) -> None:
    """Write all of a checkpoint but the tensors of model and optimizer.

    Args:
        folder: The checkpoint's folder, in the making.
        step: Steps done.
        config: Settings of the run.
        tokenizer: The tokenizer.
        groups: The optimizer's plain numbers, `state_dict()["param_groups"]`.
        extra: What the caller wants to find again.

    Raises:
        UserError: If `extra` holds what JSON cannot.

    Lesson: notebook 10.
    """
    settings = {
        "step": step,
        "config": config_to_dict(config),
        "optimizer_groups": groups,
        "extra": extra,
    }
    (folder / SETTINGS).write_bytes(_json(settings))
    (folder / TOKENIZER).write_bytes(_json(tokenizer.to_dict()))
    save_file(RandomState.now().tensors, folder / RANDOM)


@dataclass(frozen=True)
class Settings:
    """What the JSON files of a checkpoint say, each value of the kind it must be.

    Lesson: notebook 10.
    """

    config: RunConfig
    """Settings of the run."""
    tokenizer: Tokenizer
    """The tokenizer, its fingerprint checked."""
    step: int
    """Steps done."""
    groups: list[dict[str, Any]]
    """The optimizer's plain numbers."""
    extra: dict[str, Any]
    """What the caller added when saving."""

    @classmethod
    def read(cls, folder: Path, version: int) -> "Settings":
        """Read them from a checkpoint of format 1 or 2.

        Raises:
            UserError: If something was changed or does not belong together.
        """
        found = _read_json(folder / SETTINGS)
        described = found["tokenizer"] if version == 1 else _read_json(folder / TOKENIZER)
        config, tokenizer = config_from_dict(found["config"]), tokenizer_from_dict(described)
        step, extra = found["step"], found.get("extra", {})
        if type(step) is not int or not 0 <= step <= config.training.steps:
            raise UserError(
                f"{folder / SETTINGS} says step {step!r} of {config.training.steps}: it was "
                "changed. Take another checkpoint."
            )
        if tokenizer.vocab_size != config.model.vocab_size:
            raise UserError(
                f"The tokenizer in {folder} has {tokenizer.vocab_size} tokens, its model "
                f"{config.model.vocab_size}: they do not belong together. Take another checkpoint."
            )
        if not isinstance(extra, dict):
            raise UserError(f"{folder / SETTINGS} was changed. Take another checkpoint.")
        return cls(config, tokenizer, step, found["optimizer_groups"], extra)


def read_random(folder: Path, version: int) -> RandomState | None:
    """Return the random state of a checkpoint; format 1 had none.

    Lesson: notebook 10.
    """
    return None if version == 1 else RandomState(load_tensors(folder / RANDOM))


def _json(data: Any) -> bytes:
    try:
        return (json.dumps(data, indent=1) + "\n").encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"This cannot be saved as JSON: {error}. Save numbers, texts, lists and dictionaries."
        ) from error


def _read_json(file: Path) -> Any:
    with open_regular(file) as stream:
        text = stream.read(LONGEST_JSON + 1)
    if len(text) > LONGEST_JSON:
        raise UserError(f"{file} has more than {LONGEST_JSON:,} bytes. It is not read.")
    return json.loads(text.decode("utf-8"))
