"""Exercises of notebook 01: counting parameters, merging heads, a gather.

The letters of the shapes: B batch, T time, H heads, D head size, V vocabulary.

Lesson: notebook 01.
"""

import torch
from torch import Tensor

from bhushgpt.exercises.exercise import Exercise, ValueExercise

COUNT_MISTAKES = {
    79 * 32 + 32 * 79: "you forgot the bias: the linear layer has one number for each output.",
    79 * 32: "that is the embedding alone; the linear layer has parameters too.",
    32 * 79 + 79: "that is the linear layer alone; the embedding's table is learnt too.",
    79 * 32 + 32 * 79 + 32: "a bias has one number for each output (79), not for each input.",
    79 * 32 + 32 + 32 * 79 + 79: "an embedding has no bias: it is a table and nothing else.",
    79 * 32 + 79 + 32 * 79 + 79: "one bias of 79 is enough: the table of an embedding needs none.",
    79 * 32 * 32 * 79: "the two modules stand side by side: add their numbers.",
    79 + 32 + 32 + 79: "a table of 79 rows of 32 holds 79 * 32 numbers, so multiply.",
}


def _check_count(answer: int) -> str | None:
    if isinstance(answer, str):
        return "a number is wanted and a text came: leave the quotes out."
    if answer == 79 * 32 + 32 * 79 + 79:
        return None
    return COUNT_MISTAKES.get(
        answer, f"{answer} is not it: add the table, the weight and the bias, one by one."
    )


n_parameters = ValueExercise(
    name="n_parameters",
    question="Give the number of parameters of nn.Embedding(79, 32) and nn.Linear(32, 79).",
    hints=(
        "An embedding is one table: a row of 32 numbers for each of 79 tokens.",
        "A linear layer has a weight of shape (out, in) and a bias of shape (out,).",
    ),
    reference=79 * 32 + 32 * 79 + 79,
    checks=_check_count,
    praise="2,528 in the table, 2,528 in the weight, 79 in the bias.",
    why="79 * 32 in the table, 32 * 79 in the weight, 79 in the bias",
)


def _merged(x: Tensor) -> Tensor:
    B, H, T, D = x.shape
    return x.transpose(1, 2).reshape(B, T, H * D)


def _check_merge(answer) -> str | None:
    B, H, T, D = 2, 3, 5, 4
    # Every number says where it comes from, so that a mix-up can be named.
    x = torch.arange(B * H * T * D).view(B, H, T, D)
    right = _merged(x)
    out = answer(x)
    if out.shape == (B, T, H, D) and torch.equal(out, x.transpose(1, 2)):
        return "the order of the axes is right, but H and D are still two axes: join them."
    if out.shape == (B, H, T * D):
        return "you joined time and head size; the heads must move behind the time first."
    if out.shape == (B, H * T, D):
        return "you joined heads and time; join heads and head size, behind the time."
    if out.shape != right.shape:
        return f"the shape must be (B, T, H*D), here {tuple(right.shape)}, not {tuple(out.shape)}."
    if torch.equal(out, x.reshape(B, T, H * D)):
        return (
            "the shape is right and the numbers are not: reshape alone keeps the old order, so "
            "each row mixes several positions. Transpose first."
        )
    if torch.equal(out, x.permute(0, 2, 3, 1).reshape(B, T, H * D)):
        return "the heads are interleaved: head 0's numbers must stand together, before head 1's."
    if torch.equal(out, x.flip(1).transpose(1, 2).reshape(B, T, H * D)):
        return "the heads are in reverse order."
    if torch.equal(out, x.transpose(2, 3).reshape(B, T, H * D)):
        return "you swapped T and D; swap H and T."
    if torch.equal(out, x.transpose(1, 3).reshape(B, T, H * D)):
        return "you swapped H and D: now D stands where T should be. Bring T before H."
    if torch.equal(out, x.permute(2, 0, 1, 3).reshape(B, T, H * D)):
        return "time moved in front of the batch, so texts are mixed; B stays first."
    return None if torch.equal(out, right) else "the shape is right, but numbers sit elsewhere."


