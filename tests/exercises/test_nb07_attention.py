"""Every wrong answer of notebook 07 fails with a message of its own."""

import math

import torch
from kill_table import assert_exercise

from bhushgpt.exercises.nb07_attention import multi_head, prefix_softmax
from bhushgpt.exercises.nb07_positions import turn, what_changes

# 1. A prompt that everybody sees


def stub_prefix_softmax(scores, prefix):
    return ...


def allowed(scores, prefix, newest=0):
    """Return which key (column) each query (row) may see."""
    T = scores.shape[-1]
    return (torch.ones(T, T).tril(newest) + (torch.arange(T) < prefix)) > 0


def masked(scores, visible, dim=-1):
    return scores.masked_fill(~visible, -torch.inf).softmax(dim)


def masks_after_softmax(scores, prefix):
    return scores.softmax(-1) * allowed(scores, prefix)


def masks_with_zero(scores, prefix):
    return (scores * allowed(scores, prefix)).softmax(-1)


def softmax_over_queries(scores, prefix):
    return masked(scores, allowed(scores, prefix), dim=-2)


def forgets_the_prefix(scores, prefix):
    return masked(scores, allowed(scores, 0))


def no_mask(scores, prefix):
    return scores.softmax(-1)


def prefix_too_long(scores, prefix):
    return masked(scores, allowed(scores, prefix + 1))


def rows_for_columns(scores, prefix):
    visible = allowed(scores, 0)
    visible[:prefix] = True
    return masked(scores, visible)


def prefix_alone(scores, prefix):
    visible = torch.zeros_like(scores[0]) > 0
    visible[:, :prefix] = True
    return masked(scores, visible)


def upper_triangle(scores, prefix):
    visible = allowed(scores, 0).T.clone()
    visible[:, :prefix] = True
    return masked(scores, visible)


def not_itself(scores, prefix):
    return masked(scores, allowed(scores, prefix, newest=-1))


def prefix_of_three(scores, prefix):
    return masked(scores, allowed(scores, 3))


def no_softmax(scores, prefix):
    return scores.masked_fill(~allowed(scores, prefix), 0)


def one_row(scores, prefix):
    return scores[:, -1].softmax(-1)


def softmax_by_hand(scores, prefix):
    powers = scores.exp() * allowed(scores, prefix)
    return powers / powers.sum(-1, keepdim=True)


def test_the_kill_table_of_prefix_softmax():
    wrong = {
        softmax_by_hand: "scores near 1000 come out wrong",
        masks_after_softmax: "masks after the softmax",
        masks_with_zero: "exp(0) = 1",
        softmax_over_queries: "softmax over the queries",
        forgets_the_prefix: "plain causal mask",
        no_mask: "nothing is masked",
        prefix_too_long: "one token too many",
        rows_for_columns: "rows and columns are exchanged",
        prefix_alone: "see the prefix alone",
        upper_triangle: "upper triangle stayed",
        not_itself: "must see itself",
        prefix_of_three: "not for T = 5, prefix 0",
        no_softmax: "not those of the formula",
        one_row: "shape is (2, 7), expected (2, 7, 7)",
    }
    assert_exercise(prefix_softmax, stub_prefix_softmax, wrong)


# 2. Heads from start to end


def stub_multi_head(q, k, v, n_head):
    return ...


def split(x, n_head):
    return x.unflatten(-1, (n_head, -1)).transpose(1, 2)


def weights(q, k, scale=None, visible=None, dim=-1):
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    visible = torch.ones(scores.shape[-2:]).tril() == 1 if visible is None else visible
    return scores.masked_fill(~visible, -torch.inf).softmax(dim)


def join(mixed):
    return mixed.transpose(1, 2).flatten(2)


def with_scale(q, k, v, n_head, scale):
    q, k, v = (split(x, n_head) for x in (q, k, v))
    return join(weights(q, k, scale) @ v)


def scales_by_width(q, k, v, n_head):
    return with_scale(q, k, v, n_head, 1 / math.sqrt(q.shape[-1]))


def forgets_to_scale(q, k, v, n_head):
    return with_scale(q, k, v, n_head, 1.0)


def forgets_the_root(q, k, v, n_head):
    return with_scale(q, k, v, n_head, n_head / q.shape[-1])


