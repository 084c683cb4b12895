"""Exercises of notebook 09: count an untied GPT, stop in time, one vector for a text.

Lesson: notebook 09.
"""

import torch
from torch import Tensor

from bhushgpt.exercises.exercise import Exercise
from bhushgpt.exercises.same_numbers import mistake_in


def _untied_count(V: int, L: int, C: int) -> int:
    block = 12 * C * C + 13 * C
    return L * block + 2 * V * C + 2 * C


def _check_untied_count(answer) -> str | None:
    V, L, C = 23, 3, 10
    right = _untied_count(V, L, C)
    mistakes = {
        right - V * C: "you counted one table of V x C; untied, the head has a table of its own.",
        right - 2 * C: "the norm after the last block is missing: a gain and a shift, 2 C.",
        right - 2 * C + C: "a norm has a gain and a shift: 2 C for the last one, not C.",
        right + 2 * V * C: "that is four tables of V x C; there are two, in and out.",
        right - 2 * V * C: "both tables of V x C are missing: one going in, one coming out.",
        right - V * C + V: "the head has a table of V x C, not just V biases.",
        right
        - L * 13 * C
        - 2 * C: "biases and norms are missing everywhere: 13 C in a block, 2 C last.",
        right - L * 4 * C * C: "the MLP goes there and back: 8 C^2 in each block, not 4 C^2.",
        right - L * 4 * C: "each block has two norms of its own: 4 C.",
        right
        - L * (C * C + C): "the projection behind the heads is missing: C^2 + C in each block.",
        right + L * C: "13 C of biases and norms are in each block; you have 14 C.",
        right + (L - 1) * 2 * V * C: "the tables stand outside the blocks: once, not L times.",
        4 * right: "those are bytes in float32; the numbers themselves are asked for.",
        right - L * 13 * C: "biases and norms of the blocks are missing: 13 C in each.",
        right + V * C: "there are two tables of V x C, going in and coming out; you have three.",
        right + V: "the head has no bias: V too many.",
        right - (L - 1) * (12 * C * C + 13 * C): "there are L blocks; you counted one.",
    }
    got = int(answer(V, L, C))
    if got in mistakes:
        return mistakes[got]
    if got > right and (got - right) % C == 0 and got - right <= 64 * C:
        return "that is a multiple of C too many: rotary positions have no table."
    return None if got == right else f"V=23, L=3, C=10 gives {right:,}, yours gives {got:,}."


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
    late = [3.1, 2.2, 2.5, 2.6, 2.7, 1.3]
    got = answer(list(late), 3)
    if got == 5:
        return "you looked beyond the stop: after 2.5, 2.6, 2.7 training was over."
    if got == 1.3:
        return "that is the lowest loss of all; return an index, and only of what was seen."
    if got == 3:
        return "that is `patience`, or a loss that is only lower than some; the lowest is at 1."
    if got == 0:
        return "index 0 has the highest loss; look for the lowest."
    if got == 4:
        return "that is where training stopped; the best weights are from earlier."
    if got == 2.2:
        return "that is the loss itself; return its index."
    if got == 2:
        return "one worse loss is not three: wait for `patience` of them in a row."
    if got != 1:
        return f"for {late} and patience 3 the best index is 1, yours is {got}."
    if answer([3.0, 2.0, 1.0], 5) != 2:
        return "when the losses end before patience does, the best of all of them counts."
    if answer([3.1, 2.2, 2.5, 2.6, 1.3], 3) != 4:
        return "two losses that brought nothing new are not three: 1.3 is still seen."
    dips = [3.1, 2.2, 2.7, 2.5, 2.8, 2.6, 2.9, 2.3]
    if (found := answer(list(dips), 5)) != 1:
        return f"lower than the one before is not lower than all: in {dips} the best is 1: {found}?"
    broken = [3.0, 2.0, 2.5, 2.4, 1.9, 2.2, 1.8]
    if answer(list(broken), 3) != 6:
        return "start counting anew whenever a new lowest loss comes."
    if answer([1.0, 5.0, 4.0, 6.0, 5.0, 0.5], 3) != 0:
        return "falling is not enough: a loss above the lowest does not start the count anew."
    if answer([2.0, 2.0, 2.0, 1.0], 2) == 3:
        return "a loss that only equals the lowest is no improvement."
    if answer([1.0, 0.0, 0.5], 2) != 1:
        return "a loss of 0 is the lowest there is, and no sign that none was seen."
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
    stream, lengths = torch.randn(3, 7, 5), torch.tensor([2, 6, 4])
    rows, expected = torch.arange(3), _text_vectors(stream, lengths)
    real = [row[:n] for row, n in zip(stream, lengths.tolist(), strict=True)]
    mistakes = {
        "you indexed rows and columns apart: each text with each length. Pair them.": (
            stream[:, lengths - 1]
        ),
        "that is the last place of each row, which is filling in all of these texts.": (
            stream[:, -1]
        ),
        "one too far: a text of length n has its last token at n - 1.": stream[rows, lengths],
        "one too early: a text of length n has its last token at n - 1.": stream[rows, lengths - 2],
        "you counted from behind; the filling stands there, so count from the front.": (
            stream[rows, -lengths]
        ),
        "that is the mean of everything, filling included; take one token's vector.": (
            stream.mean(1)
        ),
        "that is the sum of everything, filling included; take one token's vector.": stream.sum(1),
        "those are the largest numbers of all places; take one token's vector.": stream.amax(1),
        "that is the mean of the real tokens; the last one has seen them all.": (
            torch.stack([part.mean(0) for part in real])
        ),
        "that is the sum of the real tokens; the last one has seen them all.": (
            torch.stack([part.sum(0) for part in real])
        ),
        "those are the largest numbers of the real tokens; take the last one's vector.": (
            torch.stack([part.amax(0) for part in real])
        ),
        "the first token has seen nothing but itself; take the last one.": stream[:, 0],
        "the longest text decides for all; each has a length of its own.": (
            stream[:, lengths.max() - 1]
        ),
        "the shortest text decides for all; each has a length of its own.": (
            stream[:, lengths.min() - 1]
        ),
        "rows and columns are exchanged: one row for each text.": expected.T,
    }
    return mistake_in(answer(stream, lengths), expected, mistakes)


text_vectors = Exercise(
    name="text_vectors",
    question="Return the vector of each text's last real token, (B, C).",
    hints=(
        "The last token of a text of length n stands at place n - 1.",
        "rows = torch.arange(B) pairs each text with its own place.",
    ),
    reference=_text_vectors,
    axes_of_one=lambda: [
        (torch.randn(1, 7, 5), torch.tensor([4])),
        (torch.randn(3, 1, 5), torch.tensor([1, 1, 1])),
        (torch.randn(3, 7, 1), torch.tensor([2, 6, 4])),
    ],
    checks=_check_text_vectors,
    praise="each text by the token that has seen all of it.",
)
