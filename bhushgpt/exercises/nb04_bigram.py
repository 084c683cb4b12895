"""Exercises of notebook 04: the loss by hand, windows in order, backing off, a missing shift.

Lesson: notebook 04.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bhushgpt.exercises.exercise import Exercise, ValueExercise, choices


def _reference_loss(logits: Tensor, targets: Tensor) -> Tensor:
    log_p = logits.log_softmax(dim=-1)
    picked = log_p.gather(-1, targets[..., None])
    return -picked.mean()


def _picked(table: Tensor, targets: Tensor) -> Tensor:
    return table.gather(-1, targets[..., None])[..., 0]


def _loss_mistakes(logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return what each known mistake computes, by the sentence that names it."""
    each = -_picked(logits.log_softmax(-1), targets)
    p = logits.softmax(-1)
    return {
        "the sign is wrong: a log-probability is negative, the loss is its opposite.": -each.mean(),
        "that is the sum; divide by the number of positions, so that batches compare.": each.sum(),
        "that is the sum over positions, averaged over windows only.": each.sum(1).mean(),
        "those are bits: use the natural logarithm for nats.": each.mean() / math.log(2),
        "your softmax runs over the positions; over the last axis, V, it must sum to 1.": (
            -_picked(logits.log_softmax(1), targets).mean()
        ),
        "your softmax runs over the windows; over the last axis, V, it must sum to 1.": (
            -_picked(logits.log_softmax(0), targets).mean()
        ),
        "that is -ln of the mean probability; take the logarithm first, then the mean.": (
            -_picked(p, targets).mean().log()
        ),
        "there is no logarithm in it: the loss is -ln p, not 1 - p or -p.": (
            1 - _picked(p, targets).mean()
        ),
        "there is no logarithm in it: the loss is -ln p, not -p.": -_picked(p, targets).mean(),
        "those are the raw scores of the targets; softmax has to make probabilities first.": (
            -_picked(logits, targets).mean()
        ),
        "you looked at the last position only; all T positions are questions.": each[:, -1].mean(),
        "you looked at the first window only; all B windows count.": each[0].mean(),
        "the targets are shifted already: position t of the logits answers targets[:, t].": (
            -_picked(logits.log_softmax(-1)[:, :-1], targets[:, 1:]).mean()
        ),
        "you averaged over the whole vocabulary; only the target's probability counts.": (
            -logits.log_softmax(-1).mean()
        ),
    }


def _check_loss(answer: Callable[..., Any]) -> str | None:
    logits, targets = torch.randn(3, 4, 5), torch.randint(5, (3, 4))
    result = answer(logits, targets)
    if result.shape == (3, 4):
        return "that is one loss for each position; return their mean, a single number."
    expected = _reference_loss(logits, targets)
    if not torch.allclose(result, expected, atol=1e-5):
        for sentence, wrong in _loss_mistakes(logits, targets).items():
            if torch.allclose(result, wrong, atol=1e-5):
                return sentence
        return f"for a random batch it is {expected:.4f}, yours says {result.item():.4f}."
    used = {name for code in getattr(answer, "codes", ()) for name in code.co_names}
    if used & {"cross_entropy", "next_token_loss", "token_losses"}:
        return "cross_entropy does all of it for you; take softmax, the logarithm and the mean."
    return _check_large_scores(answer)


def _check_large_scores(answer: Callable[..., Any]) -> str | None:
    """Look at scores whose exp is rounded to 0, and then at scores whose exp is infinite."""
    apart = torch.tensor([[[0.0, -200.0]]])
    result = answer(apart, torch.tensor([[1]]))
    if result.isinf():
        return (
            "for the scores 0 and -200 the second probability is rounded to 0, and ln 0 is "
            "infinite: take the logarithm without going through p, as log_softmax does."
        )
    if not torch.allclose(result, torch.tensor(200.0)):
        return f"for the scores 0 and -200, if the second comes, it is 200, not {result.item():g}."
    large, targets = torch.tensor([[[1000.0, 999.0]]]), torch.tensor([[1]])
    result, expected = answer(large, targets), _reference_loss(large, targets)
    if not result.isfinite():
        return "exp(1000) is infinite: subtract the largest score first, as log_softmax does."
    if not torch.allclose(result, expected, atol=1e-3):
        return f"for the scores 1000 and 999 it is {expected:.4f}, yours says {result.item():.4f}."
    far = torch.tensor([[[1000.0, 999.0], [-1000.0, -999.0]]])
    if not torch.allclose(answer(far, torch.tensor([[1, 1]])), torch.tensor(0.8133), atol=1e-3):
        return "rows may lie far apart: subtract each row's own largest score, not that of all."
    return None


