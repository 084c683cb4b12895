"""Exercises of notebook 09: count an untied GPT, stop in time, one vector for a text.

Lesson: notebook 09.
"""

import torch
from torch import Tensor

from bhushgpt.exercises.exercise import Exercise


def _untied_count(V: int, L: int, C: int) -> int:
    block = 12 * C * C + 13 * C
    return L * block + 2 * V * C + 2 * C


def _check_untied_count(answer) -> str | None:
    V, L, C = 11, 3, 10
    right = _untied_count(V, L, C)
    mistakes = {
        right - V * C: "you counted one table of V x C; untied, the head has a table of its own.",
        right - 2 * C: "the norm after the last block is missing: a gain and a shift, 2 C.",
        right - 2 * C + C: "a norm has a gain and a shift: 2 C for the last one, not C.",
        right - L * 13 * C: "biases and norms of the blocks are missing: 13 C in each.",
        right + V: "the head has no bias: V too many.",
        right - (L - 1) * (12 * C * C + 13 * C): "there are L blocks; you counted one.",
    }
    got = int(answer(V, L, C))
    if got in mistakes:
        return mistakes[got]
    if got > right and (got - right) % C == 0 and got - right <= 64 * C:
        return "that is a multiple of C too many: rotary positions have no table."
    return None if got == right else f"V=11, L=3, C=10 gives {right:,}, yours gives {got:,}."


untied_count = Exercise(
    name="untied_count",
    question="Return the number of parameters of a GPT with rotary positions and an untied head.",
    hints=(
        "A block has 12 C^2 + 13 C; the tables and the last norm come on top.",
        "Rotary positions are computed, not learned: no T x C.",
        "Untied: V x C going in and V x C coming out.",
    ),
    reference=_untied_count,
    checks=_check_untied_count,
    praise="twice the table, no positions, the last norm not forgotten.",
)


def _early_stop(losses: list[float], patience: int) -> int:
    best = 0
    for index, loss in enumerate(losses):
        if loss < losses[best]:
            best = index
        elif index - best >= patience:
            break
    return best


def _check_early_stop(answer) -> str | None:
    late = [3.0, 2.0, 2.5, 2.6, 2.7, 1.0]
    got = answer(list(late), 3)
    if got == 5:
        return "you looked beyond the stop: after 2.5, 2.6, 2.7 training was over."
    if got == 4:
        return "that is where training stopped; the best weights are from earlier."
    if got == 2.0:
        return "that is the loss itself; return its index."
    if got == 2:
        return "one worse loss is not three: wait for `patience` of them in a row."
    if got != 1:
        return f"for {late} and patience 3 the best index is 1, yours is {got}."
    if answer([3.0, 2.0, 1.0], 5) != 2:
        return "when the losses end before patience does, the best of all of them counts."
    broken = [3.0, 2.0, 2.5, 2.4, 1.9, 2.2, 1.8]
    if answer(list(broken), 3) != 6:
        return "start counting anew whenever a new lowest loss comes."
    if answer([2.0, 2.0, 2.0, 1.0], 2) == 3:
        return "a loss that only equals the lowest is no improvement."
    return None


early_stop = Exercise(
    name="early_stop",
    question="Return the index of the best loss seen when `patience` losses brought nothing new.",
    hints=(
        "Remember the index of the lowest loss so far.",
        "How many losses have come since then? That is index - best.",
        "break when that reaches patience.",
    ),
    reference=_early_stop,
    checks=_check_early_stop,
    praise="patient, and not a step too long.",
)


def _text_vectors(stream: Tensor, lengths: Tensor) -> Tensor:
    rows = torch.arange(stream.shape[0])
    return stream[rows, lengths - 1]


def _check_text_vectors(answer) -> str | None:
    stream, lengths = torch.randn(3, 5, 4), torch.tensor([2, 4, 3])
    right = _text_vectors(stream, lengths)
    got = answer(stream, lengths)
    if got.shape == (3, 3, 4):
        return "you indexed rows and columns apart: each text with each length. Pair them."
    if torch.equal(got, stream[:, -1]):
        return "that is the last place of each row, which is filling in all of these texts."
    if torch.equal(got, stream[torch.arange(3), lengths]):
        return "one too far: a text of length n has its last token at n - 1."
    if torch.allclose(got, stream.mean(1)):
        return "that is the mean of everything, filling included; take one token's vector."
    if torch.equal(got, stream[:, 0]):
        return "the first token has seen nothing but itself; take the last one."
    if got.shape != right.shape:
        return f"the shape should be (3, 4), one vector for each text, yours is {tuple(got.shape)}."
    return None if torch.equal(got, right) else "these are not the vectors of the last tokens."


text_vectors = Exercise(
    name="text_vectors",
    question="Return the vector of each text's last real token, (B, C).",
    hints=(
        "The last token of a text of length n stands at place n - 1.",
        "rows = torch.arange(B) pairs each text with its own place.",
    ),
    reference=_text_vectors,
    checks=_check_text_vectors,
    praise="each text by the token that has seen all of it.",
)
