"""Exercises of notebook 18: a layer with LoRA, targets of an answer, and the mean over answers.

Lesson: notebook 18.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bhushgpt.exercises.exercise import Exercise
from bhushgpt.exercises.same_numbers import mistake_in, same

Answer = Callable[..., Any]
NOT_LEARNED = -100


# 1. What a layer with LoRA gives


def _lora_output(x: Tensor, weight: Tensor, down: Tensor, up: Tensor, alpha: float) -> Tensor:
    scale = alpha / len(down)
    return x @ weight.T + scale * (x @ down.T @ up.T)


def _lora_mistakes(
    x: Tensor, weight: Tensor, down: Tensor, up: Tensor, alpha: float
) -> dict[str, Tensor]:
    """Return what each known mistake computes, by the sentence that names it."""
    base, added = x @ weight.T, x @ down.T @ up.T
    R, inputs, outputs = len(down), weight.shape[1], weight.shape[0]
    s = alpha / R
    return {
        "that is the layer as it was: the addition is missing.": base,
        "that is the addition alone: the layer itself is missing.": s * added,
        "the addition is not scaled: it counts alpha / R.": base + added,
        "the addition counts alpha; divide by the rank, the rows of A.": base + alpha * added,
        "your factor is R / alpha: it stands on its head.": base + R / alpha * added,
        "you multiply alpha by R: divide.": base + alpha * R * added,
        "you divide alpha by the inputs; R is the number of rows of A.": (
            base + alpha / inputs * added
        ),
        "you divide alpha by the outputs; R is the number of rows of A.": (
            base + alpha / outputs * added
        ),
        "you divide by the root of R; here it is R itself.": base + alpha / math.sqrt(R) * added,
        "the addition is taken off: add it.": base - s * added,
        "the factor is for the addition alone, not for the layer's own part.": s * (base + added),
        "the factor is there twice.": base + s * s * added,
        "the layer's own part is there twice.": 2 * base + s * added,
        "W and B A are multiplied number by number: add them.": x @ (weight * (s * up @ down)).T,
        "there is a ReLU between A and B: LoRA has none, or it could not be merged.": (
            base + s * (x @ down.T).relu() @ up.T
        ),
    }


def _lora_inputs(B: int, T: int, inputs: int, R: int, outputs: int) -> tuple[Any, ...]:
    sizes = (B, T, inputs), (outputs, inputs), (R, inputs), (outputs, R)
    return *(torch.randn(size) for size in sizes), 7.5


def _check_lora_output(answer: Answer) -> str | None:
    draw = torch.Generator().manual_seed(18)
    x, weight, down, up = (
        torch.randn(size, generator=draw) for size in ((2, 4, 7), (5, 7), (3, 7), (5, 3))
    )
    alpha = 7.5
    parts = x, weight, down, up
    expected = _lora_output(*parts, alpha)
    mistakes = _lora_mistakes(*parts, alpha)
    return mistake_in(answer(*parts, alpha), expected, mistakes)


lora_output = Exercise(
    name="lora_output",
    question="Return x W^T + alpha / R * x A^T B^T, from x, weight, down (A), up (B) and alpha.",
    hints=(
        "x @ weight.T is what the layer gave before.",
        "R is how many rows A has: len(down).",
        "First through A, then through B: x @ down.T @ up.T.",
    ),
    praise="the layer as it was, and something small beside it.",
    reference=_lora_output,
    axes_of_one=lambda: [
        _lora_inputs(*sizes)
        for sizes in ((1, 4, 7, 3, 5), (2, 1, 7, 3, 5), (2, 4, 7, 1, 5), (2, 4, 1, 3, 1))
    ],
    keeps_inputs=True,
    checks=_check_lora_output,
)


# 2. Which targets are learned


def _answer_targets(prompt: list[int], answer: list[int], length: int) -> Tensor:
    targets = torch.full((length,), NOT_LEARNED)
    for place, token in enumerate(answer):
        targets[len(prompt) - 1 + place] = token
    return targets


def _target_mistakes(prompt: list[int], answer: list[int], length: int) -> dict[str, Tensor]:
    """Return what each known mistake computes, by the sentence that names it."""
    P, n = len(prompt), len(prompt) + len(answer) - 1

    def filled(tokens: list[int], fill: int = NOT_LEARNED) -> Tensor:
        return torch.tensor((tokens + length * [fill])[:length])

    no, shifted = NOT_LEARNED, (prompt + answer)[1:]
    masked = (P - 1) * [no] + answer
    left = (length - n) * [no] + masked
    return {
        "the first token of the answer is not learned: its target stands at the last prompt "
        "token.": filled(P * [no] + answer[1:]),
        "the last token of the prompt is learned, too: it is given, not answered.": (
            filled((P - 2) * [no] + prompt[-1:] + answer)
        ),
        "the whole prompt is learned, too: mask it.": filled(shifted),
        "the filling is learned: it has no target.": filled(masked, 0),
        "the filling is learned as if the end came again and again.": filled(masked, answer[-1]),
        "nothing was shifted: the target of a place is the token after it.": (
            filled(P * [no] + answer)
        ),
        "the end of the answer is not learned: the model could never stop.": filled(masked[:-1]),
        "prompt and answer have changed places: the answer is to be learned.": (
            filled(prompt[1:] + len(answer) * [no])
        ),
        "0 is the number of a token; what is not learned is -100.": filled(
            (P - 1) * [0] + answer, 0
        ),
        "you mask with -1; here it is -100.": filled((P - 1) * [-1] + answer, -1),
        "only the last token of the answer is learned.": filled((n - 1) * [no] + answer[-1:]),
        "only the first token of the answer is learned.": filled((P - 1) * [no] + answer[:1]),
        "the filling stands in front; the inputs are filled up at their end.": torch.tensor(left),
        "that is a mask of ones and zeros: give the tokens themselves.": filled(
            (P - 1) * [0] + len(answer) * [1], 0
        ),
        "only the first token of the prompt is masked.": filled([no, *shifted[1:]]),
        "those are the inputs; the targets are wanted.": filled((prompt + answer)[:-1]),
    }


def _check_answer_targets(answer: Answer) -> str | None:
    prompt, said, length = [5, 3, 8, 2, 6], [4, 9, 7], 11
    expected = _answer_targets(prompt, said, length)
    result = answer(prompt, said, length)
    if isinstance(result, list):
        return "give a tensor: torch.tensor(...) makes one of a list."
    if isinstance(result, Tensor) and result.shape == (len(prompt) + len(said),):
        return "it has as many places as prompt and answer: fill it up to `length`."
    if isinstance(result, Tensor) and result.shape == (len(prompt) + len(said) - 1,):
        return "the row is not filled up: it must have `length` places."
    mistakes = {s: wrong.float() for s, wrong in _target_mistakes(prompt, said, length).items()}
    if first := mistake_in(result, expected.float(), mistakes):
        return first
    if result.dtype != torch.int64:
        return "the numbers are right, but targets are whole numbers, torch.long."
    if not same(answer([2], [1], 1), torch.tensor([1.0])):
        return "a prompt of one token and an answer of one token have one target: the answer."
    if not same(answer([2, 3], [0, 1], 4), torch.tensor([-100.0, 0.0, 1.0, -100.0])):
        return "token 0 is a token like others: in an answer it is learned."
    shared = torch.tensor([-100.0, -100.0, -100.0, 7.0, 1.0, 7.0, -100.0])
    if not same(answer([4, 7, 0, 7], [7, 1, 7], 7), shared):
        return "a token may come again, in the prompt too: its place decides whether it is learned."
    return None


answer_targets = Exercise(
    name="answer_targets",
    question="Return the targets (length,) of one row: the answer's tokens, and -100 elsewhere.",
    hints=(
        "The inputs are prompt + answer without the last token; each target is one token later.",
        "The first token of the answer is predicted at the last token of the prompt.",
        "torch.full((length,), -100), and then the answer from place len(prompt) - 1 on.",
    ),
    praise="the question is read, the answer and its end are learned.",
    reference=_answer_targets,
    axes_of_one=lambda: [([2], [1], 1)],
    keeps_inputs=True,
    checks=_check_answer_targets,
)


# 3. The mean over what is learned


def _answer_mean(losses: Tensor, targets: Tensor) -> Tensor:
    return losses[targets != NOT_LEARNED].mean()


def _mean_mistakes(losses: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return what each known mistake computes, by the sentence that names it."""
    learned = targets != NOT_LEARNED
    kept, counts = losses * learned, learned.sum(dim=1)
    B, T = losses.shape
    total, mean = kept.sum(), losses[learned].mean()
    per_row = kept.sum(dim=1) / counts
    return {
        "that is the mean over all places, the question and the filling too.": losses.mean(),
        "that is the sum: divide by the number of learned targets.": total,
        "the others are 0 now, but still counted in the mean: divide by the learned ones.": (
            total / (B * T)
        ),
        "that is the mean of the rows' means: a short answer's tokens would weigh more.": (
            per_row.mean()
        ),
        "you divide by the rows: divide by the learned targets.": total / B,
        "you divide by the length of a row: divide by the learned targets.": total / T,
        "that is the mean over what is NOT learned.": losses[~learned].mean(),
        "token 0 was left out: only -100 is not learned.": losses[targets > 0].mean(),
        "the rows' means are added up.": per_row.sum(),
        "only the last learned place of each row counts in yours.": torch.stack(
            [row[mask][-1] for row, mask in zip(losses, learned, strict=True)]
        ).mean(),
        "only the first row counts in yours.": losses[0][learned[0]].mean(),
        "that is exp of the mean, the perplexity.": mean.exp(),
        "those are bits; stay with nats.": mean / math.log(2),
        "the sign is turned: losses are above 0.": -mean,
        "only the first learned place of each row counts in yours.": torch.stack(
            [row[mask][0] for row, mask in zip(losses, learned, strict=True)]
        ).mean(),
        "that is the largest loss.": losses[learned].max(),
        "one is taken off the number of learned targets.": total / (learned.sum() - 1),
    }


