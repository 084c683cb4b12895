"""What a broken loss curve looks like, a rule for each way of being broken.

Every rule compares with the run's own floors: ln V, the unigram, the bigram, the n-gram. The
shares were set on small real runs, sound and broken ones; tests/test_loss_doctor.py repeats them.

Lesson: notebook 11.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from bhushgpt.findings import Finding, Mark
from bhushgpt.loss_curves import LossCurve

EARLY_TOKENS = 2_000_000  # up to here a counter learns faster than any network
# A loss this far below a counter that saw the same tokens cannot have been learned from them.
LEAK = 0.8
IMPOSSIBLE = 0.4  # the same for the whole text's n-gram, at any time
STANDS = 0.2  # within this share of the step from unigram to bigram, a curve stands at the unigram
STOOD = 0.4  # of all points there: it was stuck
RISE = 0.05  # nats, and a fiftieth of the loss: less is noise of the held-out text

Floors = Mapping[str, float]
Counted = Callable[[int], float]


def not_finite(curve: LossCurve) -> Finding | None:
    """Say where the losses stop being numbers.

    Lesson: notebook 11.
    """
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
    """Say that a model predicts better than its past allows, so it sees what it predicts.

    Lesson: notebook 11.
    """
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
    """Say that a run ended far above where it had been, or above guessing.

    Lesson: notebook 11.
    """
    points = curve.points
    best = int(np.argmin(points[:, 1]))
    low, end = points[best, 1], curve.last
    rise = end - low
    if not (end > floors["uniform"] + 0.2 or rise > max(0.3, 0.5 * (floors["uniform"] - low))):
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
    """Say that a curve is still where it began.

    Lesson: notebook 11.
    """
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
    """Say that a curve stood where knowing the frequencies alone brings it.

    Lesson: notebook 11.
    """
    unigram = floors["unigram"]
    points, near = curve.points, STANDS * (unigram - floors["bigram"])
    there = np.abs(points[:, 1] - unigram) < near
    third = points[2 * len(points) // 3 :, 1]
    stands = bool(there[-len(third) :].all()) and abs(third[0] - third[-1]) < near
    if not (stands or there.mean() > STOOD):
        return None
    left = curve.last < unigram - near
    first, last = points[there][0, 0], points[there][-1, 0]
    return verdict(
        "look" if left else "broken",
        f"plateau at the unigram ({unigram:.3f}) from step {first:.0f} to {last:.0f}: the model "
        "knew how frequent each token is and nothing of their order. Usual causes: a learning rate "
        f"that is too high{with_rate(curve)}, tokens too few in a step, targets that do not "
        "belong to the inputs, or no positions.",
    )


def memorising(curve: LossCurve) -> Finding | None:
    """Say from which step on the held-out loss rose.

    Lesson: notebook 11.
    """
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
    """Return the learning rate to put behind its name, or nothing where none was logged.

    Lesson: notebook 11.
    """
    return f" (it was {curve.rate:.2g})" if math.isfinite(curve.rate) else ""


def verdict(mark: Mark, text: str) -> Finding:
    """Return a finding about the curve.

    Lesson: notebook 11.
    """
    return Finding(mark, "curve", text)
