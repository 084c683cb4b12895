"""The folder of a run: what was asked for, what came of it, and how the loss went.

Lesson: notebook 16.
"""

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

from bhushgpt.errors import UserError
from bhushgpt.files import write_atomically
from bhushgpt.training import Report

RECORD, HISTORY = "run.json", "history.jsonl"


class RunFolder:
    """One run's files: `run.json`, `history.jsonl` and the checkpoints.

    `run.json` is one object. Written when the run starts:
        version: of bhushgpt; preset: its name; config: every setting, as in a checkpoint.
        corpus: a registered name, or the whole path of a file; corpus_sha256: of its clean text;
        characters: its length.
        machine: what `machine_card` says; device: cpu, cuda or mps.
    Written at every checkpoint:
        steps_done; seconds: of training, resumed parts added up; tokens_per_second.
    Written at the end:
        held_out: nats_per_token, perplexity, bits_per_byte and tokens over the whole held-out
        text; glances: [step, nats] pairs over the beginning of it while training;
        ladder: name -> nats; n_gram_order: which counter "n-gram" was.

    Args:
        path: An existing folder; use `create` or `open`.

    Attributes:
        record: What `run.json` holds; `update` changes both.

    Lesson: notebook 16.
    """

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path = path
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
                    "--out, or go on with that run: python -m bhushgpt train --resume "
                    f"{shlex.quote(str(path))}"
                )
            path.mkdir(parents=True, exist_ok=True)
            found = sorted(file.name for file in path.iterdir() if not file.name.startswith("."))
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
            raise UserError(
                f"There is no run in {path} (no {RECORD}). Name the folder of a run, or train "
                f"one: python -m bhushgpt train --out {shlex.quote(str(path))}"
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

    def log(self, report: Report, held_out: float | None = None) -> None:
        """Append one step to the history: a line of JSON."""
        line = dataclasses.asdict(report)
        if held_out is not None:
            line["held_out"] = held_out
        with (self.path / HISTORY).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """Return the logged steps in order.

        Of a step that is there twice the last counts; a line that was cut off is left out.
        """
        file = self.path / HISTORY
        text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        steps = {line["step"]: line for line in map(_step, text.splitlines()) if line}
        return [steps[number] for number in sorted(steps)]

    def rewind(self, step: int) -> None:
        """Forget what was logged after a step: a run that goes on from there does it again."""
        kept = [json.dumps(line) + "\n" for line in self.history() if line["step"] <= step]
        write_atomically(self.path / HISTORY, "".join(kept).encode("utf-8"))


def _step(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(found, dict) and isinstance(found.get("step"), int) and "loss" in found
    return found if whole else None
