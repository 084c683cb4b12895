"""Sessions from names: a fresh run in a new folder, or an earlier one at its checkpoint.

Lesson: notebook 16.
"""

from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from bhushgpt.checkpoints import config_to_dict, load_checkpoint
from bhushgpt.corpus import Corpus, load_text
from bhushgpt.devices import machine_card
from bhushgpt.errors import UserError
from bhushgpt.forecast import check_memory
from bhushgpt.manifests import MANIFEST
from bhushgpt.presets import RunConfig, build_model, preset
from bhushgpt.registry import corpora
from bhushgpt.runs import RECORD, RunFolder
from bhushgpt.session import Session
from bhushgpt.texts import tokenize
from bhushgpt.tokenizers import CharTokenizer
from bhushgpt.training import TrainState


def start_session(
    preset_name: str,
    corpus_name: str,
    device: torch.device,
    out: Path,
    *,
    steps: int | None = None,
) -> Session:
    """Return a fresh run in the folder `out`.

    Args:
        preset_name: See `presets`.
        corpus_name: A registered corpus or a text file.
        device: Where to train.
        out: The run's folder; it must not hold a run.
        steps: Instead of the preset's.

    Raises:
        UserError: For anything that cannot be used; nothing is written then.

    Lesson: notebook 16.
    """
    preset(preset_name, vocab_size=2, steps=steps)  # a wrong name or number shows before the work
    corpus = load_text(corpus_name)
    tokenizer = CharTokenizer.from_text(corpus.text)
    config = preset(preset_name, tokenizer.vocab_size, steps=steps)
    text = tokenize(corpus, tokenizer, config.held_out, config.model.context_length)
    check_memory(config, device)
    state = TrainState.fresh(build_model(config, device), config.training)
    record = _record(config, corpus, corpus_name, device)
    session = Session(RunFolder.create(out, record), config, text, state, device)
    try:
        session.save()  # from its first moment on a run can be gone on with
    except BaseException:
        (out / RECORD).unlink(missing_ok=True)
        raise
    return session


def open_session(folder: Path, device: torch.device) -> Session:
    """Return an earlier run at its newest checkpoint, with the text it was trained on.

    Args:
        folder: A run's folder, or one `step_...` folder in it.
        device: Where the model is wanted.

    Raises:
        UserError: If there is no run or no checkpoint, or the text is gone or no longer the same.

    Lesson: notebook 16.
    """
    is_checkpoint = (folder / MANIFEST).is_file()
    run = RunFolder.open(folder.parent if is_checkpoint else folder)
    checkpoint = load_checkpoint(folder, device)
    corpus = _text_of(run)
    config = checkpoint.config
    text = tokenize(corpus, checkpoint.tokenizer, config.held_out, config.model.context_length)
    return Session(run, config, text, checkpoint.state, device)


def _text_of(run: RunFolder) -> Corpus:
    name = run.record.get("corpus")
    if not (isinstance(name, str) and name):
        raise UserError(f"{run.path / RECORD} does not say which text the run was trained on.")
    try:
        corpus = load_text(name)
    except UserError as error:
        raise UserError(
            f"The text that the run in {run.path} was trained on is needed, and cannot be read. "
            f"{error} Put it back there; `complete` works without it."
        ) from error
    if corpus.sha256 != run.record.get("corpus_sha256"):
        raise UserError(
            f"The text {name!r} has changed since {run.path} was trained on it, "
            "so its held-out part is another. Put the old text back, or train a new run."
        )
    return corpus


def _record(
    config: RunConfig, corpus: Corpus, corpus_name: str, device: torch.device
) -> dict[str, Any]:
    # A file is found again from any folder by its whole path.
    is_name = corpus_name in corpora()
    return {
        "version": _version(),
        "preset": config.preset,
        "config": config_to_dict(config),
        "corpus": corpus_name if is_name else str(Path(corpus_name).expanduser().resolve()),
        "corpus_sha256": corpus.sha256,
        "characters": len(corpus.text),
        "machine": machine_card(),
        "device": device.type,
    }


def _version() -> str:
    try:
        return metadata.version("bhushgpt")
    except metadata.PackageNotFoundError:  # used from a folder, without being installed
        return "unknown"
