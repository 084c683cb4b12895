"""Complete settings of a run by name, each a function that returns them.

Lesson: notebook 08.
"""

import dataclasses
from collections.abc import Callable
from functools import partial

from bhushgpt.bigram import BigramConfig
from bhushgpt.errors import UserError, nearest
from bhushgpt.gpt import GPTConfig
from bhushgpt.run_config import RunConfig, build_model
from bhushgpt.training_config import TrainingConfig

__all__ = ["GPT2_SIZES", "PRESETS", "RunConfig", "build_model", "preset"]

# Blocks, heads and width as Radford et al. (2019) published them, and how many windows of 1,024
# tokens an 80 GB card computes at once.
GPT2_SIZES = {
    "gpt-v2": (12, 12, 768, 16),
    "gpt-v2-medium": (24, 16, 1024, 8),
    "gpt-v2-large": (36, 20, 1280, 4),
    "gpt-v2-xl": (48, 25, 1600, 2),
}
# The highest rates of Brown et al. (2020), table 2.1, for models of these sizes.
GPT2_RATES = {
    "gpt-v2": 6e-4,
    "gpt-v2-medium": 3e-4,
    "gpt-v2-large": 2.5e-4,
    "gpt-v2-xl": 2e-4,
}


def bigram(vocab_size: int) -> RunConfig:
    """Return a table of logits that learns what follows each token; seconds to train.

    Lesson: notebook 08.
    """
    return RunConfig(
        preset="bigram",
        model=BigramConfig(vocab_size=vocab_size, context_length=64),
        training=TrainingConfig(
            steps=1000,
            batch_size=32,
            learning_rate=0.1,
            schedule="linear",
            # A row of the table is a distribution, not a factor of a product: nothing to decay.
            weight_decay=0.0,
        ),
    )


def gpt_v1_smoke(vocab_size: int) -> RunConfig:
    """Return a GPT so small that tests can train it: seconds, and nothing to be proud of.

    Lesson: notebook 08.
    """
    return RunConfig(
        preset="gpt-v1-smoke",
        model=GPTConfig(vocab_size=vocab_size, context_length=32, n_layer=2, n_head=2, n_embd=32),
        training=TrainingConfig(
            steps=50, batch_size=8, learning_rate=3e-3, warmup_steps=5, schedule="linear"
        ),
    )


def gpt_v1(vocab_size: int) -> RunConfig:
    """Return the course's GPT: 0.8 million parameters, a few minutes on a laptop's CPU.

    Lesson: notebook 08.
    """
    return RunConfig(
        preset="gpt-v1",
        # Rotary positions: better than learned ones after the same steps, as notebook 08 measures.
        model=GPTConfig(
            vocab_size=vocab_size,
            context_length=64,
            n_layer=4,
            n_head=4,
            n_embd=128,
            position="rotary",
        ),
        training=TrainingConfig(
            steps=1500, batch_size=32, learning_rate=3e-3, warmup_steps=100, schedule="linear"
        ),
    )


def gpt_v1_large(vocab_size: int) -> RunConfig:
    """Return the classic character model of six million parameters; it wants a GPU.

    Lesson: notebook 08.
    """
    return RunConfig(
        preset="gpt-v1-large",
        model=GPTConfig(
            vocab_size=vocab_size,
            context_length=128,
            n_layer=8,
            n_head=8,
            n_embd=256,
            # A book of half a million characters is seen many times over: dropout delays the
            # moment at which the model starts to recite it.
            dropout=0.2,
        ),
        training=TrainingConfig(
            steps=5000, batch_size=64, learning_rate=1e-3, warmup_steps=200, schedule="cosine"
        ),
    )


def gpt_v2_mini(vocab_size: int) -> RunConfig:
    """Return a GPT-2 that a laptop's CPU trains in minutes, on some thousand different tokens.

    Lesson: notebook 15.
    """
    return RunConfig(
        preset="gpt-v2-mini",
        model=GPTConfig(vocab_size=vocab_size, context_length=128, n_layer=4, n_head=4, n_embd=128),
        training=TrainingConfig(
            steps=3500,
            # Small batches: after the same minutes, more and smaller steps had learned more.
            batch_size=16,
            learning_rate=4e-3,
            min_learning_rate=4e-4,
            warmup_steps=200,
            schedule="cosine",
        ),
    )


def gpt_v2(vocab_size: int, name: str = "gpt-v2") -> RunConfig:
    """Return GPT-2 in a published size, 124 million parameters to 1.5 billion; it wants a GPU.

    A step sees half a million tokens, and the run the nine billion of OpenWebText once.

    Lesson: notebook 15.
    """
    n_layer, n_head, n_embd, windows = GPT2_SIZES[name]
    return RunConfig(
        preset=name,
        model=GPTConfig(
            vocab_size=vocab_size,
            context_length=1024,
            n_layer=n_layer,
            n_head=n_head,
            n_embd=n_embd,
        ),
        training=TrainingConfig(
            steps=17_000,
            batch_size=512,
            accumulation_steps=512 // windows,
            learning_rate=GPT2_RATES[name],
            min_learning_rate=GPT2_RATES[name] / 10,
            warmup_steps=700,
            schedule="cosine",
            betas=(0.9, 0.95),
        ),
    )


PRESETS: dict[str, Callable[[int], RunConfig]] = {
    "bigram": bigram,
    "gpt-v1-smoke": gpt_v1_smoke,
    "gpt-v1": gpt_v1,
    "gpt-v1-large": gpt_v1_large,
    "gpt-v2-mini": gpt_v2_mini,
} | {name: partial(gpt_v2, name=name) for name in GPT2_SIZES}


def preset(name: str, vocab_size: int, *, steps: int | None = None) -> RunConfig:
    """Return the settings of that name.

    Args:
        name: One of `PRESETS`.
        vocab_size: V of the tokenizer.
        steps: Another number of steps; a warm-up longer than a tenth of them is cut to that.

    Raises:
        UserError: If there is no such preset; the message names the nearest.

    Lesson: notebook 08.

    >>> preset("gpt-v1", 79).model.n_layer, preset("gpt-v1", 79, steps=200).training.warmup_steps
    (4, 20)
    """
    if name not in PRESETS:
        raise UserError(f"There is no preset {name!r}. {nearest(name, PRESETS)}")
    config = PRESETS[name](vocab_size)
    if steps is None:
        return config
    warmup = min(config.training.warmup_steps, max(steps, 0) // 10)
    training = dataclasses.replace(config.training, steps=steps, warmup_steps=warmup)
    return dataclasses.replace(config, training=training)
