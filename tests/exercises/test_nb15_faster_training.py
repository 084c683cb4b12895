"""Each wrong answer of notebook 15's exercises meets its own sentence; the references are true."""

import math

import torch
import torch.nn.functional as F
from kill_table import assert_exercise

from bhushgpt.exercises.nb15_faster_training import accumulate, busy, slope, wsd
from bhushgpt.training import batch_loss
from bhushgpt.training_config import TrainingConfig, learning_rate


def test_the_kill_table_of_accumulate():
    def stub(model, parts): ...

    def total(parts):
        return sum(len(inputs) for inputs, _ in parts)

    def keeps_old(model, parts):
        for inputs, targets in parts:
            (batch_loss(model, inputs, targets) * len(inputs) / total(parts)).backward()
        return 0.0

    def undivided(model, parts):
        model.zero_grad()
        for inputs, targets in parts:
            batch_loss(model, inputs, targets).backward()
        return 0.0

    def mean_of_means(model, parts):
        model.zero_grad()
        for inputs, targets in parts:
            (batch_loss(model, inputs, targets) / len(parts)).backward()
        return 0.0

    def cleared_inside(model, parts):
        for inputs, targets in parts:
            model.zero_grad()
            (batch_loss(model, inputs, targets) * len(inputs) / total(parts)).backward()
        return 0.0

    def cleared_and_undivided(model, parts):
        for inputs, targets in parts:
            model.zero_grad()
            batch_loss(model, inputs, targets).backward()
        return 0.0

    def rows_only(model, parts):
        model.zero_grad()
        for inputs, targets in parts:
            (batch_loss(model, inputs, targets) * len(inputs)).backward()
        return 0.0

    def by_tokens(model, parts):
        model.zero_grad()
        for inputs, targets in parts:
            share = len(inputs) / (total(parts) * inputs.shape[1])
            (batch_loss(model, inputs, targets) * share).backward()
        return 0.0

    def steps_too(model, parts):
        accumulate.reference(model, parts)
        torch.optim.SGD(model.parameters(), lr=0.1).step()
        return 0.0

    def sum_of_losses(model, parts):
        accumulate.reference(model, parts)
        return sum(batch_loss(model, *part).item() for part in parts)

    def no_backward(model, parts):
        return sum(batch_loss(model, inputs, targets) for inputs, targets in parts)

    assert_exercise(
        accumulate,
        stub,
        {
            keeps_old: "were there before still count",
            undivided: "nothing was divided",
            mean_of_means: "the short one counts too much",
            cleared_inside: "is left: the gradients were cleared",
            cleared_and_undivided: "and undivided",
            rows_only: "nothing divided by all rows",
            by_tokens: "a mean over its tokens already",
            steps_too: "weights have moved",
            no_backward: "call backward()",
            sum_of_losses: "the gradient is right; the mean loss",
        },
    )


def test_the_kill_table_of_wsd():
    def stub(step, steps, warmup, decay, peak): ...

    right = wsd.reference

    def starts_at_zero(step, steps, warmup, decay, peak):
        return peak * step / warmup if step < warmup else right(step, steps, warmup, decay, peak)

    def one_too_long(step, steps, warmup, decay, peak):
        if step < warmup:
            return peak * (step + 1) / (warmup + 1)
        return right(step, steps, warmup, decay, peak)

    def no_rise(step, steps, warmup, decay, peak):
        return right(step, steps, 0, decay, peak)

    def never_falls(step, steps, warmup, decay, peak):
        return right(step, steps, warmup, 0, peak)

    def falls_at_once(step, steps, warmup, decay, peak):
        return right(step, steps, warmup, steps - warmup, peak)

    def reaches_zero(step, steps, warmup, decay, peak):
        if step >= steps - decay:
            return peak * (steps - 1 - step) / decay
        return right(step, steps, warmup, decay, peak)

    def in_a_curve(step, steps, warmup, decay, peak):
        if step > steps - decay:
            return peak * (1 + math.cos(math.pi * (1 - (steps - step) / decay))) / 2
        return right(step, steps, warmup, decay, peak)

    def late(step, steps, warmup, decay, peak):
        if step in (steps - decay + 1,):
            return peak
        return right(step, steps, warmup, decay, peak)

    def divides(step, steps, warmup, decay, peak):
        return min(peak, peak * (step + 1) / warmup, peak * (steps - step) / decay)

    assert_exercise(
        wsd,
        stub,
        {
            starts_at_zero: "learns nothing",
            one_too_long: "must have the peak already",
            no_rise: "there is no warm-up",
            never_falls: "never falls",
            falls_at_once: "between warm-up and decay",
            reaches_zero: "the last step has a rate of 0",
            in_a_curve: "a straight line: step 19",
            late: "begins at another step",
            divides: "ZeroDivisionError",
        },
    )


