"""Looking up from training now and then: how is the held-out text predicted, what is written?

Lesson: notebook 16.
"""

from typing import Any, cast

import torch

from bhushgpt.completion import complete_text
from bhushgpt.distributed import World
from bhushgpt.evaluation import evaluate
from bhushgpt.generation import Sampling
from bhushgpt.interruption import Interruption, Stopped
from bhushgpt.language_model import LanguageModel
from bhushgpt.precision import Precision, autocast
from bhushgpt.run_log import RunLog
from bhushgpt.run_options import RunOptions
from bhushgpt.texts import Text

# About so often in a run: enough to see the trend, cheap enough to repeat.
GLANCES = 10
GLANCE_TOKENS = 8192
SAMPLE_TOKENS = 64
# Scores that an evaluation may hold at a time, 256 MiB of them: of a large vocabulary they fill the
# memory sooner than training does.
SCORES = 2**26


def usual_interval(steps: int) -> int:
    """Return the steps from one glance, or checkpoint, to the next.

    Lesson: notebook 16.

    >>> usual_interval(1500), usual_interval(40)
    (150, 25)
    """
    return max(25, steps // GLANCES)


def windows_at_once(text: Text, model: LanguageModel) -> int:
    """Return how many windows of a text to evaluate at a time, so that the scores find room.

    Lesson: notebook 16.
    """
    return max(1, min(64, SCORES // (model.context_length * text.tokenizer.vocab_size)))


class Glances:
    """A part of the held-out text predicted, and a sample drawn, ten times in a run.

    Nothing of it changes training. What it costs is small, but on a slow machine it can be seconds,
    so a signal that asks to stop ends a glance at once.

    Args:
        model: The model being trained.
        text: Where the held-out part is.
        log: Where it is written.
        steps: Of the whole run.
        options: How the model computes.
        world: Who takes part.

    Attributes:
        best: (nats, step) of the lowest glance so far.

    Lesson: notebook 16.
    """

    def __init__(
        self,
        model: LanguageModel,
        text: Text,
        log: RunLog,
        steps: int,
        options: RunOptions,
        world: World,
    ) -> None:
        self.model = model
        self.text = text
        self.log = log
        self.steps = steps
        self.precision: Precision = cast(Precision, options.precision)  # no longer auto
        self.world = world
        self.sharded = options.strategy == "fsdp" and world.size > 1
        history = log.run.history()
        seen = [(line["held_out"], line["step"]) for line in history if "held_out" in line]
        self.best: tuple[float, int] | None = min(seen, default=None)

    def look(self, line: dict[str, Any], interruption: Interruption) -> bool:
        """Add `held_out` to the line of a step if a glance is due; return whether it is the best.

        A signal that comes meanwhile leaves the line as it is.
        """
        step = line["step"]
        if step % usual_interval(self.steps) and step != self.steps:
            return False
        if not self.sharded and not self.world.is_main:
            return False
        try:
            # Uncompiled: a few calls of many lengths are not worth the time of compiling.
            eager = torch.compiler.set_stance("force_eager")
            with eager, autocast(self.world.device, self.precision):
                line["held_out"] = self._held_out(interruption)
                if not self.sharded:
                    self._sample(step, interruption)
        except Stopped:
            return False
        if self.best is None or line["held_out"] < self.best[0]:
            self.best = (line["held_out"], step)
            return True
        return False

    def _held_out(self, interruption: Interruption) -> float:
        tokens, rows = self.text.held_out[:GLANCE_TOKENS], windows_at_once(self.text, self.model)
        if self.sharded:  # all processes compute it together: none may leave
            return evaluate(self.model, tokens, batch_size=rows).nats_per_token
        with interruption.at_once():
            return evaluate(self.model, tokens, batch_size=rows).nats_per_token

    def _sample(self, step: int, interruption: Interruption) -> None:
        prompt = self.text.prompt
        sampling = Sampling(temperature=0.8, seed=1)
        with interruption.at_once():
            pieces = complete_text(self.model, self.text.tokenizer, prompt, SAMPLE_TOKENS, sampling)
            self.log.add_sample(step, prompt, "".join(pieces))
