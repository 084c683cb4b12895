"""Measured limits of a machine in a JSON file, so that machines can be laid side by side.

Lesson: notebook 02.
"""

import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from bhushgpt import roofline
from bhushgpt.devices import describe_device, machine_card
from bhushgpt.errors import UserError
from bhushgpt.timing import Timing

DTYPES = ("float32", "bfloat16")
CPU_SIZES = tuple(2**power for power in range(4, 12))  # 16 ... 2048
GPU_SIZES = tuple(2**power for power in range(4, 14))  # 16 ... 8192
COMMAND = (
    'python -c "from bhushgpt.machine_records import record_machine; '
    "record_machine('{device}', label='{label}').save('benchmarks')\""
)
KINDS: dict[Any, Any] = {str: str, int: int, float: float, float | None: (float, type(None))}
CARD = ("date", "system", "devices", "torch")  # the least that a machine card must tell


@dataclass(frozen=True, kw_only=True)
class MachineRecord:
    """What was measured on one device of one machine, and by which command.

    The fields are the keys of the JSON file.

    Lesson: notebook 02.
    """

    label: str
    """The machine's name for people, for example "2-core Xeon with AMX"."""

    device: str
    """cpu, cuda or mps."""

    threads: int
    """CPU threads that torch used."""

    measured_by: str
    """The command that measured it, to be run again."""

    machine: dict[str, Any]
    """The card of `bhushgpt.devices.machine_card`: date, processor, memory, versions."""

    matmul_seconds: dict[str, dict[int, tuple[float, ...]]]
    """dtype -> rows of two square matrices -> every measured time of their product."""

    bytes_per_second: float
    """Read plus written in the device's memory."""

    launch_seconds: float
    """Time of the smallest operation."""

    link_bytes_per_second: float | None
    """From the computer's memory to the device's; None where they are the same."""

    @property
    def name(self) -> str:
        """The label and the device, as the legend of a plot needs them."""
        return f"{self.label} ({self.device})"

    def flops_per_second(self, dtype: str = "float32") -> dict[int, float]:
        """Return rows of the matrices -> FLOP/s of their product; empty if not measured."""
        times = self.matmul_seconds.get(dtype, {})
        return {
            n: roofline.matmul_flops(n, n, n) / Timing(taken).median for n, taken in times.items()
        }

    def limits(self, dtype: str = "float32") -> roofline.Limits:
        """Return the limits for one dtype; of the products, the fastest repetition counts.

        Raises:
            UserError: If this dtype was not measured.
        """
        times = self.matmul_seconds.get(dtype)
        if not times:
            there = ", ".join(self.matmul_seconds)
            raise UserError(f"{self.name} was not measured in {dtype}, only in {there}.")
        return roofline.Limits(
            flops=max(roofline.matmul_flops(n, n, n) / min(s) for n, s in times.items()),
            bandwidth=self.bytes_per_second,
            launch=self.launch_seconds,
            link=self.link_bytes_per_second,
        )

    def save(self, folder: Path | str) -> Path:
        """Write the record as JSON into the folder, over an older one, and return its path."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.label.lower()).strip("-")
        path = Path(folder) / f"matmul_{slug}_{self.device}.json"
        text = json.dumps(asdict(self), indent=1)
        # One line for each list of numbers.
        text = re.sub(r"\[\s*([^][{}]*?)\s*\]", lambda m: f"[{' '.join(m[1].split())}]", text)
        path.write_text(text + "\n", encoding="utf-8")
        return path


def record_machine(
    device: torch.device | str = "cpu",
    *,
    label: str,
    sizes: tuple[int, ...] | None = None,
    measured_by: str | None = None,
) -> MachineRecord:
    """Measure a device: matrix products by size and dtype, memory, launch and link.

    Dtypes that the hardware does not have are left out. About ten seconds on two CPU cores.

    Args:
        device: What to measure.
        label: The machine's name for people.
        sizes: Rows of the square matrices; left out, powers of two that suit the device.
        measured_by: The command that measures; left out, the one in `COMMAND`.

    Lesson: notebook 02.

    >>> record = record_machine("cpu", label="this machine", sizes=(16, 32))
    >>> record.name, sorted(record.flops_per_second())
    ('this machine (cpu)', [16, 32])
    """
    kind = torch.device(device).type
    chosen = sizes or (CPU_SIZES if kind == "cpu" else GPU_SIZES)
    native = [dtype for dtype in DTYPES if dtype in describe_device(device).dtypes]
    link = roofline.transfer_rate(device)
    return MachineRecord(
        label=label,
        device=kind,
        threads=torch.get_num_threads(),
        measured_by=measured_by or COMMAND.format(device=kind, label=label),
        machine=machine_card(),
        matmul_seconds={dtype: _sweep(device, dtype, chosen) for dtype in native},
        bytes_per_second=_digits(roofline.bandwidth_limit(device)),
        launch_seconds=_digits(roofline.launch_seconds(device)),
        link_bytes_per_second=None if link is None else _digits(link),
    )


def load_records(folder: Path | str) -> list[MachineRecord]:
    """Return the records of all `matmul_*.json` in a folder, by name; none is an empty list.

    Raises:
        UserError: If a file is not such a record; it names the file and all that is wrong.

    Lesson: notebook 02.
    """
    return [_load(path) for path in sorted(Path(folder).glob("matmul_*.json"))]


def _load(path: Path) -> MachineRecord:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path.name} is not JSON: {error}. Measure it again.") from error
    wrong = _wrong_fields(data) if isinstance(data, dict) else ["everything"]
    if wrong:
        raise UserError(
            f"{path.name} is no machine record: missing or of the wrong kind: {', '.join(wrong)}. "
            "Measure it again, see benchmarks/README.md."
        )
    sweeps = data["matmul_seconds"].items()
    times = {dtype: {int(n): tuple(t) for n, t in sweep.items()} for dtype, sweep in sweeps}
    return MachineRecord(**{**data, "matmul_seconds": times})


def _wrong_fields(data: dict[str, Any]) -> list[str]:
    kinds = {field.name: KINDS.get(field.type, dict) for field in fields(MachineRecord)}
    wrong = [name for name, kind in kinds.items() if not isinstance(data.get(name, ...), kind)]
    wrong += [f"{name} (unknown)" for name in data if name not in kinds]
    if "machine" not in wrong:
        wrong += [f"machine.{key}" for key in CARD if key not in data["machine"]]
    if "matmul_seconds" not in wrong:
        wrong += [
            f"matmul_seconds of {dtype}"
            for dtype, sweep in data["matmul_seconds"].items()
            if not (sweep and all(n.isdigit() and _is_times(t) for n, t in sweep.items()))
        ]
    return wrong


def _is_times(value: Any) -> bool:
    numbers = isinstance(value, list) and all(isinstance(s, float) and s > 0 for s in value)
    return numbers and len(value) >= 2  # one time has no spread


def _sweep(device: torch.device | str, dtype: str, sizes: tuple[int, ...]) -> dict[int, tuple]:
    number = getattr(torch, dtype)
    timings = {n: roofline.matmul_timing(n, n, n, device, number) for n in sizes}
    return {n: tuple(_digits(s) for s in timing.seconds) for n, timing in timings.items()}


def _digits(value: float) -> float:
    return float(f"{value:.4g}")  # more would pretend to a precision that no timing has
