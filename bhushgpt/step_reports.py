"""What one training step has to say: a report, or the reason why it could not be made.

Lesson: notebook 05.
"""

import math
from dataclasses import dataclass

from bhushgpt.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one training step has to say.

    Lesson: notebook 05.
    """

    step: int
    """Steps done, this one included."""
    loss: float
    """Mean nats per token of this step's batch, before the step changed the weights."""
    learning_rate: float
    """The rate this step was made with."""
    grad_norm: float
    """Length of the gradient before clipping."""
    tokens: int
    """Tokens seen in this step."""

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are numbers that a step can be made with."""
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


class NonFinite(UserError):
    """A loss or a gradient that is no number: the run stopped with the weights as they were.

    Attributes:
        step: Of the batch, `batches[step]`, so that it can be left out (`SkippedBatches`).

    Lesson: notebook 05.
    """

    def __init__(self, message: str, step: int = 0) -> None:
        super().__init__(message)
        self.step = step
