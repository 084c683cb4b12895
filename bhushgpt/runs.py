"""The folder of a run: what was asked for, what came of it, and how the loss went.

Lesson: notebook 16.
"""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bhushgpt.errors import UserError
from bhushgpt.files import write_atomically

RECORD, HISTORY, SAMPLES = "run.json", "history.jsonl", "samples.jsonl"


class RunFolder:
    """One run's files: `run.json`, `history.jsonl`, `samples.jsonl` and the checkpoints.

    `run.json` is one object. Written when the run starts:
        version: of bhushgpt; preset: its name; config: every setting, as in a checkpoint.
        corpus: a registered name, or the whole path of a file or of prepared tokens;
        corpus_sha256: of its clean text; tokens: its length, held-out part included.
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

    Lesson: notebook 16.
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

    def rewind(self, step: int) -> None:
        """Forget what was logged after a step: a run that goes on from there does it again."""
        for name, lines in ((HISTORY, self.history()), (SAMPLES, self.samples())):
            kept = [json.dumps(line) + "\n" for line in lines if line["step"] <= step]
            if kept or (self.path / name).exists():
                write_atomically(self.path / name, "".join(kept).encode("utf-8"))

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
