"""The commands that make a run: `train` and `demo`.

Lesson: notebook 16.
"""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from bhushgpt.demo import run_demo
from bhushgpt.devices import pick_device
from bhushgpt.errors import UserError
from bhushgpt.flags import CORPUS, FOLDER, WHOLE, Device
from bhushgpt.folders import runs_folder
from bhushgpt.presets import PRESETS
from bhushgpt.results import completion_command, describe, results, saved_whatever_happens
from bhushgpt.session import Session
from bhushgpt.session_setup import open_session, start_session

DEFAULT_PRESET, DEFAULT_CORPUS = "gpt-v1", "sherlock"


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a model on a text; Ctrl-C saves and stops, --resume goes on."""

    preset: Annotated[
        str | None,
        arg(
            metavar="NAME",
            help=f"One of {', '.join(PRESETS)}.",
            help_behavior_hint=f"(default: {DEFAULT_PRESET})",
        ),
    ] = None
    """Settings by name."""
    corpus: Annotated[
        str | None, CORPUS, arg(help_behavior_hint=f"(default: {DEFAULT_CORPUS})")
    ] = None
    """A name from `corpora`, or any UTF-8 text file."""
    steps: Annotated[int | None, WHOLE, arg(help_behavior_hint="(default: the preset's)")] = None
    """Steps to train."""
    device: Device = "auto"
    """Where to compute; auto takes CUDA before MPS before the CPU."""
    out: Annotated[
        Path | None, FOLDER, arg(help_behavior_hint="(default: runs/<preset>-<date and time>)")
    ] = None
    """Folder of the run."""
    resume: Annotated[Path | None, FOLDER, arg(help_behavior_hint="")] = None
    """Go on with the run in this folder, with its own settings."""

    def run(self) -> int:
        """Train to the end, or to the first Ctrl-C; return the exit status."""
        session = self._session()
        with saved_whatever_happens(session.run.path):
            if session.finished and "ladder" in session.run.record:
                done = f"is finished: all {session.state.step} steps are done."
                print(f"The run in {session.run.path} {done} Next:\n{completion_command(session)}")
                return 0
            print(describe(session), flush=True)
            if not session.train():
                raise KeyboardInterrupt
            print(f"\n{results(session)}\n\nAll of it is in {session.run.path}. Next:")
            print(completion_command(session))
        return 0

    def _session(self) -> Session:
        device = pick_device(self.device)
        if self.resume is None:
            preset = DEFAULT_PRESET if self.preset is None else self.preset
            now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
            out = self.out or runs_folder() / f"{preset}-{now}"
            corpus = DEFAULT_CORPUS if self.corpus is None else self.corpus
            return start_session(preset, corpus, device, out, steps=self.steps)
        given = {name: getattr(self, name) for name in ("preset", "corpus", "steps", "out")}
        extra = [f"--{name}" for name, value in given.items() if value is not None]
        if extra:
            raise UserError(
                f"--resume goes on with the settings that the run was started with, so "
                f"{' and '.join(extra)} cannot be given beside it. Leave that out to go on, or "
                "leave --resume out to train a new run."
            )
        return open_session(self.resume, device)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Train GPT-v1 on Sherlock Holmes, some minutes on a laptop, and show what it learned."""

    device: Device = "auto"
    """Where to compute."""
    steps: Annotated[int | None, WHOLE, arg(help_behavior_hint="(default: the preset's)")] = None
    """Fewer steps, for a quick look."""
    out: Annotated[Path | None, FOLDER, arg(help_behavior_hint="(default: runs/demo)")] = None
    """Folder of the demo."""

    def run(self) -> int:
        """Run the demo; return the exit status."""
        run_demo(pick_device(self.device), self.out or runs_folder() / "demo", steps=self.steps)
        return 0
