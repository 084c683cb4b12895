"""Is my loss normal? A run's curve judged against what counting reaches on the same text.

Lesson: notebook 11.
"""

import numpy as np

from bhushgpt.findings import Finding
from bhushgpt.loss_curves import LossCurve
from bhushgpt.loss_rules import (
    Counted,
    Floors,
    diverged,
    leak,
    memorising,
    not_finite,
    nothing_learned,
    stuck_at_unigram,
    verdict,
    with_rate,
)
from bhushgpt.spikes import find_spikes

ENOUGH = 20  # steps, before which nothing can be said


def diagnose(curve: LossCurve, floors: Floors, counted: Counted | None = None) -> list[Finding]:
    """Return what a curve shows: one verdict, and what else is worth a look.

    Args:
        curve: Of the run.
        floors: Its ladder: uniform, unigram, bigram and, where counted, n-gram, in nats.
        counted: Held-out loss of the best counter that has read the first so many tokens of the
            training text. With it, a model that sees the answers is told from one that learns.

    Lesson: notebook 11.

    >>> floors = {"uniform": 4.37, "unigram": 3.06, "bigram": 2.37, "n-gram": 1.39}
    >>> falling = [{"step": n, "loss": 1.9 + 2.4 * 0.98**n} for n in range(1, 301)]
    >>> print(diagnose(LossCurve.from_history(falling), floors)[0].text)
    fine: 1.906 after step 300, between bigram (2.370) and n-gram (1.390).
    """
    if len(curve.steps) < ENOUGH:
        few = f"{len(curve.steps)} steps are too few to judge; {ENOUGH} are enough."
        return [verdict("look", few)]
    verdicts = (
        not_finite(curve),
        leak(curve, floors, counted),
        diverged(curve, floors),
        nothing_learned(curve, floors),
        stuck_at_unigram(curve, floors),
        memorising(curve),
    )
    first = next((found for found in verdicts if found), None) or _sound(curve, floors)
    return [first, *_spikes(curve)]


def _sound(curve: LossCurve, floors: Floors) -> Finding:
    points, step = curve.points, curve.steps[-1]
    highest = points[int(np.argmax(points[:, 1]))]
    third = points[2 * len(points) // 3, 1] - curve.last
    falling = third > 0.02 * curve.last
    rungs = sorted(floors.items(), key=lambda rung: -rung[1])
    above = [f"{name} ({nats:.3f})" for name, nats in rungs if nats >= curve.judged]
    below = [f"{name} ({nats:.3f})" for name, nats in rungs if nats < curve.judged]
    places = [above[-1] if above else "", below[0] if below else ""]
    place = f"between {places[0]} and {places[1]}" if all(places) else f"below {places[0]}"
    if highest[1] > floors["uniform"] + 0.3 and curve.judged > floors["bigram"]:
        return verdict(
            "look",
            f"{curve.judged:.3f} after step {step:.0f}, {place}, but it went up to "
            f"{highest[1]:.3f} at step {highest[0]:.0f}, above guessing: the learning rate is too "
            f"high{with_rate(curve)}. Take a third of it, or a longer warm-up.",
        )
    more = " It still falls: more steps would help." if falling else ""
    if curve.judged > floors["bigram"] and not falling and step > 2 * ENOUGH:
        more = " It no longer falls: only a bigram table may end here, a GPT does not use its past."
        return verdict("look", f"{curve.judged:.3f} after step {step:.0f}, {place}.{more}")
    return verdict("OK", f"fine: {curve.judged:.3f} after step {step:.0f}, {place}.{more}")


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
