"""Steps whose loss jumps out of its neighbourhood, found while training goes on or afterwards.

Lesson: notebook 11.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median

from bhushgpt.errors import UserError

# For numbers that scatter like a bell curve, 1.4826 times the median deviation is one standard
# deviation; unlike the standard deviation it does not grow with the very spike that is sought.
BELL = 1.4826
# The least that counts as scatter, as a share of the loss: a run on one repeated batch has none.
LEAST_SCATTER = 0.005


@dataclass(frozen=True)
class Spike:
    """A loss far above those before it.

    Lesson: notebook 11.
    """

    step: int
    loss: float
    usual: float
    """Median of the losses before it."""
    deviations: float
    """How many standard deviations above that it is, by the median deviation."""

    def __str__(self) -> str:
        return (
            f"step {self.step}: the loss is {self.loss:.3f}, usual is {self.usual:.3f} "
            f"({self.deviations:.0f} deviations)"
        )


class SpikeDetector:
    """Compares each loss with the median of the last ones: median + k deviations is a spike.

    It reports and changes nothing. A jump that stays is a spike at its first steps and then the new
    usual, once half of the window lies behind it.

    Args:
        window: How many steps back it looks.
        k: Deviations above the median that are still usual.

    Raises:
        UserError: If the window is below 5 or k not above 0.

    Lesson: notebook 11.

    >>> detector = SpikeDetector(window=10)
    >>> losses = [2.0, 2.1, 1.9, 2.0, 2.1, 1.9, 2.0, 2.1, 1.9, 2.0, 7.0, 2.0]
    >>> [str(spike) for n, loss in enumerate(losses) if (spike := detector.look(n, loss))]
    ['step 10: the loss is 7.000, usual is 2.000 (34 deviations)']
    """

    def __init__(self, window: int = 50, k: float = 8.0) -> None:
        if window < 5 or not k > 0:
            raise UserError(
                f"window is {window} and k {k}: the window must be at least 5 steps, k above 0."
            )
        self.k = k
        self._recent: deque[float] = deque(maxlen=window)
        self._enough = max(5, window // 2)  # a median of a few says little

    def look(self, step: int, loss: float) -> Spike | None:
        """Take the loss of the next step; return what is to be reported, mostly nothing."""
        found = None
        if len(self._recent) >= self._enough:
            usual = median(self._recent)
            scatter = BELL * median(abs(value - usual) for value in self._recent)
            scatter = max(scatter, LEAST_SCATTER * abs(usual), 1e-9)
            deviations = (loss - usual) / scatter
            if not deviations <= self.k:  # NaN is no usual loss either
                found = Spike(step, loss, usual, deviations)
        if math.isfinite(loss):  # a NaN would spoil every median after it
            self._recent.append(loss)
        return found


def find_spikes(
    losses: Iterable[tuple[int, float]], window: int = 50, k: float = 8.0
) -> Iterator[Spike]:
    """Yield the spikes of a whole curve of (step, loss).

    Lesson: notebook 11.

    >>> [spike.step for spike in find_spikes((n, 9.0 if n == 80 else 2.0) for n in range(100))]
    [80]
    """
    detector = SpikeDetector(window, k)
    for step, loss in losses:
        if spike := detector.look(step, loss):
            yield spike
