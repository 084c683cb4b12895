"""One short text, read many times: what holds off learning it by heart? Write a table as JSON.

    python benchmarks/scarce_data.py benchmarks/scarce_data.json
    python benchmarks/scarce_data.py runs/whole.json --share 1 --shape 5 --batch 32 --epochs 8 32

Weight decay x dropout x epochs, each for three seeds; of every run the last weights and their
moving average, and of every two seeds the mean of their predictions. The lengths of a run share its
beginning, as in scaling_law.py. What is in the file already is not trained again.
"""

import argparse
import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from bhushgpt.averages import Ensemble, WeightAverage
from bhushgpt.batches import Batches, split_tokens
from bhushgpt.corpus import load_text
from bhushgpt.cpu_settings import keep_freed_memory
from bhushgpt.devices import machine_card
from bhushgpt.evaluation import evaluate
from bhushgpt.gpt import GPTConfig
from bhushgpt.language_model import LanguageModel
from bhushgpt.presets import RunConfig, build_model
from bhushgpt.scaling import SHAPES, recipe
from bhushgpt.speed import accelerate, pick_acceleration
from bhushgpt.tokenizers import CharTokenizer
from bhushgpt.training import TrainState, train

WEIGHT_DECAYS, DROPOUTS, SEEDS = (0.1, 1.0), (0.0, 0.2), (0, 1, 2)
EMA_DECAY = 0.98  # about the last 50 steps
JUDGED = 8_192  # held-out characters
Model = tuple[LanguageModel, LanguageModel, float]  # the last weights, their average, training loss


def main() -> None:
    """Read the command line, train what is missing, and save after each setting."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("file", type=Path)
    flags.add_argument("--share", type=float, default=1 / 32, help="of the training text")
    flags.add_argument("--shape", type=int, default=2, help="number in bhushgpt.scaling.SHAPES")
    flags.add_argument("--epochs", type=int, nargs="+", default=[4, 16, 64])
    flags.add_argument("--batch", type=int, default=8, help="windows in a step")
    asked = flags.parse_args()
    keep_freed_memory("cpu")
    text = load_text("sherlock").text
    tokenizer = CharTokenizer.from_text(text)
    whole, held_out = split_tokens(np.array(tokenizer.encode(text), dtype=np.uint16), 0.1)
    scarce = whole[: int(asked.share * len(whole))]
    record = {
        "what": "held-out loss of bhushgpt.scaling.recipe by what holds off learning by heart",
        "measured_by": "python benchmarks/scarce_data.py benchmarks/scarce_data.json",
        "machine": machine_card(),
        "train_tokens": len(scarce),
        "held_out_tokens": JUDGED,
        "shape": SHAPES[asked.shape],
        "batch_size": asked.batch,
        "ema_decay": EMA_DECAY,
        "rows": [],
    }
    if asked.file.exists():
        record = json.loads(asked.file.read_text(encoding="utf-8"))
    done = {(row["weight_decay"], row["dropout"]) for row in record["rows"]}
    for weight_decay, dropout in product(WEIGHT_DECAYS, DROPOUTS):
        if (weight_decay, dropout) in done:
            continue
        models: dict[int, list[Model]] = {epochs: [] for epochs in asked.epochs}
        for seed in SEEDS:
            config = recipe(SHAPES[asked.shape], tokenizer.vocab_size, 1, seed=seed)
            config = settings(config, asked.batch, weight_decay, dropout)
            for epochs, model in trained(config, scarce, sorted(asked.epochs)):
                models[epochs].append(model)
        for epochs, three in models.items():
            for row in judged(three, held_out[:JUDGED]):
                setting = {"weight_decay": weight_decay, "dropout": dropout, "epochs": epochs}
                record["rows"].append(setting | row)
        save(asked.file, record)
        print(f"weight decay {weight_decay}, dropout {dropout}", flush=True)


def settings(config: RunConfig, batch: int, weight_decay: float, dropout: float) -> RunConfig:
    """Return the settings of one run; its length is still open."""
    training = replace(
        config.training,
        batch_size=batch,
        # Smaller batches are noisier: the usual rule is the square root.
        learning_rate=config.training.learning_rate * (batch / config.training.batch_size) ** 0.5,
        weight_decay=weight_decay,
    )
    assert isinstance(config.model, GPTConfig)
    return replace(config, model=replace(config.model, dropout=dropout), training=training)


def of_length(config: RunConfig, steps: int) -> RunConfig:
    """Return the settings for so many steps: the last quarter goes down."""
    plan = replace(config.training, steps=steps, decay_steps=steps // 4, warmup_steps=25)
    return replace(config, training=plan)


def trained(config: RunConfig, tokens: np.ndarray, epochs: list[int]) -> Iterator[tuple]:
    """Yield (epochs, model) for each length; all share the beginning of the longest."""
    batches = Batches(tokens, config.training.batch_size, 64, seed=config.training.seed)
    step = config.training.batch_size * config.model.context_length
    steps_of = {n: round(n * len(tokens) / step) for n in epochs}
    longest = of_length(config, steps_of[epochs[-1]])
    state = TrainState.fresh(build_model(longest), longest.training)
    assert isinstance(state.model, LanguageModel)
    average = WeightAverage(state.model, EMA_DECAY)
    for n in epochs:
        mine = of_length(config, steps_of[n])
        advance(state, average, batches, longest, steps_of[n] - mine.training.decay_steps)
        branch, its_average = copy.deepcopy((state, average))
        losses = advance(branch, its_average, batches, mine, steps_of[n])
        yield n, (branch.model, its_average.model, float(np.mean(losses[-25:])))


def advance(
    state: TrainState, average: WeightAverage, batches: Batches, config: RunConfig, until: int
) -> list[float]:
    """Train a state up to a step, averaging its weights, and return the losses."""
    loss, losses = accelerate(state.model, pick_acceleration("cpu", config)[0]), []
    while state.step < until:
        losses.append(next(train(state, batches, config.training, loss)).loss)
        average.update(state.model)
    return losses


def judged(three: list[Model], held_out: np.ndarray) -> Iterator[dict]:
    """Yield a row for each seed: the last weights or the average, alone or with the next seed."""
    for seed, ema, together in product(range(len(three)), (False, True), (False, True)):
        members = [three[seed], three[(seed + 1) % len(three)]][: 1 + together]
        model = Ensemble([average if ema else last for last, average, _ in members])
        yield {
            "seed": seed,
            "ema": ema,
            "ensemble": together,
            "held_out": round(evaluate(model, held_out).nats_per_token, 4),
            "training": round(float(np.mean([member[2] for member in members])), 4),
        }


def save(path: Path, record: dict) -> None:
    """Write the record, a line for each row."""
    lines = ",\n".join("  " + json.dumps(row) for row in record["rows"])
    rest = {key: value for key, value in record.items() if key != "rows"}
    text = json.dumps(rest, indent=1).removesuffix("\n}") + ',\n "rows": [\n' + lines + "\n ]\n}\n"
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
