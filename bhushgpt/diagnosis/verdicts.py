"""Is my loss normal? A run's curve judged against what counting reaches on the same text.

`explain` looks for each way of being broken, one rule after the other, and says the first that it
finds, with the evidence and the first thing to try. Each rule compares with the text's own floors.
The shares in the rules lie between what healthy runs over seeds, sizes and texts showed and what
planted bugs did: `benchmarks/doctor.json`, which `benchmarks/doctor.py` makes. A run that is only
short is not broken, so what it has learned is judged when it had the steps for it.

Lesson: notebook 12.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Literal

import numpy as np

from bhushgpt.diagnosis.findings import Finding, Mark
from bhushgpt.diagnosis.loss_curves import LossCurve, find_spikes
from bhushgpt.diagnosis.text_floors import TextFloors

Kind = Literal[
    "fine",
    "not learning",
    "stuck at the unigram",
    "leaking",
    "memorising",
    "unstable",
    "diverged",
    "too short to tell",
]
MARKS: Mapping[Kind, Mark] = {
    "fine": "OK",
    "too short to tell": "look",
    "memorising": "look",
    "unstable": "look",
    "not learning": "broken",
    "stuck at the unigram": "broken",
    "leaking": "broken",
    "diverged": "broken",
}

ENOUGH = 20  # steps, before which nothing can be said
# Steps after the warm-up before which a small rate and a slow start look the same as being stuck.
SETTLED = 100
EARLY_TOKENS = 2_000_000  # up to here a counter learns faster than any network
# A loss this far below a counter that saw the same tokens cannot have been learned from them.
LEAK = 0.8
IMPOSSIBLE = 0.5  # the same for the strongest floor of the whole text, at any time
UNSEEN = 0.85  # held-out text, made as hard as the training text, is not easier than this
OVERLAP = 0.05  # more of the held-out part than usual stands word for word in the training part
DOUBLES = 0.25  # however usual: twice what the most repetitive text of the course has
DENSER = 1.08  # a held-out token stands for more bytes than a training token
STANDS = 0.2  # within this share of the step from unigram to bigram, a curve stands at the unigram
STOOD = 0.4  # of all points there: it was stuck
SLOW = 0.5  # of all points above the unigram: a sound run is below it after a fifth, or sooner
RISE = 0.05  # nats, and a fiftieth of the loss: less is noise of the held-out text
WILD_START = 1.5  # times guessing: the first loss of weights that favour some tokens
SPIKES = 0.02  # of all steps, and three at least: one unlucky batch is none of these


@dataclass(frozen=True)
class Verdict:
    """What a curve shows.

    >>> print(Verdict("leaking", "it knows too much.", "Look at the mask."))
    leaking: it knows too much. First: Look at the mask.
    """

    kind: Kind
    """One of the eight."""
    evidence: str
    """The numbers that say so."""
    first: str = ""
    """What to try first; empty where nothing need be done."""
    since: int | None = None
    """The step that it began at, where there is one."""
    also: tuple[str, ...] = ()
    """What else is worth a look, such as single spikes."""

    def __str__(self) -> str:
        kind = self.kind if self.since is None else f"{self.kind} since step {self.since}"
        first = f" First: {self.first}" if self.first else ""
        return "\n".join([f"{kind}: {self.evidence}{first}", *self.also])

    @property
    def mark(self) -> Mark:
        """How a report marks it: OK, look or broken."""
        return MARKS[self.kind]

    def findings(self) -> list[Finding]:
        """Return the lines of a doctor's report."""
        verdict, *also = str(self).splitlines()
        return [
            Finding(self.mark, "curve", verdict),
            *(Finding("look", "spikes", line) for line in also),
        ]


def explain(
    reports: Iterable[Any],
    text: TextFloors,
    held_out: Mapping[int, float] | None = None,
) -> Verdict:
    """Return what a run's reports show, judged by what counting reaches on its text.

    Args:
        reports: What `train` yielded, or the lines of a run's history (dicts, which may hold
            `held_out` themselves).
        text: `TextFloors.of` the tokens that were learned from and judged on.
        held_out: Step -> held-out loss in nats, where it was measured.

    >>> text = TextFloors(rungs={"uniform": 4.37, "unigram": 3.06, "bigram": 2.37, "PPMd": 1.3})
    >>> falling = [{"step": n, "loss": 1.9 + 2.4 * 0.98**n} for n in range(1, 301)]
    >>> print(explain(falling, text))
    fine: training loss 1.906 after step 300, between bigram (2.370) and PPMd (1.300).
    """
    rows = [dict(row) if isinstance(row, Mapping) else _as_dict(row) for row in reports]
    for row in rows:
        if held_out and row["step"] in held_out:
            row["held_out"] = held_out[row["step"]]
    return judge(LossCurve.from_history(rows), text)


