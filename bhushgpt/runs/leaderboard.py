"""A board of records that anybody can check: what an entry holds, and what makes it count.

An entry NAME is a file `NAME.json` and a folder `NAME` with the record and the history of each of
its runs, one for each seed, as `train` wrote them. To verify it is to look whether the files are
those that were entered, to train every seed anew, and to compare: the losses on the way, and the
loss on the held-out text. Who trained on the held-out text, or wrote a better number, differs.

Lesson: notebook 17.
"""

import dataclasses
import json
import re
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bhushgpt.environment import command, project_root
from bhushgpt.errors import UserError, nearest
from bhushgpt.files import read_file, read_json, write_atomically
from bhushgpt.runs.folder import HISTORY, RECORD, RunFolder, stored_options
from bhushgpt.runs.interruption import Interruption
from bhushgpt.runs.session import Session
from bhushgpt.runs.start import start_session
from bhushgpt.sources import corpora
from bhushgpt.speed import World
from bhushgpt.storage import fingerprint, load_checkpoint

TRACKS = {
    "time": "the lowest held-out loss after so many minutes of training on the entry's machine",
    "data": "the lowest held-out loss that the text alone gives, however long it trains",
    "bytes": "the lowest held-out loss of a model of so many bytes, 4 for each parameter",
}
"""The tracks and what counts in each; `time` and `bytes` have a limit."""
SEEDS = 3
"""An entry has at least so many runs: one alone may be luck."""
HELD_OUT = 0.1
"""The share of every text that is held out."""
CODE = ("bhushgpt", "requirements.txt")  # what decides what a run computes
FIRST_STEPS = 20
# Machines round differently, and training makes more of it: at first little, at the end this much.
ROUNDING_AT_FIRST, ROUNDING_AT_THE_END = 0.01, 0.02
FILES = (RECORD, HISTORY)


@dataclass(frozen=True, kw_only=True)
class EntryRun:
    """One seed of an entry."""

    seed: int
    """Decides the first weights, the batches and the dropout."""
    held_out: float
    """Nats per token over the held-out text at the end."""
    seconds: float
    """Of training."""
    files: dict[str, dict[str, Any]]
    """Name -> bytes and sha256 of the run's files as they were entered."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What `NAME.json` holds."""

    format: int
    """1."""
    track: str
    """One of `TRACKS`."""
    limit: float | None
    """Minutes on the track time, bytes on the track bytes."""
    by: str
    """Who enters it."""
    preset: str
    """The runs' preset."""
    corpus: str
    """The registered name of the text."""
    corpus_sha256: str
    """Of the clean text."""
    steps: int
    """Steps of each run."""
    parameters: int
    """Of the model."""
    machine: str
    """Where it was trained, in words."""
    commit: str
    """The code that it was trained with."""
    runs: list[EntryRun]
    """One for each seed."""

    @property
    def mean(self) -> float:
        """Mean held-out loss over the seeds, in nats per token."""
        return statistics.fmean(run.held_out for run in self.runs)

    @property
    def spread(self) -> float:
        """Standard deviation of it over the seeds."""
        return statistics.stdev(run.held_out for run in self.runs) if len(self.runs) > 1 else 0.0


def board_folder(root: Path | None = None) -> Path:
    """Return the folder of the board in a checkout; by default, in the course's."""
    return (root or project_root()) / "benchmarks" / "leaderboard"


def entries(root: Path | None = None) -> dict[str, Entry]:
    """Return all entries by name, best first in each track and limit."""
    found = {path.stem: read_entry(path.stem, root) for path in board_folder(root).glob("*.json")}
    order = sorted(found, key=lambda n: (found[n].track, found[n].limit or 0, found[n].mean))
    return {name: found[name] for name in order}


def read_entry(name: str, root: Path | None = None) -> Entry:
    """Return an entry.

    Raises:
        UserError: If there is none of that name (the nearest is named), or it cannot be read.
    """
    board = board_folder(root)
    file = board / f"{name}.json"
    if not file.is_file():
        names = [path.stem for path in board.glob("*.json")]
        known = nearest(name, names) if names else "The board is empty."
        raise UserError(f"There is no entry {name!r}. {known}")
    entry = read_json(file, Entry)
    if entry.format != 1:
        raise UserError(f"{file} has format {entry.format}; this version reads 1: update bhushgpt.")
    return entry


# Entering


