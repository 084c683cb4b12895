"""Train models of several sizes for several lengths each, and write what they reach as JSON.

    python benchmarks/scaling_law.py benchmarks/scaling_law.json
    python benchmarks/scaling_law.py benchmarks/scaling_law.json --shapes 4 --longest 4000
    python benchmarks/scaling_law.py runs/tales.json --corpus shakespeare --shapes 2

One run serves all lengths of a size: until its decay begins, a `wsd` run does not know how long it
will be (notebook 15). So the longest one is trained, and at three quarters of each shorter length a
copy of it goes down the hill by itself. What is in the file already is not trained again.
"""

import argparse
import copy
import json
from pathlib import Path

import numpy as np

from bhushgpt.batches import Batches, split_tokens
from bhushgpt.corpus import load_text
from bhushgpt.cpu_settings import keep_freed_memory
from bhushgpt.devices import machine_card
from bhushgpt.evaluation import evaluate
from bhushgpt.language_model import LanguageModel
from bhushgpt.presets import RunConfig, build_model
from bhushgpt.scaling import SHAPES, Shape, Trained, fit_law, recipe, training_flops
from bhushgpt.speed import AcceleratedLoss, accelerate, pick_acceleration
from bhushgpt.tokenizers import CharTokenizer
from bhushgpt.training import TrainState, train

LENGTHS = (125, 250, 500, 1000, 2000, 4000)


def main() -> None:
    """Read the command line, train what is missing, and save after each run."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("file", type=Path)
    flags.add_argument("--corpus", default="sherlock")
    flags.add_argument("--shapes", type=int, default=len(SHAPES), help="so many of the smallest")
    flags.add_argument("--longest", type=int, default=2000)
    flags.add_argument("--seeds", type=int, default=1)
    asked = flags.parse_args()
    keep_freed_memory("cpu")
    text = load_text(asked.corpus).text
    tokenizer = CharTokenizer.from_text(text)
    tokens = np.array(tokenizer.encode(text), dtype=np.uint16)
    parts = split_tokens(tokens, 0.1)
    record = opened(asked.file, asked.corpus, parts)
    lengths = [length for length in LENGTHS if length <= asked.longest]
    for seed in range(1337, 1337 + asked.seeds):
        for shape in SHAPES[: asked.shapes]:
            there = {row["steps"] for row in record["runs"] if same(row, shape, seed)}
            if not there >= set(lengths):
                for row in rows(shape, seed, parts, tokenizer.vocab_size, lengths):
                    record["runs"] = [r for r in record["runs"] if not matches(r, row)] + [row]
                    save(asked.file, record)
                    print(row, flush=True)
    runs = [
        Trained(parameters=row["parameters"], tokens=row["tokens"], loss=row["held_out"])
        for row in record["runs"]
    ]
    longest: dict[int, int] = {}
    for run in runs:
        longest[run.parameters] = max(run.tokens, longest.get(run.parameters, 0))
    # What every size has been through.
    epochs = min(longest.values()) / record["train_tokens"]
    print(f"MOST_EPOCHS = {epochs:.0f}\nHOLMES = {fit_law(runs)}")


def opened(path: Path, corpus: str, parts: tuple[np.ndarray, np.ndarray]) -> dict:
    """Return the record in a file, or a new one."""
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    return {
        "what": "held-out loss of bhushgpt.scaling.recipe by size and length",
        "measured_by": "python benchmarks/scaling_law.py benchmarks/scaling_law.json",
        "machine": machine_card(),
        "corpus": corpus,
        "train_tokens": len(parts[0]),
        "held_out_tokens": len(parts[1]),
        "runs": [],
    }


def save(path: Path, record: dict) -> None:
    """Write the record, a line for each run."""
    lines = ",\n".join("  " + json.dumps(row) for row in record["runs"])
    rest = {key: value for key, value in record.items() if key != "runs"}
    text = json.dumps(rest, indent=1).removesuffix("\n}") + ',\n "runs": [\n' + lines + "\n ]\n}\n"
    path.write_text(text, encoding="utf-8")


def same(row: dict, shape: Shape, seed: int) -> bool:
    """Return whether a row is of this shape and seed."""
    return tuple(row["shape"]) == shape and row["seed"] == seed


def matches(row: dict, other: dict) -> bool:
    """Return whether two rows are of the same run."""
    return all(row[key] == other[key] for key in ("shape", "seed", "steps"))


def rows(shape: Shape, seed: int, parts: tuple, vocab_size: int, lengths: list[int]):
    """Yield a row for each length, shortest first."""
    train_tokens, held_out = parts
    longest = recipe(shape, vocab_size, max(lengths), seed=seed)
    state = TrainState.fresh(build_model(longest), longest.training)
    batches = Batches(train_tokens, longest.training.batch_size, 64, seed=seed)
    for length in lengths:
        config = recipe(shape, vocab_size, length, seed=seed)
        advance(state, batches, longest, until=length - config.training.decay_steps)
        branch = state if length == max(lengths) else copy.deepcopy(state)
        losses = advance(branch, batches, config, until=length)
        assert isinstance(branch.model, LanguageModel)
        yield {
            "shape": list(shape),
            "seed": seed,
            "steps": length,
            "parameters": branch.model.parameter_count(),
            "tokens": length * 2048,
            "flops_per_token": training_flops(config.model),
            "held_out": round(evaluate(branch.model, held_out).nats_per_token, 4),
            "training": round(float(np.mean(losses[-25:])), 4),
        }


def advance(state: TrainState, batches: Batches, config: RunConfig, until: int) -> list[float]:
    """Train a state up to a step, and return the losses."""
    losses, loss = [], loss_of(state, config)
    while state.step < until:
        losses.append(next(train(state, batches, config.training, loss)).loss)
    return losses


def loss_of(state: TrainState, config: RunConfig) -> AcceleratedLoss:
    """Return the loss function that `train` of the command line would take on a CPU."""
    return accelerate(state.model, pick_acceleration("cpu", config)[0])


if __name__ == "__main__":
    main()
