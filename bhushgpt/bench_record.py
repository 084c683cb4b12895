"""A benchmark as a JSON file: the machine, its limits, every time that was read.

Medians, spreads, shares and ratios are not stored: they follow from the times.

Lesson: notebook 16.
"""

import json
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from bhushgpt.bench_bpe import BPEMeasured
from bhushgpt.bench_jobs import MODELS, Job, bytes_per_token, training_flops
from bhushgpt.bench_limits import SHIPPED
from bhushgpt.bench_workers import Measured
from bhushgpt.errors import UserError
from bhushgpt.timing import NOISY, Timing

FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class BenchRecord:
    """Everything that one run of the benchmark found out.

    Lesson: notebook 16.
    """

    label: str
    """The machine's name for people."""
    device: str
    """cpu, cuda or mps."""
    threads: int
    """CPU threads that torch used."""
    measured_by: str
    """The command, to be run again."""
    machine: dict[str, Any]
    """The card of `machine_card`, and the driver of a GPU."""
    limits: dict[str, dict[str, float]]
    """Kind of number -> which matrix product -> FLOP/s."""
    bytes_per_second: float
    """Read plus written in the device's memory."""
    rows: list[Measured]
    """The measurements, in their order."""
    bpe: list[BPEMeasured] = field(default_factory=list)
    """Byte-pair training and encoding; empty without peers."""
    format: int = FORMAT
    """Of the file."""

    def save(self, path: Path) -> None:
        """Write the file."""
        text = json.dumps(asdict(self), indent=1)
        text = re.sub(r"\[\s*([^][{}]*?)\s*\]", lambda m: f"[{' '.join(m[1].split())}]", text)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")

    def find(self, **wanted: Any) -> Measured | None:
        """Return the first row with numbers whose job has these values, or None."""
        for row in self.rows:
            if row.seconds and all(getattr(row.job, key) == v for key, v in wanted.items()):
                return row
        return None


def speed(row: Measured) -> float:
    """Return the tokens per second of a row, from the median.

    Lesson: notebook 16.

    >>> speed(Measured(Job(kind="prefill", who="x", model="B", tokens=50), seconds=[0.5, 0.5, 9]))
    100.0
    """
    return row.job.tokens_per_call / Timing(tuple(row.seconds)).median


def spread(row: Measured | BPEMeasured) -> float:
    """Return how far the times of a row differ, as a share of the median; 0 for a single one.

    Lesson: notebook 16.
    """
    return Timing(tuple(row.seconds)).spread if len(row.seconds) > 1 else 0.0


def share(row: Measured, record: BenchRecord) -> float:
    """Return the share of the machine's limit: of its FLOP/s (MFU), or of its bandwidth.

    Lesson: notebook 16.
    """
    if row.job.kind == "generation":
        return bytes_per_token(row.job) * speed(row) / row.job.rows / record.bytes_per_second
    flops = training_flops(MODELS[row.job.model], row.job.tokens)
    flops = flops if row.job.kind == "training" else flops / 3
    number = "float32" if row.job.precision == "int8" else row.job.precision
    limit = record.limits.get(number) or record.limits["float32"]
    return flops * speed(row) / limit["large"]


def warnings_of(record: BenchRecord) -> list[str]:
    """Return a sentence if rows differ by more than 20 %, as they do on a busy machine.

    Lesson: notebook 16.
    """
    names = [(row, f"{row.job.model}, {row.job.who}") for row in record.rows]
    names += [(row, f"byte-pair {row.task}, {row.who}") for row in record.bpe]
    noisy = [(spread(row), name) for row, name in names if row.seconds and spread(row) > NOISY]
    if not noisy:
        return []
    most, worst = max(noisy)
    return [
        f"In {len(noisy)} of {len(names)} rows the times differ by more than {NOISY:.0%} "
        f"(up to {most:.0%}: {worst}). Something else used the machine: close other programs and "
        "measure again."
    ]


def float32_gain(record: BenchRecord) -> float:
    """Return how many times quicker the quicker float32 library is; 1 where torch takes it.

    Lesson: notebook 16.
    """
    shipped = record.limits.get(SHIPPED)
    return record.limits["float32"]["large"] / shipped["large"] if shipped else 1.0


def load_bench_records(folder: Path) -> list[BenchRecord]:
    """Return the records of all `bench_*.json` in a folder, by name.

    Raises:
        UserError: If a file is no such record; it names the file and what is wrong.

    Lesson: notebook 16.
    """
    return [load_bench_record(path) for path in sorted(folder.glob("bench_*.json"))]


def load_bench_record(path: Path) -> BenchRecord:
    """Return the record in a file.

    Raises:
        UserError: If it is none; it names the file and what is wrong.

    Lesson: notebook 16.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        wrong = _wrong(data) if isinstance(data, dict) else ["everything"]
        if not wrong:
            rows = [Measured(**{**row, "job": Job(**row["job"])}) for row in data["rows"]]
            bpe = [BPEMeasured(**row) for row in data["bpe"]]
            return BenchRecord(**{**data, "rows": rows, "bpe": bpe})
    except (ValueError, TypeError, KeyError) as error:
        wrong = [f"{type(error).__name__}: {error}"]
    raise UserError(
        f"{path.name} is no benchmark record: {', '.join(wrong)}. Measure again: "
        "python -m bhushgpt bench."
    )


def _wrong(data: dict[str, Any]) -> list[str]:
    names = {entry.name for entry in fields(BenchRecord)}
    wrong = [f"{name} is missing" for name in sorted(names - data.keys())]
    wrong += [f"{name} is unknown" for name in sorted(data.keys() - names)]
    if not wrong and data["format"] != FORMAT:
        wrong.append(f"format {data['format']}, this version reads {FORMAT}")
    if not wrong:
        wrong += [
            f"machine.{key} is missing" for key in ("date", "torch") if key not in data["machine"]
        ]
        wrong += ["limits.float32.large is missing"] * (
            "large" not in data["limits"].get("float32", {})
        )
        for what, rows in (("row", data["rows"]), ("bpe row", data["bpe"])):
            for number, row in enumerate(rows, start=1):
                told = bool(row.get("seconds")) != bool(row.get("trouble"))
                if not told or any(not s > 0 for s in row["seconds"]):
                    wrong.append(f"{what} {number} has neither times nor a reason, or both")
    return wrong