loss_by_hand = Exercise(
    name="loss_by_hand",
    question="Return the mean cross-entropy of logits (B, T, V) and targets (B, T), in nats, for "
    "large scores, too.",
    hints=(
        "logits.log_softmax(dim=-1) is ln p for every token, safe for large scores.",
        "gather(-1, targets[..., None]) picks the target's entry at every position.",
        "Turn the sign and take the mean over all positions.",
    ),
    praise="the same number as the library, and large scores do not break it.",
    reference=_reference_loss,
    axes_of_one=lambda: [
        (torch.randn(*size, 5), torch.randint(5, size)) for size in ((1, 3), (2, 1), (1, 1))
    ],
    checks=_check_loss,
)


def _reference_windows(tokens: np.ndarray, T: int) -> tuple[np.ndarray, np.ndarray]:
    n = (len(tokens) - 1) // T
    inputs = tokens[: n * T].reshape(n, T)
    targets = tokens[1 : n * T + 1].reshape(n, T)
    return inputs, targets


def _check_windows(answer: Callable[..., Any]) -> str | None:
    tokens = np.arange(100, 115)  # 15 tokens: 14 targets, windows of 4 hold 12 of them
    inputs, targets = (np.asarray(part) for part in answer(tokens, 4))
    expected, expected_targets = _reference_windows(tokens, 4)
    if inputs.shape != targets.shape:
        return f"inputs are {inputs.shape} and targets {targets.shape}; each needs a target."
    if np.array_equal(inputs, targets):
        return "the targets are the inputs: shift them by one token."
    if np.array_equal(inputs, expected_targets) and np.array_equal(targets, expected):
        return "each target comes before its input: the other way round, next is what we predict."
    if inputs.ndim != 2 or inputs.shape[1] != 4:
        return f"windows of T = 4 make rows of 4; your inputs have the shape {inputs.shape}."
    if len(inputs) == 11:
        return "your windows overlap, so most targets come several times: start T further on."
    if targets.max() > 0 and targets[:, -1].tolist() != (inputs[:, -1] + 1).tolist():
        return "the last target of each row is not the token that comes next in the text."
    if inputs.tolist() == [[100, 101, 102, 103], [105, 106, 107, 108], [110, 111, 112, 113]]:
        return "105 is never a target: each window begins at the last target of the one before."
    if len(inputs) < 3:
        return f"15 tokens fill 3 windows of 4, yours are {len(inputs)}: the last one is missing."
    if not (np.array_equal(inputs, expected) and np.array_equal(targets, expected_targets)):
        return f"the first window begins with 100 and the second with 104, yours: {inputs[:, 0]}."
    return _check_whole_windows(answer)


def _check_whole_windows(answer: Callable[..., Any]) -> str | None:
    """Look at lengths where the last window just fits, or just does not."""
    for length, windows in ((13, 3), (12, 2)):
        inputs, _ = answer(np.arange(length), 4)
        if len(inputs) != windows:
            return f"{length} tokens are {windows} windows of 4 and a target, not {len(inputs)}."
    return None


windows_in_order = Exercise(
    name="windows_in_order",
    question="Return (inputs, targets), windows of T one after the other, every target once.",
    hints=(
        "How many windows? Each target needs a token before it: (len(tokens) - 1) // T.",
        "inputs are tokens[: n * T], targets the same slice one token further on.",
        "reshape(n, T) cuts a row into n rows of T.",
    ),
    praise="every target comes once, and each row ends with the token after its window.",
    reference=_reference_windows,
    axes_of_one=lambda: [(np.arange(5), 4), (np.arange(4), 1), (np.arange(2), 1)],
    checks=_check_windows,
)


