"""The folder of a run: what was asked for, what came of it, and how the loss went.

Lesson: notebook 16.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from bhushgpt.errors import UserError
from bhushgpt.files import write_atomically
from bhushgpt.training import Report

RECORD, HISTORY = "run.json", "history.jsonl"


class RunFolder:
    """One run's files: `run.json`, `history.jsonl` and the checkpoints.

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
            UserError: If it holds a run already, or cannot be made.
        """
        if (path / RECORD).exists():
            raise UserError(
                f"{path} holds another run, which is left as it is. Name another folder with "
                f"--out, or go on with that run: python -m bhushgpt train --resume {path}"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            run = cls(path, {})
            run.update(**record)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}. Use --out.") from error
        return run

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open the folder of an earlier run.

        Raises:
            UserError: If it is no run's folder, or its record is unreadable.
        """
        try:
            record = json.loads((path / RECORD).read_text(encoding="utf-8"))
            if not isinstance(record, dict):
                raise ValueError("a record is an object")
            return cls(path, record)
        except FileNotFoundError as error:
            raise UserError(
                f"There is no run in {path} (no {RECORD}). Train one first: "
                f"python -m bhushgpt train --out {path}"
            ) from error
        except (OSError, ValueError) as error:
            raise UserError(f"{path / RECORD} cannot be read: it is not a run's record.") from error

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
        """Return the logged steps in order; of a step logged twice (after a resume) the last."""
        file = self.path / HISTORY
        if not file.exists():
            return []
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return [line for _, line in sorted({line["step"]: line for line in lines}.items())]
