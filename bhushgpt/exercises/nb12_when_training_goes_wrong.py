"""Exercises of notebook 12: does a model look ahead, and since when does it memorise?

Letters: B batch, T time, V vocabulary.

Lesson: notebook 12.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhushgpt.exercises.attempts import kind
from bhushgpt.exercises.exercise import Exercise
from bhushgpt.language_model import LanguageModel, eval_mode

Answer = Callable[..., Any]

# 1. Does it look ahead?

V = 7


def _looks_ahead(model: LanguageModel, ids: Tensor) -> bool:
    with eval_mode(model):
        before = model(ids)
        for place in range(1, ids.shape[1]):
            other = ids.clone()
            other[0, place] = (other[0, place] + 1) % before.shape[-1]
            moved = (model(other) - before)[:, :place].abs().max()
            if moved > 1e-5:
                return True
    return False


class Probe(LanguageModel):
    """A model without weights whose scores are what `look` makes of the one-hot tokens.

    Args:
        look: One-hot tokens (B, T, V) to scores of the same shape.
        noise: Random numbers of this size are added while training, as dropout would.

    >>> Probe(lambda hot: hot)(torch.tensor([[2, 0]])).shape
    torch.Size([1, 2, 7])
    """

    def __init__(self, look: Callable[[Tensor], Tensor], noise: float = 0.0) -> None:
        super().__init__()
        self.context_length = 11
        self.look = look
        self.noise = noise
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, ids: Tensor) -> Tensor:
        """Return scores (B, T, V) for ids (B, T)."""
        scores = self.look(F.one_hot(ids, V).float()) * self.scale  # (B, T, V)
        if self.training and self.noise:
            scores = scores + self.noise * torch.randn_like(scores)
        return scores


def _past(hot: Tensor) -> Tensor:
    return hot.cumsum(dim=1)


def _sees(own: slice, other: slice, size: float = 1.0) -> Callable[[Tensor], Tensor]:
    """Return what looks at the past and lets the places `own` see the tokens at `other`."""

    def look(hot: Tensor) -> Tensor:
        scores = _past(hot)
        scores[:, own] += size * hot[:, other].sum(dim=1, keepdim=True)
        return scores

    return look


def _next(hot: Tensor) -> Tensor:
    return _past(hot) + F.pad(hot[:, 1:], (0, 0, 0, 1))


# name -> (model, whether it looks ahead)
def _probes() -> dict[str, tuple[Probe, bool]]:
    start, end = slice(0, 1), slice(-1, None)
    return {
        "deaf": (Probe(lambda hot: 0 * hot), False),
        "past": (Probe(_past), False),
        "older": (Probe(lambda hot: _past(hot) - hot), False),
        "dropout": (Probe(_past, noise=1.0), False),
        "rows": (Probe(lambda hot: _past(hot) + _past(hot).mean(0, keepdim=True)), False),
        "rounding": (Probe(_sees(slice(None), end, 3e-7)), False),
        "all": (Probe(lambda hot: hot.sum(1, keepdim=True) + 0 * hot), True),
        "next": (Probe(_next), True),
        "far": (Probe(_sees(start, end)), True),
        "middle": (Probe(_sees(slice(0, 5), slice(5, 6))), True),
        "late": (Probe(_sees(slice(-2, -1), end)), True),
        "faint": (Probe(_sees(slice(0, 5), end, 0.003)), True),
    }


LOOKING = {
    frozenset({"all", "next", "far", "middle", "late", "faint"}): (
        "you never say True: is another token really in the second text, and are scores before "
        "its place compared?"
    ),
    frozenset({"deaf", "past", "older", "dropout", "rows", "rounding"}): (
        "you always say True, also for a model that only sums up its past."
    ),
    frozenset({"deaf", "past", "older", "dropout", "rows", "rounding"})
    | {"all", "next", "far", "middle", "late", "faint"}: (
        "it is the wrong way round: True means that the model does look ahead."
    ),
    frozenset({"past", "older", "dropout", "rows", "rounding"}): (
        "a model that only sums up its past is accused: places behind the changed token may move, "
        "compare those before it."
    ),
    frozenset({"past", "dropout", "rows", "rounding"}): (
        "the changed token's own place may move: compare the places before it, not with it."
    ),
    frozenset({"dropout"}): (
        "a model with dropout is accused, since it draws anew at each call: use eval_mode(model)."
    ),
    frozenset({"rounding"}): (
        "a difference of 0.0000003 is rounding: ask whether it is above 0.00001, not above 0."
    ),
    frozenset({"faint"}): "a faint look ahead (0.003) is missed: your tolerance is too large.",
    frozenset({"middle"}): (
        "a model whose early places see token 5 alone is missed: change every place in turn, not "
        "only the last."
    ),
    frozenset({"far", "faint"}): (
        "only the place right before the changed token is compared; compare all before it."
    ),
    frozenset({"next", "middle", "late"}): (
        "only the first place is compared, and only the last token changed: do both for all."
    ),
    frozenset({"late"}): "only the first place is compared: later ones may look ahead as well.",
    frozenset({"far", "late", "faint"}): (
        "only a token in the middle is changed: change every place in turn."
    ),
}


def _check_every_change(answer: Answer, ids: Tensor) -> str | None:
    """Look at models that see one later token alone, or whose scores only fall, or only rise."""
    for place in range(1, ids.shape[1]):
        model = Probe(_sees(slice(0, place), slice(place, place + 1)))
        if not answer(model, ids):
            return (
                f"a model that sees token {place} too early is missed: change every place in turn, "
                "each to a token that it is not."
            )
    kept = F.one_hot(ids, V)
    for sign, way in ((-1, "fall"), (1, "rise")):

        def moves(hot: Tensor, sign: int = sign) -> Tensor:
            same = (hot * kept[:, : hot.shape[1]]).sum(dim=(1, 2), keepdim=True)
            return _past(hot) + sign * (kept.shape[1] - same)

        if not answer(Probe(moves), ids):
            return f"scores that only {way} are missed: compare how far they move, abs()."
    return None


def _check_looks_ahead(answer: Answer) -> str | None:
    ids = torch.tensor([[3, 0, 5, 1, 1, 6, 2, 4, 0, 3, 5]])
    wrong = set()
    for name, (model, ahead) in _probes().items():
        found = answer(model, ids)
        if isinstance(found, Tensor) and found.numel() == 1:
            found = found.item()
        if not isinstance(found, bool | int) or found not in (0, 1):
            return f"return True or False; {kind(found)} came."
        if bool(found) != ahead:
            wrong.add(name)
    if not wrong:
        answer(Probe(_past).eval(), ids)  # a model that came in eval mode has to stay in it
        if answer(Probe(_past), ids[:, :1]):
            return "in a text of one token nothing comes later: False, whatever the model is."
        return _check_every_change(answer, ids)
    other = f"these models are judged wrongly: {', '.join(sorted(wrong))}."
    return LOOKING.get(frozenset(wrong), other)


looks_ahead = Exercise(
    name="looks_ahead",
    question="Return True if scores of a place move when a later token of ids (1, T) is changed.",
    hints=(
        "Ask the model twice: for ids, and for a clone with another token at one place.",
        "Scores before that place must not move by more than rounding, 1e-5.",
        "Try every place from 1 on, and let `eval_mode` switch dropout off meanwhile.",
    ),
    praise="this finds a missing mask in any model, however well hidden, before it is trained.",
    reference=_looks_ahead,
    keeps_inputs=True,
    checks=_check_looks_ahead,
)


# 2. Since when does it memorise?


def _memorising_since(held_out: Mapping[int, float], rise: float) -> int:
    best = min(held_out, key=lambda step: held_out[step])
    if held_out[max(held_out)] - held_out[best] > rise:
        return best
    return 0


def _by_step(held_out: Mapping[int, float]) -> list[tuple[int, float]]:
    return sorted(held_out.items())


SINCE: dict[str, Callable[[Mapping[int, float], float], Any]] = {
    "that is the last step; memorising began where the loss was lowest.": lambda h, r: max(h),
    "that is the first step that was measured.": lambda h, r: min(h),
    "that is the loss; the step is asked for.": lambda h, r: min(h.values()),
    "that is how much it rose; the step is asked for.": (lambda h, r: h[max(h)] - min(h.values())),
    "that is the place in the list; the step is asked for.": (
        lambda h, r: min(enumerate(_by_step(h)), key=lambda pair: pair[1][1])[0]
    ),
    "that is where the loss was highest.": lambda h, r: max(h, key=lambda step: h[step]),
    "one small rise on the way is noise: that is where the loss first went up.": (
        lambda h, r: next(b for (a, x), (b, y) in pairwise(_by_step(h)) if y > x)
    ),
    "that is the step before the loss first went up, which may be noise; take the lowest.": (
        lambda h, r: next(a for (a, x), (b, y) in pairwise(_by_step(h)) if y > x)
    ),
    "that is one glance later than the lowest.": (
        lambda h, r: _by_step(h)[min(enumerate(_by_step(h)), key=lambda pair: pair[1][1])[0] + 1][0]
    ),
    "that is where it had risen by more than `rise`; it began at the lowest.": (
        lambda h, r: next(
            step
            for step, loss in _by_step(h)
            if step > min(h, key=lambda s: h[s]) and loss > min(h.values()) + r
        )
    ),
    "0 means that nothing rose; here the loss went from 1.70 up to 1.93.": lambda h, r: 0,
}


def _check_memorising_since(answer: Answer) -> str | None:
    # The steps come in no order, and the best is neither first nor last nor before the first rise.
    losses = {310: 2.13, 650: 1.87, 100: 2.61, 150: 2.58, 200: 2.63, 250: 2.71, 430: 1.70}
    held_out = {**losses, 520: 1.74, 790: 1.93}
    result = answer(dict(held_out), 0.05)
    if isinstance(result, Tensor) and result.numel() == 1:
        result = result.item()
    if isinstance(result, bool) or not isinstance(result, int | float):
        return f"return a step, or 0; {kind(result)} came."
    if result != 430:
        for sentence, wrong in SINCE.items():
            if result == wrong(held_out, 0.05):
                return sentence
        if result == 310:
            return "310 comes first in the dict, not in time: go by the steps, not by their order."
        return f"the lowest loss is at step 430, and it ended 0.23 above; you say {result}."
    calm = {650: 1.72, 100: 2.61, 430: 1.70, 310: 1.74, 790: 1.73}
    if (found := answer(dict(calm), 0.05)) != 0:
        return f"a rise of 0.03 is less than `rise` is: 0, not {found}."
    bump = {100: 2.61, 430: 1.70, 310: 1.74, 520: 1.95, 790: 1.72}
    if (found := answer(dict(bump), 0.05)) != 0:
        return f"at the end the loss is back at its lowest; a bump in between: 0, not {found}."
    wide = {100: 2.61, 430: 1.70, 790: 1.93}
    if (found := answer(dict(wide), 0.5)) != 0:
        return f"with rise = 0.5, a rise of 0.23 is noise: 0, not {found}. Use `rise`."
    if (found := answer({100: 2.5, 430: 2.0, 790: 2.15}, 0.1)) != 430:
        return f"2.15 is more than 0.1 above 2.00: 430, not {found}. `rise` is in nats, no share."
    if (found := answer({30: 1.9, 20: 2.0, 10: 2.1}, 0.05)) != 0:
        return f"a loss that falls to the end is not memorising: 0, not {found}."
    if (found := answer({100: 2.5, 430: 1.5, 790: 1.75}, 0.25)) != 0:
        return f"1.75 is not *more* than 0.25 above 1.50: 0, not {found}. Use > and not >=."
    if (found := answer({430: 1.7}, 0.05)) != 0:
        return f"a loss that was measured once has not risen: 0, not {found}."
    return None


memorising_since = Exercise(
    name="memorising_since",
    question="Return the step of the lowest held-out loss if the last is > rise above it, else 0.",
    hints=(
        "Where was the loss lowest? min() takes a key.",
        "The last glance is the one of the highest step, wherever it stands in the dict.",
        "Only if the last loss is more than `rise` above the lowest; else 0.",
    ),
    praise="that is the checkpoint to keep.",
    reference=_memorising_since,
    checks=_check_memorising_since,
)
