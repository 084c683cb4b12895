"""Is the loss doctor right? Planted bugs and healthy runs, trained, judged, and counted.

    python benchmarks/doctor.py            train what is not recorded yet, judge all
    python benchmarks/doctor.py --judge    judge what is recorded once more, train nothing

The curves of all runs are kept in doctor.json, so a changed rule is tried on them in a second:
tests/test_doctor_record.py does.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bhushgpt import clinic as planted
from bhushgpt.clinic import Recipe
from bhushgpt.corpus import load_text
from bhushgpt.diagnosis import TextFloors, Verdict, explain
from bhushgpt.files import sha256, write_atomically
from bhushgpt.presets import preset

RECORD = Path(__file__).with_name("doctor.json")
DEMO = "healthy: sherlock, gpt-v1 as in make demo"
STEPS = 200
# What the doctor has to say of each bug; "fine" where no curve and no text can show it.
TRUTH = {
    "no_mask": "leaking",
    "batch_is_time": "not learning",
    "not_shifted": "leaking",
    "shuffled_targets": "stuck at the unigram",
    "one_file": "leaking",
    "tiny_rate": "not learning",
    "huge_rate": "diverged",
    "tied_as_it_comes": "unstable",
    "no_zero_grad": "not learning",
    "mask_on_one_path": "leaking",
    "trained_then_scored": "leaking",
    "overlapping_windows": "leaking",
    "near_duplicates": "leaking",
    "answer_in_prompt": "leaking",
    "tokenizer_of_the_exam": "leaking",
    "short_text": "memorising",
    "cut_short": "too short to tell",
}


@dataclass(frozen=True)
class Case:
    """A run to make: its name in the record, what it is, and what the doctor has to say of it."""

    name: str
    truth: str
    recipe: Recipe


def cases() -> Iterator[Case]:
    """Yield all runs, healthy ones first."""
    texts = {name: load_text(name).text for name in ("sherlock", "shakespeare", "oz")}
    book = texts["sherlock"]
    sizes: list[dict[str, Any]] = [
        {},
        {"n_embd": 96, "n_layer": 1},
        {"n_embd": 48, "n_layer": 3},
        {"context_length": 16, "batch_size": 24},
        {"dropout": 0.1},
        {"learning_rate": 1.5e-3},
    ]
    for text in texts:
        for number, size in enumerate(sizes):
            seed = 10 * number + len(text)
            recipe = Recipe.of(texts[text], steps=STEPS, seed=seed, **size)
            words = ", ".join(f"{key} {value}" for key, value in size.items()) or "plain"
            yield Case(f"healthy: {text}, {words}", "fine", recipe)
    for seed in (1, 2, 3):
        recipe = Recipe.of(book, steps=STEPS, seed=seed)
        yield Case(f"healthy: sherlock, seed {seed}", "fine", recipe)
    healthy = Recipe.of(book, steps=STEPS)
    for bug in (*planted.TOO_BAD, *planted.TOO_GOOD):
        recipe = bug(planted.short(healthy) if bug is planted.one_file else healthy)
        yield Case(f"bug: {bug.__name__}", TRUTH.get(bug.__name__, "fine"), recipe)
    yield Case("bug: short_text", "memorising", planted.short(healthy).but(steps=2 * STEPS))
    yield Case("bug: cut_short", "too short to tell", Recipe.of(book, steps=70))


KNOWN: dict[str, TextFloors] = {}  # sha256 of a text's two parts -> its floors


def floors_of_text(recipe: Recipe) -> TextFloors:
    """Return the floors of a recipe's text, counted once for all runs on it."""
    key = sha256(recipe.learn.tobytes() + recipe.judge.tobytes())
    return KNOWN.setdefault(key, KNOWN.get(key) or recipe.floors())


def recorded(case: Case) -> dict[str, Any]:
    """Train a case and return what is kept of it."""
    recipe = case.recipe
    rows = recipe.run().rows
    return {
        "name": case.name,
        "truth": case.truth,
        "tokens_a_step": rows[0]["tokens"],
        "learning_rate": recipe.training.learning_rate,
        "losses": [round(row["loss"], 3) for row in rows],
        "held_out": {row["step"]: round(row["held_out"], 4) for row in rows if "held_out" in row},
        **kept_of_text(recipe, rows[0]["tokens"], len(rows)),
    }