def view_without_transpose(q, k, v, n_head):
    B, T, C = q.shape
    q, k, v = (x.reshape(B, n_head, T, C // n_head) for x in (q, k, v))
    return (weights(q, k) @ v).reshape(B, T, C)


def heads_attend_to_heads(q, k, v, n_head):
    q, k, v = (x.unflatten(-1, (n_head, -1)) for x in (q, k, v))
    return (weights(q, k) @ v).flatten(2)


def every_third_channel(q, k, v, n_head):
    q, k, v = (x.unflatten(-1, (-1, n_head)).permute(0, 3, 1, 2) for x in (q, k, v))
    return (weights(q, k) @ v).permute(0, 2, 3, 1).flatten(2)


def joins_without_transpose(q, k, v, n_head):
    mixed = weights(split(q, n_head), split(k, n_head)) @ split(v, n_head)
    return mixed.reshape(q.shape)


def softmax_over_queries_in_heads(q, k, v, n_head):
    return join(weights(split(q, n_head), split(k, n_head), dim=-2) @ split(v, n_head))


def no_mask_in_heads(q, k, v, n_head):
    all_visible = torch.ones(q.shape[1], q.shape[1]) == 1
    return join(weights(split(q, n_head), split(k, n_head), None, all_visible) @ split(v, n_head))


def masks_heads_after_softmax(q, k, v, n_head):
    all_visible = torch.ones(q.shape[1], q.shape[1]) == 1
    shares = weights(split(q, n_head), split(k, n_head), None, all_visible).tril()
    return join(shares @ split(v, n_head))


def one_big_head(q, k, v, n_head):
    return weights(q, k) @ v


def queries_and_keys_exchanged(q, k, v, n_head):
    return join(weights(split(k, n_head), split(q, n_head)) @ split(v, n_head))


def keys_for_values(q, k, v, n_head):
    return join(weights(split(q, n_head), split(k, n_head)) @ split(k, n_head))


def three_heads_always(q, k, v, n_head):
    q, k, v = (split(x, 3 if q.shape[-1] % 3 == 0 else 4) for x in (q, k, v))
    return join(weights(q, k) @ v)


def forgets_to_join(q, k, v, n_head):
    return weights(split(q, n_head), split(k, n_head)) @ split(v, n_head)


def test_the_kill_table_of_multi_head():
    wrong = {
        scales_by_width: "all C = 12 channels",
        forgets_to_scale: "not divided by the root",
        forgets_the_root: "divides by D, not",
        view_without_transpose: "view without a transpose",
        heads_attend_to_heads: "attend to each other",
        every_third_channel: "every third channel",
        joins_without_transpose: "joined without moving",
        softmax_over_queries_in_heads: "runs over the queries",
        no_mask_in_heads: "the future is not masked",
        masks_heads_after_softmax: "mask comes after the softmax",
        one_big_head: "n_head is not used",
        queries_and_keys_exchanged: "keys ask and queries answer",
        keys_for_values: "where the values belong",
        three_heads_always: "not for 2 heads of 10",
        forgets_to_join: "shape is (2, 3, 5, 4)",
    }
    assert_exercise(multi_head, stub_multi_head, wrong)


# 3. Turn a vector


def stub_turn(vector, position):
    return ...


def halves(vector):
    half = len(vector) // 2
    return vector[:half], vector[half:]


def angles_of(vector, position, factor=2.0):
    pairs = torch.arange(len(vector) // 2)
    return position / 10000 ** (factor * pairs / len(vector))


def rotated(a, b, angles):
    return a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()


def the_other_way(vector, position):
    return torch.cat(rotated(*halves(vector), -angles_of(vector, position)))


def two_plus_signs(vector, position):
    (a, b), angles = halves(vector), angles_of(vector, position)
    return torch.cat([a * angles.cos() + b * angles.sin(), a * angles.sin() + b * angles.cos()])


def neighbours(vector, position):
    pairs = rotated(vector[0::2], vector[1::2], angles_of(vector, position))
    return torch.stack(pairs, dim=1).flatten()


def alternates(vector, position):
    turned = rotated(*halves(vector), angles_of(vector, position))
    return torch.stack(turned, dim=-1).flatten()


def half_the_exponent(vector, position):
    return torch.cat(rotated(*halves(vector), angles_of(vector, position, factor=1.0)))


def multiplied(vector, position):
    return torch.cat(rotated(*halves(vector), angles_of(vector, position, factor=-2.0)))


def one_speed(vector, position):
    return torch.cat(rotated(*halves(vector), torch.tensor(float(position))))


def position_forgotten(vector, position):
    return torch.cat(rotated(*halves(vector), angles_of(vector, 1)))


def counts_from_one(vector, position):
    return torch.cat(rotated(*halves(vector), angles_of(vector, position + 1)))


def adds_waves(vector, position):
    angles = angles_of(vector, position)
    return vector + torch.cat([angles.sin(), angles.cos()])


def untouched(vector, position):
    return vector


def never_zero(vector, position):
    return torch.cat(rotated(*halves(vector), angles_of(vector, max(position, 1))))


def a_list(vector, position):
    return vector.tolist()


def test_the_kill_table_of_turn():
    wrong = {
        the_other_way: "the other way",
        two_plus_signs: "plus sign too many",
        neighbours: "pairs neighbours",
        alternates: "alternates between the halves",
        half_the_exponent: "yours is i / D",
        multiplied: "*divided*",
        one_speed: "the same angle",
        position_forgotten: "position is not used",
        counts_from_one: "count from 0",
        adds_waves: "waves are added",
        untouched: "nothing was turned",
        never_zero: "position 0 should turn nothing",
        a_list: "is expected, but a list came",
    }
    assert_exercise(turn, stub_turn, wrong)


# 4. What does it notice?


def test_the_kill_table_of_what_changes():
    wrong = {"a": "the same bag", "c": "the mask hides it", "d": "two of them", "e": "choose one"}
    assert_exercise(what_changes, ..., wrong)


def test_the_key_of_what_changes_is_computed():
    """The right letter is the one whose change moves the output at d, and no other does."""
    table = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))

    def output_at_d(text):
        x = table[["abcde".index(letter) for letter in text]][None]
        mixed = torch.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)
        return mixed[0, text.index("d")]

    changed = {"a": "cbad", "b": "aabcd", "c": "abcde"}
    before = output_at_d("abcd")
    moved = [key for key, text in changed.items() if not torch.allclose(output_at_d(text), before)]
    assert moved == [what_changes.reference]
