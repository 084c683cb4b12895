"""A run's losses as they are judged: in order, smoothed, with what was logged beside them.

Letters: N steps logged, K points of the smoothed curve.

Lesson: notebook 11.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

POINTS = 200  # of the smoothed curve, however long the run is
LEAST_BLOCK = 5  # steps in a point: their median shrugs off one unlucky batch


@dataclass(frozen=True, kw_only=True)
class LossCurve:
    """What the history of a run says, step by step.

    Lesson: notebook 11.

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
    rate: float
    """The highest learning rate; NaN where none was logged."""
    held_out: np.ndarray
    """(M, 2) step and held-out loss, where it was measured."""

    @classmethod
    def from_history(cls, lines: Iterable[Mapping[str, Any]]) -> "LossCurve":
        """Return the curve of a history's lines, as `RunFolder.history` gives them."""
        rows = [line for line in lines if isinstance(line.get("loss"), int | float)]
        rates = [number(line.get("learning_rate")) for line in rows]
        known = [rate for rate in rates if math.isfinite(rate)]
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
            rate=max(known, default=math.nan),
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
    def last(self) -> float:
        """The training loss at the end, smoothed."""
        return float(self.points[-1, 1])

    @property
    def judged(self) -> float:
        """The loss to compare with the floors: the last held-out one, else the training loss."""
        return float(self.held_out[-1, 1]) if len(self.held_out) else self.last


def number(value: Any) -> float:
    """Return a logged value as a number, NaN if it is none.

    Lesson: notebook 11.

    >>> number(3), number("x"), number(None), number(True)
    (3.0, nan, nan, nan)
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return float(value) if is_number else math.nan
    except OverflowError:  # JSON allows whole numbers of any length
        return math.nan
