"""Batches of which some are left out, such as the one that made the loss infinite.

Letters: B batch, T time.

Lesson: notebook 11.
"""

from collections.abc import Iterable

from torch import Tensor

from bhushgpt.errors import UserError
from bhushgpt.training import StepBatches

# Far behind the last step of any run, so that what takes the place of a batch is not seen twice.
ELSEWHERE = 10**9


class SkippedBatches:
    """The same batches, but with another one in the place of those that are left out.

    Still a function of the step alone, so a run that leaves out batch 41 resumes bit-exactly.

    Args:
        batches: Any batches by step number, such as `Batches`.
        steps: Numbers of the batches to leave out: `batches[n]` makes step n + 1.

    Raises:
        UserError: If a number is negative.

    Lesson: notebook 11.

    >>> import numpy as np
    >>> from bhushgpt.batches import Batches
    >>> batches = Batches(np.arange(100), batch_size=2, context_length=4)
    >>> without = SkippedBatches(batches, [1])
    >>> [bool((without[n][0] == batches[n][0]).all()) for n in range(3)]
    [True, False, True]
    """

    def __init__(self, batches: StepBatches, steps: Iterable[int]) -> None:
        self.batches = batches
        self.steps = frozenset(steps)
        if any(step < 0 for step in self.steps):
            raise UserError(f"There is no batch {min(self.steps)}: the first is number 0.")

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of a step, (B, T) each."""
        return self.batches[step + ELSEWHERE if step in self.steps else step]
