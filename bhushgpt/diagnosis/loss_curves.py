"""Is my loss normal? A run's curve judged against what counting reaches on the same text.

`LossCurve` is a run's losses as they are judged: in order, smoothed, with what was logged beside
them. `diagnose` looks for each way of being broken, one rule after the other; every rule compares
with the run's own floors: ln V, the unigram, the bigram, the n-gram. The shares in the rules were
set on small real runs, sound and broken ones; tests/test_loss_doctor.py repeats them. A run that
is only short is not broken, so what it has learned is judged when it had the steps for it.

`SpikeDetector` finds steps whose loss jumps out of its neighbourhood, while training goes on or
afterwards.

Letters: N steps logged, K points of the smoothed curve, M glances at the held-out text.

Lesson: notebook 12.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from bhushgpt.diagnosis.findings import Finding, Mark
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
        """Return the curve of a history's lines, as `RunFolder.history` gives them."""
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


ENOUGH = 20  # steps, before which nothing can be said
EARLY_TOKENS = 2_000_000  # up to here a counter learns faster than any network
# A loss this far below a counter that saw the same tokens cannot have been learned from them.
LEAK = 0.8
IMPOSSIBLE = 0.4  # the same for the whole text's n-gram, at any time
STANDS = 0.2  # within this share of the step from unigram to bigram, a curve stands at the unigram
STOOD = 0.4  # of all points there: it was stuck
# Steps after the warm-up before which a small rate and a slow start look the same as being stuck.
SETTLED = 100
RISE = 0.05  # nats, and a fiftieth of the loss: less is noise of the held-out text

Floors = Mapping[str, float]
Counted = Callable[[int], float]


def diagnose(curve: LossCurve, floors: Floors, counted: Counted | None = None) -> list[Finding]:
    """Return what a curve shows: one verdict, and what else is worth a look.

    Args:
        curve: Of the run.
        floors: Its ladder: uniform, unigram, bigram and, where counted, n-gram, in nats.
        counted: Held-out loss of the best counter that has read the first so many tokens of the
            training text. With it, a model that sees the answers is told from one that learns.

    >>> floors = {"uniform": 4.37, "unigram": 3.06, "bigram": 2.37, "n-gram": 1.39}
    >>> falling = [{"step": n, "loss": 1.9 + 2.4 * 0.98**n} for n in range(1, 301)]
    >>> print(diagnose(LossCurve.from_history(falling), floors)[0].text)
    fine: 1.906 after step 300, between bigram (2.370) and n-gram (1.390).
    """
    if len(curve.steps) < ENOUGH:
        few = f"{len(curve.steps)} steps are too few to judge; {ENOUGH} are enough."
        return [verdict("look", few)]
    first = (
        not_finite(curve)
        or leak(curve, floors, counted)
        or diverged(curve, floors)
        or _too_short(curve, floors)
        or nothing_learned(curve, floors)
        or stuck_at_unigram(curve, floors)
        or memorising(curve)
        or _sound(curve, floors)
    )
    return [first, *_spikes(curve)]


def _too_short(curve: LossCurve, floors: Floors) -> Finding | None:
    if curve.settled >= SETTLED:
        return None
    more = " It still falls: go on." if curve.falling else ""
    return verdict(
        "look",
        f"too few steps to judge: {curve.judged:.3f} after step {curve.steps[-1]:.0f}, "
        f"{_place(curve, floors)}.{more} What a run has learned can be told {SETTLED} steps after "
        "its warm-up.",
    )


def _sound(curve: LossCurve, floors: Floors) -> Finding:
    points, step, place = curve.points, curve.steps[-1], _place(curve, floors)
    highest = points[int(np.argmax(points[:, 1]))]
    above = curve.judged > floors["bigram"]
    if highest[1] > floors["uniform"] + 0.3 and above:
        return verdict(
            "look",
            f"{curve.judged:.3f} after step {step:.0f}, {place}, but it went up to "
            f"{highest[1]:.3f} at step {highest[0]:.0f}, above guessing: the learning rate is too "
            f"high{with_rate(curve)}. Take a third of it, or a longer warm-up.",
        )
    more = ""
    if curve.falling:
        more = " It still falls: more steps would help."
    elif above and curve.rate_ran_out:
        more = " It came to rest with its learning rate: more steps would help."
    elif above:
        more = " It no longer falls: only a bigram table may end here, a GPT does not use its past."
        return verdict("look", f"{curve.judged:.3f} after step {step:.0f}, {place}.{more}")
    return verdict("OK", f"fine: {curve.judged:.3f} after step {step:.0f}, {place}.{more}")


def _place(curve: LossCurve, floors: Floors) -> str:
    """Say between which rungs of the ladder a run stands."""
    rungs = sorted(floors.items(), key=lambda rung: -rung[1])
    above = [f"{name} ({nats:.3f})" for name, nats in rungs if nats >= curve.judged]
    below = [f"{name} ({nats:.3f})" for name, nats in rungs if nats < curve.judged]
    if above and below:
        return f"between {above[-1]} and {below[0]}"
    return f"below {above[-1]}" if above else f"above {below[0]}"


def _spikes(curve: LossCurve) -> list[Finding]:
    found = list(find_spikes(zip(curve.steps.astype(int), curve.losses, strict=True)))
    if not found:
        return []
    worst = max(found, key=lambda spike: spike.deviations)
    return [
        Finding(
            "look",
            "spikes",
            f"Steps that jump out of the curve: {len(found)}; the highest is {worst}.",
        )
    ]