def _as_dict(report: Any) -> dict[str, Any]:
    assert is_dataclass(report) and not isinstance(report, type), "train yields dataclasses"
    return asdict(report)


def judge(curve: LossCurve, text: TextFloors) -> Verdict:
    """Return what a curve shows, and what else is worth a look."""
    if len(curve.steps) < ENOUGH:
        few = f"{len(curve.steps)} steps are too few to judge; {ENOUGH} are enough."
        return Verdict("too short to tell", few)
    first = (
        _not_finite(curve)
        or _split_leaks(text)
        or _sees_the_answer(curve, text)
        or _held_out_too_easy(curve, text)
        or _diverged(curve, text)
        or _too_short(curve, text)
        or _hardly_learned(curve, text)
        or _stuck_at_unigram(curve, text)
        or _slow(curve, text)
        or _memorising(curve)
        or _unstable(curve, text)
        or _rests_above_bigram(curve, text)
        or _fine(curve, text)
    )
    also = [] if first.kind == "unstable" else _spikes(curve)
    return Verdict(first.kind, first.evidence, first.first, first.since, tuple(also))


def _not_finite(curve: LossCurve) -> Verdict | None:
    bad = curve.steps[~np.isfinite(curve.losses)]
    if not len(bad):
        return None
    return Verdict(
        "diverged",
        f"the loss of step {bad[0]:.0f} is no finite number; all after it is spoilt.",
        "go back to a checkpoint before it and lower the learning rate"
        f"{_with_rate(curve)}, or take bfloat16 instead of float16.",
    )


def _split_leaks(text: TextFloors) -> Verdict | None:
    """Say that the held-out part was known before the run began; no curve can show that."""
    if text.found > min(text.found_usually + OVERLAP, DOUBLES):
        return Verdict(
            "leaking",
            f"{text.found:.0%} of the held-out text stands word for word in the training text (of "
            f"its last tenth in the rest of it: {text.found_usually:.0%}). A low held-out loss "
            "means nothing here.",
            "split the text at one place, before it is cut into windows, and take duplicates out.",
        )
    if text.bytes_per_token is None:
        return None
    learned, judged = text.bytes_per_token
    if judged > DENSER * learned:
        return Verdict(
            "leaking",
            f"a held-out token stands for {judged:.2f} bytes, a training token for {learned:.2f}: "
            "the tokenizer fits the held-out text better, so it was trained on it.",
            "train the tokenizer on the training text alone, and compare bits per byte.",
        )
    return None


def _sees_the_answer(curve: LossCurve, text: TextFloors) -> Verdict | None:
    """Say that a model predicts better than its past allows."""
    what = (
        "the causal mask, the targets (one token later than the inputs), and whether the answer "
        "stands in the input."
    )
    least = IMPOSSIBLE * text.strongest
    if len(curve.held_out) and curve.judged < least:
        return Verdict(
            "leaking",
            f"the held-out loss is {curve.judged:.3f}, less than half of what the strongest "
            f"counter reaches ({text.strongest:.3f}).",
            f"look at {what}",
        )
    if text.counted is None:
        return None
    for step, loss, tokens in _early(curve, text):
        reached = text.counted(int(tokens)) / max(1.0, text.harder)
        if loss < text.rungs["bigram"] and loss < LEAK * reached:
            return Verdict(
                "leaking",
                f"too good too early: at step {step:.0f} the loss is {loss:.3f}, but a counter "
                f"that remembers all {tokens:,.0f} tokens seen until then reaches only "
                f"{reached:.3f}.",
                f"look at {what}",
            )
    return None


