"""Runs of the command line that are stopped: in this process at a named place, or from outside."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bhushgpt.commands.line import main
from bhushgpt.runs.folder import HISTORY, RunFolder
from bhushgpt.storage.checkpoints import MODEL, OPTIMIZER
from bhushgpt.storage.run_folder import latest_checkpoint

STEPS = 30
CLOCK = {"seconds", "tokens_per_second", "mfu"}


def flags(text: Path, out: Path, *more: object, steps: int = STEPS) -> list[str]:
    """Return the command that trains a small model in float32."""
    command = ["train", "--preset", "gpt-v1-smoke", "--precision", "float32"]
    return [
        *command,
        "--corpus",
        str(text),
        "--steps",
        str(steps),
        "--out",
        str(out),
        *map(str, more),
    ]


def train(text: Path, out: Path, *more: object, steps: int = STEPS) -> int:
    """Train in this process and return the exit status."""
    return main(flags(text, out, *more, steps=steps))


def whole_state(folder: Path) -> tuple[bytes, ...]:
    """Return the bytes of weights and optimizer of the newest checkpoint."""
    checkpoint = latest_checkpoint(folder)
    return tuple((checkpoint / name).read_bytes() for name in (MODEL, OPTIMIZER))


def history(folder: Path) -> list[dict[str, Any]]:
    """Return the history without what is measured with a clock."""
    lines = RunFolder.open(folder).history()
    return [{k: v for k, v in line.items() if k not in CLOCK} for line in lines]


def send_at(
    monkeypatch: pytest.MonkeyPatch, place: str, number: int, *, call: int = 1
) -> Callable[[], int]:
    """Let the function at `place` receive a signal when it is called for the n-th time.

    Returns a function that says how often it was called, so that a test can see that it was.
    """
    calls = 0
    module, _, name = place.rpartition(".")
    target = sys.modules.get(module)
    if target is None:  # a method of a class
        parent, _, owner = module.rpartition(".")
        target = getattr(sys.modules[parent], owner)
    original = getattr(target, name)

    def signalled(*arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            signal.raise_signal(number)
        return original(*arguments, **more)

    monkeypatch.setattr(target, name, signalled)
    return lambda: calls


def launch(command: list[str], log: Path, *, processes: int = 0, restarts: int = 0) -> Any:
    """Start the command line in a process of its own, or in several under torchrun."""
    program = [sys.executable, "-m"]
    if processes:
        program += ["torch.distributed.run", "--nproc-per-node", str(processes)]
        program += ["--max-restarts", str(restarts), "-m"]
    with log.open("wb") as stream:
        return subprocess.Popen(
            [*program, "bhushgpt", *command],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"},
        )


def wait_for_step(folder: Path, step: int, *, seconds: float = 300) -> None:
    """Wait until a run has logged that many steps."""
    file, end = folder / HISTORY, time.monotonic() + seconds
    while time.monotonic() < end:
        if file.exists() and file.read_text(encoding="utf-8").count("\n") >= step:
            return
        time.sleep(0.01)
    raise AssertionError(f"{folder} has not come to step {step} in {seconds} s")
