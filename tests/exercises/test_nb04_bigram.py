"""The checkers of notebook 04 know the mistakes that people make."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from kill_table import assert_exercise

from bhushgpt.exercises.nb04_bigram import back_off, loss_by_hand, no_shift, windows_in_order


def picked(table, targets):
    return table.gather(-1, targets[..., None])


def each_loss(logits, targets):
    return -picked(logits.log_softmax(-1), targets)[..., 0]


def loss_stub(logits, targets): ...


def lets_the_library(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def forgets_the_minus(logits, targets):
    return picked(logits.log_softmax(-1), targets).mean()


def sums_instead_of_mean(logits, targets):
    return each_loss(logits, targets).sum()


def means_over_windows_only(logits, targets):
    return each_loss(logits, targets).sum(dim=1).mean()


def gives_every_position(logits, targets):
    return each_loss(logits, targets)


def softmax_over_time(logits, targets):
    return -picked(logits.log_softmax(1), targets).mean()


def softmax_over_batch(logits, targets):
    return -picked(logits.log_softmax(0), targets).mean()


def log_of_the_mean(logits, targets):
    return -picked(logits.softmax(-1), targets).mean().log()


def no_logarithm(logits, targets):
    return -picked(logits.softmax(-1), targets).mean()


def one_minus_p(logits, targets):
    return 1 - picked(logits.softmax(-1), targets).mean()


def no_softmax(logits, targets):
    return -picked(logits, targets).mean()


def in_bits(logits, targets):
    return each_loss(logits, targets).mean() / math.log(2)


def last_position_only(logits, targets):
    return F.cross_entropy(logits[:, -1], targets[:, -1])


def first_window_only(logits, targets):
    return each_loss(logits, targets)[0].mean()


def shifts_again(logits, targets):
    return each_loss(logits[:, :-1], targets[:, 1:]).mean()


def means_over_the_vocabulary(logits, targets):
    return -logits.log_softmax(-1).mean()


def loop_of_the_lesson(logits, targets):
    B, T, _ = logits.shape
    places = [(b, t) for b in range(B) for t in range(T)]
    losses = [-logits[b, t].softmax(dim=0)[targets[b, t]].log() for b, t in places]
    return torch.stack(losses).mean()


def padded(logits, targets):
    return -(picked(logits.softmax(-1), targets) + 1e-9).log().mean()


def largest_not_subtracted(logits, targets):
    return (logits.exp().sum(-1).log() - picked(logits, targets)[..., 0]).mean()


def capped(logits, targets):
    return each_loss(logits.clamp(max=80), targets).mean()


def dealt_by_view(logits, targets):
    B, T, V = logits.shape
    return F.cross_entropy(logits.view(B, V, T), targets)


def test_the_kill_table_of_loss_by_hand():
    assert_exercise(
        loss_by_hand,
        loss_stub,
        {
            forgets_the_minus: "the sign is wrong",
            sums_instead_of_mean: "that is the sum; divide",
            means_over_windows_only: "averaged over windows only",
            gives_every_position: "one loss for each position",
            softmax_over_time: "runs over the positions",
            softmax_over_batch: "runs over the windows",
            log_of_the_mean: "-ln of the mean probability",
            no_logarithm: "the loss is -ln p, not -p.",
            one_minus_p: "not 1 - p",
            no_softmax: "raw scores of the targets",
            in_bits: "those are bits",
            last_position_only: "the last position only",
            first_window_only: "the first window only",
            shifts_again: "shifted already",
            means_over_the_vocabulary: "averaged over the whole vocabulary",
            loop_of_the_lesson: "ln 0 is infinite",
            padded: "it is 200, not 20.7",
            largest_not_subtracted: "exp(1000) is infinite",
            capped: "for the scores 1000 and 999",
            dealt_by_view: "for a random batch it is",
            lets_the_library: "cross_entropy does all of it",
        },
    )


def windows_stub(tokens, T): ...


def no_shift_at_all(tokens, T):
    n = (len(tokens) - 1) // T
    rows = tokens[: n * T].reshape(n, T)
    return rows, rows


def shifted_backwards(tokens, T):
    n = (len(tokens) - 1) // T
    return tokens[1 : n * T + 1].reshape(n, T), tokens[: n * T].reshape(n, T)


def overlapping(tokens, T):
    places = np.arange(len(tokens) - T)[:, None] + np.arange(T)
    return tokens[places], tokens[places + 1]


def shift_inside_each_row(tokens, T):
    n = (len(tokens) - 1) // T
    rows = tokens[: n * T].reshape(n, T)
    return rows, np.roll(rows, -1, axis=1)


def cuts_t_plus_1_apart(tokens, T):
    rows = tokens[: len(tokens) // (T + 1) * (T + 1)].reshape(-1, T + 1)
    return rows[:, :-1], rows[:, 1:]


def drops_the_last_window(tokens, T):
    n = (len(tokens) - 1) // T - 1
    return tokens[: n * T].reshape(n, T), tokens[1 : n * T + 1].reshape(n, T)


def columns_are_windows(tokens, T):
    n = (len(tokens) - 1) // T
    return tokens[: n * T].reshape(n, T).T, tokens[1 : n * T + 1].reshape(n, T).T


def starts_at_the_second_token(tokens, T):
    n = (len(tokens) - 2) // T
    return tokens[1 : n * T + 1].reshape(n, T), tokens[2 : n * T + 2].reshape(n, T)


def inputs_one_longer(tokens, T):
    n = (len(tokens) - 1) // T
    places = np.arange(n)[:, None] * T + np.arange(T + 1)
    return tokens[places], tokens[places][:, 1:]


def leaves_out_a_window_that_just_fits(tokens, T):
    n = (len(tokens) - 2) // T
    return tokens[: n * T].reshape(n, T), tokens[1 : n * T + 1].reshape(n, T)


def test_the_kill_table_of_windows_in_order():
    assert_exercise(
        windows_in_order,
        windows_stub,
        {
            no_shift_at_all: "the targets are the inputs",
            shifted_backwards: "comes before its input",
            overlapping: "your windows overlap",
            shift_inside_each_row: "the last target of each row",
            cuts_t_plus_1_apart: "105 is never a target",
            drops_the_last_window: "the last one is missing",
            columns_are_windows: "make rows of 4",
            starts_at_the_second_token: "begins with 100",
            inputs_one_longer: "each needs a target",
            leaves_out_a_window_that_just_fits: "13 tokens are 3 windows",
        },
    )


def back_off_stub(counts, shorter): ...


def plain_shares(counts, shorter):
    return counts / counts.sum()


def adds_one(counts, shorter):
    return (counts + 1) / (counts.sum() + len(counts))


def kinds_are_visits(counts, shorter):
    return (counts + counts.sum() * shorter) / (counts.sum() + counts.sum())


def kinds_are_the_vocabulary(counts, shorter):
    return (counts + len(counts) * shorter) / (counts.sum() + len(counts))


def kinds_are_the_unseen(counts, shorter):
    unseen = (counts == 0).sum()
    return (counts + unseen * shorter) / (counts.sum() + unseen)


def kinds_left_out(counts, shorter):
    return (counts + shorter) / (counts.sum() + 1)


def not_normalised(counts, shorter):
    return (counts + (counts > 0).sum() * shorter) / counts.sum()


def shorter_for_unseen_only(counts, shorter):
    return np.where(counts > 0, counts / counts.sum(), shorter)


def spreads_evenly(counts, shorter):
    kinds = (counts > 0).sum()
    return (counts + kinds / len(counts)) / (counts.sum() + kinds)


def divides_by_zero(counts, shorter):
    kinds = (counts > 0).sum()
    return (counts + kinds * shorter) / (counts.sum() + kinds)


def test_the_kill_table_of_back_off():
    assert_exercise(
        back_off,
        back_off_stub,
        {
            plain_shares: "plain shares",
            adds_one: "add-one smoothing",
            kinds_are_visits: "not of visits",
            kinds_are_the_vocabulary: "not the whole vocabulary",
            kinds_are_the_unseen: "not those that were not",
            kinds_left_out: "weigh it with t",
            not_normalised: "t is missing in the denominator",
            shorter_for_unseen_only: "only about unseen tokens",
            spreads_evenly: "you spread t evenly",
            divides_by_zero: "never seen has c + t = 0",
        },
    )


def test_the_kill_table_of_no_shift():
    assert_exercise(
        no_shift, ..., {"a": "2.37 is the price", "c": "easiest of all", "d": "unigram's"}
    )


def test_the_key_of_no_shift_is_what_training_gives():
    text = torch.randint(6, (500,), generator=torch.Generator().manual_seed(0))
    table = torch.zeros(6, 6, requires_grad=True)
    for _ in range(300):
        loss = F.cross_entropy(table[text], text)
        (slope,) = torch.autograd.grad(loss, table)
        table = (table - 5 * slope).detach().requires_grad_()
    assert loss.item() < 0.05
