"""What a run's record says when it starts, and what is found again by it.

Lesson: notebook 16.
"""

import dataclasses
from importlib import metadata
from pathlib import Path
from typing import Any

from bhushgpt.checkpoints import config_to_dict
from bhushgpt.devices import machine_card
from bhushgpt.distributed import World
from bhushgpt.errors import UserError
from bhushgpt.manifests import MANIFEST
from bhushgpt.presets import RunConfig
from bhushgpt.registry import corpora
from bhushgpt.run_options import RunOptions
from bhushgpt.runs import RECORD, RunFolder
from bhushgpt.texts import OtherText, Text, open_text
from bhushgpt.tokenizers import Tokenizer


def run_of(folder: Path) -> RunFolder:
    """Return the run that a folder is, or is a checkpoint of.

    Raises:
        UserError: If it is neither.

    Lesson: notebook 16.
    """
    is_part = folder.is_symlink() or (folder / MANIFEST).is_file()
    return RunFolder.open(folder.parent if is_part else folder)


def text_of(run: RunFolder, config: RunConfig, tokenizer: Tokenizer) -> Text:
    """Return the text that a run was trained on.

    Raises:
        UserError: If it is gone, or no longer the same.

    Lesson: notebook 16.
    """
    name = run.record.get("corpus")
    if not (isinstance(name, str) and name):
        raise UserError(f"{run.path / RECORD} does not say which text the run was trained on.")
    try:
        return open_text(
            name,
            held_out=config.held_out,
            context_length=config.model.context_length,
            tokenizer=tokenizer,
            digest=str(run.record.get("corpus_sha256")),
        )
    except OtherText as error:
        raise UserError(
            f"The text {name!r} has changed since {run.path} was trained on it, "
            "so its held-out part is another. Put the old text back, or train a new run."
        ) from error
    except UserError as error:
        raise UserError(
            f"The text that the run in {run.path} was trained on is needed, and cannot be read. "
            f"{error} Put it back there; `complete` works without it."
        ) from error


def corpus_place(name: str) -> str:
    """Return a registered name as it is, and a file or folder by its whole path.

    Lesson: notebook 16.

    >>> corpus_place("sherlock"), Path(corpus_place("my.txt")).is_absolute()
    ('sherlock', True)
    """
    return name if name in corpora() else str(Path(name).expanduser().resolve())


def first_record(config: RunConfig, text: Text, corpus_name: str) -> dict[str, Any]:
    """Return what is written down when a run starts.

    Lesson: notebook 16.
    """
    return {
        "version": _version(),
        "preset": config.preset,
        "config": config_to_dict(config),
        "corpus": corpus_place(corpus_name),
        "corpus_sha256": text.digest,
        "tokens": text.tokens,
    }


def machine_facts(options: RunOptions, world: World) -> dict[str, Any]:
    """Return what the record says about where and how a run is computed from now on.

    Lesson: notebook 16.
    """
    return {
        "machine": machine_card(),
        "device": world.device.type,
        "processes": world.size,
        "options": dataclasses.asdict(options),
    }


def _version() -> str:
    try:
        return metadata.version("bhushgpt")
    except metadata.PackageNotFoundError:  # used from a folder, without being installed
        return "unknown"
