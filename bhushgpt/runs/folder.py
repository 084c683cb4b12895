"""The folder of a run: where it is, what was asked for, what came of it, how the loss went.

`RunFolder` reads and writes its files. `RunOptions` is how a run is computed and saved, which may
change when it goes on; what decides its numbers, sizes and rates and steps, is in `RunConfig` and
stays. `find_place` chooses the folder: a new one, one that was named, or the one to go on with.

Lesson: notebook 17.
"""

import dataclasses
import datetime
import itertools
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, cast, get_args

from bhushgpt.devices import machine_card
from bhushgpt.environment import command, runs_folder, written_out
from bhushgpt.errors import UserError
from bhushgpt.files import (
    LOCK,
    check_room,
    look_alike,
    one_writer,
    own_names,
    write_atomically,
)
from bhushgpt.presets import RunConfig
from bhushgpt.runs.training_text import OtherText, Text, open_text
from bhushgpt.sources import corpora
from bhushgpt.speed import Compiling, Strategy, World, agreed_path
from bhushgpt.storage import (
    MANIFEST,
    config_to_dict,
    followed,
    list_checkpoints,
    newest_good_checkpoint,
    sweep,
)
from bhushgpt.tokenizers import Tokenizer, Unknown

RECORD, HISTORY, SAMPLES = "run.json", "history.jsonl", "samples.jsonl"


