"""A run's losses as they are judged: in order, smoothed, with what was logged beside them.

`SpikeDetector` finds steps whose loss jumps out of its neighbourhood, while training goes on or
afterwards. What a curve means, `verdicts` says.

Letters: N steps logged, K points of the smoothed curve, M glances at the held-out text.

Lesson: notebook 12.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from bhushgpt.errors import UserError

POINTS = 200  # of the smoothed curve, however long the run is
LEAST_BLOCK = 5  # steps in a point: their median shrugs off one unlucky batch


@dataclass(frozen=True, kw_only=True)
class LossCurve:
    """What the history of a run says, step by step.

    >>> curve = LossCurve.from_history({"step": n, "loss": 4 - n / 25} for n in range(1, 51))
    >>> len(curve.steps), len(curve.points), float(round(curve.last, 2))
    (50, 10, 2.08)
    """

    steps: np.ndarray
    """(N,) numbers of the steps."""
    losses: np.ndarray
    """(N,) training loss of each; may hold NaN."""
    tokens: np.ndarray
    """(N,) tokens seen up to and with each step; 0 where nothing was logged."""
    rates: np.ndarray
    """(N,) learning rate of each; NaN where none was logged."""
    held_out: np.ndarray
    """(M, 2) step and held-out loss, where it was measured."""

    @classmethod
    def from_history(cls, lines: Iterable[Mapping[str, Any]]) -> "LossCurve":
        """Return the curve of a history's lines: step, loss, learning_rate, tokens."""
        rows = [line for line in lines if isinstance(line.get("loss"), int | float)]
        rates = [number(line.get("learning_rate")) for line in rows]
        glances = [
            (line["step"], line["held_out"])
            for line in rows
            if isinstance(line.get("held_out"), int | float)
        ]
        tokens = [number(line.get("tokens", 0)) for line in rows]
        return cls(
            steps=np.array([line["step"] for line in rows], dtype=np.float64),
            losses=np.array([line["loss"] for line in rows], dtype=np.float64),
            tokens=np.cumsum(np.nan_to_num(np.array(tokens, dtype=np.float64))),
            rates=np.array(rates, dtype=np.float64),
            held_out=np.array(glances, dtype=np.float64).reshape(-1, 2),
        )

    @property
    def points(self) -> np.ndarray:
        """(K, 3) the smoothed curve: last step, median loss and tokens seen of each block."""
        count = max(1, min(POINTS, len(self.steps) // LEAST_BLOCK))
        blocks = np.array_split(np.arange(len(self.steps)), count)
        return np.array(
            [
                (self.steps[block[-1]], np.median(self.losses[block]), self.tokens[block[-1]])
                for block in blocks
                if len(block)
            ]
        ).reshape(-1, 3)

    @property
    def rate(self) -> float:
        """The highest learning rate; NaN where none was logged."""
        known = self.rates[np.isfinite(self.rates)]
        return float(known.max()) if len(known) else math.nan

    @property
    def settled(self) -> int:
        """How many steps came after the warm-up, which ends where the rate is highest."""
        top = np.flatnonzero(self.rates == self.rate)
        return len(self.steps) - (int(top[0]) + 1 if len(top) else 0)

    @property
    def rate_ran_out(self) -> bool:
        """Whether a schedule had brought the rate down at the end, and with it the loss to rest."""
        return bool(len(self.rates) and self.rates[-1] < self.rate / 2)

    @property
    def falling(self) -> bool:
        """Whether the last third brought the loss down by more than a fiftieth."""
        points = self.points
        return bool(points[2 * len(points) // 3, 1] - self.last > 0.02 * self.last)

    @property
    def last(self) -> float:
        """The training loss at the end, smoothed."""
        return float(self.points[-1, 1])

    @property
    def judged(self) -> float:
        """The loss to compare with the floors: the last held-out one, else the training loss."""
        return float(self.held_out[-1, 1]) if len(self.held_out) else self.last


def number(value: Any) -> float:
    """Return a logged value as a number, NaN if it is none.

    >>> number(3), number("x"), number(None), number(True)
    (3.0, nan, nan, nan)
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return float(value) if is_number else math.nan
    except OverflowError:  # JSON allows whole numbers of any length
        return math.nan


# For numbers that scatter like a bell curve, 1.4826 times the median deviation is one standard
# deviation; unlike the standard deviation it does not grow with the very spike that is sought.
BELL = 1.4826
# The least that counts as scatter, as a share of the loss: a run on one repeated batch has none.
LEAST_SCATTER = 0.005


@dataclass(frozen=True)
class Spike:
    """A loss far above those before it."""

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

    >>> [spike.step for spike in find_spikes((n, 9.0 if n == 80 else 2.0) for n in range(100))]
    [80]
    """
    detector = SpikeDetector(window, k)
    for step, loss in losses:
        if spike := detector.look(step, loss):
            yield spike
