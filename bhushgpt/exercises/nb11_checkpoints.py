"""Exercises of notebook 11: find damage, replace a file safely, clear up.

Lesson: notebook 11.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

from bhushgpt.exercises.exercise import Exercise

Answer = Callable[..., Any]


# 1. What is damaged?


def _damaged(manifest: dict[str, str], files: dict[str, bytes]) -> list[str]:
    return sorted(
        name
        for name, digest in manifest.items()
        if name not in files or hashlib.sha256(files[name]).hexdigest() != digest
    )


def _check_damaged(answer: Answer) -> str | None:
    saved = {"model": b"weights" * 9, "config": b"{}", "vocabulary": b"abc", "optimizer": b"means"}
    manifest = {name: hashlib.sha256(data).hexdigest() for name, data in saved.items()}
    flipped = saved | {"model": b"weights" * 8 + b"weightr"}

    def names(files: dict[str, bytes]) -> list[str]:
        return list(answer(dict(manifest), dict(files)))

    if (whole := names(saved)) == sorted(manifest):
        return "files that are whole are all reported. `digest()` gives bytes, `hexdigest()` text."
    if whole:
        return f"nothing is damaged, and {whole} is reported. Is it the bytes that you hash?"
    if names(flipped) == []:
        return "the last byte of `model` is another, its size the same, and nothing is reported."
    gone = {name: data for name, data in saved.items() if name != "optimizer"}
    if names(gone) == []:
        return "`optimizer` is missing and is not reported: go through the manifest, not the files."
    extra = saved | {"notes.txt": b"mine"}
    if names(extra):
        return "a file that the manifest does not list is no damage: `notes.txt` is somebody's own."
    swapped = saved | {"config": saved["vocabulary"], "vocabulary": saved["config"]}
    if names(swapped) == []:
        return "`config` and `vocabulary` have changed places: each must have its own fingerprint."
    if len(found := names(gone | {"vocabulary": b"", "config": b"x"})) != 3:
        return f"three files are damaged or missing, {len(found)} reported: look at all of them."
    digest = manifest["config"]
    almost = manifest | {"config": digest[:-1] + ("0" if digest[-1] != "0" else "1")}
    if list(answer(almost, dict(saved))) != ["config"]:
        return "two fingerprints that differ in the last digit only are not the same: compare all."
    empty = manifest | {"log": hashlib.sha256(b"").hexdigest()}
    if "log" in answer(dict(empty), saved | {"log": b""}):
        return (
            "`log` was saved with 0 bytes and is there: an empty file is whole. Ask whether the "
            "name is in files, not whether it has bytes."
        )
    if found != sorted(found):
        return "right, but the names should come in order: sorted(...)."
    return None


damaged = Exercise(
    name="damaged",
    question="Return the sorted names of the files that are missing or not what was saved.",
    hints=(
        "Go through manifest.items(): it says what must be there.",
        "hashlib.sha256(files[name]).hexdigest() is the fingerprint of what is there now.",
        "A name that is not in files is reported, too; ask for that first.",
    ),
    praise="one byte of one file, or a whole file gone: you find it by name.",
    reference=_damaged,
    checks=_check_damaged,
)


# 2. Replace a file


def _safe_plan(name: str) -> list[tuple[str, ...]]:
    temporary = f".{name}.tmp"
    return [
        ("write", temporary),
        ("flush", temporary),
        ("rename", temporary, name),
        ("flush folder",),
    ]


# What a name may stand for: nothing, the old file, half of the new one, the new one.
NOTHING, OLD, HALF, NEW = "nothing", "old", "half", "new"
Disk = dict[str, str]


class Refused(Exception):
    """An action that this disk cannot do; the message says why."""


def _after(disk: Disk, flushed: set[str], action: tuple[str, ...]) -> None:
    """Carry out one action."""
    verb, *paths = action
    if any("/" in path for path in paths):
        raise Refused("a file in another folder may lie on another disk, where a rename copies.")
    if verb == "write" and len(paths) == 1:
        disk[paths[0]] = NEW
        flushed.discard(paths[0])
    elif verb == "flush" and len(paths) == 1:
        if paths[0] not in disk:
            raise Refused(f"there is no {paths[0]} to flush at that moment.")
        flushed.add(paths[0])
    elif verb == "rename" and len(paths) == 2:
        if paths[0] not in disk:
            raise Refused(f"there is no {paths[0]} to rename at that moment.")
        disk[paths[1]] = disk.pop(paths[0])
        if paths[0] in flushed:
            flushed.discard(paths[0])
            flushed.add(paths[1])
        else:
            flushed.discard(paths[1])
    elif verb == "remove" and len(paths) == 1:
        disk.pop(paths[0], None)
    elif verb != "flush folder" or paths:
        raise Refused(f"{action!r} is none of the five actions.")


def _moments(plan: list[tuple[str, ...]], name: str) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """Yield (what the name stands for, the action, whether a power cut could tear it)."""
    disk, flushed = {name: OLD}, {name}
    for action in plan:
        if action == ("write", name):
            yield HALF, action, False
        _after(disk, flushed, action)
        yield disk.get(name, NOTHING), action, name not in flushed


def _check_safe_plan(answer: Answer) -> str | None:
    name = "model"
    plan = [tuple(action) for action in answer(name)]
    try:
        moments = list(_moments(plan, name))
    except Refused as reason:
        return str(reason)
    for state, action, torn in moments:
        if state == HALF:
            return f"killed during {action!r}, half a file has the name, and the old one is gone."
        if state == NOTHING:
            return f"killed after {action!r}, there is no file {name!r} at all."
        if state == NEW and torn:
            return f"if the power fails after {action!r}, the name may stand for an empty file."
    if not moments or moments[-1][0] != NEW:
        return f"at the end {name!r} is still the old file."
    renamed = max(number for number, action in enumerate(plan) if action[0] == "rename")
    if ("flush folder",) not in plan[renamed:]:
        return "the new name is not yet on the disk: after a power cut the old file may be back."
    disk, flushed = {name: OLD}, {name}
    for action in plan:
        _after(disk, flushed, action)
    if len(disk) > 1:
        return f"all is safe, but {sorted(set(disk) - {name})[0]!r} is left lying about."
    other = [tuple(action) for action in answer("config")]
    if not any("config" in action for action in other):
        return "right for 'model', but the plan for 'config' does not touch 'config'."
    return None


safe_plan = Exercise(
    name="safe_plan",
    question="Return the actions that replace a file so that it is never missing and never half.",
    hints=(
        "The new bytes may not go to the name itself: write them to a second name, beside it.",
        "A rename is one step. Before it, the new file must be on the disk: flush it.",
        "The rename changes the folder, and the folder must be flushed, too. Four actions.",
    ),
    praise="wherever it stops, the name stands for the old file or for the whole new one.",
    reference=_safe_plan,
    checks=_check_safe_plan,
)


# 3. Which checkpoints may go?


def _may_go(steps: list[int], keep: int, last: int, best: int) -> list[int]:
    stay = {*sorted(steps)[-keep:], last, best}
    return sorted(set(steps) - stay)


def _check_may_go(answer: Answer) -> str | None:
    def gone(steps: list[int], keep: int, last: int, best: int) -> list[int]:
        return list(answer(list(steps), keep, last, best))

    steps = [100, 200, 300, 400, 500]
    first = gone(steps, 2, 500, 500)
    if first == [400, 500]:
        return "those are the ones to keep. Return the ones that may go."
    if first == [300, 400, 500]:
        return "the oldest were kept; the newest must be."
    if first in ([100, 200], [100, 200, 300, 400]):
        return f"with keep = 2 exactly two stay; yours keeps {5 - len(first)}."
    if first == [300, 200, 100]:
        return "the right ones, but backwards: return the steps in order."
    if first == [0, 1, 2]:
        return "those are places in the list; return the steps."
    if first == ["100", "200", "300"]:
        return "steps are numbers; texts came."
    if first == [100]:
        return "only the oldest may go here? All that need not stay may."
    if first != [100, 200, 300]:
        return f"of {steps} with keep = 2 these may go: [100, 200, 300]; yours says {first}."
    if 200 in (second := gone(steps, 2, 500, 200)):
        return "the best one, 200, would be deleted. It stays, however old it is."
    if second == [100, 300, 400]:
        return "the best one was counted as one of the two: two newest stay, and the best besides."
    if 100 in (gone(steps, 2, 100, 500)):
        return "the last one saved is 100 here (the run began again at 50); it would be deleted."
    mixed = gone([1000, 900, 500, 100], 1, 900, 900)
    if 1000 in mixed:
        return "the list need not be in order: 1000 is the newest, though it stands first."
    if mixed != sorted(mixed):
        return "right, but return the steps in order."
    if gone([100], 3, 100, 100) or gone([100, 200, 300], 4, 300, 300):
        return "with fewer checkpoints than keep none may go."
    if gone([100, 200, 300], 1, 300, 300) != [100, 200]:
        return "with keep = 1 the newest stays alone, besides last and best."
    if gone([0, 100, 200, 300], 1, 300, 0) != [100, 200] or gone([0, 100], 1, 100, 100) != [0]:
        return "step 0 is a step like others: it may go, or be the best."
    return None


may_go = Exercise(
    name="may_go",
    question="Return the steps, sorted, of the checkpoints that may be deleted.",
    hints=(
        "sorted(steps)[-keep:] are the newest.",
        "Collect all that stay in a set: the newest, last and best.",
        "A difference of sets leaves the others; sorted makes a list of them.",
    ),
    praise="the newest, the last and the best stay, and nothing else.",
    reference=_may_go,
    checks=_check_may_go,
)