class RunFolder:
    """One run's files: `run.json`, `history.jsonl`, `samples.jsonl` and the checkpoints.

    `run.json` is one object. Written when the run starts:
        version: of bhushgpt; preset: its name; config: every setting, as in a checkpoint.
        corpus: a registered name, or the whole path of a file or of prepared tokens;
        corpus_sha256: of its clean text; tokens: its length, held-out part included.
        init_from: of a run that began with the weights of another, that checkpoint;
        imported_from: of a model that another program wrote, its folder or name.
        fine_tuning: of a run that began with another run's model: base, the checkpoint; old, that
        run's corpus; replay and unknown, as asked; lora, the rank or null; old_before, new_before
        and at the end old_after, new_after: nats per token on the held-out parts of both texts.
    Written whenever it starts or goes on:
        machine: what `machine_card` says; device: cpu, cuda or mps; processes: how many.
        options: how it is computed and saved, all of `RunOptions`.
        matmul_limit: FLOP/s of large matrix products there, which `mfu` is a share of.
        skipped_batches: numbers of those that were left out on demand, if any were.
    Written at every checkpoint:
        steps_done; seconds: of training, resumed parts added up; tokens_per_second.
        best: step and nats of the lowest glance at the held-out text, where there was one.
    Written at the end:
        held_out: nats_per_token, perplexity, bits_per_byte and tokens over the held-out text;
        glances: [step, nats] pairs over the beginning of it while training;
        ladder: name -> nats; n_gram_order: which counter "n-gram" was.

    `history.jsonl` has a line for each step: all of its `Report`, and
        seconds: that the step took; tokens_per_second;
        mfu: the share of matmul_limit that 6 operations per weight and token make;
        held_out: the glance at the held-out text after it, where there was one.

    `samples.jsonl` has a line for each glance: step, prompt, and the text that was drawn.

    Args:
        path: An existing folder; use `create` or `open`.

    Attributes:
        record: What `run.json` holds; `update` changes both.
    """

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path = path.absolute()  # whatever folder the caller changes to meanwhile
        self.record = record

    @classmethod
    def create(cls, path: Path, record: dict[str, Any]) -> "RunFolder":
        """Make the folder of a new run.

        Raises:
            UserError: If it holds a run or anything else already, or cannot be made.
        """
        try:
            if (path / RECORD).exists():
                raise UserError(
                    f"{path} holds another run, which is left as it is. Name another folder with "
                    f"--out, or go on with that run:\n  {command('train', '--resume', path)}"
                )
            path.mkdir(parents=True, exist_ok=True)
            found = sorted(name for name in own_names(path) if not name.startswith("."))
            if found:
                raise UserError(
                    f"{path} is not empty: it holds {found[0]!r}. A run wants a folder of its own, "
                    "so that it overwrites nothing. Name a new one with --out."
                )
            run = cls(path, {})
            run.update(**record)
        except OSError as error:
            raise UserError(
                f"{path} cannot be written: {error.strerror}. Name another folder with --out."
            ) from error
        return run

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open the folder of an earlier run.

        Raises:
            UserError: If it is no run's folder, or its record is unreadable.
        """
        if path.is_file():
            raise UserError(f"{path} is a file. Name the folder of a run.")
        try:
            record = json.loads((path / RECORD).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            if question := look_alike(path):
                raise UserError(f"There is no folder {path}.{question}") from error
            raise UserError(
                f"There is no run in {path} (no {RECORD}). Name the folder of a run, or train "
                f"one:\n  {command('train', '--out', path)}"
            ) from error
        except (OSError, ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise UserError(
                f"{path / RECORD} cannot be read: it is not a run's record. The model itself may "
                "be whole: the command `complete` does not need that file."
            )
        return cls(path, record)

    def update(self, **facts: Any) -> None:
        """Add facts to the record and write it; the file is replaced whole or not at all."""
        self.record |= facts
        text = json.dumps(self.record, indent=2) + "\n"
        write_atomically(self.path / RECORD, text.encode("utf-8"))

    def log(self, line: Mapping[str, Any]) -> None:
        """Append one step to the history."""
        self._append(HISTORY, line)

    def add_sample(self, step: int, prompt: str, text: str) -> None:
        """Append what the model wrote after a step to the samples."""
        self._append(SAMPLES, {"step": step, "prompt": prompt, "text": text})

    def history(self) -> list[dict[str, Any]]:
        """Return the logged steps in order.

        Of a step that is there twice the last counts; a line that was cut off is left out.
        """
        return [line for line in self._lines(HISTORY) if "loss" in line]

    def samples(self) -> list[dict[str, Any]]:
        """Return the samples in order, read like the history."""
        return [line for line in self._lines(SAMPLES) if isinstance(line.get("text"), str)]

    def rewind(self, step: int) -> list[dict[str, Any]]:
        """Forget what was logged after a step: a run that goes on from there does it again.

        Returns:
            The history that is left, so that nobody need read a long one twice.
        """
        history = [line for line in self.history() if line["step"] <= step]
        samples = [line for line in self.samples() if line["step"] <= step]
        for name, kept in ((HISTORY, history), (SAMPLES, samples)):
            if kept or (self.path / name).exists():
                text = "".join(json.dumps(line) + "\n" for line in kept)
                write_atomically(self.path / name, text.encode("utf-8"))
        return history

    def _append(self, name: str, line: Mapping[str, Any]) -> None:
        with (self.path / name).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def _lines(self, name: str) -> list[dict[str, Any]]:
        file = self.path / name
        text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        steps = {line["step"]: line for line in map(_step, text.splitlines()) if line}
        return [steps[number] for number in sorted(steps)]


def _step(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(found, dict) and isinstance(found.get("step"), int)
    return found if whole else None


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of a run that its result does not depend on, but for rounding.

    Raises:
        UserError: If an option cannot be used; one message names all of them.

    >>> RunOptions(save_every=0, keep=0)
    Traceback (most recent call last):
    bhushgpt.errors.UserError: These options cannot be used: --save-every is 0, it must be at \
least 1 step; --keep is 0, it must be at least 1 checkpoint.
    """

    precision: str = "auto"
    """The type that matrix products are computed in; auto is what helps on the device."""
    compile: Compiling = "auto"
    """Whether the model is compiled first; auto where that helps."""
    strategy: Strategy = "ddp"
    """How several processes share the work: ddp, each the whole model; fsdp, each a part of it."""
    quick_products: bool | None = None
    """Whether a CPU multiplies float32 matrices the quicker way; settled once, since it changes
    the last digits and a run may go on elsewhere."""
    save_every: int | None = None
    """Steps between two checkpoints; ten in a run if left out."""
    keep: int = 2
    """How many of the newest checkpoints stay; `best` and `last` always do."""
    tensorboard: bool = False
    """Whether the history is also written for TensorBoard."""

    def __post_init__(self) -> None:
        wrong = []
        if self.save_every is not None and self.save_every < 1:
            wrong.append(f"--save-every is {self.save_every}, it must be at least 1 step")
        if self.keep < 1:
            wrong.append(f"--keep is {self.keep}, it must be at least 1 checkpoint")
        if wrong:
            raise UserError("These options cannot be used: " + "; ".join(wrong) + ".")


def stored_options(record: Mapping[str, Any]) -> RunOptions:
    """Return the options that a run's record holds; what it does not say is as usual.

    >>> stored_options({"options": {"keep": 5, "of a later version": 1}}).keep
    5
    """
    usual = dataclasses.asdict(RunOptions())
    found = record.get("options")
    known: dict[str, Any] = {
        name: value
        for name, value in (found.items() if isinstance(found, dict) else ())
        if name in usual
        and ((value is None and usual[name] is None) or _same_kind(name, value, usual[name]))
    }
    return RunOptions(**known)


def changed_options(options: RunOptions, asked: Mapping[str, Any]) -> RunOptions:
    """Return the options with those that were asked for (not None) in their place.

    >>> changed_options(RunOptions(), {"keep": 3, "precision": None}).keep
    3
    """
    return dataclasses.replace(options, **{k: v for k, v in asked.items() if v is not None})


