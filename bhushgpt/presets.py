"""The settings of a run, the untrained model that they describe, and complete settings by name.

Lesson: notebook 09.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from bhushgpt.bigram import BigramConfig
from bhushgpt.corpus import check_share
from bhushgpt.errors import UserError, nearest
from bhushgpt.gpt import GPTConfig
from bhushgpt.kinds import loaded
from bhushgpt.language_model import LanguageModel, ModelConfig
from bhushgpt.training_config import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides what a run computes, apart from the text itself.

    Raises:
        UserError: If the held-out share is not between 0 and 1.
    """

    preset: str
    """The name it was made from."""
    model: ModelConfig
    """Sizes of the model, which they build."""
    training: TrainingConfig
    """How it is trained."""
    held_out: float = 0.1
    """Share of the text, at its end, that is never trained on."""

    def __post_init__(self) -> None:
        check_share(self.held_out)


def build_model(config: RunConfig, device: torch.device | str = "cpu") -> LanguageModel:
    """Return the untrained model of a run; the same seed gives the same weights.

    The weights are drawn on the CPU and then moved, so that they do not depend on the device, and
    the global random state is left as it was.

    >>> from bhushgpt.presets import preset
    >>> a, b = (build_model(preset("bigram", 7)) for _ in range(2))
    >>> bool(all((p == q).all() for p, q in zip(a.parameters(), b.parameters())))
    True
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it reaches every card, and these are not put back.
        torch.default_generator.manual_seed(config.training.seed)
        model = config.model.build()
    return model.to(device)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A run by name: everything but the vocabulary, which is the tokenizer's."""

    says: str
    """What it is, in a line."""
    model: Callable[..., ModelConfig]
    """Makes the settings of the model, given `vocab_size`."""
    training: TrainingConfig
    """How it is trained."""


def _gpt2(name: str, shape: tuple[int, int, int], rate: float, windows: int) -> Preset:
    """Return GPT-2 in a published size: (blocks, heads, width).

    A step sees half a million tokens, and the run the nine billion of OpenWebText once.

    Args:
        name: Of the size.
        shape: As Radford et al. (2019) published it.
        rate: The highest rate of Brown et al. (2020), table 2.1, for a model of this size.
        windows: How many windows of 1,024 tokens an 80 GB card computes at once.
    """
    n_layer, n_head, n_embd = shape
    return Preset(
        says=f"GPT-2 {name}, for a GPU",
        model=partial(
            GPTConfig, context_length=1024, n_layer=n_layer, n_head=n_head, n_embd=n_embd
        ),
        training=TrainingConfig(
            steps=17_000,
            batch_size=512,
            accumulation_steps=512 // windows,
            learning_rate=rate,
            min_learning_rate=rate / 10,
            warmup_steps=700,
            schedule="cosine",
            betas=(0.9, 0.95),
        ),
    )


