"""The command `bench`: how fast this machine is, and how fast ours is on it.

Lesson: notebook 17.
"""

import re
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from tyro.conf import arg

from bhushgpt import roofline
from bhushgpt.bench import (
    BenchRecord,
    BPEMeasured,
    Measured,
    bench_figure,
    best_of,
    half_type,
    measure_bpe,
    measure_limits,
    measure_together,
    plan_bench,
    report,
)
from bhushgpt.commands.flags import FOLDER, Device, Flag
from bhushgpt.devices import describe_device, machine_card, pick_device
from bhushgpt.environment import runs_folder
from bhushgpt.files import write_atomically


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure this machine, and training and generation on it, as shares of its limits."""

    quick: Flag = False
    """The small model only: about a minute instead of ten."""
    peers: Flag = False
    """Measure other libraries in the same run (pip install 'bhushgpt[bench]')."""
    json: Annotated[
        Path | None, FOLDER, arg(metavar="FILE", help_behavior_hint="(default: in runs/bench)")
    ] = None
    """Where the record goes; the picture goes beside it."""
    device: Device = "auto"
    """Where to compute."""
    label: Annotated[str, arg(metavar="NAME", help_behavior_hint="(default: the processor)")] = ""
    """The machine's name for people, such as "2-core Xeon with AMX"."""

    def run(self) -> int:
        """Measure, print the table, write record and picture; return the exit status."""
        device = pick_device(self.device).type
        label = self.label or describe_device(device).name
        path = self._path(device, label)
        _check_writable(path)  # ten minutes later would be a bad time to fail
        begin = time.perf_counter()
        progress = _Progress()
        limits = measure_limits(device, quick=self.quick, progress=progress)
        groups = plan_bench(device, quick=self.quick, peers=self.peers, half=half_type(device))
        rows: list[Measured] = []
        for number, group in enumerate(groups, start=1):
            progress.title = f"[{number}/{len(groups)}] {group.title}: "
            rows += measure_together(
                list(group.jobs), rounds=group.rounds, budget=group.budget, progress=progress
            )
        progress.title = ""
        # Once more: a limit is the best ever seen, and the machine may have been busy before.
        limits = best_of(limits, measure_limits(device, quick=self.quick, progress=progress))
        bpe = measure_bpe(quick=self.quick, progress=progress) if self.peers else []
        for row in (*rows, *bpe):
            _round(row)
        record = BenchRecord(
            label=label,
            device=device,
            threads=torch.get_num_threads(),
            measured_by=self._command(device, label),
            machine=_card(device),
            limits={k: {n: _digits(v) for n, v in rates.items()} for k, rates in limits.items()},
            bytes_per_second=_digits(roofline.bandwidth_limit(device)),
            rows=rows,
            bpe=bpe,
        )
        progress.clear()
        return self._finish(record, path, time.perf_counter() - begin)

    def _finish(self, record: BenchRecord, path: Path, seconds: float) -> int:
        record.save(path)
        print(f"{describe_device(record.device)}\n\n{report(record)}\n")
        print(f"The record is in {path}. It took {seconds / 60:.1f} minutes.")
        picture = path.with_suffix(".png")
        try:
            # Here and not above: matplotlib takes a second to load, and may not load at all.
            from bhushgpt.figures import own_style, png_bytes

            with own_style():
                figure, alt = bench_figure(record)
                write_atomically(picture, png_bytes(figure))
            print(f"The picture {picture}: {alt}")
        except Exception as error:  # an ornament
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            print(f"{picture.name} could not be drawn ({reason}); everything else is saved.")
        return 0

    def _path(self, device: str, label: str) -> Path:
        slug = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
        return self.json or runs_folder("bench") / f"bench_{slug}_{device}.json"

    def _command(self, device: str, label: str) -> str:
        flags = ["--quick"] * self.quick + ["--peers"] * self.peers
        words = ["python", "-m", "bhushgpt", "bench", *flags, "--device", device, "--label", label]
        return shlex.join(words)  # stored: what holds on every machine


class _Progress:
    """One line on a terminal that is written over, and lines of their own anywhere else."""

    def __init__(self) -> None:
        self.title = ""
        self._live = sys.stderr.isatty()

    def __call__(self, line: str) -> None:
        text = f"{self.title}{line}"[:100]
        print(
            f"\r{text:<100}" if self._live else text,
            end="" if self._live else "\n",
            file=sys.stderr,
        )
        sys.stderr.flush()

    def clear(self) -> None:
        if self._live:
            print(f"\r{'':<100}\r", end="", file=sys.stderr)


def _check_writable(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    there = path.exists()
    path.open("a", encoding="utf-8").close()
    if not there:
        path.unlink()


def _card(device: str) -> dict[str, Any]:
    card = machine_card()
    if device == "cuda":
        card["cuda"] = torch.version.cuda
        card["driver"] = _driver()
    return card


def _driver() -> str | None:
    """Return the version of NVIDIA's driver, if its file tells."""
    file = Path("/proc/driver/nvidia/version")
    found = re.search(r"\d+\.\d+(\.\d+)?", file.read_text()) if file.is_file() else None
    return found.group() if found else None


def _digits(value: float) -> float:
    return float(f"{value:.4g}")  # more would pretend to a precision that no timing has


def _round(row: Measured | BPEMeasured) -> None:
    row.seconds = [_digits(s) for s in row.seconds]
    if isinstance(row, Measured) and row.setup_seconds is not None:
        row.setup_seconds = _digits(row.setup_seconds)
