"""Every wrong answer of notebook 01 fails with a message of its own."""

import torch
from kill_table import assert_exercise

from bhushgpt.exercises.nb01_descent import fit_slope
from bhushgpt.exercises.nb01_pytorch_basics import (
    COUNT_MISTAKES,
    merge_heads,
    n_parameters,
    probability_of_targets,
)


def stub(*arguments): ...


def test_the_kill_table_of_n_parameters():
    assert_exercise(
        n_parameters, ..., COUNT_MISTAKES | {5000: "5000 is not it", "5135": "leave the quotes out"}
    )


def flat(x):
    B, H, T, D = x.shape
    return B, T, H * D


def changes_its_input(x):
    out = x.transpose(1, 2).reshape(flat(x))
    x += 1
    return out


def keeps_both_axes(x):
    return x.transpose(1, 2)


def joins_time_and_size(x):
    return x.flatten(2)


def averages_the_heads(x):
    return x.float().mean(dim=1)


def reshapes_alone(x):
    return x.reshape(flat(x))


def interleaves(x):
    return x.permute(0, 2, 3, 1).reshape(flat(x))


def reverses_the_heads(x):
    return torch.cat([x[:, head] for head in reversed(range(x.shape[1]))], dim=-1)


def swaps_time_and_size(x):
    return x.transpose(2, 3).reshape(flat(x))


def rolls(x):
    return x.transpose(1, 2).reshape(flat(x)).roll(1)


def joins_heads_and_time(x):
    return x.flatten(1, 2)


def swaps_heads_and_size(x):
    return x.transpose(1, 3).reshape(flat(x))


def time_before_batch(x):
    return x.permute(2, 0, 1, 3).reshape(flat(x))


def views_without_contiguous(x):
    return x.transpose(1, 2).view(flat(x))


def test_the_kill_table_of_merge_heads():
    assert_exercise(
        merge_heads,
        stub,
        {
            changes_its_input: "your code changes `",
            keeps_both_axes: "still two axes",
            joins_time_and_size: "joined time and head size",
            averages_the_heads: "must be (B, T, H*D), here (2, 5, 12), not (2, 5, 4)",
            reshapes_alone: "reshape alone keeps the old order",
            interleaves: "interleaved",
            reverses_the_heads: "reverse order",
            swaps_time_and_size: "swapped T and D",
            joins_heads_and_time: "you joined heads and time",
            swaps_heads_and_size: "you swapped H and D",
            time_before_batch: "B stays first",
            rolls: "numbers sit elsewhere",
            views_without_contiguous: "view size is not compatible",
        },
    )


def test_merging_by_cat_is_right_too():
    assert merge_heads.judge(lambda x: torch.cat(list(x.unbind(1)), dim=-1)).status == "right"


def descend(x, y, rate, steps, start=0.0, loss=lambda e: (e**2).mean(), clear=True):
    w = torch.tensor(start, requires_grad=True)
    for _ in range(steps):
        loss(w * x - y).backward()
        with torch.no_grad():
            w -= rate * w.grad
        if clear:
            w.grad = None
    return w.detach()


def never_moves(x, y, rate, steps):
    return torch.tensor(0.0)


def uphill(x, y, rate, steps):
    return descend(x, y, -rate, steps)


def never_clears(x, y, rate, steps):
    return descend(x, y, rate, steps, clear=False)


def one_step(x, y, rate, steps):
    return descend(x, y, rate, 1)


def one_more(x, y, rate, steps):
    return descend(x, y, rate, steps + 1)


def one_less(x, y, rate, steps):
    return descend(x, y, rate, steps - 1)


def sums(x, y, rate, steps):
    return descend(x, y, rate, steps, loss=lambda e: (e**2).sum())


def halves(x, y, rate, steps):
    return descend(x, y, rate, steps, loss=lambda e: (e**2).mean() / 2)


def starts_at_one(x, y, rate, steps):
    return descend(x, y, rate, steps, start=1.0)


def solves(x, y, rate, steps):
    return x @ y / (x @ x)


def returns_the_loss(x, y, rate, steps):
    return ((descend(x, y, rate, steps) * x - y) ** 2).mean()


def absolute_errors(x, y, rate, steps):
    return descend(x, y, rate, steps, loss=lambda e: e.abs().mean())


def changes_while_remembering(x, y, rate, steps):
    w = torch.tensor(0.0, requires_grad=True)
    for _ in range(steps):
        ((w * x - y) ** 2).mean().backward()
        w -= rate * w.grad
    return w


def forgets_the_inner_derivative(x, y, rate, steps):
    w = 0.0
    for _ in range(steps):
        w -= rate * (2 * (w * x - y)).mean()
    return w


def subtracts_the_loss(x, y, rate, steps):
    w = 0.0
    for _ in range(steps):
        w -= rate * ((w * x - y) ** 2).mean()
    return w


def ignores_the_rate(x, y, rate, steps):
    return descend(x, y, 1.0, steps)


def one_example_at_a_time(x, y, rate, steps):
    w = 0.0
    for _ in range(steps):
        for one, wanted in zip(x, y, strict=True):
            w -= rate * 2 * (w * one - wanted) * one
    return w