def _early(curve: LossCurve, text: TextFloors) -> np.ndarray:
    """Return a few points that must not be below the counters: (_, 3) step, loss, tokens seen.

    Of the training loss those of the first time through the text; later it is no surprise. Each
    costs one count over the tokens seen until then.
    """
    points = curve.points
    once = points[(points[:, 2] > 0) & (points[:, 2] <= min(text.tokens, EARLY_TOKENS))]
    chosen = once[:: max(1, len(once) // 6)][1:]
    seen = np.interp(curve.held_out[:, 0], points[:, 0], points[:, 2])
    judged = np.column_stack([curve.held_out, seen])
    judged = judged[(seen > 0) & (seen <= EARLY_TOKENS)]
    return np.concatenate([chosen, judged[-1:]])


def ease(curve: LossCurve, text: TextFloors) -> float:
    """Return the held-out loss over the training loss, both made equally hard; 1 is usual.

    The mean of the later half of the glances; NaN where there are too few.
    """
    half = curve.held_out[len(curve.held_out) // 2 :]
    if len(half) < 2:
        return math.nan
    points = curve.points
    trained = np.interp(half[:, 0], points[:, 0], points[:, 1])
    return float((half[:, 1] / trained).mean() / text.harder)


def _held_out_too_easy(curve: LossCurve, text: TextFloors) -> Verdict | None:
    if curve.settled < SETTLED or not ease(curve, text) < UNSEEN:
        return None
    return Verdict(
        "leaking",
        f"the held-out loss is {curve.judged:.3f} and the training loss {curve.last:.3f}: text "
        "that was never seen is not easier than text that was.",
        "look whether the held-out text is trained on before it is scored, and whether both "
        "losses are measured in the same way.",
    )


def _diverged(curve: LossCurve, text: TextFloors) -> Verdict | None:
    points, uniform = curve.points, text.rungs["uniform"]
    best = int(np.argmin(points[:, 1]))
    low, end = points[best, 1], curve.last
    rise = end - low
    above = end > uniform + 0.2 and (curve.settled >= SETTLED or rise > 0.2)
    if not (above or rise > max(0.3, 0.5 * (uniform - low))):
        return None
    highest = points[int(np.argmax(points[:, 1]))]
    history = f"was {low:.3f} at step {points[best, 0]:.0f} and is {end:.3f} at the end"
    if rise < 0.2:  # it never was good
        history = f"went up to {highest[1]:.3f} at step {highest[0]:.0f} and ends at {end:.3f}"
    return Verdict(
        "diverged",
        f"the loss {history}; guessing is {uniform:.3f}.",
        f"a tenth of the learning rate{_with_rate(curve)}, or a longer warm-up.",
    )


def _too_short(curve: LossCurve, text: TextFloors) -> Verdict | None:
    if curve.settled >= SETTLED:
        return None
    return Verdict(
        "too short to tell",
        f"{_stand(curve, text)}."
        f"{' It still falls.' if curve.falling else ''} What a run has learned can be told "
        f"{SETTLED} steps after its warm-up.",
        "go on.",
    )


def _hardly_learned(curve: LossCurve, text: TextFloors) -> Verdict | None:
    uniform, unigram = text.rungs["uniform"], text.rungs["unigram"]
    if not curve.last > unigram + 0.3 * (uniform - unigram):
        return None
    if curve.points[:, 1].max() > uniform + 0.3:
        cause = f"it was higher on the way, so a lower learning rate{_with_rate(curve)}."
    else:
        cause = f"ten times the learning rate{_with_rate(curve)}, then more steps."
    return Verdict(
        "not learning",
        f"training loss {curve.last:.3f} after step {curve.steps[-1]:.0f}; guessing is "
        f"{uniform:.3f}, and knowing only how frequent each token is, {unigram:.3f}.",
        cause,
    )


def _stuck_at_unigram(curve: LossCurve, text: TextFloors) -> Verdict | None:
    unigram = text.rungs["unigram"]
    points, near = curve.points, STANDS * (unigram - text.rungs["bigram"])
    there = np.abs(points[:, 1] - unigram) < near
    stands = bool(there[2 * len(points) // 3 :].all()) and not curve.falling
    if not (stands or there.mean() > STOOD):
        return None
    first, last = points[there][0, 0], points[there][-1, 0]
    if last - first < SETTLED:
        return None
    return Verdict(
        "stuck at the unigram",
        f"{unigram:.3f} from step {first:.0f} to {last:.0f}: the model "
        f"{'knows' if stands else 'knew'} how frequent each token is and nothing of their order.",
        "look whether the targets belong to the inputs; then another learning rate"
        f"{_with_rate(curve)}, more tokens in a step, positions.",
    )


def share_above_unigram(curve: LossCurve, text: TextFloors) -> float:
    """Return which share of a curve, after its warm-up, frequencies alone would beat."""
    points = curve.points[curve.points[:, 0] > curve.steps[-1] - curve.settled]
    return float((points[:, 1] > text.rungs["unigram"]).mean()) if len(points) else 1.0


def _slow(curve: LossCurve, text: TextFloors) -> Verdict | None:
    share = share_above_unigram(curve, text)
    if not (share > SLOW and curve.judged > text.rungs["bigram"]):
        return None
    return Verdict(
        "not learning",
        f"or hardly: for {share:.0%} of its steps it was above the unigram "
        f"({text.rungs['unigram']:.3f}), which sound runs leave within the first fifth.",
        f"ten times the learning rate{_with_rate(curve)}.",
    )


def _memorising(curve: LossCurve) -> Verdict | None:
    if len(curve.held_out) < 3:
        return None
    best = int(np.argmin(curve.held_out[:, 1]))
    step, low = curve.held_out[best]
    rise = curve.held_out[-1, 1] - low
    if not rise > max(RISE, low / 50):
        return None
    return Verdict(
        "memorising",
        f"the held-out loss was {low:.3f} there and has risen by {rise:.3f}, while the training "
        f"loss is {curve.last:.3f}.",
        "use the checkpoint `best`; next time fewer steps, more text, more dropout or a smaller "
        "model.",
        since=int(step),
    )


def _unstable(curve: LossCurve, text: TextFloors) -> Verdict | None:
    uniform, points = text.rungs["uniform"], curve.points
    start = float(curve.losses[0])
    if curve.steps[0] <= 1 and start > WILD_START * uniform:
        return Verdict(
            "unstable",
            f"the first loss is {start:.2f}, guessing is {uniform:.2f}: the untrained weights "
            "favour some tokens strongly, and the run spends its steps on unlearning that.",
            "look at the initialisation, of the head above all: its scores should be near 0.",
        )
    highest = points[int(np.argmax(points[:, 1]))]
    if highest[1] > uniform + 0.3 and curve.judged > text.rungs["bigram"]:
        return Verdict(
            "unstable",
            f"{_stand(curve, text)}, but it "
            f"went up to {highest[1]:.3f} at step {highest[0]:.0f}, above guessing.",
            f"a third of the learning rate{_with_rate(curve)}, or a longer warm-up.",
        )
    spikes = _spikes(curve)
    count = len(list(find_spikes(_pairs(curve))))
    if count >= max(3, SPIKES * len(curve.steps)):
        return Verdict(
            "unstable",
            spikes[0],
            f"a third of the learning rate{_with_rate(curve)}; then look whether gradients are "
            "set to zero before each step, and clipped.",
        )
    return None


def _rests_above_bigram(curve: LossCurve, text: TextFloors) -> Verdict | None:
    if curve.falling or curve.rate_ran_out or curve.judged <= text.rungs["bigram"]:
        return None
    return Verdict(
        "not learning",
        f"{_stand(curve, text)}, and it no "
        "longer falls. Only a bigram table may end here: the model does not use its past.",
        "change a token early in a window and see whether later scores move; if not, look at "
        "the axes of attention (B and T) and at the mask; then whether gradients are cleared.",
    )


def _fine(curve: LossCurve, text: TextFloors) -> Verdict:
    more = ""
    if curve.falling:
        more = " It still falls: more steps would help."
    elif curve.judged > text.rungs["bigram"]:
        more = " It came to rest with its learning rate: more steps would help."
    return Verdict("fine", f"{_stand(curve, text)}.{more}")


def _stand(curve: LossCurve, text: TextFloors) -> str:
    """Say how far a run came: which loss, at which step, and where on the ladder that is."""
    which = "held-out loss" if len(curve.held_out) else "training loss"
    step = f"{curve.steps[-1]:.0f}"
    return f"{which} {curve.judged:.3f} after step {step}, {_place(curve, text)}"


def _place(curve: LossCurve, text: TextFloors) -> str:
    """Say between which rungs of the ladder a run stands."""
    rungs = sorted(text.rungs.items(), key=lambda rung: -rung[1])
    above = [f"{name} ({nats:.3f})" for name, nats in rungs if nats >= curve.judged]
    below = [f"{name} ({nats:.3f})" for name, nats in rungs if nats < curve.judged]
    if above and below:
        return f"between {above[-1]} and {below[0]}"
    return f"below {above[-1]}" if above else f"above {below[0]}"


def _pairs(curve: LossCurve) -> Iterable[tuple[int, float]]:
    return zip(curve.steps.astype(int), curve.losses, strict=True)


def _spikes(curve: LossCurve) -> list[str]:
    found = list(find_spikes(_pairs(curve)))
    if not found:
        return []
    worst = max(found, key=lambda spike: spike.deviations)
    return [f"Steps that jump out of the curve: {len(found)}; the highest is {worst}."]


def _with_rate(curve: LossCurve) -> str:
    """Return the learning rate to put behind its name, or nothing where none was logged."""
    return f" (it was {curve.rate:.2g})" if math.isfinite(curve.rate) else ""
