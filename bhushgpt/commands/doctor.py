"""The command that says what is wrong with the machine or with a run: `doctor`.

What a doctor looks at in a run's folder: record, checkpoints, what was left over, the curve.

Lesson: notebook 17.
"""

import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import torch
from tyro.conf import arg

from bhushgpt.commands.flags import FOLDER
from bhushgpt.diagnosis import (
    Finding,
    LossCurve,
    Mark,
    check_archives,
    check_book,
    check_cache,
    check_card,
    check_compiler,
    check_free_disk,
    check_free_memory,
    check_kernel,
    check_libraries,
    check_processor,
    check_python,
    check_results,
    check_settings,
    check_torch,
    diagnose,
    gigabytes,
    total,
    without_names,
)
from bhushgpt.errors import UserError
from bhushgpt.files import LOCK, check_room, lock_run
from bhushgpt.forecast import expected_bytes
from bhushgpt.ngrams import NGramCounter
from bhushgpt.runs import RunFolder, Text, run_of, text_of
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

ORDERS = 4  # of the counter that a leak is told by: the longer ones know no more that early
JUDGED = 20_000  # tokens that it predicts


def check_run(folder: Path) -> list[Finding]:
    """Return what there is to say about a run, from its record to its curve; nothing is changed.

    Args:
        folder: Of the run, or one of its checkpoints.

    >>> print(check_run(Path("no such run"))[0])
    broken  run          There is no run in no such run (no run.json). Name the folder of a run,
                         or train one: python -m bhushgpt train --out 'no such run'
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
            with lock_run(run.path):
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
        except UserError as error:
            yield _says("broken", "checkpoint", str(error))
            continue
        size = sum(file["bytes"] for file in files.values())
        text = f"{path.name} is whole: {len(files)} files, {gigabytes(size)}"
        yield _says("OK", "checkpoint", text)
    if not found:
        text = "none is complete; the run must be trained again."
        yield _says("broken", "checkpoint", text)


def _links(run: RunFolder) -> Iterator[Finding]:
    for link in (LAST, BEST):
        target = followed(run.path, link)
        place = run.path / link
        if target is None and (place.exists() or place.is_symlink()):
            yield _says("broken", "links", f"{link} does not name a checkpoint of this run.")


def _newest(run: RunFolder) -> Checkpoint | None:
    for path in reversed(list_checkpoints(run.path)):
        try:
            return load_checkpoint(path)
        except UserError:
            continue  # `_checkpoints` has said what is wrong
    return None


def _state(run: RunFolder, checkpoint: Checkpoint) -> Iterator[Finding]:
    """Say how far the run is, whether its weights are numbers, and whether it can go on."""
    steps, done = checkpoint.config.training.steps, checkpoint.state.step
    place = shlex.quote(without_names(str(run.path)))
    command = (
        f"python -m bhushgpt train --resume {place}"
        if done < steps
        else f"python -m bhushgpt complete --run {place} --prompt ..."
    )
    text = f"{checkpoint.config.preset}, {done:,} of {steps:,} steps done and saved"
    yield _says("OK", "run", text, command)
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
    floors = text.floors().rungs()
    yield from diagnose(LossCurve.from_history(run.history()), floors, counter_of(text))


def counter_of(text: Text) -> Callable[[int], float]:
    """Return what the best counter reaches that has read the first so many tokens of a text."""
    size, judged = text.tokenizer.vocab_size, text.held_out[:JUDGED]

    @cache
    def counted(tokens: int) -> float:
        learned = text.counted[: max(tokens, ORDERS)]
        return min(NGramCounter(ORDERS, size).fit(learned).losses(judged))

    return counted


def _says(mark: Mark, part: str, text: str, command: str = "") -> Finding:
    return Finding(mark, part, without_names(text), command)


MACHINE: tuple[Callable[[], Finding], ...] = (
    check_python,
    check_torch,
    check_libraries,
    check_processor,
    check_free_memory,
    check_card,
    check_results,
    check_compiler,
    check_kernel,
    check_free_disk,
    check_cache,
    check_book,
    check_archives,
    check_settings,
)


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Check this machine, and a run if one is named; a bug report asks for what it prints."""

    run_folder: Annotated[Path | None, FOLDER, arg(name="run", help_behavior_hint="")] = None
    """Folder of a run to look at."""

    def run(self) -> int:
        """Print a line for each thing looked at; 1 if something is broken, else 0."""
        found: list[Finding] = []
        for finding in self._findings():
            print(finding, flush=True)  # one by one: compiling takes a while
            found.append(finding)
        print(f"\n{total(found)}")
        return 1 if any(finding.mark == "broken" for finding in found) else 0

    def _findings(self) -> Iterator[Finding]:
        for check in MACHINE:
            yield from examined(check)
        if self.run_folder is not None:
            yield from examined(check_run, self.run_folder)


def examined(check: Callable[..., Finding | Iterable[Finding]], *arguments: Path) -> list[Finding]:
    """Return what a check finds; one that fails itself is a finding, too, and stops no other.

    >>> def check_moon():
    ...     raise OSError("out of reach")
    >>> print(*examined(check_moon))
    broken  moon         this check itself failed (OSError: out of reach); please report it.
    """
    try:
        found = check(*arguments)
    except Exception as error:
        reason = without_names(f"{type(error).__name__}: {error}".partition("\n")[0])
        text = f"this check itself failed ({reason}); please report it."
        return [Finding("broken", check.__name__.removeprefix("check_"), text)]
    return [found] if isinstance(found, Finding) else list(found)