def first_example(x, y, rate, steps):
    return descend(x[:1], y[:1], rate, steps)


def last_example(x, y, rate, steps):
    return descend(x[-1:], y[-1:], rate, steps)


def test_a_w_that_still_requires_a_gradient_is_right_without_a_warning(recwarn):
    def answer(x, y, rate, steps):
        return descend(x, y, rate, steps).requires_grad_()

    assert fit_slope.judge(answer).status == "right" and not recwarn.list


def one_step_at_least(x, y, rate, steps):
    return descend(x, y, rate, max(steps, 1))


def test_the_kill_table_of_fit_slope():
    assert_exercise(
        fit_slope,
        stub,
        {
            one_step_at_least: "with steps = 0",
            never_moves: "still at its start",
            uphill: "walks uphill",
            never_clears: "pile up in .grad",
            one_step: "a single step",
            one_more: "one step too many",
            one_less: "one step too few",
            sums: "you took the sum",
            halves: "half of what it should be",
            starts_at_one: "start at w = 0",
            solves: "endless descent",
            returns_the_loss: "that is the loss; the slope",
            forgets_the_inner_derivative: "the chain rule",
            subtracts_the_loss: "you subtract the loss",
            ignores_the_rate: "the rate plays no part",
            one_example_at_a_time: "after every single example",
            first_example: "only the first example",
            last_example: "only the last example",
            absolute_errors: "w should be",
            changes_while_remembering: "a leaf Variable that requires grad",
        },
    )


def test_a_gradient_by_calculus_is_right_too():
    def answer(x, y, rate, steps):
        w = 0.0
        for _ in range(steps):
            w = w - rate * (2 * (w * x - y) * x).mean()
        return w

    assert fit_slope.judge(answer).status == "right"


def picked(values, targets):
    return values.gather(-1, targets[..., None]).squeeze(-1)


def leaves_an_axis(logits, targets):
    return logits.softmax(-1).gather(-1, targets[..., None])


def plain_index(logits, targets):
    return logits.softmax(-1)[:, :, targets]


def means(logits, targets):
    return picked(logits.softmax(-1), targets).mean()


def all_tokens(logits, targets):
    return logits.softmax(-1)


def scores(logits, targets):
    return picked(logits, targets)


def logs(logits, targets):
    return picked(logits.log_softmax(-1), targets)


def losses(logits, targets):
    return -picked(logits.log_softmax(-1), targets)


def along_time(logits, targets):
    return picked(logits.softmax(1), targets)


def along_batch(logits, targets):
    return picked(logits.softmax(0), targets)


def likeliest(logits, targets):
    return logits.softmax(-1).max(-1).values


def sigmoids(logits, targets):
    return picked(logits.sigmoid(), targets)


def of_the_next(logits, targets):
    return picked(logits.softmax(-1), (targets + 1) % logits.shape[-1])


def tokens(logits, targets):
    return logits.argmax(-1)


def highest_scores(logits, targets):
    return logits.max(-1).values


def undivided(logits, targets):
    return picked(logits.exp(), targets)


def without_exp(logits, targets):
    return picked(logits / logits.sum(-1, keepdim=True), targets)


def softmax_twice(logits, targets):
    return picked(logits.softmax(-1).softmax(-1), targets)


def over_everything(logits, targets):
    return picked(logits.flatten().softmax(0).view_as(logits), targets)


def of_all_others(logits, targets):
    return 1 - picked(logits.softmax(-1), targets)


def index_with_too_few_axes(logits, targets):
    return logits.softmax(-1).gather(-1, targets)


def softmax_by_hand(logits, targets):
    powers = logits.exp()
    return picked(powers / powers.sum(-1, keepdim=True), targets)


def one_maximum_for_all(logits, targets):
    powers = (logits - logits.max()).exp()
    return picked(powers / powers.sum(-1, keepdim=True), targets)


def test_the_kill_table_of_probability_of_targets():
    assert_exercise(
        probability_of_targets,
        stub,
        {
            softmax_by_hand: "so by hand it ends in nan",
            one_maximum_for_all: "each row's own largest score must go",
            leaves_an_axis: "leaves an axis of length 1",
            plain_index: "plain indexing",
            means: "that is one number",
            all_tokens: "must be (B, T)",
            scores: "those are scores",
            logs: "those are logarithms",
            losses: "that is the loss",
            along_time: "runs along T",
            along_batch: "runs along B",
            likeliest: "the likeliest token",
            sigmoids: "sigmoid judges each score alone",
            tokens: "whole numbers, so tokens",
            highest_scores: "the highest score",
            undivided: "exp alone",
            without_exp: "take exp before you divide",
            softmax_twice: "softmax twice",
            over_everything: "over all numbers at once",
            of_all_others: "another token came",
            of_the_next: "of other tokens",
            index_with_too_few_axes: "Index tensor must have the same number of dimensions",
        },
    )


def test_picking_by_one_hot_is_right_too():
    def answer(logits, targets):
        chosen = torch.nn.functional.one_hot(targets, logits.shape[-1])
        return (logits.softmax(-1) * chosen).sum(-1)

    assert probability_of_targets.judge(answer).status == "right"