def _reference_back_off(counts: np.ndarray, shorter: np.ndarray) -> np.ndarray:
    visits, kinds = counts.sum(), (counts > 0).sum()
    if visits == 0:
        return shorter
    return (counts + kinds * shorter) / (visits + kinds)


COUNTS = np.array([6, 3, 0, 1, 0])
SHORTER = np.array([0.1, 0.4, 0.3, 0.15, 0.05])

BACK_OFF_MISTAKES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "those are the plain shares: a token never seen here still has probability 0.": (
        lambda c, s: c / c.sum()
    ),
    "that is add-one smoothing: what the shorter context knows is not used.": (
        lambda c, s: (c + 1) / (c.sum() + len(c))
    ),
    "t is the number of different followers, not of visits.": (
        lambda c, s: (c + c.sum() * s) / (2 * c.sum())
    ),
    "t is the number of different followers seen, not the whole vocabulary.": (
        lambda c, s: (c + len(c) * s) / (c.sum() + len(c))
    ),
    "t counts the tokens that were seen, not those that were not.": (
        lambda c, s: (c + (c == 0).sum() * s) / (c.sum() + (c == 0).sum())
    ),
    "the shorter context has weight 1 here, however new its followers: weigh it with t.": (
        lambda c, s: (c + s) / (c.sum() + 1)
    ),
    "t is missing in the denominator, so the sum is above 1.": (
        lambda c, s: (c + (c > 0).sum() * s) / c.sum()
    ),
    "you ask the shorter context only about unseen tokens, so the sum is above 1.": (
        lambda c, s: np.where(c > 0, c / c.sum(), s)
    ),
    "you spread t evenly over the vocabulary; spread it as the shorter context says.": (
        lambda c, s: (c + (c > 0).sum() / len(c)) / (c.sum() + (c > 0).sum())
    ),
}


def _check_back_off(answer: Callable[..., Any]) -> str | None:
    result = np.asarray(answer(COUNTS.copy(), SHORTER.copy()), dtype=float)
    if not np.allclose(result, _reference_back_off(COUNTS, SHORTER)):
        for sentence, wrong in BACK_OFF_MISTAKES.items():
            if np.allclose(result, wrong(COUNTS, SHORTER)):
                return sentence
        return f"counts {COUNTS} have 10 visits and t = 3; your probabilities are {result}."
    with np.errstate(all="ignore"):
        unseen = np.asarray(answer(np.zeros(5), SHORTER.copy()), dtype=float)
    if not np.allclose(unseen, SHORTER):
        return "a context that was never seen has c + t = 0; there, give the shorter one's answer."
    return None


back_off = Exercise(
    name="back_off",
    question="Return the distribution smoothed after Witten and Bell, from counts and shorter.",
    hints=(
        "c is counts.sum(); t is how many entries of counts are above 0.",
        "(counts + t * shorter) / (c + t) works on the whole array at once.",
        "What if nothing was ever counted? Then c + t is 0, and shorter is the answer.",
    ),
    praise="it sums to 1, and a context never seen asks the shorter one.",
    reference=_reference_back_off,
    axes_of_one=lambda: [(np.array([3]), np.array([1.0])), (np.array([0]), np.array([1.0]))],
    checks=_check_back_off,
)


no_shift = ValueExercise(
    name="no_shift",
    question="Which loss does a bigram reach whose targets are its inputs: a, b, c or d?",
    hints=("What does the model see, and what is it asked for?",),
    reference="b",
    checks=choices(
        "b",
        {
            "a": "2.37 is the price of not knowing the next character; here it is asked for the "
            "one that it sees.",
            "c": "ln 79 is the loss before the first step; this question is the easiest of all to "
            "learn.",
            "d": "the unigram's loss is for a model that sees nothing; this one sees the answer.",
        },
    ),
    praise="it learns to copy. A loss far below the floor means that the answer leaks.",
    why="Each row of the table learns to predict its own character, so the loss tends to 0",
)