merge_heads = Exercise(
    name="merge_heads",
    question="Turn (B, H, T, D) into (B, T, H*D), all numbers of a position in one row.",
    hints=(
        "Heads were split in two steps: cut the last axis, swap two axes. Go back.",
        "transpose(1, 2) brings time before heads.",
        "After it the tensor is not contiguous: reshape works where view does not.",
    ),
    reference=_merged,
    keeps_inputs=True,
    checks=_check_merge,
    axes_of_one=lambda: [(torch.randn(s),) for s in ((1, 3, 5, 4), (2, 3, 1, 4), (2, 1, 5, 1))],
    praise="each position's heads stand side by side.",
)


def _target_probability(logits: Tensor, targets: Tensor) -> Tensor:
    probabilities = logits.softmax(dim=-1)
    return probabilities.gather(dim=-1, index=targets[..., None]).squeeze(-1)


def _check_target_probability(answer) -> str | None:
    B, T, V = 2, 3, 5
    logits, targets = torch.randn(B, T, V), torch.randint(0, V, (B, T))
    right = _target_probability(logits, targets)
    out = answer(logits, targets)
    if out.shape == (B, T, 1):
        return "gather leaves an axis of length 1 at the end: squeeze(-1) takes it away."
    if out.shape == (B, T, B, T):
        return "plain indexing picks every target at every position; pick one at each: gather."
    if out.shape == ():
        return "that is one number: one probability for each position is wanted."
    if out.shape != right.shape:
        return f"the shape must be (B, T), here {(B, T)}, not {tuple(out.shape)}."
    if not out.is_floating_point():
        return "those are whole numbers, so tokens; the probability of the token is wanted."
    picked = targets[..., None]
    everything = logits.flatten().softmax(0).view(B, T, V)
    mistakes = (
        (logits.gather(-1, picked), "those are scores, not probabilities: softmax first."),
        (right.log()[..., None], "those are logarithms of the probabilities."),
        (-right.log()[..., None], "that is the loss, -log p; the probability itself is wanted."),
        (logits.softmax(1).gather(-1, picked), "softmax runs along T; it must run along V."),
        (logits.softmax(0).gather(-1, picked), "softmax runs along B; it must run along V."),
        (logits.softmax(-1).amax(-1, True), "that is the likeliest token, not the one that came."),
        (logits.amax(-1, True), "that is the highest score; the token that came has its own."),
        (logits.exp().gather(-1, picked), "exp alone does not add up to 1: divide by the sum."),
        (
            (logits / logits.sum(-1, keepdim=True)).gather(-1, picked),
            "scores may be negative: take exp before you divide by the sum.",
        ),
        (logits.softmax(-1).softmax(-1).gather(-1, picked), "you took softmax twice."),
        (everything.gather(-1, picked), "softmax ran over all numbers at once; give it dim=-1."),
        (1 - right[..., None], "that is the probability that another token came."),
        (logits.sigmoid().gather(-1, picked), "sigmoid judges each score alone; use softmax."),
    )
    for wrong, sentence in mistakes:
        if torch.allclose(out, wrong.squeeze(-1)):
            return sentence
    if not torch.allclose(out, right):
        return "the probabilities are of other tokens."
    large = torch.tensor([[[1000.0, 999.0, -1000.0]] * 2])
    targets = torch.tensor([[0, 1]])
    right = _target_probability(large, targets)
    if not torch.allclose(answer(large, targets), right, atol=1e-3):
        return (
            "exp(1000) is infinite, so by hand it ends in nan: take the largest score off all of a "
            "row first, or let softmax do that."
        )
    mixed = torch.tensor([[[1000.0, 999.0, 998.0], [3.0, 1.0, 2.0]]])
    if not torch.allclose(answer(mixed, targets), _target_probability(mixed, targets), atol=1e-3):
        return (
            "beside a row of scores near 1000 a row near 0 comes out wrong: each row's own largest "
            "score must go, not that of the whole table."
        )
    return None


probability_of_targets = Exercise(
    name="probability_of_targets",
    question="Return the probability (B, T) that logits (B, T, V) give to targets (B, T).",
    hints=(
        "First turn scores into probabilities, along the vocabulary.",
        "gather(dim=-1, index=...) wants an index of shape (B, T, 1).",
        "targets[..., None] has that shape; squeeze(-1) removes the axis at the end.",
    ),
    reference=_target_probability,
    checks=_check_target_probability,
    axes_of_one=lambda: [
        (torch.randn(*size, 5), torch.randint(5, size)) for size in ((1, 3), (2, 1), (1, 1))
    ],
    praise="one probability for each position, that of the token that came.",
)