# As in `bhushgpt.kinds`: what a later lesson brings stands here as its place, "module:name".
PRESETS: dict[str, Preset | str] = {
    "bigram": Preset(
        says="a table that learns what follows each token: seconds",
        model=partial(BigramConfig, context_length=64),
        training=TrainingConfig(
            steps=1000,
            batch_size=32,
            learning_rate=0.1,
            schedule="linear",
            # A row of the table is a distribution, not a factor of a product: nothing to decay.
            weight_decay=0.0,
        ),
    ),
    "gpt-v1-smoke": Preset(
        says="a GPT so small that tests can train it: seconds, and nothing to be proud of",
        model=partial(GPTConfig, context_length=32, n_layer=2, n_head=2, n_embd=32),
        training=TrainingConfig(
            steps=50, batch_size=8, learning_rate=3e-3, warmup_steps=5, schedule="linear"
        ),
    ),
    "gpt-v1": Preset(
        says="the course's GPT, 0.8 million parameters: a few minutes on a laptop",
        # Rotary positions: better than learned ones after the same steps, as notebook 09 measures.
        model=partial(
            GPTConfig, context_length=64, n_layer=4, n_head=4, n_embd=128, position="rotary"
        ),
        training=TrainingConfig(
            steps=1500, batch_size=32, learning_rate=3e-3, warmup_steps=100, schedule="linear"
        ),
    ),
    "gpt-v1-large": Preset(
        says="the classic character model of six million parameters, for a GPU",
        # Rotary positions again: with learned ones, a hundred steps on a book had taught it little
        # more than pairs of characters (benchmarks/record_large.json). A book of half a million
        # characters is seen many times over: dropout delays the moment at which the model starts
        # to recite it.
        model=partial(
            GPTConfig,
            context_length=128,
            n_layer=8,
            n_head=8,
            n_embd=256,
            dropout=0.2,
            position="rotary",
        ),
        training=TrainingConfig(
            steps=5000, batch_size=64, learning_rate=1e-3, warmup_steps=200, schedule="cosine"
        ),
    ),
    "gpt-v2-mini": Preset(
        says="a GPT-2 for some thousand different tokens: minutes on a laptop",
        model=partial(GPTConfig, context_length=128, n_layer=4, n_head=4, n_embd=128),
        training=TrainingConfig(
            steps=3500,
            # Small batches: after the same minutes, more and smaller steps had learned more.
            batch_size=16,
            learning_rate=4e-3,
            min_learning_rate=4e-4,
            warmup_steps=200,
            schedule="cosine",
        ),
    ),
    "gpt-modern": "bhushgpt.modern_gpt:GPT_MODERN",
    "tinystories": "bhushgpt.modern_gpt:TINY_STORIES",
    "speedrun": "bhushgpt.modern_gpt:SPEEDRUN",
    "gpt-v2": _gpt2("124M", (12, 12, 768), rate=6e-4, windows=16),
    "gpt-v2-medium": _gpt2("355M", (24, 16, 1024), rate=3e-4, windows=8),
    "gpt-v2-large": _gpt2("774M", (36, 20, 1280), rate=2.5e-4, windows=4),
    "gpt-v2-xl": _gpt2("1.5B", (48, 25, 1600), rate=2e-4, windows=2),
}
"""Complete settings by name."""
GPT2_SIZES = ("gpt-v2", "gpt-v2-medium", "gpt-v2-large", "gpt-v2-xl")
"""The presets whose sizes OpenAI published."""


def preset(name: str, vocab_size: int, *, steps: int | None = None) -> RunConfig:
    """Return the settings of that name.

    Args:
        name: One of `PRESETS`.
        vocab_size: V of the tokenizer.
        steps: Another number of steps; a warm-up longer than a tenth of them is cut to that.

    Raises:
        UserError: If there is no such preset; the message names the nearest.

    >>> preset("gpt-v1", 79).model.n_layer, preset("gpt-v1", 79, steps=200).training.warmup_steps
    (4, 20)
    """
    if name not in PRESETS:
        raise UserError(f"There is no preset {name!r}. {nearest(name, PRESETS)}")
    made: Preset = loaded(PRESETS[name])
    training = made.training
    if steps is not None:
        warmup = min(training.warmup_steps, max(steps, 0) // 10)
        training = dataclasses.replace(training, steps=steps, warmup_steps=warmup)
    return RunConfig(preset=name, model=made.model(vocab_size=vocab_size), training=training)


# What of a preset may be asked for otherwise, and in which part of the settings it stands.
CHANGEABLE = {
    "batch_size": "training",
    "context_length": "model",
    "learning_rate": "training",
    "seed": "training",
    "held_out": "run",
}


def with_changes(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """Return the settings with some of `CHANGEABLE` in the place of theirs; None leaves one.

    The lowest learning rate keeps its share of the highest.

    Raises:
        UserError: If a value cannot be used.

    >>> with_changes(preset("gpt-v1", 79), {"batch_size": 8, "seed": None}).training.batch_size
    8
    """
    parts: dict[str, dict[str, Any]] = {"model": {}, "training": {}, "run": {}}
    for name, value in changes.items():
        if value is not None:
            parts[CHANGEABLE[name]][name] = value
    old, training = config.training, parts["training"]
    if "learning_rate" in training and old.learning_rate:
        share = old.min_learning_rate / old.learning_rate
        training["min_learning_rate"] = share * training["learning_rate"]
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, **parts["model"]),
        training=dataclasses.replace(old, **training),
        **parts["run"],
    )