def test_the_reference_is_the_packages_schedule():
    config = TrainingConfig(
        steps=20, warmup_steps=4, decay_steps=5, learning_rate=8.0, schedule="wsd"
    )
    for step in range(20):
        assert math.isclose(wsd.reference(step, 20, 4, 5, 8.0), learning_rate(step, config))


def softmax_by_hand(logits, answers):
    chances = logits.exp() / logits.exp().sum(-1, keepdim=True)
    chances[torch.arange(len(answers)), answers] -= 1
    return chances / len(answers)


def test_the_kill_table_of_slope():
    def stub(logits, answers): ...

    def one_hot(logits, answers):
        return F.one_hot(answers, logits.shape[1])

    def summed(logits, answers):
        return logits.softmax(dim=-1) - one_hot(logits, answers)

    def turned_round(logits, answers):
        return -summed(logits, answers) / len(logits)

    def only_softmax(logits, answers):
        return logits.softmax(dim=-1) / len(logits)

    def raw_scores(logits, answers):
        return (logits - one_hot(logits, answers)) / len(logits)

    def over_tokens(logits, answers):
        return (logits.softmax(dim=0) - one_hot(logits, answers)) / len(logits)

    def every_row(logits, answers):
        chances = logits.softmax(dim=-1)
        chances[:, answers] -= 1
        return chances / len(logits)

    def logs(logits, answers):
        return (logits.log_softmax(dim=-1) - one_hot(logits, answers)) / len(logits)

    def in_place(logits, answers):
        logits.copy_(logits.softmax(dim=-1))
        logits[torch.arange(len(answers)), answers] -= 1
        return logits / len(logits)

    assert_exercise(
        slope,
        stub,
        {
            softmax_by_hand: "scores near 1000 come out wrong",
            summed: "gradient of the sum",
            turned_round: "the other way round",
            only_softmax: "softmax alone",
            raw_scores: "become probabilities first",
            over_tokens: "ran over the tokens",
            every_row: "index rows and answers together",
            logs: "these are log-probabilities",
            in_place: "your code changes `logits`",
        },
    )
    logits = torch.randn(7, 3, requires_grad=True)
    answers = torch.randint(3, (7,))
    F.cross_entropy(logits, answers).backward()
    torch.testing.assert_close(slope.reference(logits.detach(), answers), logits.grad)


def test_the_kill_table_of_busy():
    def stub(weights, tokens_per_second, limit): ...

    wrong = {
        lambda w, t, limit: 2 * w * t / limit: "counts forward only",
        lambda w, t, limit: 3 * w * t / limit: "the multiplications only",
        lambda w, t, limit: w * t / limit: "in six operations",
        lambda w, t, limit: 600 * w * t / limit: "not a percentage",
        lambda w, t, limit: limit / (6 * w * t): "upside down",
        lambda w, t, limit: 6 * w * t: "divide by the limit",
    }
    assert_exercise(busy, stub, wrong)
