"""Exercises of notebook 08: the order of a block, and its number of parameters.

Letters: C channels.

Lesson: notebook 08.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bhushgpt.exercises.exercise import Exercise
from bhushgpt.exercises.same_numbers import mistake_in

Answer = Callable[..., Any]


# A pre-norm block


def _pre_norm_block(
    x: Tensor, attention: Answer, mlp: Answer, norm_1: Answer, norm_2: Answer
) -> Tensor:
    for part, norm in ((attention, norm_1), (mlp, norm_2)):
        x = x + part(norm(x))
    return x


def _block_mistakes(
    x: Tensor, attention: Answer, mlp: Answer, norm_1: Answer, norm_2: Answer
) -> dict[str, Tensor]:
    """Return sentence -> what that mistake gives."""
    right = _pre_norm_block
    normed, middle = norm_1(x), x + attention(norm_1(x))
    after_post, from_normed = norm_1(x + attention(x)), normed + attention(normed)

    def unchanged(y: Tensor) -> Tensor:
        return y

    return {
        "this is post-norm, the block of 2017: normalise what the parts read, not the stream.": (
            norm_2(after_post + mlp(after_post))
        ),
        "the residual starts from the normalised x: add to the stream x itself.": (
            norm_2(from_normed) + mlp(norm_2(from_normed))
        ),
        "no residuals: each part's result must be added to the stream.": (
            mlp(norm_2(attention(normed)))
        ),
        "the first residual is missing: x + attention(...).": (
            attention(normed) + mlp(norm_2(attention(normed)))
        ),
        "the second residual is missing: x + mlp(...).": mlp(norm_2(middle)),
        "the MLP reads the stream from before the attention.": middle + mlp(norm_2(x)),
        "the MLP's result is added to the old x: what attention found is lost.": (
            x + mlp(norm_2(middle))
        ),
        "norm_1 is used for both parts.": right(x, attention, mlp, norm_1, norm_1),
        "the norms are exchanged: norm_1 belongs to the attention.": (
            right(x, attention, mlp, norm_2, norm_1)
        ),
        "the parts are exchanged: attention comes first.": right(x, mlp, attention, norm_1, norm_2),
        "the norms stand behind the parts: normalise what goes in.": right(
            x, lambda y: norm_1(attention(y)), lambda y: norm_2(mlp(y)), unchanged, unchanged
        ),
        "there is no norm in it.": right(x, attention, mlp, unchanged, unchanged),
        "only the attention is there.": middle,
    }


def _parts(C: int) -> tuple[nn.Module, ...]:
    """Return what stands for attention and MLP, and two norms that can be told apart."""
    attention = nn.Sequential(nn.Linear(C, C), nn.Tanh())
    mlp = nn.Sequential(nn.Linear(C, C), nn.Sigmoid())
    norms = nn.LayerNorm(C), nn.LayerNorm(C)
    for norm in norms:
        nn.init.normal_(norm.weight, mean=1.0)
        nn.init.normal_(norm.bias)
    return attention, mlp, *norms


def _check_pre_norm_block(answer: Answer) -> str | None:
    C = 6
    attention, mlp, *norms = _parts(C)
    x = torch.randn(2, 5, C) * 3
    with torch.no_grad():
        result = answer(x, attention, mlp, *norms)
        expected = _pre_norm_block(x, attention, mlp, *norms)
        mistakes = _block_mistakes(x, attention, mlp, *norms)
    return mistake_in(result, expected, mistakes)


pre_norm_block = Exercise(
    name="pre_norm_block",
    question="Return what a pre-norm block makes of x, given its two parts and two norms.",
    hints=(
        "A part reads a normalised copy of the stream: attention(norm_1(x)).",
        "Its result is added to the stream itself: x = x + ...",
        "Then the same with mlp and norm_2, on the new x.",
    ),
    praise="the stream is touched by additions alone.",
    reference=_pre_norm_block,
    axes_of_one=lambda: [(torch.randn(size), *_parts(6)) for size in ((1, 5, 6), (2, 1, 6))],
    keeps_inputs=True,
    checks=_check_pre_norm_block,
)


# How many parameters?


def _block_parameters(n_embd: int) -> int:
    attention = (3 + 1) * n_embd**2 + (3 + 1) * n_embd
    mlp = 2 * (4 * n_embd) * n_embd + 4 * n_embd + n_embd
    norms = 2 * 2 * n_embd
    return attention + mlp + norms


# What each mistake counts: (a, b) stands for a C^2 + b C.
COUNT_MISTAKES: dict[tuple[int, int], str] = {
    (12, 0): "those are the matrices alone: linear layers have biases, norms have parameters too.",
    (12, 9): "the two norms are missing: each has a gain and a bias for each channel.",
    (12, 11): "that is half of the norms: there are two, each with a gain *and* a bias.",
    (12, 4): "the biases of the linear layers are missing.",
    (12, 10): "the biases of queries, keys and values are missing.",
    (6, 10): "the middle of the MLP is four times as wide: 4C * C weights, twice.",
    (4, 4): "that is the attention alone.",
    (8, 5): "that is the MLP alone.",
    (12, 12): "one bias of C numbers is missing: attention and MLP each end in a projection.",
    (11, 12): "attention's projection is missing: C * C weights and C biases behind the heads.",
    (10, 11): "queries, keys and values are three layers; you counted one.",
    (8, 12): "that is one of the MLP's two matrices; it widens, and it comes back.",
}


def _check_block_parameters(answer: Answer) -> str | None:
    sizes = (6, 100)
    counts = [answer(C) for C in sizes]
    if counts == [_block_parameters(C) for C in sizes]:
        return None
    for (squares, lines), sentence in COUNT_MISTAKES.items():
        if counts == [squares * C**2 + lines * C for C in sizes]:
            return sentence
    shown = ", ".join(str(count) for count in counts)
    return (
        f"for 6 and 100 channels yours says {shown}. Count one part after the other: "
        "sum(p.numel() for p in part.parameters()) tells you which one is wrong."
    )


block_parameters = Exercise(
    name="block_parameters",
    question="Return how many parameters a block with n_embd channels has, biases and norms too.",
    hints=(
        "Attention: C to 3C, then C to C. MLP: C to 4C, then 4C to C. Two norms.",
        "A linear layer from a to b has a * b + b parameters, a norm 2 * C.",
        "All together it is something times C squared plus something times C.",
    ),
    praise="12 C^2 + 13 C, and the square decides: twice as wide is four times as large.",
    reference=_block_parameters,
    checks=_check_block_parameters,
)
