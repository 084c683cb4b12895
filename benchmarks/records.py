"""The course's records of training: what is reached after how many tokens, seed by seed.

    python benchmarks/records.py                  what there is, and how much of it is done
    python benchmarks/records.py modern large     run what is missing of these
    python benchmarks/records.py modern --speed   measure seconds a step; the machine must be idle
    python benchmarks/records.py --table          what was reached, for README.md beside this file

Every run is written as soon as it ends, into `record_NAME.json` beside this file; started again,
the script goes on with what is missing. Losses are nats per token of the whole held-out text, in
float32. Seconds of a busy machine mean nothing, so that runs store none and `--speed` does.
"""

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bhushgpt.batches import Batches
from bhushgpt.corpus import load_text, split_text
from bhushgpt.cpu_settings import keep_freed_memory
from bhushgpt.devices import machine_card
from bhushgpt.environment import named_folder
from bhushgpt.evaluation import evaluate
from bhushgpt.gpt import GPTConfig
from bhushgpt.language_model import LanguageModel, ModelConfig
from bhushgpt.modern_gpt import ModernConfig
from bhushgpt.muon import MuonConfig
from bhushgpt.presets import RunConfig, build_model
from bhushgpt.speed import accelerate, pick_acceleration
from bhushgpt.tokenizers import CharTokenizer
from bhushgpt.training import TrainState, train
from bhushgpt.training_config import TrainingConfig

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A model and a training, to be run from several seeds."""

    model: Callable[..., ModelConfig]
    """Makes the settings of the model, given `vocab_size`."""
    training: TrainingConfig
    """Its seed is replaced."""
    seeds: int
    """How many runs: seeds 0 and up."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Trials on one text, to be compared."""

    says: str
    """What it asks."""
    trials: dict[str, Trial]
    """By name."""
    evaluate_every: int
    """Steps between two looks at the held-out text."""
    text: str = "sherlock"
    """A corpus by name, or a file in the folder that BHUSHGPT_DATA names."""
    held_out: float = 0.1
    """Share of the text, at its end."""


def modern() -> Study:
    """Return the study of gpt-modern beside GPT-2's kind at its best rate."""
    gpt2 = partial(GPTConfig, position="learned")
    trials = {}
    for steps in (500, 2000):
        training = MuonConfig(steps=steps, warmup_steps=20, schedule="linear")
        trials[f"gpt-modern-{steps}"] = Trial(model=ModernConfig, training=training, seeds=1)
    for steps, rates in ((1500, (1e-3, 3e-3, 6e-3, 1e-2)), (6000, (6e-3,))):
        for rate in rates:
            training = TrainingConfig(
                steps=steps, learning_rate=rate, warmup_steps=100, schedule="linear"
            )
            trials[f"gpt2-{rate}-{steps}"] = Trial(model=gpt2, training=training, seeds=1)
    says = "How many steps does GPT-2's kind need for the same loss?"
    return Study(says=says, trials=trials, evaluate_every=250)


def large() -> Study:
    """Return the study of what was wrong with gpt-v1-large on a book."""
    sizes = {"context_length": 128, "n_layer": 8, "n_head": 8, "n_embd": 256}
    steps = {"steps": 100, "batch_size": 64}
    old = TrainingConfig(learning_rate=1e-3, warmup_steps=10, schedule="cosine", **steps)
    fast = dataclasses.replace(old, learning_rate=3e-3)
    brief = dataclasses.replace(old, warmup_steps=3)
    today = MuonConfig(warmup_steps=3, schedule="linear", **steps)
    # GPT-2's kind of every part, so that nothing but the start differs.
    from_zero = partial(
        ModernConfig,
        position="learned",
        norm_form="layer",
        mlp_form="gelu",
        qk_norm=False,
        tied=True,
        bias=True,
    )

    def trial(training: TrainingConfig, kind: Any = GPTConfig, **more: Any) -> Trial:
        return Trial(model=partial(kind, **(sizes | more)), training=training, seeds=1)

    trials = {
        "as it was": trial(old, dropout=0.2),
        "rotary positions": trial(old, dropout=0.2, position="rotary"),
        "rate 3e-3": trial(fast, dropout=0.2),
        "warm-up of 3 steps, not 10": trial(brief, dropout=0.2),
        "dropout 0": trial(old),
        "projections from zero": trial(old, from_zero, dropout=0.2),
        "today's parts and Muon": trial(today, ModernConfig),
    }
    says = "Why does a large model learn a book more slowly than a small one?"
    return Study(says=says, trials=trials, evaluate_every=100)