def not_finite(curve: LossCurve) -> Finding | None:
    """Say where the losses stop being numbers."""
    bad = curve.steps[~np.isfinite(curve.losses)]
    if not len(bad):
        return None
    return verdict(
        "broken",
        f"the loss of step {bad[0]:.0f} is no finite number; all after it is spoilt. Go back to a "
        f"checkpoint before it and lower the learning rate{with_rate(curve)}, or take bfloat16 "
        "instead of float16.",
    )


def leak(curve: LossCurve, floors: Floors, counted: Counted | None) -> Finding | None:
    """Say that a model predicts better than its past allows, so it sees what it predicts."""
    if counted is not None:
        points = curve.points
        early = points[(points[:, 2] > 0) & (points[:, 2] <= EARLY_TOKENS)]
        # A few places tell: each costs one count over the tokens seen until then.
        for step, loss, tokens in early[:: max(1, len(early) // 8)][1:]:
            if loss < floors["bigram"] and loss < LEAK * (reached := counted(int(tokens))):
                return _sees_the_answer(
                    f"at step {step:.0f} the loss is {loss:.3f}, but a counter that remembers all "
                    f"{tokens:,.0f} tokens seen until then reaches only {reached:.3f}"
                )
    least = IMPOSSIBLE * floors.get("n-gram", 0.0)
    if len(curve.held_out) and curve.judged < least:
        return _sees_the_answer(
            f"the held-out loss is {curve.judged:.3f}, less than a {1 / IMPOSSIBLE:.2g}th of what "
            f"the n-gram reaches ({floors['n-gram']:.3f})"
        )
    return None


def _sees_the_answer(evidence: str) -> Finding:
    return verdict(
        "broken",
        f"too good too early, the model sees the answer (a leak): {evidence}. Look at the causal "
        "mask, at the targets (one token later than the inputs), and whether held-out text is in "
        "the training part.",
    )


def diverged(curve: LossCurve, floors: Floors) -> Finding | None:
    """Say that a run ended far above where it had been, or above guessing."""
    points = curve.points
    best = int(np.argmin(points[:, 1]))
    low, end = points[best, 1], curve.last
    rise = end - low
    above = end > floors["uniform"] + 0.2 and (curve.settled >= SETTLED or rise > 0.2)
    if not (above or rise > max(0.3, 0.5 * (floors["uniform"] - low))):
        return None
    highest = points[int(np.argmax(points[:, 1]))]
    history = f"was {low:.3f} at step {points[best, 0]:.0f} and is {end:.3f} at the end"
    if end - low < 0.2:  # it never was good
        history = f"went up to {highest[1]:.3f} at step {highest[0]:.0f} and ends at {end:.3f}"
    return verdict(
        "broken",
        f"diverged: the loss {history}; guessing is {floors['uniform']:.3f}. The learning rate "
        f"is too high{with_rate(curve)}: take a tenth of it, or a longer warm-up.",
    )


def nothing_learned(curve: LossCurve, floors: Floors) -> Finding | None:
    """Say that a curve is still where it began."""
    uniform, unigram = floors["uniform"], floors["unigram"]
    if not curve.last > unigram + 0.3 * (uniform - unigram):
        return None
    if curve.points[:, 1].max() > uniform + 0.3:
        cause = f"It was higher on the way: the learning rate is too high{with_rate(curve)}."
    else:
        cause = f"Too few steps, or the rate is too low{with_rate(curve)}: take ten times it."
    return verdict(
        "broken",
        f"hardly anything learned: {curve.last:.3f} after step {curve.steps[-1]:.0f}, guessing is "
        f"{uniform:.3f} and knowing only how frequent each token is, {unigram:.3f}. {cause}",
    )


def stuck_at_unigram(curve: LossCurve, floors: Floors) -> Finding | None:
    """Say that a curve stood where knowing the frequencies alone brings it."""
    unigram = floors["unigram"]
    points, near = curve.points, STANDS * (unigram - floors["bigram"])
    there = np.abs(points[:, 1] - unigram) < near
    stands = bool(there[2 * len(points) // 3 :].all()) and not curve.falling
    if not (stands or there.mean() > STOOD):
        return None
    first, last = points[there][0, 0], points[there][-1, 0]
    if last - first < SETTLED:
        return None
    return verdict(
        "broken" if stands else "look",
        f"plateau at the unigram ({unigram:.3f}) from step {first:.0f} to {last:.0f}: the model "
        "knew how frequent each token is and nothing of their order. Usual causes: a learning rate "
        f"that is too high{with_rate(curve)}, tokens too few in a step, targets that do not "
        "belong to the inputs, or no positions.",
    )


def memorising(curve: LossCurve) -> Finding | None:
    """Say from which step on the held-out loss rose."""
    if len(curve.held_out) < 3:
        return None
    best = int(np.argmin(curve.held_out[:, 1]))
    step, low = curve.held_out[best]
    rise = curve.held_out[-1, 1] - low
    if not rise > max(RISE, low / 50):
        return None
    return verdict(
        "look",
        f"memorising since step {step:.0f}: the held-out loss was {low:.3f} there and has risen by "
        f"{rise:.3f} since, while the training loss is {curve.last:.3f}. Use the checkpoint "
        "`best`; next time take fewer steps, more text, more dropout or a smaller model.",
    )


def with_rate(curve: LossCurve) -> str:
    """Return the learning rate to put behind its name, or nothing where none was logged."""
    return f" (it was {curve.rate:.2g})" if math.isfinite(curve.rate) else ""


def verdict(mark: Mark, text: str) -> Finding:
    """Return a finding about the curve."""
    return Finding(mark, "curve", text)


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