def enter(
    name: str,
    folders: Sequence[Path],
    *,
    track: str,
    limit: float | None = None,
    by: str,
    root: Path | None = None,
) -> Path:
    """Put finished runs on the board under a name, and return the entry's file.

    Args:
        name: Small letters, digits and dashes.
        folders: Of the runs, one for each seed.
        track: See `TRACKS`.
        limit: Minutes on the track time, bytes on the track bytes.
        by: Who enters them.
        root: The checkout; the course's by default.

    Raises:
        UserError: If they cannot be entered; nothing is written then.
    """
    _check_form(name, track, limit, by, board_folder(root) / f"{name}.json")
    runs = [RunFolder.open(folder) for folder in folders]
    for run in runs:
        _check_finished(run)
    common = [
        _same_in_all(runs, key) for key in ("preset", "corpus", "corpus_sha256", "steps_done")
    ]
    preset_name, corpus, digest, steps = common
    entry = Entry(
        format=1,
        track=track,
        limit=limit,
        by=by,
        preset=preset_name,
        corpus=corpus,
        corpus_sha256=digest,
        steps=steps,
        parameters=_parameters(runs[0]),
        machine=_machine(runs[0].record),
        commit=_commit(root or project_root()),
        runs=[_entry_run(run) for run in runs],
    )
    _check_rules(entry)
    for run, entered in zip(runs, entry.runs, strict=True):
        for file in FILES:
            target = _evidence(name, entered.seed, root) / file
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, read_file(run.path / file))
    text = json.dumps(dataclasses.asdict(entry), indent=2) + "\n"
    path = board_folder(root) / f"{name}.json"
    write_atomically(path, text.encode())
    return path


def _check_form(name: str, track: str, limit: float | None, by: str, file: Path) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise UserError(f"An entry is named by small letters, digits and dashes, not {name!r}.")
    if track not in TRACKS:
        raise UserError(f"There is no track {track!r}. {nearest(track, TRACKS)}")
    if track == "data" and limit is not None:
        raise UserError("The track data has no limit: leave --limit out.")
    if track != "data" and not (limit is not None and limit > 0):
        unit = "minutes" if track == "time" else "bytes"
        raise UserError(f"The track {track} needs a limit above 0, in {unit}: --limit N.")
    if not by.strip():
        raise UserError("Say who enters it, such as --by 'Ada'.")
    if file.exists():
        raise UserError(f"There is an entry {name!r} already. Take another name.")


def _check_finished(run: RunFolder) -> None:
    held_out = run.record.get("held_out")
    if not (isinstance(held_out, dict) and "nats_per_token" in held_out):
        raise UserError(
            f"The run in {run.path} has not come to its end, so it has no held-out loss. Go on "
            f"with it: {command('train', '--resume', run.path)}"
        )


def _same_in_all(runs: Sequence[RunFolder], key: str) -> Any:
    values = [run.record.get(key) for run in runs]
    if any(value != values[0] for value in values):
        raise UserError(
            f"The runs of an entry differ in their seed alone, but {key} is "
            f"{', '.join(map(str, values))}."
        )
    return values[0] if values else None


def _entry_run(run: RunFolder) -> EntryRun:
    return EntryRun(
        seed=_seed(run.record),
        held_out=run.record["held_out"]["nats_per_token"],
        seconds=run.record["seconds"],
        files={name: dict(fingerprint(run.path / name)) for name in FILES},
    )


def _seed(record: Mapping[str, Any]) -> int:
    try:
        return int(record["config"]["training"]["seed"])
    except (KeyError, TypeError, ValueError):
        raise UserError("A run's record does not say its seed; train it anew.") from None


def _machine(record: Mapping[str, Any]) -> str:
    card = record.get("machine", {})
    devices = [device.get("name", "") for device in card.get("devices", [])]
    return f"{', '.join(devices) or 'unknown'}, {card.get('cores', '?')} cores"


def _parameters(run: RunFolder) -> int:
    model = load_checkpoint(run.path, "cpu", optimizer=False).state.model
    return sum(parameter.numel() for parameter in model.parameters())


def _evidence(name: str, seed: int, root: Path | None) -> Path:
    return board_folder(root) / name / f"seed-{seed}"


# Verifying


def verify(name: str, *, root: Path | None = None) -> Iterator[str]:
    """Check an entry: first what it says, then, by training every seed anew on the CPU, the rest.

    Yields:
        A line for each thing that was found in order.

    Raises:
        UserError: With the reason, if the entry does not count.
    """
    entry = read_entry(name, root)
    _check_rules(entry)
    _check_code(entry.commit, root or project_root())
    for run in entry.runs:
        _check_evidence(entry, run, _evidence(name, run.seed, root))
    yield f"{name}: {len(entry.runs)} seeds, and their files are those that were entered"
    for run in entry.runs:
        with tempfile.TemporaryDirectory() as folder:
            session = _trained_again(entry, run, _evidence(name, run.seed, root), Path(folder))
            again = session.evaluate().nats_per_token
            parameters = session.model.parameter_count()
            history, seconds = session.run.history(), session.run.record["seconds"]
        _compare(entry, run, RunFolder.open(_evidence(name, run.seed, root)).history(), history)
        if parameters != entry.parameters:
            raise UserError(
                f"The entry says {entry.parameters:,} parameters; its preset has {parameters:,}."
            )
        if abs(again - run.held_out) > ROUNDING_AT_THE_END:
            raise UserError(
                f"Seed {run.seed}: the entry says {run.held_out:.4f} nats on the held-out text, "
                f"trained anew it is {again:.4f}. The number does not come from this training."
            )
        yield (
            f"seed {run.seed}: {run.held_out:.4f} nats entered, {again:.4f} trained anew "
            f"({run.seconds:.0f} s entered, {seconds:.0f} s here)"
        )


