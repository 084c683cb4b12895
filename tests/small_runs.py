"""A run so small that tests can train it many times, with everything that could go wrong in it.

It has dropout, accumulation and a schedule, and between its steps the caller draws random numbers
from all three global generators: a text from the model, and one number each from Python and numpy.
"""

import dataclasses
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from bhushgpt.batches import Batches
from bhushgpt.evaluation import evaluate
from bhushgpt.gpt import GPTConfig
from bhushgpt.language_model import LanguageModel, eval_mode
from bhushgpt.presets import RunConfig, build_model
from bhushgpt.tokenizers import CharTokenizer
from bhushgpt.training import TrainState, train
from bhushgpt.training_config import TrainingConfig

TOKENIZER = CharTokenizer("\n abcdefgh")
TOKENS = np.random.default_rng(0).integers(0, TOKENIZER.vocab_size, 2000)


@dataclass(frozen=True)
class Moment:
    """What can be seen of a run after one step; two runs are the same if their moments are."""

    step: int
    loss: float
    text: str
    drawn: tuple[float, float]
    held_out: float | None


def small_config(steps: int = 60, *, width: int = 8, dropout: float = 0.2) -> RunConfig:
    """Return settings with everything on: dropout, accumulation, warm-up and cosine."""
    return RunConfig(
        preset="gpt-v1-smoke",
        model=GPTConfig(
            vocab_size=TOKENIZER.vocab_size,
            context_length=8,
            n_layer=1,
            n_head=2,
            n_embd=width,
            dropout=dropout,
        ),
        training=TrainingConfig(
            steps=steps,
            batch_size=4,
            accumulation_steps=2,
            warmup_steps=min(5, steps // 10),
            schedule="cosine",
            learning_rate=1e-2,
        ),
    )


def fresh_state(config: RunConfig) -> TrainState:
    """Return the state before the first step."""
    return TrainState.fresh(build_model(config), config.training)


def batches_of(config: RunConfig, skip: Iterable[int] = ()) -> Batches:
    """Return the batches of a small run."""
    training, length = config.training, config.model.context_length
    return Batches(TOKENS, training.batch_size, length, seed=training.seed, skip=skip)


def moments(state: TrainState, config: RunConfig, *, glance_every: int = 7) -> Iterator[Moment]:
    """Train on and yield what can be seen after each step."""
    model = state.model
    assert isinstance(model, LanguageModel)
    for report in train(state, batches_of(config), config.training):
        glance = report.step % glance_every == 0
        held_out = evaluate(model, TOKENS[:200]).nats_per_token if glance else None
        drawn = (random.gauss(0, 1), float(np.random.standard_normal()))
        yield Moment(report.step, report.loss, sampled(model), drawn, held_out)


@torch.no_grad()
def sampled(model: LanguageModel, length: int = 4) -> str:
    """Draw a text with torch's global generator, as many people do between two steps."""
    ids = torch.zeros(1, 1, dtype=torch.long)
    with eval_mode(model):
        for _ in range(length):
            chances = model(ids[:, -model.context_length :])[:, -1].softmax(dim=-1)
            ids = torch.cat([ids, torch.multinomial(chances, 1)], dim=1)
    return TOKENIZER.decode(ids[0])


def same_weights(one: TrainState, other: TrainState) -> bool:
    """Return whether two states have the same model, bit for bit."""
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    return all(torch.equal(ours, theirs) for ours, theirs in pairs)


def with_model(config: RunConfig, **sizes: int) -> RunConfig:
    """Return the settings with other sizes of the model."""
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **sizes))
