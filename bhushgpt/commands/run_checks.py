"""What the command `doctor` looks at in a run's folder: record, checkpoints, leftovers, the curve.

A run may be in training meanwhile: a checkpoint that goes away while it is looked at made room for
a newer one, and is no fault.

Lesson: notebook 17.
"""

from collections.abc import Iterator
from pathlib import Path

import torch

from bhushgpt.diagnosis import Finding, Mark, TextFloors, explain, gigabytes, without_names
from bhushgpt.environment import command
from bhushgpt.errors import UserError
from bhushgpt.files import LOCK, check_room, one_writer
from bhushgpt.forecast import expected_bytes
from bhushgpt.runs import RunFolder, run_of, text_of
from bhushgpt.storage import (
    BEST,
    LAST,
    LEFT,
    Checkpoint,
    followed,
    list_checkpoints,
    load_checkpoint,
    verify_manifest,
)


def check_run(folder: Path) -> list[Finding]:
    """Return what there is to say about a run, from its record to its curve; nothing is changed.

    Args:
        folder: Of the run, or one of its checkpoints.

    >>> print(check_run(Path("no such run"))[0])  # doctest: +ELLIPSIS
    broken  run          There is no run in no such run (no run.json). Name the folder of a run,
                         or train one:
                           ...python... -m bhushgpt train --out 'no such run'
    """
    try:
        run = run_of(folder)
    except UserError as error:
        return [_says("broken", "run", str(error))]
    found = [*_lock(run), *_checkpoints(run), *_links(run)]
    checkpoint = _newest(run)
    if checkpoint is None:
        return found
    return [*found, *_state(run, checkpoint), *_curve(run, checkpoint)]


def _lock(run: RunFolder) -> Iterator[Finding]:
    """Say who writes there; where nobody does, say what a save that was stopped has left."""
    if (run.path / LOCK).exists():
        try:
            with one_writer(run.path):
                pass
        except UserError:
            text = "another program is training in this folder, or may not be written by you."
            yield _says("look", "lock", text)
            return
    left = [path.name for path in run.path.iterdir() if LEFT.fullmatch(path.name)]
    if left:
        text = f"left by a save that was stopped: {', '.join(left[:3])}. The next start clears up."
        yield _says("look", "leftovers", text)


def _checkpoints(run: RunFolder) -> Iterator[Finding]:
    found = list_checkpoints(run.path)
    for path in sorted(run.path.glob("step_*")):
        if path.is_dir() and path not in found:
            text = f"{path.name} was never finished; it is ignored."
            yield _says("look", "checkpoint", text)
    for path in found:
        try:
            files = verify_manifest(path)["files"]
        except (UserError, OSError) as error:
            if path.is_dir():
                yield _says("broken", "checkpoint", str(error))
            continue
        size = sum(file["bytes"] for file in files.values())
        text = f"{path.name} is whole: {len(files)} files, {gigabytes(size)}"
        yield _says("OK", "checkpoint", text)
    if not list_checkpoints(run.path):
        text = "none is complete; the run must be trained again."
        yield _says("broken", "checkpoint", text)


def _links(run: RunFolder) -> Iterator[Finding]:
    for link in (LAST, BEST):
        target = followed(run.path, link)
        place = run.path / link
        if target is None and (place.exists() or place.is_symlink()):
            yield _says("broken", "links", f"{link} does not name a checkpoint of this run.")


def _newest(run: RunFolder) -> Checkpoint | None:
    tried: list[Path] = []
    while left := [path for path in list_checkpoints(run.path) if path not in tried]:
        tried.append(left[-1])
        try:
            return load_checkpoint(left[-1])
        except (UserError, OSError):
            continue  # `_checkpoints` has said what is wrong
    return None


def _state(run: RunFolder, checkpoint: Checkpoint) -> Iterator[Finding]:
    """Say how far the run is, whether its weights are numbers, and whether it can go on."""
    steps, done = checkpoint.config.training.steps, checkpoint.state.step
    following = (
        command("train", "--resume", run.path)
        if done < steps
        else command("complete", "--run", run.path, "--prompt", "...")
    )
    text = f"{checkpoint.config.preset}, {done:,} of {steps:,} steps done and saved"
    yield _says("OK", "run", text, following)
    weights = checkpoint.state.model.state_dict()
    bad = [name for name, weight in weights.items() if not torch.isfinite(weight).all()]
    if bad:
        text = (
            f"{len(bad)} hold NaN or infinity, the first is {bad[0]}. Take an earlier checkpoint."
        )
        yield _says("broken", "weights", text)
    try:
        check_room(run.path, 2 * expected_bytes(checkpoint.config), "Saving")
    except UserError as error:
        if done < steps:
            yield _says("broken", "room", str(error))


def _curve(run: RunFolder, checkpoint: Checkpoint) -> Iterator[Finding]:
    try:
        text = text_of(run, checkpoint.config, checkpoint.tokenizer)
    except UserError as error:
        yield _says("look", "text", str(error))
        return
    yield _says("OK", "text", f"{text.size}, the same as when the run began")
    size, decode = text.tokenizer.vocab_size, text.tokenizer.decode
    try:
        floors = TextFloors.of(text.train, text.held_out, size, decode)
    except UserError as error:
        yield _says("look", "curve", str(error))
        return
    yield from floors.findings()
    yield from explain(run.history(), floors).findings()


def _says(mark: Mark, part: str, text: str, following: str = "") -> Finding:
    return Finding(mark, part, without_names(text), without_names(following))
