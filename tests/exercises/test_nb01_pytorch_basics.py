"""Every wrong answer of notebook 01 fails with a message of its own."""

import torch
from kill_table import assert_exercise

from bhushgpt.exercises.nb01_pytorch_basics import (
    COUNT_MISTAKES,
    merge_heads,
    n_parameters,
    probability_of_targets,
    window_mask,
)


def stub(*arguments): ...


def test_the_kill_table_of_n_parameters():
    assert_exercise(n_parameters, ..., COUNT_MISTAKES | {5000: "5000 is not it"})


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


def views_without_contiguous(x):
    return x.transpose(1, 2).view(flat(x))


def test_the_kill_table_of_merge_heads():
    assert_exercise(
        merge_heads,
        stub,
        {
            changes_its_input: "changed the input itself",
            keeps_both_axes: "still two axes",
            joins_time_and_size: "joined time and head size",
            averages_the_heads: "must be (B, T, H*D), here (2, 5, 12), not (2, 5, 4)",
            reshapes_alone: "reshape alone keeps the old order",
            interleaves: "interleaved",
            reverses_the_heads: "reverse order",
            swaps_time_and_size: "swapped T and D",
            rolls: "numbers sit elsewhere",
            views_without_contiguous: "view size is not compatible",
        },
    )


def test_merging_by_cat_is_right_too():
    assert merge_heads.judge(lambda x: torch.cat(list(x.unbind(1)), dim=-1)).status == "right"


def age(T):
    return torch.arange(T)[:, None] - torch.arange(T)


def upside_down(T, width):
    return ~((age(T) >= 0) & (age(T) < width))


def turned(T, width):
    return ((age(T) >= 0) & (age(T) < width)).T


def only_causal(T, width):
    return torch.ones(T, T).tril().bool()


def only_far_edge(T, width):
    return age(T) < width


def both_sides(T, width):
    return age(T).abs() < width


def one_too_wide(T, width):
    return (age(T) >= 0) & (age(T) <= width)


def without_itself(T, width):
    return (age(T) > 0) & (age(T) < width)


def one_too_early(T, width):
    return (age(T) > 0) & (age(T) <= width)


def ones_and_zeros(T, width):
    return torch.ones(T, T).tril() - torch.ones(T, T).tril(-width)


def narrow_table(T, width):
    return torch.ones(T, width).bool()


def nested_lists(T, width):
    return [[0 <= t - s < width for s in range(T)] for t in range(T)]


def everything(T, width):
    return torch.ones(T, T).bool()


def fixed_width(T, width):
    return (age(T) >= 0) & (age(T) < 3)


def test_the_kill_table_of_window_mask():
    assert_exercise(
        window_mask,
        stub,
        {
            upside_down: "true and false are swapped",
            turned: "row and column are swapped",
            only_causal: "no far edge",
            only_far_edge: "no near edge",
            both_sides: "abs() is the reason",
            one_too_wide: "one too wide",
            without_itself: "no position sees itself",
            one_too_early: "one place too early",
            ones_and_zeros: "(torch.bool), not torch.float32",
            narrow_table: "must be (T, T)",
            nested_lists: "a list came",
            everything: "true at wrong places",
            fixed_width: "wider than the text",
        },
    )


def test_a_window_by_tril_and_triu_is_right_too():
    def answer(T, width):
        ones = torch.ones(T, T).bool()
        return ones.tril() & ones.triu(1 - width)

    assert window_mask.judge(answer).status == "right"


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


def index_with_too_few_axes(logits, targets):
    return logits.softmax(-1).gather(-1, targets)


def test_the_kill_table_of_probability_of_targets():
    assert_exercise(
        probability_of_targets,
        stub,
        {
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
            of_the_next: "of other tokens",
            index_with_too_few_axes: "Index tensor must have the same number of dimensions",
        },
    )


def test_picking_by_one_hot_is_right_too():
    def answer(logits, targets):
        chosen = torch.nn.functional.one_hot(targets, logits.shape[-1])
        return (logits.softmax(-1) * chosen).sum(-1)

    assert probability_of_targets.judge(answer).status == "right"
