"""Complete settings of a run by name, each a function that returns them.

Lesson: notebook 08.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch

from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.errors import UserError, nearest
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.language_model import LanguageModel
from bhushgpt.training import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides what a run computes, apart from the text itself.

    Raises:
        UserError: If the held-out share is not between 0 and 1.

    Lesson: notebook 08.
    """

    preset: str
    """The name it was made from."""
    model: GPTConfig | BigramConfig
    """Sizes of the model; the kind of the settings decides the kind of the model."""
    training: TrainingConfig
    """How it is trained."""
    held_out: float = 0.1
    """Share of the text, at its end, that is never trained on."""

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 1:
            raise UserError(
                f"held_out is {self.held_out}; it is a share between 0 and 1, such as 0.1."
            )


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


PRESETS: dict[str, Callable[[int], RunConfig]] = {
    "bigram": bigram,
    "gpt-v1-smoke": gpt_v1_smoke,
    "gpt-v1": gpt_v1,
    "gpt-v1-large": gpt_v1_large,
}


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


def build_model(config: RunConfig, device: torch.device | str = "cpu") -> LanguageModel:
    """Return the untrained model of a run; the same seed gives the same weights.

    The weights are drawn on the CPU and then moved, so that they do not depend on the device, and
    the global random state is left as it was.

    Lesson: notebook 08.

    >>> a, b = (build_model(preset("bigram", 7)) for _ in range(2))
    >>> bool(all((p == q).all() for p, q in zip(a.parameters(), b.parameters())))
    True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        model = GPT(config.model) if isinstance(config.model, GPTConfig) else Bigram(config.model)
    return model.to(device)