def _check_rules(entry: Entry) -> None:
    seeds = {run.seed for run in entry.runs}
    if len(seeds) < SEEDS or len(seeds) < len(entry.runs):
        raise UserError(
            f"The entry has {len(seeds)} different seeds in {len(entry.runs)} runs; it needs at "
            f"least {SEEDS}, each once: {command('train', '--seed', 'N')}"
        )
    if entry.track not in TRACKS:
        raise UserError(f"There is no track {entry.track!r}. {nearest(entry.track, TRACKS)}")
    if entry.corpus not in corpora():
        raise UserError(
            f"The text {entry.corpus!r} is not a registered one, so nobody else has it. "
            f"{nearest(entry.corpus, corpora())}"
        )
    limit = entry.limit or 0
    slow = max(run.seconds for run in entry.runs)
    if entry.track == "time" and slow > 60 * limit:
        raise UserError(f"A run took {slow:.0f} seconds; the limit is {limit:g} minutes.")
    if entry.track == "bytes" and 4 * entry.parameters > limit:
        raise UserError(
            f"The model has {4 * entry.parameters:,} bytes in float32; the limit is {limit:,.0f}."
        )


def _check_evidence(entry: Entry, run: EntryRun, folder: Path) -> None:
    """Refuse a run whose files are gone, changed, or do not say what the entry says."""
    for name in FILES:
        if not (folder / name).is_file():
            raise UserError(f"Seed {run.seed} has no run folder: {folder / name} is missing.")
        if dict(fingerprint(folder / name)) != run.files.get(name):
            raise UserError(
                f"{folder / name} was edited after it was entered (its sha256 differs)."
            )
    kept = RunFolder.open(folder)
    record = kept.record
    held_out = record.get("held_out") or {}
    said = {
        "seed": (_seed(record), run.seed),
        "preset": (record.get("preset"), entry.preset),
        "corpus": (record.get("corpus"), entry.corpus),
        "corpus_sha256": (record.get("corpus_sha256"), entry.corpus_sha256),
        "held-out share": (record["config"].get("held_out"), HELD_OUT),
        "held-out loss": (held_out.get("nats_per_token"), run.held_out),
        "seconds": (record.get("seconds"), run.seconds),
    }
    for what, (found, expected) in said.items():
        if found != expected:
            raise UserError(f"Seed {run.seed}: {what} is {found} in its record, not {expected}.")
    if [line["step"] for line in kept.history()] != list(range(1, entry.steps + 1)):
        raise UserError(
            f"The history of seed {run.seed} does not hold the steps 1 to {entry.steps}."
        )


def _trained_again(entry: Entry, run: EntryRun, evidence: Path, folder: Path) -> Session:
    options = stored_options(RunFolder.open(evidence).record)
    session = start_session(
        entry.preset,
        entry.corpus,
        World(device=torch.device("cpu")),
        folder / "again",
        steps=entry.steps,
        changes={"seed": run.seed},
        options=dataclasses.replace(options, quick_products=None, keep=1, tensorboard=False),
    )
    if session.text.digest != entry.corpus_sha256:
        raise UserError(f"The text {entry.corpus!r} is another edition here than the entry's.")
    with Interruption() as interruption:
        session.train(interruption)
        interruption.check()
    return session


def _compare(
    entry: Entry, run: EntryRun, before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> None:
    for old, new in zip(before[:FIRST_STEPS], after, strict=False):
        if abs(old["loss"] - new["loss"]) > ROUNDING_AT_FIRST:
            raise UserError(
                f"Seed {run.seed}, step {old['step']}: the entry's history has a loss of "
                f"{old['loss']:.4f}, trained anew it is {new['loss']:.4f}. It did not learn from "
                "the training part of this text alone: the held-out part may have leaked into it, "
                "or the history was edited."
            )


# The code that an entry was made with


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    except OSError:
        raise UserError("The board needs git, to tell which code a run was made with.") from None


def _commit(root: Path) -> str:
    """Return the commit of the checkout, whose code must be as it was committed."""
    head = _git(root, "rev-parse", "HEAD")
    if head.returncode:
        raise UserError(f"{root} is no git checkout; the board wants to know which code ran.")
    commit = head.stdout.strip()
    if _git(root, "diff", "--quiet", commit, "--", *CODE).returncode:
        raise UserError("The code here has changes that are not committed: commit them first.")
    return commit


def _check_code(commit: str, root: Path) -> None:
    """Refuse an entry that other code made than lies here; later commits of other files may be."""
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise UserError(f"The entry's commit is {commit!r}, which is none.")
    if _git(root, "cat-file", "-e", f"{commit}^{{commit}}").returncode:
        raise UserError(f"The entry's commit {commit[:10]} is not known here: git fetch.")
    if _git(root, "diff", "--quiet", commit, "--", *CODE).returncode:
        raise UserError(
            f"The entry was made with other code, commit {commit[:10]}. To verify it: "
            f"git checkout {commit[:10]} -- {' '.join(CODE)}"
        )
