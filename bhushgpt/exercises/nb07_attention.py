"""Exercises of notebook 07: a mask for prompts, and heads from start to end.

Letters: B batch, T time, C channels, H heads, D head size.

Lesson: notebook 07.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bhushgpt.exercises.exercise import Exercise
from bhushgpt.exercises.same_numbers import mistake_in, same

Answer = Callable[..., Any]


# 1. A prompt that everybody sees


def _prefix_softmax(scores: Tensor, prefix: int) -> Tensor:
    query = torch.arange(scores.shape[-2])[:, None]
    key = torch.arange(scores.shape[-1])
    return scores.where((key <= query) | (key < prefix), -torch.inf).softmax(dim=-1)


def _check_prefix_softmax(answer: Answer) -> str | None:
    scores, prefix = torch.randn(2, 7, 7), 3
    past, column = torch.ones(7, 7).tril() == 1, torch.arange(7)

    def shares(visible: Tensor, dim: int = -1) -> Tensor:
        return scores.masked_fill(~visible, -torch.inf).softmax(dim=dim)

    visible = past | (column < prefix)
    mistakes = {
        "this masks after the softmax, so the rows no longer sum to 1. Set the scores to "
        "-infinity before it.": scores.softmax(dim=-1) * visible,
        "a masked score of 0 is not a weight of 0: exp(0) = 1. Use -infinity.": (
            (scores * visible).softmax(dim=-1)
        ),
        "this is the softmax over the queries: columns sum to 1. Each query shares out over its "
        "keys, dim=-1.": shares(visible, dim=-2),
        "this is the plain causal mask: the prefix is hidden from its own first tokens.": (
            shares(past)
        ),
        "nothing is masked: the tokens behind the prefix see their future.": (
            scores.softmax(dim=-1)
        ),
        "this prefix has one token too many: keys 0 to prefix - 1 belong to it.": (
            shares(past | (column <= prefix))
        ),
        "rows and columns are exchanged: the first queries see everything. The prefix is a "
        "range of keys.": shares(past | (column[:, None] < prefix)),
        "tokens behind the prefix see the prefix alone; they also see their own past.": (
            shares(column.expand(7, 7) < prefix)
        ),
        "the upper triangle stayed: rows are queries, columns are keys, and the past is the "
        "lower one.": shares(past.T | (column < prefix)),
        "a token must see itself, too.": shares(
            (torch.ones(7, 7).tril(-1) == 1) | (column < prefix)
        ),
    }
    first = mistake_in(answer(scores, prefix), _prefix_softmax(scores, prefix), mistakes)
    if first:
        return first
    for size, prefix in ((5, 0), (4, 4)):
        scores = torch.randn(1, size, size)
        if not same(answer(scores, prefix), _prefix_softmax(scores, prefix)):
            return f"right for T = 7, prefix 3, but not for T = {size}, prefix {prefix}."
    large = 1000 * torch.randn(1, 4, 4)
    if not same(answer(large, 2), _prefix_softmax(large, 2), 1e-3):
        return (
            "scores near 1000 come out wrong, since exp(1000) is infinite: take each row's largest "
            "visible score off first, or let softmax do that."
        )
    return None


prefix_softmax = Exercise(
    name="prefix_softmax",
    question="Return the weights when all tokens see the first `prefix` ones and their own past.",
    hints=(
        "A key may be seen if it lies in the past of the query or in the prefix.",
        "key = torch.arange(T) is a row, query = key[:, None] a column: comparing them gives "
        "(T, T).",
        "scores.masked_fill(~visible, -torch.inf), and the softmax over dim=-1 last.",
    ),
    praise="an encoder for the prompt and a decoder for the rest, in one mask.",
    reference=_prefix_softmax,
    axes_of_one=lambda: [(torch.randn(2, 1, 1), 0), (torch.randn(1, 3, 3), 1)],
    checks=_check_prefix_softmax,
)


# 2. Heads from start to end


def _multi_head(q: Tensor, k: Tensor, v: Tensor, n_head: int) -> Tensor:
    B, T, C = q.shape
    D = C // n_head
    q, k, v = (part.view(B, T, n_head, D).transpose(1, 2) for part in (q, k, v))
    scores = (q / D**0.5) @ k.mT + torch.full((T, T), -torch.inf).triu(1)
    return (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(B, T, C)


def _variant(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    split: Answer = lambda x: x.unflatten(-1, (3, -1)).transpose(1, 2),
    join: Answer = lambda x: x.transpose(1, 2).flatten(2),
    scale: float = 0.5,
    mask: str = "before",
    dim: int = -1,
) -> Tensor:
    """Compute attention in three heads of four channels, with one thing done in another way."""
    scores = split(q) @ split(k).mT * scale
    visible = torch.ones(scores.shape[-2:]).tril() == 1
    if mask == "before":
        scores = scores.masked_fill(~visible, -torch.inf)
    weights = scores.softmax(dim=dim)
    return join((weights * visible if mask == "after" else weights) @ split(v))


def _check_multi_head(answer: Answer) -> str | None:
    q, k, v = torch.randn(3, 2, 5, 12).unbind()
    mistakes = {
        "this divides by the root of all C = 12 channels; each head's dot product has only D = 4 "
        "terms.": _variant(q, k, v, scale=12**-0.5),
        "the scores are not divided by the root of D.": _variant(q, k, v, scale=1.0),
        "this divides by D, not by its square root.": _variant(q, k, v, scale=1 / 4),
        "view without a transpose: your first head got the first tokens, not the first channels "
        "of all tokens. Split C into (H, D), then move H before T.": _variant(
            q, k, v, lambda x: x.reshape(2, 3, 5, 4), lambda x: x.reshape(2, 5, 12)
        ),
        "the heads attend to each other inside one token: move H before T, so that T and D come "
        "last.": _variant(q, k, v, lambda x: x.unflatten(-1, (3, 4)), lambda x: x.flatten(2)),
        "each head got every third channel; its channels lie side by side: view(B, T, H, D).": (
            _variant(
                *(q, k, v),
                lambda x: x.unflatten(-1, (4, 3)).permute(0, 3, 1, 2),
                lambda x: x.permute(0, 2, 3, 1).flatten(2),
            )
        ),
        "the heads are joined without moving T back before H: transpose, then reshape.": (
            _variant(q, k, v, join=lambda x: x.reshape(2, 5, 12))
        ),
        "the softmax runs over the queries; each query shares out over its keys: dim=-1.": (
            _variant(q, k, v, dim=-2)
        ),
        "the future is not masked.": _variant(q, k, v, mask="never"),
        "the mask comes after the softmax, so the rows no longer sum to 1.": (
            _variant(q, k, v, mask="after")
        ),
        "this is one big head: n_head is not used.": _multi_head(q, k, v, 1),
        "keys ask and queries answer: the scores are q times k transposed.": _variant(k, q, v),
        "the keys are handed over where the values belong.": _variant(q, k, k),
    }
    first = mistake_in(answer(q, k, v, 3), _multi_head(q, k, v, 3), mistakes)
    if first:
        return first
    q, k, v = torch.randn(3, 3, 4, 20).unbind()
    if not same(answer(q, k, v, 2), _multi_head(q, k, v, 2)):
        return "right for 3 heads of 4 channels, but not for 2 heads of 10."
    return None


multi_head = Exercise(
    name="multi_head",
    question="Return causal attention of q, k, v (B, T, C) in n_head heads, joined to (B, T, C).",
    hints=(
        "Split: view(B, T, n_head, D), then transpose(1, 2), for q, k and v alike.",
        "Scores: q @ k.transpose(-2, -1), divided by the root of D, with -inf in the future.",
        "Join the other way round: transpose(1, 2), then reshape(B, T, C).",
    ),
    praise="every head saw its own channels of every token, and only the past.",
    reference=_multi_head,
    axes_of_one=lambda: [
        (*torch.randn(3, 1, 5, 12).unbind(), 3),
        (*torch.randn(3, 2, 1, 12).unbind(), 3),
        (*torch.randn(3, 2, 5, 4).unbind(), 1),
        (*torch.randn(3, 2, 5, 4).unbind(), 4),
    ],
    checks=_check_multi_head,
)