def demo() -> dict[str, Any]:
    """Return the run of `make demo` as it was recorded: it ends below the best n-gram."""
    run = json.loads(RECORD.with_name("gpt_v1_sherlock.json").read_text())
    settings = preset("gpt-v1", 79)
    tokens = settings.training.batch_size * settings.model.context_length
    recipe = Recipe.of(load_text("sherlock").text, steps=1)
    return {
        "name": DEMO,
        "truth": "fine",
        "tokens_a_step": tokens,
        "learning_rate": settings.training.learning_rate,
        "losses": [round(loss, 3) for loss in run["losses"]],
        "held_out": {step: round(loss, 4) for step, loss in run["held_out"]},
        **kept_of_text(recipe, tokens, len(run["losses"])),
        # The whole held-out part was judged there, so its floors are those of that record.
        "floors": {k: v for k, v in run["ladder"].items() if k != "gpt-v1"},
    }


def kept_of_text(recipe: Recipe, tokens_a_step: int, steps: int) -> dict[str, Any]:
    """Return what is kept of a run's text."""
    floors = floors_of_text(recipe)
    assert floors.counted is not None
    read = [tokens_a_step * step for step in range(20, steps + 1, max(60, steps // 12))]
    return {
        "floors": {name: round(nats, 4) for name, nats in floors.rungs.items()},
        "counted": [[n, round(floors.counted(n), 4)] for n in read],
        "train_tokens": floors.tokens,
        "harder": round(floors.harder, 4),
        "found": [round(floors.found, 4), round(floors.found_usually, 4)],
        "bytes_per_token": [round(size, 3) for size in floors.bytes_per_token or ()],
        "odd": dict(floors.odd),
    }


def history(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the lines of a recorded run's history."""
    rows: list[dict[str, Any]] = [
        {
            "step": step,
            "loss": loss,
            "tokens": run["tokens_a_step"],
            "learning_rate": run["learning_rate"] * min(1, step / 10),
        }
        for step, loss in enumerate(run["losses"], start=1)
    ]
    for step, loss in run["held_out"].items():
        rows[int(step) - 1]["held_out"] = loss
    return rows


def floors_of(run: dict[str, Any]) -> TextFloors:
    """Return the floors of a recorded run's text."""
    read, nats = np.array(run["counted"]).T
    return TextFloors(
        rungs=run["floors"],
        counted=lambda tokens: float(np.interp(tokens, read, nats)),
        tokens=run["train_tokens"],
        harder=run["harder"],
        found=run["found"][0],
        found_usually=run["found"][1],
        bytes_per_token=tuple(run["bytes_per_token"]) or None,
        odd=run["odd"],
    )


def judged(run: dict[str, Any]) -> Verdict:
    """Return the verdict on a recorded run."""
    return explain(history(run), floors_of(run))


def confusion(runs: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Return truth -> what the doctor says -> how often."""
    counted = Counter((run["truth"], run["verdict"]) for run in runs)
    table: dict[str, dict[str, int]] = {}
    for (truth, said), times in sorted(counted.items()):
        table.setdefault(truth, {})[said] = times
    return table


def main() -> None:
    """Train what is missing, judge all, and write the record after every run."""
    torch.set_num_threads(1)
    runs = json.loads(RECORD.read_text())["runs"] if RECORD.exists() else []
    known = {run["name"] for run in runs}
    if "--judge" not in sys.argv:
        if DEMO not in known:
            runs.append(demo())
        for case in cases():
            if case.name not in known:
                runs.append(recorded(case))
                write(runs)
                print(runs[-1]["name"], "->", runs[-1]["verdict"], flush=True)
    write(runs)
    for truth, said in confusion(runs).items():
        print(f"{truth:<22}", said)


def write(runs: list[dict[str, Any]]) -> None:
    """Judge all runs and store them, in one step."""
    for run in runs:
        if run["name"].startswith("bug: "):
            run["truth"] = TRUTH.get(run["name"].removeprefix("bug: "), "fine")
        verdict = judged(run)
        run["verdict"], run["evidence"] = verdict.kind, verdict.evidence
    lines = ",\n".join(json.dumps(run, ensure_ascii=False) for run in runs)
    table = json.dumps(confusion(runs))
    write_atomically(RECORD, f'{{"confusion": {table},\n"runs": [\n{lines}\n]}}\n'.encode())


if __name__ == "__main__":
    main()
