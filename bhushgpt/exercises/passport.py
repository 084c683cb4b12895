"""The learner's passport: which exercises were solved, and which one comes next.

What `check` said is kept in one small file, `runs/exercises.json`. An exercise is solved when its
check called an answer right, and stays so; if a later answer is wrong, "not yet" stands beside it.
Nothing is claimed that no check has seen. Where the file cannot be written, checks work as ever.

Lesson: notebook 00.
"""

import datetime
import itertools
import json
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from bhushgpt.environment import runs_folder
from bhushgpt.errors import UserError
from bhushgpt.files import read_json, write_atomically

FILE = "exercises.json"

# All exercises, in the order in which a learner meets them; tests compare it with the notebooks.
COURSE: dict[str, str] = {
    "00_start_here": "chances_after window",
    "01_pytorch_basics": "n_parameters merge_heads fit_slope probability_of_targets",
    "02_cpu_vs_cuda": "fair_seconds mlp_flops bottleneck",
    "03_text_and_tokens": "split_at_line unmerge bits_per_character",
    "04_bigram": "loss_by_hand windows_in_order back_off no_shift",
    "05_training": "lion clip text_loss",
    "06_embeddings": "table_gradient context_windows epoch_steps mlp_gradients",
    "07_attention": "multi_head what_changes turn prefix_softmax",
    "08_transformer_block": "layer_norm pre_norm_block block_parameters",
    "09_gpt_v1": "untied_count early_stop text_vectors",
    "10_generation": "next_chances nucleus_size remembering_head write_until",
    "11_checkpoints": "damaged may_go safe_plan",
    "12_when_training_goes_wrong": "looks_ahead memorising_since",
    "13_byte_pair_encoding": "encode_piece bytes_per_token token_row",
    "14_openwebtext": "window side_of passes tar_header",
    "15_faster_training": "slope busy accumulate wsd",
    "16_gpt_v2": "bits_per_byte their_name training_days",
    "17_command_line": "flags_of whole_characters what_is_kept",
    "18_fine_tuning": "lora_output answer_targets answer_mean",
    "19_evaluation": "bits_per_byte reliability p_value narrow",
    "20_scaling": "parameters training_days power_law together",
    "21_inside_the_model": "induction_score predicted_loss recovered head_shares",
    "22_modern_gpt": "rms_norm may_look round_matrix p_value",
    "23_rewards": "pass_at leave_one_out kl_estimate preference_loss",
    "24_without_torch": "backward_order loss_slopes norm_back adamw_step",
}


@dataclass(frozen=True)
class Place:
    """Where an exercise stands: its notebook, and its name in there."""

    notebook: str
    name: str

    def __str__(self) -> str:
        return f"{self.notebook[:2]}/{self.name}"


PLACES = tuple(Place(notebook, name) for notebook in COURSE for name in COURSE[notebook].split())


def place_of(exercise: object) -> Place | None:
    """Return where an exercise stands in the course, or None if it is somebody's own."""
    for place in PLACES:
        prefix = f"bhushgpt.exercises.nb{place.notebook[:2]}_"
        modules = [sys.modules[name] for name in list(sys.modules) if name.startswith(prefix)]
        if any(getattr(module, place.name, None) is exercise for module in modules):
            return place
    return None


@dataclass(kw_only=True)
class Entry:
    """What was seen of one exercise."""

    last: Literal["right", "not yet"]
    """What the last check said of an answer."""
    checked: str
    """When that was, such as 2026-05-01T12:00:00+02:00."""
    solved: str | None = None
    """When a check first said `Right`."""

    def __str__(self) -> str:
        if self.solved is None:
            return f"not yet ({self.checked[:10]})"
        later = f", but not yet on {self.checked[:10]}" if self.last == "not yet" else ""
        return f"solved {self.solved[:10]}{later}"


@dataclass(kw_only=True)
class _Stored:
    """What the file holds."""

    format: Literal[1] = 1
    exercises: dict[str, Entry] = field(default_factory=dict)


