"""Exercises of notebook 15: unequal parts, a schedule, the slope of the loss, a busy machine.

Lesson: notebook 15.
"""

import math

import torch
from torch import Tensor, nn

from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.exercises.attempts import autograd_watched
from bhushgpt.exercises.exercise import Exercise
from bhushgpt.training import batch_loss


def _accumulate(model: nn.Module, parts: list[tuple[Tensor, Tensor]]) -> float:
    model.zero_grad()
    rows = sum(len(inputs) for inputs, _ in parts)
    total = 0.0
    for inputs, targets in parts:
        loss = batch_loss(model, inputs, targets) * len(inputs) / rows
        loss.backward()
        total += loss.item()
    return total


def _table() -> Bigram:
    return Bigram(BigramConfig(vocab_size=6, context_length=3))


def _gradient(weights: list[float], parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the gradient of a sum of the parts' mean losses, each with a weight."""
    model = _table()
    for weight, (inputs, targets) in zip(weights, parts, strict=True):
        (weight * batch_loss(model, inputs, targets)).backward()
    grad = model.table.weight.grad
    assert grad is not None
    return grad


def _check_accumulate(answer) -> str | None:
    counts = (5, 4, 1)
    parts = [(torch.randint(6, (n, 3)), torch.randint(6, (n, 3))) for n in counts]
    shares = [n / 10 for n in counts]
    right = _gradient(shares, parts)
    old = torch.ones_like(right)
    mistakes = {
        "the gradients that were there before still count: clear them first, once.": right + old,
        "nothing was divided: this is the gradient of the sum of three means.": (
            _gradient([1.0, 1.0, 1.0], parts)
        ),
        "each part was divided by the number of parts, so the short one counts too much.": (
            _gradient([1 / 3, 1 / 3, 1 / 3], parts)
        ),
        "only the last part is left: the gradients were cleared inside the loop.": (
            _gradient([0.0, 0.0, shares[2]], parts)
        ),
        "only the last part is left, and undivided: the gradients were cleared inside the loop.": (
            _gradient([0.0, 0.0, 1.0], parts)
        ),
        "each part was multiplied by its rows, but nothing divided by all rows.": 10 * right,
        "you divided by the number of tokens; a part's loss is a mean over its tokens already.": (
            right / 3
        ),
    }
    model = _table()
    before = model.table.weight.detach().clone()
    model.table.weight.grad = old.clone()
    result = answer(model, parts)
    if not torch.equal(model.table.weight, before):
        return "the weights have moved; only the gradients are asked for, no step."
    got = model.table.weight.grad
    if got is None or torch.equal(got, old):
        return "the model's gradients are as they were: call backward() on every part's loss."
    for sentence, value in mistakes.items():
        if torch.allclose(got, value, atol=1e-6):
            return sentence
    if not torch.allclose(got, right, atol=1e-6):
        return "this is another gradient."
    # An untrained table guesses evenly: every token, and so every mean of them, has this loss.
    right_loss = math.log(6)
    if abs(float(result) - right_loss) > 1e-4:
        return f"the gradient is right; the mean loss is {right_loss:.3f}, not {float(result):.3f}."
    nn.init.normal_(model.table.weight)  # now every part has a loss of its own
    if abs(float(answer(model, parts)) - (right_loss := _accumulate(model, parts))) > 1e-4:
        return "the gradient is right, the loss is not the mean of all tokens: weigh the parts."
    return None


accumulate = Exercise(
    name="accumulate",
    question="Return the mean loss over all tokens of unequal parts, and leave its gradient.",
    hints=(
        "model.zero_grad() once, before the loop.",
        "A part with n of all R rows: batch_loss(...) * n / R, then backward().",
    ),
    reference=_accumulate,
    checks=_check_accumulate,
    praise="every token counts the same, whatever part it is in.",
)


def _wsd(step: int, steps: int, warmup: int, decay: int, peak: float) -> float:
    if step < warmup:
        return peak * (step + 1) / warmup
    if step > steps - decay:
        return peak * (steps - step) / decay
    return peak


def _check_wsd(answer) -> str | None:
    steps, warmup, decay, peak = 23, 4, 7, 0.6
    rates = [float(answer(step, steps, warmup, decay, peak)) for step in range(steps)]

    def near(one: float, other: float) -> bool:
        return abs(one - other) < 1e-6

    if near(rates[10], 1):
        return "the peak plays no part: multiply by it."
    if near(rates[0], 0):
        return "the first step has a rate of 0 and learns nothing: the rise begins at step + 1."
    if near(rates[0], peak / (warmup + 1)):
        return f"step {warmup - 1} is the last of the warm-up and must have the peak already."
    if near(rates[0], peak):
        return "there is no warm-up: the first `warmup` steps go up."
    rise = [peak * (s + 1) / warmup for s in range(warmup)]
    if not all(map(near, rates, rise)):
        shown = ", ".join(f"{rate:.2f}" for rate in rates[:warmup])
        return f"the warm-up should be 0.15, 0.30, 0.45, 0.60, but is {shown}."
    if near(rates[-1], peak):
        return "the rate never falls: the last `decay` steps go down."
    if not near(rates[10], peak):
        return f"between warm-up and decay the rate stays; step 10 has {rates[10]:.2f}, not 0.60."
    if rates[-1] < 1e-6:
        return "the last step has a rate of 0; it would be 0 one step later, at step `steps`."
    middle = peak * (steps - 19) / decay
    if not near(rates[19], middle):
        return (
            f"the fall is a straight line: step 19 should have {middle:.2f}, not {rates[19]:.2f}."
        )
    if not all(near(rates[s], peak * min(1, (steps - s) / decay)) for s in range(12, steps)):
        return "the decay begins at another step than `steps - decay`."
    for step, rate in enumerate(rates):
        if not near(rate, _wsd(step, steps, warmup, decay, peak)):
            return f"right at first and at last, but step {step} has {rate:.2f}, not 0.60."
    if not all(near(float(answer(step, 10, 0, 0, peak)), peak) for step in (0, 9)):
        return "without warm-up and decay every step has the peak."
    return None


wsd = Exercise(
    name="wsd",
    question="Return the rate of a step under warmup-stable-decay.",
    hints=(
        "Three cases: step < warmup, step > steps - decay, and the rest.",
        "peak * (step + 1) / warmup on the way up, peak * (steps - step) / decay on the way down.",
    ),
    reference=_wsd,
    checks=_check_wsd,
    praise="no step is wasted, and a longer run begins the same.",
)


def _slope(logits: Tensor, answers: Tensor) -> Tensor:
    slope = logits.softmax(dim=-1)
    slope[torch.arange(len(answers)), answers] -= 1
    return slope / len(answers)


def _check_slope(answer) -> str | None:
    logits, answers = torch.randn(5, 7), torch.tensor([1, 0, 3, 3, 6])
    rows = torch.arange(5)
    right = _slope(logits, answers)
    truth = torch.zeros(5, 7)
    truth[rows, answers] = 1
    chances = logits.softmax(dim=-1)
    everywhere = chances.clone()
    everywhere[:, answers] -= 1
    mistakes = {
        "that is the gradient of the sum: divide by the number of tokens.": 5 * right,
        "the sign is the other way round: softmax minus one-hot.": -right,
        "this is softmax alone: take 1 from each token's true word.": chances / 5,
        "the scores themselves minus one-hot; they must become probabilities first.": (
            (logits - truth) / 5
        ),
        "softmax ran over the tokens; it belongs over the words of each token.": (
            (logits.softmax(dim=0) - truth) / 5
        ),
        "1 was taken in every row for every answer: index rows and answers together.": (
            everywhere / 5
        ),
        "these are log-probabilities minus one-hot; the gradient has probabilities.": (
            (logits.log_softmax(dim=-1) - truth) / 5
        ),
        "you divide by all numbers; the mean runs over the 5 tokens only.": right / 7,
        "you divide by the number of words; the mean runs over the tokens.": right * 5 / 7,
        "the sign is turned and the division is missing: (softmax - one-hot) / N.": -5 * right,
        "exp(scores) are no probabilities yet: each row has to sum to 1.": (
            (logits.exp() - truth) / 5
        ),
        "a sigmoid looks at each score alone; softmax lets the words of a token compete.": (
            (logits.sigmoid() - truth) / 5
        ),
        "only the true words have a slope here; the scores of all others fall, too.": truth * right,
        "softmax times one-hot is not softmax minus one-hot.": chances * truth / 5,
        "you took 1 off the score, before softmax; take it off the probability.": (
            (logits - truth).softmax(dim=-1) / 5
        ),
        "that is the slope for the probability of the true word; go on, through softmax.": (
            -truth / chances / 5
        ),
        "that is the loss itself.": torch.nn.functional.cross_entropy(logits, answers),
        "you added the rows up: each token's scores have slopes of their own.": right.sum(0),
        "rows and columns are exchanged: one row for each token.": right.T,
    }
    with autograd_watched() as kept:
        got = answer(logits, answers)
    if kept:
        return "autograd does the work here: softmax and one subtraction give the same."
    for sentence, value in mistakes.items():
        if got.shape == value.shape and torch.allclose(got, value, atol=1e-5):
            return sentence
    if not torch.allclose(got, right, atol=1e-5):
        return "this is another gradient."
    large, answers = 1000 * torch.randn(3, 7), torch.tensor([1, 5, 2])
    if not torch.allclose(answer(large, answers), _slope(large, answers), atol=1e-3):
        return (
            "scores near 1000 come out wrong, since exp(1000) is infinite: take each row's largest "
            "score off first, or let softmax do that."
        )
    return None


slope = Exercise(
    name="slope",
    question="Return the gradient of the mean loss with respect to the scores.",
    hints=(
        "logits.softmax(dim=-1) is most of it.",
        "slope[torch.arange(N), answers] -= 1, and divide by N.",
    ),
    reference=_slope,
    axes_of_one=lambda: [
        (torch.randn(1, 7), torch.tensor([3])),
        (torch.randn(3, 1), torch.tensor([0, 0, 0])),
    ],
    keeps_inputs=True,
    checks=_check_slope,
    praise="softmax minus one-hot, a mean over tokens.",
)


def _busy(weights: float, tokens_per_second: float, limit: float) -> float:
    return 6 * weights * tokens_per_second / limit


def _check_busy(answer) -> str | None:
    weights, speed, limit = 124e6, 5000.0, 1e13
    right = 6 * weights * speed / limit
    mistakes = {
        "that counts forward only: 2 of the 6 operations for each weight and token.": right / 3,
        "that counts the multiplications only: each comes with an addition.": right / 2,
        "a weight is used in six operations, not in one.": right / 6,
        "a share, not a percentage: 1 means all of it.": 100 * right,
        "upside down: what is done, divided by what could be done.": 1 / right,
        "these are operations per second; divide by the limit.": right * limit,
        "that counts backward only: 4 of the 6 operations for a weight and a token.": right * 2 / 3,
        "8 would compute forward twice; 2 and 4 are 6 for a weight and a token.": right * 4 / 3,
        "6 operations are all: 2 forward and 4 backward, additions counted already.": right * 2,
        "operations are counted, not bytes: a weight's four bytes play no part.": right * 4,
        "every weight is used for every token: multiply by the weights.": right / weights,
        "that is for one token a second: multiply by the tokens per second.": right / speed,
        "you divide by the tokens per second; multiply by them.": right / speed**2,
        "that is the share that stands idle.": 1 - right,
        "both are per second: no day comes into it.": right / 86_400,
    }
    got = float(answer(weights, speed, limit))
    for sentence, value in mistakes.items():
        if abs(got - value) < 1e-6 * value:
            return sentence
    return None if abs(got - right) < 1e-9 else f"124 million weights: {right:.3f}, not {got:.3g}."


busy = Exercise(
    name="busy",
    question="Return the share of the device's limit that a run uses.",
    hints=("Two operations forward and four backward, for each weight and token.",),
    reference=_busy,
    checks=_check_busy,
    praise="now a slow program and a slow machine look different.",
)
