"""Exercises of notebook 20: a count, a time, a straight line in logarithms, two votes.

Lesson: notebook 20.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bhushgpt.exercises.exercise import Exercise
from bhushgpt.exercises.same_numbers import mistake_in, same

Answer = Callable[..., Any]


def _number(result: object) -> str | None:
    """Return what is wrong about a result that must be a number, if anything is."""
    if isinstance(result, bool) or not isinstance(result, int | float | np.number | Tensor):
        return f"give back a number; a {type(result).__name__} came."
    return None


def _close(value: float, wanted: float) -> bool:
    return math.isclose(value, wanted, rel_tol=1e-9)


# 1. How many numbers are in a GPT-2?


def _parameters(vocab_size: int, context_length: int, n_layer: int, n_embd: int) -> int:
    tables = (vocab_size + context_length) * n_embd
    products = 12 * n_embd**2  # 3 and 1 in attention, 4 and 4 in the MLP
    biases = (3 + 1 + 4 + 1) * n_embd
    norms = 2 * 2 * n_embd
    return tables + n_layer * (products + biases + norms) + 2 * n_embd


def _parameters_mistakes(V: int, T: int, L: int, C: int) -> dict[str, float]:
    """Return what each known mistake counts, by the sentence that names it."""
    right = _parameters(V, T, L, C)
    return {
        "the head is counted again; it is tied to the token table.": right + V * C,
        "the table of positions is missing.": right - T * C,
        "the table of tokens is missing.": right - V * C,
        "the norm after the last block is missing.": right - 2 * C,
        "the biases of the four linear layers are missing.": right - 9 * L * C,
        "the two norms of each block are missing.": right - 4 * L * C,
        "a block has two norms; you counted one.": right - 2 * L * C,
        "a norm has a gain and a bias for each channel; you counted one of the two.": (
            right - (2 * L + 1) * C
        ),
        "the MLP has two matrices, there and back; you counted one.": right - L * 4 * C * C,
        "attention has a fourth matrix, the projection after the heads.": right - L * (C * C + C),
        "query, key and value are three matrices; you counted one.": right
        - L * (2 * C * C + 2 * C),
        "the blocks are counted once; there are n_layer of them.": _parameters(V, T, 1, C),
        "that is 12 L C^2, the rule of thumb: tables, biases and norms are missing.": (
            12 * L * C * C
        ),
        "those are the matrices alone: biases and norms are missing.": (
            12 * L * C * C + (V + T) * C
        ),
        "the causal mask is a rule, not something learned.": right + L * T * T,
        "those are millions: give the number itself.": right / 1e6,
        "those are bytes in float32: give the number of weights.": 4 * right,
    }


def _check_parameters(answer: Answer) -> str | None:
    sizes = (97, 23, 3, 20)
    wanted, mistakes = _parameters(*sizes), _parameters_mistakes(*sizes)
    result = answer(*sizes)
    if wrong := _number(result):
        return wrong
    value = float(result)
    if not _close(value, wanted):
        for sentence, number in mistakes.items():
            if _close(value, number):
                return sentence
        return (
            f"for V 97, T 23, 3 blocks and 20 channels there are {wanted:,}; yours: {value:,.0f}."
        )
    other = float(answer(50257, 1024, 12, 768))
    if not _close(other, _parameters(50257, 1024, 12, 768)):
        return f"it holds for one size only: GPT-2 has 124,439,808, yours says {other:,.0f}."
    return None


parameters = Exercise(
    name="parameters",
    question="Return how many numbers are trained in a GPT-2 of these sizes.",
    hints=(
        "Go through a block: two norms, qkv, projection, widen, narrow. Each layer has a bias.",
        "qkv is C x 3C, the projection C x C, widen C x 4C, narrow 4C x C.",
        "Then the two tables, and the norm at the end. The head is the token table.",
    ),
    praise="GPT-2 has 124,439,808 by your count, and by torch's.",
    reference=_parameters,
    checks=_check_parameters,
)


# 2. How long does it take?


def _training_days(parameters: float, tokens: float, limit: float, mfu: float) -> float:
    return 6 * parameters * tokens / (limit * mfu) / 86400


def _check_training_days(answer: Answer) -> str | None:
    n, d, limit, mfu = 1.3e9, 7.1e10, 9.1e14, 0.37
    right = _training_days(n, d, limit, mfu)
    mistakes = {
        "2 operations for each weight and token are forward alone; backward takes 4 more.": right
        / 3,
        "4 operations for each weight and token are backward alone; forward takes 2 more.": (
            right * 2 / 3
        ),
        "3 is forward and backward in multiplications; each comes with an addition.": right / 2,
        "that counts one operation for each weight and token; it is 6.": right / 6,
        "8 operations is with blocks computed again in backward; 6 without.": right * 8 / 6,
        "you left out mfu: no run reaches the limit.": right * mfu,
        "mfu makes the machine slower: divide by it, do not multiply.": right * mfu * mfu,
        "those are seconds: a day has 86,400.": right * 86400,
        "those are minutes: give days.": right * 1440,
        "those are hours: give days.": right * 24,
        "those are weeks: give days.": right / 7,
        "the tokens are missing: each of them costs 6 operations a weight.": right / d,
        "the weights are missing.": right / n,
        "upside down: those are runs in a day.": 1 / right,
        "the speed of the machine is missing: divide by its operations in a second.": right * limit,
        "you took 1 - mfu, the share that is lost.": right * mfu / (1 - mfu),
        "mfu is a share already, not per cent: do not divide it by 100.": right * 100,
    }
    result = answer(n, d, limit, mfu)
    if wrong := _number(result):
        return wrong
    value = float(result)
    if _close(value, right):
        return None
    for sentence, number in mistakes.items():
        if _close(value, number):
            return sentence
    return f"1.3 billion weights and 71 billion tokens take {right:.2f} days, yours: {value:.4g}."


training_days = Exercise(
    name="training_days",
    question="Return the days that a run of N parameters and D tokens takes.",
    hints=(
        "Six operations for each weight and token.",
        "The machine does limit * mfu of them in a second.",
        "6 * N * D / (limit * mfu) are seconds; a day has 86,400.",
    ),
    praise="that is how budgets are made.",
    reference=_training_days,
    checks=_check_training_days,
)


# 3. A power law is a straight line


def _power_law(sizes: np.ndarray, losses: np.ndarray) -> tuple[float, float]:
    slope, height = np.polyfit(np.log(sizes), np.log(losses), 1)
    return float(np.exp(height)), float(-slope)


def _power_law_mistakes(x: np.ndarray, y: np.ndarray) -> dict[str, tuple[float, float]]:
    """Return what each known mistake gives, by the sentence that names it."""
    factor, power = _power_law(x, y)
    ln_x, ln_y = np.log(x), np.log(y)
    line = np.polyfit(x, y, 1)
    half_y, half_x = np.polyfit(x, ln_y, 1), np.polyfit(ln_x, y, 1)
    swapped = np.polyfit(ln_y, ln_x, 1)
    ends = np.log(y[0] / y[-1]) / np.log(x[-1] / x[0])
    origin = -(ln_x @ ln_y) / (ln_x @ ln_x)
    plus_one = np.polyfit(np.log1p(x), np.log1p(y), 1)
    return {
        "the power has the wrong sign: the loss is factor / size^power.": (factor, -power),
        "the factor is still a logarithm: take exp of it.": (math.log(factor), power),
        "the height of a line in log10 is undone by 10**, not by exp.": (
            math.exp(math.log10(factor)),
            power,
        ),
        "the height of a line in natural logarithms is undone by exp, not by 10**.": (
            10 ** math.log(factor),
            power,
        ),
        "the two numbers are in the other order: first the factor.": (power, factor),
        "that is the slope the other way round, of sizes over losses.": (factor, 1 / power),
        "you fitted ln size over ln loss: the loss is what has the errors.": (
            float(np.exp(swapped[1])),
            float(-swapped[0]),
        ),
        "that is a straight line without logarithms.": (float(line[1]), float(-line[0])),
        "only the losses are logarithms: that is an exponential, not a power.": (
            float(np.exp(half_y[1])),
            float(-half_y[0]),
        ),
        "only the sizes are logarithms.": (float(half_x[1]), float(-half_x[0])),
        "that is the line through the first and the last point; use all of them.": (
            float(y[0] * x[0] ** ends),
            float(ends),
        ),
        "your line goes through the origin: it needs a height, too.": (1.0, float(origin)),
        "log1p is ln(1 + x): take np.log.": (float(np.exp(plus_one[1])), float(-plus_one[0])),
        "the factor is what a size of 1 loses, not the first loss.": (float(y[0]), power),
        "the factor is what a size of 1 loses, not the mean loss.": (float(y.mean()), power),
    }


def _check_power_law(answer: Answer) -> str | None:
    sizes = np.array([0.5, 1.1, 2.3, 4.7, 9.7, 19.0])
    losses = 1.7 * sizes**-0.34 * np.array([1.01, 0.985, 1.02, 0.97, 1.015, 1.03])
    wanted, mistakes = _power_law(sizes, losses), _power_law_mistakes(sizes, losses)
    result = answer(sizes.copy(), losses.copy())
    try:
        factor, power = (float(number) for number in result)
    except (TypeError, ValueError):
        return "give back two numbers: the factor and the power."
    if _near((factor, power), wanted):
        return None
    for sentence, pair in mistakes.items():
        if _near((factor, power), pair):
            return sentence
    return (
        f"here the factor is {wanted[0]:.3f} and the power {wanted[1]:.3f}; yours: {factor:.3f} "
        f"and {power:.3f}."
    )


def _near(pair: tuple[float, float], wanted: tuple[float, float]) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-5) for a, b in zip(pair, wanted, strict=True))


power_law = Exercise(
    name="power_law",
    question="Return the factor and the power of loss = factor / size^power, fitted to points.",
    hints=(
        "Take logarithms on both sides: ln loss = ln factor - power * ln size.",
        "That is a straight line. np.polyfit(x, y, 1) returns its slope and its height.",
        "The power is minus the slope, the factor is exp of the height.",
    ),
    praise="a power is a slope in logarithms.",
    reference=_power_law,
    checks=_check_power_law,
)


# 4. Two models that vote


def _together(logits: Tensor, others: Tensor) -> Tensor:
    return ((logits.softmax(dim=-1) + others.softmax(dim=-1)) / 2).log()


def _check_together(answer: Answer) -> str | None:
    random = torch.Generator().manual_seed(5)
    a, b = (3 * torch.randn(2, 3, 5, generator=random) for _ in range(2))
    p, q = a.softmax(-1), b.softmax(-1)
    right = _together(a, b)
    mistakes = {
        "the mean of the scores; a model that shouts louder counts more. Softmax first.": (a + b)
        / 2,
        "the mean of the scores, made into probabilities afterwards. Softmax comes first.": (
            ((a + b) / 2).log_softmax(-1)
        ),
        "the scores were added: that is the product of the probabilities.": (
            (a + b).log_softmax(-1)
        ),
        "the mean of the logarithms: take the mean of the probabilities.": (p.log() + q.log()) / 2,
        "the logarithms were added, which multiplies the probabilities.": p.log() + q.log(),
        "the probabilities are added but not halved: they sum to 2.": (p + q).log(),
        "those are probabilities: take the logarithm.": (p + q) / 2,
        "softmax must run over the vocabulary, the last axis; yours runs over the positions.": (
            ((a.softmax(1) + b.softmax(1)) / 2).log()
        ),
        "softmax must run over the vocabulary, the last axis; yours runs over the rows.": (
            ((a.softmax(0) + b.softmax(0)) / 2).log()
        ),
        "the larger of the two probabilities is not a mean.": torch.maximum(p, q).log(),
        "the smaller of the two probabilities is not a mean.": torch.minimum(p, q).log(),
        "the second model has no say.": p.log(),
        "the first model has no say.": q.log(),
        "exp without dividing by the sum: use softmax.": torch.logaddexp(a, b) - math.log(2),
        "exp without dividing by the sum, and without halving: use softmax.": torch.logaddexp(a, b),
        "softmax was taken twice.": ((p + q) / 2).log_softmax(-1),
        "those are logarithms to the base 2; take the natural ones.": ((p + q) / 2).log2(),
        "the sign is wrong: a log-probability is below 0.": -right,
        "that is one probability for each position, not one for each token.": (
            ((p + q) / 2).amax(-1).log()
        ),
    }
    result = answer(a, b)
    if wrong := mistake_in(result, right, mistakes):
        return wrong
    large = torch.tensor([[[1000.0, 999.0]]]), torch.tensor([[[1.0, 3.0]]])
    if not all(same(answer(*pair), _together(*pair), 1e-3) for pair in (large, large[::-1])):
        return (
            "scores near 1000 come out wrong, since exp(1000) is infinite: take each row's largest "
            "score off first, or let softmax do that."
        )
    return None


together = Exercise(
    name="together",
    question="Return ln of the mean probability of two models, (B, T, V), from their logits.",
    hints=(
        "Probabilities can be averaged, scores cannot: softmax over the last axis.",
        "Then the mean of the two, then the logarithm.",
    ),
    praise="the two count the same, however loud their scores are.",
    reference=_together,
    axes_of_one=lambda: [
        torch.randn(2, *size).unbind() for size in ((1, 3, 5), (2, 1, 5), (2, 3, 1))
    ],
    keeps_inputs=True,
    checks=_check_together,
)