def option_changes(before: RunOptions, after: RunOptions) -> list[str]:
    """Return a piece of a sentence for each option that differs.

    >>> option_changes(RunOptions(compile="off"), RunOptions(save_every=10, compile="on"))
    ['--compile is on (it was off)', '--save-every is 10 (it was left open)']
    """
    old, new = dataclasses.asdict(before), dataclasses.asdict(after)
    return [
        f"--{name.replace('_', '-')} is {_in_words(new[name])} (it was {_in_words(old[name])})"
        for name in new
        if new[name] != old[name] and old[name] != "auto" and name != "quick_products"
    ]


def _same_kind(name: str, value: object, usual: object) -> bool:
    kinds = {"save_every": int, "quick_products": bool}
    return type(value) is kinds.get(name, type(usual))


def _in_words(value: object) -> str:
    if value is None:
        return "left open"
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def run_of(folder: Path) -> RunFolder:
    """Return the run that a folder is, or is a checkpoint of.

    Raises:
        UserError: If it is neither.
    """
    is_part = (folder / MANIFEST).is_file() or followed(folder.parent, folder.name) is not None
    return RunFolder.open(folder.parent if is_part else folder)


def text_of(
    run: RunFolder, config: RunConfig, tokenizer: Tokenizer, corpus: str | None = None
) -> Text:
    """Return the text that a run was trained on, known by its digest wherever it lies.

    Args:
        run: The run.
        config: Its settings.
        tokenizer: Its tokenizer.
        corpus: Where the text is now, if not where the record says.

    Raises:
        UserError: If it is gone, or no longer the same.
    """
    name = corpus or run.record.get("corpus")
    if not (isinstance(name, str) and name):
        raise UserError(f"{run.path / RECORD} does not say which text the run was trained on.")
    try:
        return open_text(
            name,
            held_out=config.held_out,
            context_length=config.model.context_length,
            tokenizer=tokenizer,
            digest=str(run.record.get("corpus_sha256")),
            unknown=_unknown(run.record),
        )
    except OtherText as error:
        what = (
            f"The text {name!r} has changed since {run.path} was trained on it"
            if corpus is None
            else f"{corpus!r} is another text than the one {run.path} was trained on"
        )
        raise UserError(
            f"{what}, so its held-out part is another. Give the text as it was (--corpus), or "
            "train a new run."
        ) from error
    except UserError as error:
        raise UserError(
            f"The text that the run in {run.path} was trained on is needed, and cannot be read. "
            f"{error} If it lies elsewhere now, say where: --corpus FILE. `complete` works without "
            "it."
        ) from error


def _unknown(record: Mapping[str, Any]) -> Unknown:
    """Return what was done with unknown characters of the text; only fine-tuning meets any."""
    facts = record.get("fine_tuning")
    found = facts.get("unknown") if isinstance(facts, dict) else None
    return cast(Unknown, found) if found in get_args(Unknown) else "error"


def corpus_place(name: str) -> str:
    """Return a registered name as it is, and a file or folder by its whole path.

    >>> corpus_place("sherlock"), Path(corpus_place("my.txt")).is_absolute()
    ('sherlock', True)
    """
    return name if name in corpora() else str(written_out(name).resolve())


def first_record(config: RunConfig, text: Text, corpus_name: str) -> dict[str, Any]:
    """Return what is written down when a run starts."""
    return {
        "version": _version(),
        "preset": config.preset,
        "config": config_to_dict(config),
        "corpus": corpus_place(corpus_name),
        "corpus_sha256": text.digest,
        "tokens": text.tokens,
    }


def machine_facts(options: RunOptions, world: World) -> dict[str, Any]:
    """Return what the record says about where and how a run is computed from now on."""
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


AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A run's folder and what to do there."""

    folder: Path
    """The folder of the run."""
    made: bool = False
    """Whether the folder was made for this run; it goes again if the run cannot start."""
    checkpoint: Path | None = None
    """Where to go on from; None for the beginning."""
    notices: list[str] = field(default_factory=list)
    """What people should know of what was found."""

    @property
    def resumes(self) -> bool:
        """Whether a run goes on there."""
        return self.checkpoint is not None