@dataclass(kw_only=True)
class Passport:
    """All that the checks have seen; printed, it is a table.

    >>> mine = Passport()
    >>> mine.stamp(PLACES[0], "right", "2026-05-01T12:00:00")
    >>> mine.stamp(PLACES[0], "not yet", "2026-05-02T12:00:00")
    >>> mine.entries["00/chances_after"].solved
    '2026-05-01T12:00:00'
    >>> print(mine.next())
    00/window
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    """`04/loss_by_hand` -> what was seen. Only what was checked has an entry."""
    notice: str = ""
    """What became of a file that could not be used."""

    def stamp(self, place: Place, outcome: Literal["right", "not yet"], when: str) -> None:
        """Enter the outcome of a check. What was solved stays solved."""
        before = self.entries.get(str(place))
        solved = before.solved if before else None
        if solved is None and outcome == "right":
            solved = when
        self.entries[str(place)] = Entry(last=outcome, checked=when, solved=solved)

    def solved(self, place: Place) -> bool:
        """Return whether a check has called an answer to this exercise right."""
        entry = self.entries.get(str(place))
        return entry is not None and entry.solved is not None

    def next(self) -> Place | None:
        """Return the exercise to go on with, or None if all are solved.

        It is the one that was checked last, if that is not solved; else the first unsolved one
        behind it in the course, and after the last exercise the first one comes again.
        """

        def checked(number: int) -> str:
            entry = self.entries.get(str(PLACES[number]))
            return entry.checked if entry else ""

        newest = max(range(len(PLACES)), key=checked)
        order = PLACES[newest:] + PLACES[:newest]
        return next((place for place in order if not self.solved(place)), None)

    def __str__(self) -> str:
        lines = [self.notice] if self.notice else []
        lines += [f"{'notebook':<30}solved"]
        for notebook in COURSE:
            here = [place for place in PLACES if place.notebook == notebook]
            lines.append(f"{notebook:<30}{sum(map(self.solved, here))} of {len(here)}")
            seen = [place for place in here if str(place) in self.entries]
            lines += [f"  {place.name:<28}{self.entries[str(place)]}" for place in seen]
        lines.append(f"{'all':<30}{sum(map(self.solved, PLACES))} of {len(PLACES)}")
        after = self.next()
        lines.append(f"Next: {after.name} in {after.notebook}." if after else "All are solved.")
        return "\n".join(lines)

    __repr__ = __str__  # a notebook shows the table


def progress() -> Passport:
    """Return the learner's passport, as a notebook's last line shows it."""
    try:
        return _opened(runs_folder() / FILE)
    except (UserError, OSError) as error:
        return Passport(notice=str(error))


def record(exercise: object, outcome: Literal["right", "not yet"]) -> str:
    """Enter what a check said, and return a sentence where the learner should know of something.

    Exercises that are not the course's own are not entered. The same sentence comes once only.
    Of two checks in the very same moment one may be missing; checking again enters it.
    """
    if (place := place_of(exercise)) is None:
        return ""
    try:
        file = runs_folder() / FILE
        passport = _opened(file)
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        passport.stamp(place, outcome, now)
        stored = asdict(_Stored(exercises=passport.entries))
        write_atomically(file, (json.dumps(stored, indent=1) + "\n").encode())
        notice = passport.notice
    except (UserError, OSError) as error:
        notice = f"Checks work as ever, but what you solve is not kept. {error}"
    if notice in _said:
        return ""
    _said.add(notice)
    return notice


_said: set[str] = set()


def _opened(file: Path) -> Passport:
    """Return what the file holds; if it cannot be used, put it aside and begin anew.

    Raises:
        UserError, OSError: If it cannot be read or moved.
    """
    if not os.path.lexists(file):
        return Passport()
    try:
        return Passport(entries=read_json(file, _Stored, deep=True).exercises)
    except UserError as error:
        if isinstance(error.__cause__, OSError):
            raise
        aside = next(
            name
            for number in itertools.count(1)
            if not os.path.lexists(name := file.with_name(f"exercises.damaged-{number}.json"))
        )
        file.rename(aside)
        return Passport(notice=f"{error} It is kept as {aside}, and a new one begins.")
