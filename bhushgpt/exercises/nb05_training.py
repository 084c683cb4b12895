"""Exercises of notebook 05: Lion, clipping, each token counted once.

Letters: N windows, T time.

Lesson: notebook 05.
"""

import torch
from torch import Tensor

from bhushgpt.exercises.exercise import Exercise


def _lion(
    weight: Tensor, gradient: Tensor, mean: Tensor, lr: float, b1: float, b2: float, decay: float
) -> tuple[Tensor, Tensor]:
    sign = (b1 * mean + (1 - b1) * gradient).sign()
    return weight - lr * (sign + decay * weight), b2 * mean + (1 - b2) * gradient


def _check_lion(answer) -> str | None:
    w, g, m = torch.randn(40), torch.randn(40), 0.3 * torch.randn(40)
    lr, b1, b2, decay = 0.1, 0.6, 0.9, 0.5
    mix, kept = b1 * m + (1 - b1) * g, b2 * m + (1 - b2) * g
    pulled = g + decay * w
    ahead = w - lr * mix.sign()
    mistakes = {
        "this climbs: the step goes against the sign.": w + lr * (mix.sign() - decay * w),
        "the sign is missing: Lion moves every weight by the same amount.": (
            w - lr * (mix + decay * w)
        ),
        "the weight decay is missing.": ahead,
        "the decay went into the gradient, where the sign swallows its size.": (
            w - lr * (b1 * m + (1 - b1) * pulled).sign()
        ),
        "the decay must take from the old weight, not from the one that has moved.": (
            ahead - lr * decay * ahead
        ),
        "the old mean plays no part: the sign is that of the mix, not of the gradient.": (
            w - lr * (g.sign() + decay * w)
        ),
        "you moved by the sign of the new mean, mixed with b2; the step mixes with b1.": (
            w - lr * (kept.sign() + decay * w)
        ),
    }
    new, mean = answer(w.clone(), g.clone(), m.clone(), lr, b1, b2, decay)
    for sentence, value in mistakes.items():
        if torch.allclose(new, value, atol=1e-5):
            return sentence
    if not torch.allclose(new, w - lr * (mix.sign() + decay * w), atol=1e-5):
        return "the new weight is not weight - lr * (sign + decay * weight)."
    if torch.allclose(mean, mix, atol=1e-5):
        return "the step is right, but the mean you return was mixed with b1; it wants b2."
    if torch.allclose(mean, m):
        return "you gave back the old mean: the next step would know nothing of this gradient."
    if not torch.allclose(mean, kept, atol=1e-5):
        return "the new mean is another one."
    still, _ = answer(w.clone(), torch.zeros(40), torch.zeros(40), lr, b1, b2, decay)
    if not torch.allclose(still, w - lr * decay * w, atol=1e-5):
        return "where the mix is 0, its sign is 0: the weight only decays there."
    return None


lion = Exercise(
    name="lion",
    question="Return the weight and the mean after one step of Lion.",
    hints=(
        "sign = (b1 * mean + (1 - b1) * gradient).sign()",
        "The decay is multiplied by lr, like the sign, and uses the old weight.",
        "Return two tensors: the new weight, and b2 * mean + (1 - b2) * gradient.",
    ),
    reference=_lion,
    axes_of_one=lambda: [
        (*torch.randn(3, *size).unbind(), 0.1, 0.6, 0.9, 0.5) for size in ((1,), (1, 3), (2, 1))
    ],
    checks=_check_lion,
    praise="one memory instead of Adam's two.",
)


def _clip(gradients: list[Tensor], longest: float) -> list[Tensor]:
    norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
    return [g * (longest / norm).clamp(max=1.0) for g in gradients]


def _check_clip(answer) -> str | None:
    long = [torch.tensor([[2.0, 4.0]]), torch.tensor([-4.0, 8.0])]  # norm 10
    sizes = torch.tensor([20.0**0.5, 80.0**0.5])
    sums = {"plain": 18.0, "lengths": float(sizes.sum()), "squares": 100.0}
    mistakes = {
        "each number was cut by itself, which changes the direction.": (
            [g.clamp(-5, 5) for g in long]
        ),
        "each tensor was shortened by its own length; the length is that of all together.": (
            [g * min(1.0, 5 / float(n)) for g, n in zip(long, sizes, strict=True)]
        ),
        "you added the lengths of the tensors: add all squares, then take one root.": (
            [g * 5 / sums["lengths"] for g in long]
        ),
        "the length is the root of the sum of squares; you added the numbers' sizes.": (
            [g * 5 / sums["plain"] for g in long]
        ),
        "the root is missing: you divided by the sum of squares.": (
            [g * 5 / sums["squares"] for g in long]
        ),
        "the length comes out as 1 whatever the limit is: multiply by `longest`.": (
            [g / 10 for g in long]
        ),
        "you made the largest number the limit; the length of all together may be that.": (
            [g * 5 / 8 for g in long]
        ),
        "the longest tensor became the limit; the length is that of all tensors together.": (
            [g * 5 / float(sizes[1]) for g in long]
        ),
        "the factor is there twice: shorten once.": [g / 4 for g in long],
        "the factor is upside down: longest / norm, not norm / longest.": [g * 2 for g in long],
        "the length is made of sums of squares, not of their means.": (
            [g * 5 / 50.0**0.5 for g in long]
        ),
        "all numbers have the same size now, so the direction has changed.": (
            [g.sign() * 5 for g in long]
        ),
        "you took the limit off; multiply by a factor, so that the direction stays.": (
            [g - 5 for g in long]
        ),
        "only the first tensor was shortened; all shrink by the same factor.": (
            [long[0] / 2, long[1]]
        ),
        "a long gradient came back unchanged.": long,
    }
    got = list(answer([g.clone() for g in long], 5.0))
    for sentence, value in mistakes.items():
        if _same(got, value):
            return sentence
    if not _same(got, [g / 2 for g in long]):
        return "a gradient of length 10 and a limit of 5: every number should be halved."
    if not _same(list(answer([g.clone() for g in long], 50.0)), long):
        return "a gradient shorter than the limit must stay as it is, never grow."
    if not _same(list(answer([torch.zeros(2)], 5.0)), [torch.zeros(2)]):
        return "a gradient of zeros should stay zero; dividing by its length is 0 / 0."
    return None