def _check_answer_mean(answer: Answer) -> str | None:
    draw = torch.Generator().manual_seed(3)
    losses = 3 * torch.rand((3, 8), generator=draw)
    no = NOT_LEARNED
    targets = torch.tensor(
        [
            [no, no, 4, 0, no, no, no, no],
            [no, no, no, 6, 0, 2, 5, no],
            [no, no, no, no, 3, no, no, no],
        ]
    )
    expected = _answer_mean(losses, targets)
    result = answer(losses, targets)
    if isinstance(result, Tensor) and result.shape == (3,):
        return "that is one mean for each row; one number for all is wanted."
    if isinstance(result, Tensor) and result.shape == losses.shape:
        return "those are the losses still, one for each place; their mean is wanted."
    if first := mistake_in(result, expected, _mean_mistakes(losses, targets)):
        return first
    endless = losses.masked_fill(targets == no, torch.inf)
    if not same(answer(endless, targets), expected):
        return (
            "a loss that is not learned may be infinite, and 0 times infinity is nan: leave it out."
        )
    return None


answer_mean = Exercise(
    name="answer_mean",
    question="Return the mean of the losses (B, T) over all places whose target is not -100.",
    hints=(
        "targets != -100 says for each place whether it is learned.",
        "losses[mask] are the losses at those places, in one row.",
        "One mean over all of them, whatever row they are in.",
    ),
    praise="every learned token weighs the same.",
    reference=_answer_mean,
    axes_of_one=lambda: [
        (torch.rand(1, 3), torch.tensor([[NOT_LEARNED, 4, 5]])),
        (torch.rand(3, 1), torch.tensor([[NOT_LEARNED], [4], [5]])),
        (torch.rand(1, 1), torch.tensor([[4]])),
    ],
    keeps_inputs=True,
    checks=_check_answer_mean,
)