def find_place(
    resume: str | None, out: Path | None, preset_name: str, corpus_name: str, world: World
) -> Place:
    """Return where a run goes, the same for all processes of it.

    Args:
        resume: A folder, of a run or a checkpoint; "auto" for the run in `out`, or else the newest
            one of this preset and text; or None. What torchrun starts again is "auto".
        out: The folder that was asked for.
        preset_name: Of a new run.
        corpus_name: Of a new run.
        world: All processes; the main one looks.

    Raises:
        UserError: If there is no run to go on with where one was named, or no whole checkpoint.
    """
    if resume is None and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)):
        resume = AUTO
    if resume not in (None, AUTO):
        return _named(Path(resume), out, world)
    if out is None and resume == AUTO:
        out = newest_run(runs_folder(), preset_name, corpus_name)
    if out is None:
        made = _new_run_folder(preset_name) if world.is_main else Path()
        return Place(folder=agreed_path(made, world), made=world.is_main)
    out = agreed_path(out, world)
    if not world.agree(resume == AUTO and world.is_main and (out / RECORD).exists()):
        return Place(folder=out)
    found, notices = good_checkpoint(out) if world.is_main else (None, [])
    if world.is_main and found is None:  # killed before its first checkpoint: nothing is lost
        (out / RECORD).unlink()
        notices.append(f"The run in {out} had no checkpoint yet: it starts from the beginning.")
    checkpoint = agreed_path(found or out, world)
    return Place(folder=out, checkpoint=None if checkpoint == out else checkpoint, notices=notices)


def _named(folder: Path, out: Path | None, world: World) -> Place:
    run = run_of(folder)
    notices: list[str] = []
    if out is not None and out.resolve() != run.path.resolve():
        part = os.path.relpath(folder.absolute(), run.path)  # ".", or a checkpoint of it
        if world.is_main:
            copy_run(run, out)
            notices = [f"It goes on in a copy, {out}; {run.path} stays as it is."]
        world.barrier()
        return Place(folder=out.absolute(), checkpoint=out.absolute() / part, notices=notices)
    if world.is_main:
        try:
            with one_writer(run.path):
                notices = sweep(run.path)
        except UserError as error:
            if not isinstance(error.__cause__, OSError):
                raise
            raise UserError(
                f"{run.path} cannot be written: {error.__cause__.strerror or error.__cause__}. To "
                f"go on in a copy of it:\n  {command('train', '--resume', folder, '--out', 'DIR')}"
            ) from error
    return Place(folder=run.path, checkpoint=folder, notices=notices)


def copy_run(run: RunFolder, out: Path) -> None:
    """Copy all of a run into a new or empty folder, with what its links mean and without its lock.

    Raises:
        UserError: If the folder holds anything, or cannot be written; what was copied goes again.
    """
    RunFolder.create(out, run.record)
    files = [path for path in run.path.rglob("*") if path.is_file()]
    try:
        check_room(out, sum(path.stat().st_size for path in files), "The copy of the run")
        ignore = shutil.ignore_patterns(LOCK, ".*.tmp")
        shutil.copytree(run.path, out, ignore=ignore, dirs_exist_ok=True)
    except (OSError, shutil.Error, UserError) as error:
        (out / RECORD).unlink(missing_ok=True)
        if isinstance(error, UserError):
            raise
        raise UserError(f"{run.path} cannot be copied to {out}: {error}.") from error


def _new_run_folder(preset_name: str) -> Path:
    """Make a folder named by preset and time; of several made in one second, each has its own."""
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        folder = runs_folder() / f"{preset_name}-{now}{f'-{number}' if number > 1 else ''}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"{folder} cannot be made: {error.strerror}.") from error
        return folder
    raise AssertionError  # there is always another number


def newest_run(folder: Path, preset_name: str, corpus_name: str) -> Path | None:
    """Return the run in a folder of runs that was started last with this preset and text."""
    found, elsewhere = [], []
    digest = cache(lambda: open_text(corpus_name).digest)  # read once, and only if it must be
    for file in folder.glob(f"*/{RECORD}"):
        try:
            record = RunFolder.open(file.parent).record
        except UserError:
            continue
        if record.get("preset") != preset_name:
            continue
        if record.get("corpus") == corpus_place(corpus_name):
            found.append((file.stat().st_mtime, file.parent))
        elif not found and _is(digest, record):
            elsewhere.append((file.stat().st_mtime, file.parent))
    return max(found or elsewhere)[1] if found or elsewhere else None


def _is(digest: Callable[[], str], record: Mapping[str, Any]) -> bool:
    """Return whether a run was trained on the text of that digest, wherever it lay then."""
    try:
        return record.get("corpus_sha256") == digest()
    except UserError:  # there is no such text; whoever needs it says so
        return False


def good_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the newest whole checkpoint of a run, after clearing up what killed saves have left.

    Returns:
        Its folder, or None if the run never saved one; and what people should know.

    Raises:
        UserError: If another process is writing there, or there are checkpoints and none is whole.
    """
    with one_writer(folder):
        notices = sweep(folder)
    if not list_checkpoints(folder):
        return None, notices
    path, more = newest_good_checkpoint(folder)
    return path, notices + more
