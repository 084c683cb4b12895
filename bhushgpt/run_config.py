"""The settings of a run, and the untrained model that they describe.

Lesson: notebook 08.
"""

from dataclasses import dataclass

import torch

from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.language_model import LanguageModel
from bhushgpt.training_config import TrainingConfig


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


def build_model(config: RunConfig, device: torch.device | str = "cpu") -> LanguageModel:
    """Return the untrained model of a run; the same seed gives the same weights.

    The weights are drawn on the CPU and then moved, so that they do not depend on the device, and
    the global random state is left as it was.

    Lesson: notebook 08.

    >>> from bhushgpt.presets import preset
    >>> a, b = (build_model(preset("bigram", 7)) for _ in range(2))
    >>> bool(all((p == q).all() for p, q in zip(a.parameters(), b.parameters())))
    True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        model = GPT(config.model) if isinstance(config.model, GPTConfig) else Bigram(config.model)
    return model.to(device)
