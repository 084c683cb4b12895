"""The commands that make a run: `train` and `demo`.

Lesson: notebook 17.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

from tyro.conf import arg

from bhushgpt.commands.flags import (
    CORPUS,
    DECIMAL,
    FOLDER,
    RESUME,
    SWITCH,
    WHOLE,
    Device,
    one_of,
)
from bhushgpt.devices import pick_device
from bhushgpt.environment import runs_folder
from bhushgpt.errors import UserError
from bhushgpt.presets import CHANGEABLE, PRESETS
from bhushgpt.runs import (
    MINUTES,
    Interruption,
    Place,
    RunOptions,
    Session,
    changed_options,
    completion_command,
    describe_run,
    find_place,
    minutes_session,
    open_session,
    refuse_other_run,
    results,
    resume_session,
    run_demo,
    run_of,
    saved_whatever_happens,
    start_session,
)
from bhushgpt.speed import Strategy, World, join_world, one_voice

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
    """A name from `corpora`, any UTF-8 text file, or a folder that `prepare` made."""
    steps: Annotated[int | None, WHOLE, arg(help_behavior_hint="(default: the preset's)")] = None
    """Steps to train; with --resume also more than the run was planned for."""
    minutes: Annotated[float | None, DECIMAL, arg(help_behavior_hint="")] = None
    """Instead of a preset: size, batch, rate and steps are chosen for this machine and time."""
    batch_size: Annotated[int | None, WHOLE, arg(help_behavior_hint="(default: the preset's)")] = (
        None
    )
    """Windows of the text in a step."""
    context_length: Annotated[
        int | None, WHOLE, arg(help_behavior_hint="(default: the preset's)")
    ] = None
    """Tokens that the model looks at."""
    learning_rate: Annotated[
        float | None, DECIMAL, arg(help_behavior_hint="(default: the preset's)")
    ] = None
    """The highest rate; the lowest keeps its share of it."""
    held_out: Annotated[float | None, DECIMAL, arg(help_behavior_hint="(default: 0.1)")] = None
    """Share of the text, at its end, that is never trained on."""
    device: Device = "auto"
    """Where to compute; auto takes CUDA before MPS before the CPU."""
    precision: Annotated[
        str | None,
        one_of("auto", "float32", "bfloat16", "float16"),
        arg(help_behavior_hint="(default: auto)"),
    ] = None
    """Type of number to compute in; auto takes the one that helps on the device."""
    compile: Annotated[
        bool | None, SWITCH, arg(help_behavior_hint="(default: on an NVIDIA card)")
    ] = None
    """Make one program of the model first: seconds to minutes, and then faster steps."""
    strategy: Annotated[
        Strategy | None, one_of(*get_args(Strategy)), arg(help_behavior_hint="(default: ddp)")
    ] = None
    """Under torchrun: every process holds the whole model (ddp), or a part of it (fsdp)."""
    accumulation: Annotated[
        int | None, WHOLE, arg(help_behavior_hint="(default: the preset's)")
    ] = None
    """Compute each batch in so many parts: less memory, the same result."""
    seed: Annotated[int | None, WHOLE, arg(help_behavior_hint="(default: the preset's)")] = None
    """Decides the first weights, the batches and the dropout."""
    out: Annotated[
        Path | None, FOLDER, arg(help_behavior_hint="(default: runs/<preset>-<date and time>)")
    ] = None
    """Folder of the run; with --resume, of a copy that goes on in the place of the run."""
    save_every: Annotated[
        int | None, WHOLE, arg(help_behavior_hint="(default: a tenth of the run)")
    ] = None
    """Steps between two checkpoints."""
    keep: Annotated[int | None, WHOLE, arg(help_behavior_hint="(default: 2)")] = None
    """How many of the newest checkpoints to keep; best and last always stay."""
    tensorboard: Annotated[bool | None, SWITCH, arg(help_behavior_hint="(default: no)")] = None
    """Write the history for TensorBoard, too."""
    resume: Annotated[str | None, RESUME, arg(help_behavior_hint="")] = None
    """Go on with this run; auto: that in --out, else the newest of preset and corpus, if any."""
    init_from: Annotated[Path | None, FOLDER, arg(help_behavior_hint="")] = None
    """Begin with the weights of this run, or of one of its checkpoints, instead of drawn ones."""
    skip_batch: Annotated[int | None, WHOLE, arg(help_behavior_hint="")] = None
    """With --resume: take another batch in the place of this one."""

    def run(self) -> int:
        """Train to the end, or to the first Ctrl-C; return the exit status."""
        with Interruption() as interruption, join_world(self.device) as world, one_voice(world):
            place = self._place(world)
            session = self._started(place, world)  # what it refuses, it says how to go on itself
            session.notices[:0] = place.notices
            with saved_whatever_happens(place.folder):
                if session.finished and "ladder" in session.run.record:
                    done = f"is finished: all {session.state.step} steps are done."
                    print(f"The run in {session.run.path} {done} Next:")
                    print(completion_command(session))
                    return 0
                if world.is_main:
                    print(describe_run(session), flush=True)
                session.train(interruption)
                interruption.check()
                if world.is_main:
                    show_results(session)
        return 0

    @property
    def _names(self) -> tuple[str, str]:
        """The preset and the corpus of a new run."""
        usual = DEFAULT_PRESET if self.minutes is None else MINUTES
        return (
            usual if self.preset is None else self.preset,
            DEFAULT_CORPUS if self.corpus is None else self.corpus,
        )

    def _place(self, world: World) -> Place:
        place = find_place(self.resume, self.out, *self._names, world)
        if self.skip_batch is not None and not place.resumes:
            raise UserError("--skip-batch needs --resume DIR: it is for a run that got stuck.")
        if self.init_from is not None and self.resume not in (None, "auto"):
            raise UserError(
                "--init-from is for a new run; the one that goes on has weights of its own. Leave "
                "--init-from or --resume out."
            )
        if self.minutes is not None:
            self._check_minutes(place)
        return place

    def _check_minutes(self, place: Place) -> None:
        decided = {
            "preset": self.preset,
            "steps": self.steps,
            "accumulation": self.accumulation,
            "init_from": self.init_from,
            **self._changes(),
        }
        given = [f"--{k.replace('_', '-')}" for k, value in decided.items() if value is not None]
        if given:
            raise UserError(
                f"--minutes decides what {' and '.join(given)} would decide: leave one of them out."
            )
        if place.resumes and self.resume != "auto":
            raise UserError(
                "--minutes is for a new run; the one that goes on has its steps already. Leave "
                "--minutes out."
            )

    def _started(self, place: Place, world: World) -> Session:
        try:
            return (self._resumed if place.resumes else self._fresh)(place, world)
        except BaseException:
            if place.made:
                with suppress(OSError):  # there may be something in it already
                    place.folder.rmdir()
            raise

    def _fresh(self, place: Place, world: World) -> Session:
        options = changed_options(RunOptions(), self._options())
        preset_name, corpus_name = self._names
        if self.minutes is not None:
            return minutes_session(self.minutes, corpus_name, world, place.folder, options=options)
        return start_session(
            preset_name,
            corpus_name,
            world,
            place.folder,
            steps=self.steps,
            accumulation=self.accumulation,
            changes=self._changes(),
            init_from=self.init_from,
            options=options,
        )

    def _resumed(self, place: Place, world: World) -> Session:
        asked = {"preset": self.preset, "steps": self.steps} | self._changes()
        refuse_other_run(run_of(place.folder), asked)
        return resume_session(
            place.checkpoint or place.folder,
            world,
            asked=self._options(),
            corpus=self.corpus,
            steps=self.steps,
            accumulation=self.accumulation,
            skip_batch=self.skip_batch,
        )

    def _changes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in CHANGEABLE}

    def _options(self) -> dict[str, Any]:
        compiles = {True: "on", False: "off", None: None}[self.compile]
        names = ("precision", "strategy", "save_every", "keep", "tensorboard")
        return {"compile": compiles} | {name: getattr(self, name) for name in names}


def show_results(session: Session) -> None:
    """Print what came of a run, and what to type next."""
    if session.world.size > 1:  # one process measures what all have saved
        session = open_session(session.run.path, session.world.device)
    print(f"\n{results(session)}\n\nAll of it is in {session.run.path}. Next:")
    print(completion_command(session))


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
        with Interruption() as interruption:
            folder = self.out or runs_folder() / "demo"
            run_demo(pick_device(self.device), folder, interruption, steps=self.steps)
        return 0