def _same(got: list[Tensor], wanted: list[Tensor]) -> bool:
    if len(got) != len(wanted):
        return False
    return all(
        a.shape == b.shape and torch.allclose(a, b) for a, b in zip(got, wanted, strict=True)
    )


clip = Exercise(
    name="clip",
    question="Return the gradients, shortened together to at most `longest`.",
    hints=(
        "g.square().sum() for each tensor; add those up; one root at the end.",
        "The factor is longest / norm, but never more than 1.",
    ),
    reference=_clip,
    axes_of_one=lambda: [([torch.ones(1)], 0.5), ([torch.ones(1, 3), torch.ones(2, 1)], 0.5)],
    checks=_check_clip,
    praise="shorter, in the same direction, and short ones untouched.",
)


def _text_loss(losses: Tensor, stride: int) -> Tensor:
    return torch.cat([losses[0], losses[1:, -stride:].flatten()]).mean()


def _check_text_loss(answer) -> str | None:
    losses, stride = torch.rand(4, 6) + 1, 2
    later = losses[1:, -stride:]
    mistakes = {
        "every prediction was counted, so the overlap counts several times.": losses.mean(),
        "you took the first columns of the later windows: those were counted before.": (
            torch.cat([losses[0], losses[1:, :stride].flatten()]).mean()
        ),
        "the first window counts whole: nobody has counted its beginning.": (
            losses[:, -stride:].mean()
        ),
        "a mean of means gives the few tokens of a late window as much weight as the first six.": (
            torch.cat([losses[0].mean()[None], later.mean(dim=1)]).mean()
        ),
        "you kept the overlap and dropped what is new: the last `stride` columns are new.": (
            torch.cat([losses[0], losses[1:, :-stride].flatten()]).mean()
        ),
        "it is the other way round: the first window counts whole, later ones their end.": (
            torch.cat([losses[0, -stride:], losses[1:].flatten()]).mean()
        ),
        "that is the first window alone; the later ones bring new tokens.": losses[0].mean(),
        "the first window is missing: it counts whole.": later.mean(),
        "that is the last window alone.": losses[-1].mean(),
        "you counted one column too many of each later window.": (
            torch.cat([losses[0], losses[1:, -stride - 1 :].flatten()]).mean()
        ),
        "only the last column of each later window was counted; `stride` of them are new.": (
            torch.cat([losses[0], losses[1:, -1]]).mean()
        ),
        "only the last column was counted; it has one token of each window.": losses[:, -1].mean(),
        "every `stride`-th column was counted: new are the last `stride` of a later window.": (
            losses[:, ::stride].mean()
        ),
        "that is the perplexity; the mean loss is asked for.": _text_loss(losses, stride).exp(),
        "that is the median; the mean is asked for.": (
            torch.cat([losses[0], later.flatten()]).median()
        ),
        "that is the sum; divide by the number of tokens counted.": losses[0].sum() + later.sum(),
        "you divided by all predictions, also those that you did not count.": (
            (losses[0].sum() + later.sum()) / losses.numel()
        ),
    }
    got = torch.as_tensor(answer(losses.clone(), stride)).float()
    for sentence, value in mistakes.items():
        if got.shape == () and torch.isclose(got, value):
            return sentence
    if got.numel() > 1:
        return "those are the losses of the tokens that count; return their mean."
    if not torch.isclose(got, _text_loss(losses, stride)).all():
        return "this is not the mean over 6 + 2 + 2 + 2 tokens."
    if not torch.isclose(torch.as_tensor(answer(losses[:1], stride)).float(), losses[0].mean()):
        return "right for several windows, but a single one counts whole."
    if not torch.isclose(torch.as_tensor(answer(losses, 6)).float(), losses.mean()):
        return "with a stride of T nothing overlaps: every loss counts, also of later windows."
    return None


text_loss = Exercise(
    name="text_loss",
    question="Return the mean loss of the text, each token counted once.",
    hints=(
        "losses[0] counts whole; of each later window only the last `stride` columns are new.",
        "losses[1:, -stride:].flatten(), and torch.cat to put both together.",
    ),
    reference=_text_loss,
    axes_of_one=lambda: [(torch.rand(3, 1), 1), (torch.rand(1, 1), 1), (torch.rand(2, 4), 1)],
    checks=_check_text_loss,
    praise="each token once, with as much past as it can have.",
)