def in_minutes(trials: dict[str, Trial], **study: Any) -> Study:
    """Return a study that asks how far today's parts and Muon come in so many minutes."""
    return Study(trials=trials, evaluate_every=500, **study)


def budget(
    steps: int,
    shape: tuple[int, int, int],
    *,
    context: int = 128,
    dropout: float = 0.0,
) -> Trial:
    """Return one run of today's parts: layers, heads and channels, and how long."""
    n_layer, n_head, n_embd = shape
    model = partial(
        ModernConfig,
        context_length=context,
        n_layer=n_layer,
        n_head=n_head,
        n_embd=n_embd,
        dropout=dropout,
    )
    training = MuonConfig(steps=steps, batch_size=32, warmup_steps=20, schedule="linear")
    return Trial(model=model, training=training, seeds=1)


STUDIES: dict[str, Callable[[], Study]] = {
    "modern": modern,
    "large": large,
    "shakespeare": lambda: in_minutes(
        {
            "0.8 M, 2000 steps": budget(2000, (4, 4, 128), context=64),
            "2.7 M, 2400 steps": budget(2400, (6, 6, 192), dropout=0.1),
        },
        text="shakespeare",
        says="Tiny Shakespeare: at most 1.60 in 3 minutes, 1.47 in 12?",
    ),
    "tinystories": lambda: in_minutes(
        {"2.7 M, 1800 steps": budget(1800, (6, 6, 192))},
        text="tinystories",
        says="TinyStories: at most 0.8410 in 9 minutes, 0.75 in 30?",
    ),
    "holmes": lambda: in_minutes(
        {"2.7 M, 3000 steps": budget(3000, (6, 6, 192), dropout=0.25)},
        says="Holmes: at most 1.26 in 30 minutes?",
    ),
    "holmes-80-20": lambda: in_minutes(
        {"2.7 M, 3000 steps": budget(3000, (6, 6, 192), dropout=0.25)},
        held_out=0.2,
        says="Holmes, a fifth held out: at most 1.26 in 30 minutes?",
    ),
    "holmes-wrapped": lambda: in_minutes(
        {"2.7 M, 1500 steps": budget(1500, (6, 6, 192), dropout=0.2)},
        text="pg1661.txt",
        held_out=0.2,
        says="Holmes in lines of 70 characters, a fifth held out: at most 1.32 in 30 minutes?",
    ),
}


@dataclass(frozen=True)
class Text:
    """A text as a study sees it."""

    vocab_size: int
    train: np.ndarray
    held_out: np.ndarray

    @classmethod
    def of(cls, study: Study) -> "Text":
        """Read it."""
        file = (named_folder("BHUSHGPT_DATA") or Path()) / study.text
        whole = load_text(file if file.suffix else study.text).text
        tokenizer = CharTokenizer.from_text(whole)
        halves = split_text(whole, study.held_out)
        return cls(tokenizer.vocab_size, *(np.array(tokenizer.encode(half)) for half in halves))


def started(trial: Trial, seed: int, text: Text) -> tuple[RunConfig, LanguageModel, Any, Any]:
    """Return a run that has not made a step: settings, model, state and its reports' maker."""
    training = dataclasses.replace(trial.training, seed=seed)
    model_config = trial.model(vocab_size=text.vocab_size)
    config = RunConfig(preset="record", model=model_config, training=training)
    model = build_model(config)
    acceleration, _ = pick_acceleration("cpu", config, compile="on")
    state = TrainState.fresh(model, training)
    batches = Batches(text.train, training.batch_size, model_config.context_length, seed)
    return (
        config,
        model,
        acceleration,
        train(state, batches, training, accelerate(model, acceleration)),
    )


def run(trial: Trial, seed: int, text: Text, every: int) -> dict[str, Any]:
    """Train once and return what the record keeps of it."""
    config, model, acceleration, reports = started(trial, seed, text)
    losses, recent, curve = [], [], []
    for report in reports:
        recent.append(report.loss)
        if report.step % 25 == 0:
            curve.append(round(statistics.mean(recent[-25:]), 4))
        if report.step % every == 0 or report.step == config.training.steps:
            losses.append([report.step, round(evaluate(model, text.held_out).nats_per_token, 4)])
    return {
        "seed": seed,
        "parameters": model.parameter_count(),
        "tokens": config.training.steps * config.training.batch_size * model.context_length,
        "precision": acceleration.precision,
        "held_out": losses,
        "training": curve,
    }


def speed(trials: dict[str, Trial], text: Text, rounds: int = 30) -> dict[str, float]:
    """Return each trial's median seconds a step, the steps taken in turn."""
    reports = {name: started(trial, 0, text)[-1] for name, trial in trials.items()}
    seconds: dict[str, list[float]] = {name: [] for name in trials}
    for _ in range(rounds + 3):
        for name, steps in reports.items():
            begin = time.perf_counter()
            next(steps)
            seconds[name].append(time.perf_counter() - begin)
    return {name: round(statistics.median(times[3:]), 4) for name, times in seconds.items()}


def load(name: str, study: Study) -> dict[str, Any]:
    """Return the record as it is, or an empty one."""
    file = HERE / f"record_{name}.json"
    if file.exists():
        return json.loads(file.read_text(encoding="utf-8"))
    return {
        "says": study.says,
        "measured_by": f"python benchmarks/records.py {name}",
        "text": study.text,
        "held_out_share": study.held_out,
        "machine": machine_card(),
        "runs": {},
        "seconds_per_step": {},
    }


def save(name: str, record: dict[str, Any]) -> None:
    """Write the record, a line a run."""
    lines = {
        trial: [json.dumps(entry) for entry in entries] for trial, entries in record["runs"].items()
    }
    head = {key: value for key, value in record.items() if key != "runs"}
    runs = ",\n".join(
        f"{json.dumps(trial)}: [\n" + ",\n".join(entries) + "\n]"
        for trial, entries in lines.items()
    )
    text = json.dumps(head)[:-1] + ',\n"runs": {\n' + runs + "\n}}\n"
    file = HERE / f"record_{name}.json"
    temporary = file.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)


def missing(study: Study, record: dict[str, Any]) -> list[tuple[str, int]]:
    """Return what has not run: the first seed of all trials before the second of any."""
    done = {(name, entry["seed"]) for name, runs in record["runs"].items() for entry in runs}
    most = max(trial.seeds for trial in study.trials.values())
    wanted = [(n, seed) for seed in range(most) for n, t in study.trials.items() if seed < t.seeds]
    return [pair for pair in wanted if pair not in done]


def table() -> str:
    """Return all records as a table: the mean over the seeds of the last held-out loss."""
    rows = [
        "| study | trial | seeds | parameters | characters read | minutes | held-out loss |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in STUDIES:
        record = load(name, STUDIES[name]())
        for trial, runs in record["runs"].items():
            first, losses = runs[0], [run["held_out"][-1][1] for run in runs]
            step = record["seconds_per_step"].get(trial)
            minutes = f"{first['held_out'][-1][0] * step / 60:.1f}" if step else "not measured"
            rows.append(
                f"| {name} | {trial} | {len(runs)} | {first['parameters']:,} | "
                f"{first['tokens']:,} | {minutes} | {statistics.mean(losses):.4f} |"
            )
    return "\n".join(rows)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description="Run the records of training.")
    parser.add_argument("names", nargs="*", help="which studies to run")
    parser.add_argument("--speed", action="store_true", help="measure seconds a step instead")
    parser.add_argument("--table", action="store_true", help="print what was reached instead")
    parser.add_argument("--only", help="trials whose name begins so")
    asked = parser.parse_args()
    if asked.table:
        print(table())
        return
    if unknown := set(asked.names) - set(STUDIES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are: {', '.join(STUDIES)}")
    keep_freed_memory("cpu")
    for name in asked.names or STUDIES:
        study = STUDIES[name]()
        record = load(name, study)
        if asked.only:
            chosen = {n: t for n, t in study.trials.items() if n.startswith(asked.only)}
            study = dataclasses.replace(study, trials=chosen)
        left = missing(study, record)
        print(f"{name:<16}{study.says} {len(left)} runs to go.", flush=True)
        if not asked.names:
            continue
        text = Text.of(study)
        if asked.speed:
            record["seconds_per_step"] |= speed(study.trials, text)
            record["threads"] = torch.get_num_threads()
            save(name, record)
            continue
        for trial, seed in left:
            entry = run(study.trials[trial], seed, text, study.evaluate_every)
            record["runs"].setdefault(trial, []).append(entry)
            save(name, record)
            print(f"  {trial}, seed {seed}: {entry['held_out'][-1][1]:.4f}", flush=True)


if __name__ == "__main__":
    main()
