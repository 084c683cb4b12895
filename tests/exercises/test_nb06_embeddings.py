"""The checkers of notebook 06 (embeddings) know the mistakes that people make."""

import math

import pytest
import torch
import torch.nn.functional as F
from kill_table import assert_exercise, assert_right

from bhushgpt.exercises.nb06_embeddings import (
    context_windows,
    epoch_steps,
    mlp_gradients,
    table_gradient,
)

# 1. Which rows learn


def table_stub(ids, gradient, V): ...


def by_one_hot(ids, gradient, V):
    return F.one_hot(ids, V).to(gradient.dtype).T @ gradient


def by_index_add(ids, gradient, V):
    return torch.zeros(V, gradient.shape[1]).index_add_(0, ids, gradient)


def by_accumulating_put(ids, gradient, V):
    result = torch.zeros(V, gradient.shape[1])
    return result.index_put((ids,), gradient, accumulate=True)


def by_comparing(ids, gradient, V):
    return torch.stack([gradient[ids == token].sum(dim=0) for token in range(V)])


def by_the_library(ids, gradient, V):
    table = torch.zeros(V, gradient.shape[1], requires_grad=True)
    F.embedding(ids, table).backward(gradient)
    return table.grad


def last_wins(ids, gradient, V):
    result = torch.zeros(V, gradient.shape[1])
    for token, row in zip(ids.tolist(), gradient, strict=True):
        result[token] = row
    return result


def first_wins(ids, gradient, V):
    result = torch.zeros(V, gradient.shape[1])
    for place in reversed(range(len(ids))):
        result[ids[place]] = gradient[place]
    return result


def mean_of_readings(ids, gradient, V):
    counts = torch.bincount(ids, minlength=V).clamp_min(1)
    return by_one_hot(ids, gradient, V) / counts[:, None]


def largest_reading(ids, gradient, V):
    groups = [gradient[ids == token] for token in range(V)]
    return torch.stack(
        [g.max(dim=0).values if len(g) else torch.zeros(gradient.shape[1]) for g in groups]
    )


def product_of_readings(ids, gradient, V):
    groups = [gradient[ids == token] for token in range(V)]
    return torch.stack([g.prod(0) if len(g) else torch.zeros(gradient.shape[1]) for g in groups])


def divides_by_places(ids, gradient, V):
    return by_one_hot(ids, gradient, V) / len(ids)


def counts_readings(ids, gradient, V):
    return torch.bincount(ids, minlength=V)[:, None].float().repeat(1, gradient.shape[1])


def everybody_learns(ids, gradient, V):
    return gradient.sum(dim=0).repeat(V, 1)


def turns_the_sign(ids, gradient, V):
    return -by_one_hot(ids, gradient, V)


def all_but_the_read(ids, gradient, V):
    return (F.one_hot(ids, V) == 0).float().T @ gradient


def one_row_a_place(ids, gradient, V):
    return by_one_hot(ids, gradient, V)[ids]


def gives_back_what_came(ids, gradient, V):
    return gradient


def only_tokens_that_occur(ids, gradient, V):
    return by_one_hot(ids, gradient, V)[ids.unique()]


def exchanges_the_axes(ids, gradient, V):
    return gradient.T @ F.one_hot(ids, V).float()


def numbers_by_appearance(ids, gradient, V):
    result, numbers = torch.zeros(V, gradient.shape[1]), {}
    for token, row in zip(ids.tolist(), gradient, strict=True):
        result[numbers.setdefault(token, len(numbers))] += row
    return result


def ids_begin_at_1(ids, gradient, V):
    return by_one_hot((ids + 1) % V, gradient, V)


def always_five_rows(ids, gradient, V):
    return by_one_hot(ids, gradient, 5)


def test_the_kill_table_of_table_gradient():
    assert_exercise(
        table_gradient,
        table_stub,
        {
            last_wins: "yours keeps the last one",
            first_wins: "yours keeps the first",
            mean_of_readings: "you average over the places",
            largest_reading: "the largest gradient of each",
            product_of_readings: "multiplied with each other",
            divides_by_places: "divide by the number of places",
            counts_readings: "how often each token was read",
            everybody_learns: "the sum of everything",
            turns_the_sign: "the step of descent",
            all_but_the_read: "all tokens but the one",
            one_row_a_place: "one row for each place read",
            gives_back_what_came: "as it came",
            only_tokens_that_occur: "only the tokens that occur",
            exchanges_the_axes: "rows and columns are exchanged",
            numbers_by_appearance: "by first appearance",
            ids_begin_at_1: "one row too low",
            always_five_rows: "use V",
        },
    )


def test_other_right_answers_to_table_gradient():
    assert_right(
        table_gradient, by_one_hot, by_index_add, by_accumulating_put, by_comparing, by_the_library
    )


# 2. The window of each place


def windows_stub(ids, n, pad): ...


def by_library_unfold(ids, n, pad):
    return F.pad(ids, (n - 1, 0), value=pad).unfold(0, n, 1)


def by_a_table_of_places(ids, n, pad):
    places = torch.arange(len(ids))[:, None] + torch.arange(1 - n, 1)
    return torch.where(places >= 0, ids[places.clamp_min(0)], pad)


def by_growing_rows(ids, n, pad):
    rows, window = [], [pad] * n
    for token in ids.tolist():
        window = [*window[1:], token]
        rows.append(window)
    return torch.tensor(rows)


def by_columns(ids, n, pad):
    columns = [torch.cat([torch.full((back,), pad), ids])[: len(ids)] for back in range(n)]
    return torch.stack(columns[::-1], dim=1)


def looks_ahead(ids, n, pad):
    return F.pad(ids, (0, n - 1), value=pad).unfold(0, n, 1)


def leaks_the_answer(ids, n, pad):
    return F.pad(ids, (n - 2, 1), value=pad).unfold(0, n, 1)


def forgets_the_token_itself(ids, n, pad):
    return F.pad(ids, (n, 0), value=pad).unfold(0, n, 1)[:-1]


def newest_first(ids, n, pad):
    return by_library_unfold(ids, n, pad).flip(1)


def no_padding(ids, n, pad):
    return ids.unfold(0, n, 1)


def wraps_around(ids, n, pad):
    return torch.stack([ids.roll(back) for back in reversed(range(n))], dim=1)


def pads_with_0(ids, n, pad):
    return by_library_unfold(ids, n, 0)


def repeats_the_first(ids, n, pad):
    return by_library_unfold(ids, n, int(ids[0]))


def columns_are_windows(ids, n, pad):
    return by_library_unfold(ids, n, pad).T


def jumps(ids, n, pad):
    return F.pad(ids, (0, -len(ids) % n), value=pad).view(-1, n)


def one_too_wide(ids, n, pad):
    return by_library_unfold(ids, n + 1, pad)


def one_too_narrow(ids, n, pad):
    return by_library_unfold(ids, n - 1, pad)


def pads_behind(ids, n, pad):
    rows = [ids[max(0, t - n + 1) : t + 1] for t in range(len(ids))]
    return torch.stack([F.pad(row, (0, n - len(row)), value=pad) for row in rows])


def goes_on_after_the_end(ids, n, pad):
    return F.pad(ids, (n - 1, n - 1), value=pad).unfold(0, n, 1)


def short_ones_all_pad(ids, n, pad):
    result = by_library_unfold(ids, n, pad).clone()
    result[: n - 1] = pad
    return result


def last_window_only(ids, n, pad):
    return ids[-n:]


def breaks_for_short_texts(ids, n, pad):
    return F.pad(ids.unfold(0, n, 1), (0, 0, n - 1, 0)) if n == 1 else pads_only_seven(ids, n, pad)


def pads_only_seven(ids, n, pad):
    return by_library_unfold(ids, n, pad)[: max(len(ids), n)] if len(ids) >= n else ids[None]


def pads_where_nought_is(ids, n, pad):
    rows = context_windows.reference(ids, n, pad)
    return rows.where(rows != 0, pad)


def test_the_kill_table_of_context_windows():
    assert_exercise(
        context_windows,
        windows_stub,
        {
            pads_where_nought_is: "no sign that one is missing",
            looks_ahead: "you look ahead",
            leaks_the_answer: "the answer leaks",
            forgets_the_token_itself: "is known already",
            newest_first: "the newest token stands first",
            no_padding: "the first places have no window",
            wraps_around: "counts from behind",
            pads_with_0: "filled with 0",
            repeats_the_first: "filled with the first token",
            columns_are_windows: "rows and columns are exchanged",
            jumps: "your windows do not overlap",
            one_too_wide: "hold n + 1 tokens",
            one_too_narrow: "hold n - 1 tokens",
            pads_behind: "the pads stand behind",
            goes_on_after_the_end: "after the end of the text",
            short_ones_all_pad: "keeps the tokens that it has",
            last_window_only: "the last place alone",
            breaks_for_short_texts: "but not for 2 tokens",
        },
    )


def test_other_right_answers_to_context_windows():
    assert_right(
        context_windows, by_library_unfold, by_a_table_of_places, by_growing_rows, by_columns
    )


# 3. Steps and epochs


def steps_stub(n_tokens, batch_size, context_length, epochs): ...


def by_whole_numbers(n, B, T, epochs):
    return -(-epochs * n // (B * T))


def by_counting(n, B, T, epochs):
    steps = asked = 0
    while asked < epochs * n:
        steps, asked = steps + 1, asked + B * T
    return steps


def by_remainder(n, B, T, epochs):
    steps, rest = divmod(n * epochs, B * T)
    return steps + (rest > 0)


def unrounded(n, B, T, epochs):
    return epochs * n / B / T


def rounds_down(n, B, T, epochs):
    return int(epochs * n / (B * T))


def rounds_up_each_epoch(n, B, T, epochs):
    return math.ceil(n / (B * T)) * epochs


def rounds_down_each_epoch(n, B, T, epochs):
    return n // (B * T) * epochs


def one_question_a_window(n, B, T, epochs):
    return math.ceil(n * epochs / B)


def one_window_a_step(n, B, T, epochs):
    return math.ceil(n * epochs / T)


def a_single_epoch(n, B, T, epochs):
    return math.ceil(n / (B * T))


def adds_the_sizes(n, B, T, epochs):
    return math.ceil(epochs * n / (B + T))


def counts_the_extra_character(n, B, T, epochs):
    return math.ceil(epochs * n / (B * T + B))


def loses_a_place(n, B, T, epochs):
    return math.ceil(epochs * n / (B * T - B))


def every_start_is_a_window(n, B, T, epochs):
    return math.ceil(epochs * len(range(n - T)) / B)


def divides_by_epochs(n, B, T, epochs):
    return math.ceil(n / (B * T * epochs))


def characters_of_the_run(n, B, T, epochs):
    return n * epochs


def characters_of_a_step(n, B, T, epochs):
    return B * T


def multiplies_by_T(n, B, T, epochs):
    return math.ceil(epochs * n / B * T)


def windows_of_the_run(n, B, T, epochs):
    return math.ceil(n / T) * epochs


def always_one_more(n, B, T, epochs):
    return epochs * n // (B * T) + 1


def test_the_kill_table_of_epoch_steps():
    assert_exercise(
        epoch_steps,
        steps_stub,
        {
            unrounded: "exact quotient",
            rounds_down: "the last characters are missing",
            rounds_up_each_epoch: "you round up after every epoch",
            rounds_down_each_epoch: "you round down after every epoch",
            one_question_a_window: "each of the T places",
            one_window_a_step: "takes B windows, not one",
            a_single_epoch: "a single epoch",
            adds_the_sizes: "not B plus T",
            counts_the_extra_character: "a window of T + 1 characters",
            loses_a_place: "no place is lost",
            every_start_is_a_window: "every possible start",
            divides_by_epochs: "more epochs take more steps",
            characters_of_the_run: "how many characters the run reads",
            characters_of_a_step: "the characters of one step",
            multiplies_by_T: "both belong into the denominator",
            windows_of_the_run: "those are windows, not steps",
            always_one_more: "not one more",
        },
    )


def test_other_right_answers_to_epoch_steps():
    assert_right(epoch_steps, by_whole_numbers, by_counting, by_remainder)


# 4. Gradients by hand


def gradients_stub(ids, targets, table, W, b, U, c): ...


def by_autograd(ids, targets, table, W, b, U, c):
    weights = [weight.requires_grad_() for weight in (table, W, b, U, c)]
    scores = torch.tanh(F.embedding(ids, table).flatten(1) @ W + b) @ U + c
    return torch.autograd.grad(F.cross_entropy(scores, targets), weights)


def by_questions(ids, targets, table, W, b, U, c):
    """One question after the other, with a list as the answer."""
    sums = [torch.zeros_like(weight) for weight in (table, W, b, U, c)]
    K, C = len(ids), table.shape[1]
    for row, target in zip(ids.tolist(), targets.tolist(), strict=True):
        x = torch.cat([table[token] for token in row])
        h = torch.tanh(x @ W + b)
        d_z = torch.softmax(h @ U + c, dim=0)
        d_z[target] -= 1
        d_a = (U @ d_z) * (1 - h * h)
        for number, token in enumerate(row):
            sums[0][token] += (W @ d_a)[number * C : (number + 1) * C]
        sums[1] += torch.outer(x, d_a)
        sums[2] += d_a
        sums[3] += torch.outer(h, d_z)
        sums[4] += d_z
    return [total / K for total in sums]


def by_einsum(ids, targets, table, W, b, U, c):
    K, V = len(ids), len(c)
    x = table[ids].reshape(K, -1)
    h = (x @ W + b).tanh()
    p = (h @ U + c).exp()
    d_z = (p / p.sum(dim=1, keepdim=True) - torch.eye(V)[targets]) / K
    d_a = torch.einsum("kv,mv->km", d_z, U) / (x @ W + b).cosh() ** 2
    d_x = torch.einsum("km,xm->kx", d_a, W).reshape(*ids.shape, -1)
    d_table = torch.einsum("knv,knc->vc", F.one_hot(ids, V).double(), d_x)
    return d_table, torch.einsum("kx,km->xm", x, d_a), d_a.sum(0), h.mT @ d_z, d_z.sum(0)


def backwards(
    ids,
    targets,
    table,
    W,
    b,
    U,
    c,
    score=lambda z, hot, K: (z.softmax(1) - hot) / K,
    slope=lambda a, h: 1 - h * h,
    bias=lambda d: d.sum(0),
    spread=lambda ids, d, V: F.one_hot(ids, V).double().flatten(0, 1).T @ d.flatten(0, 1),
):
    K, V = len(ids), len(c)
    x = table[ids].reshape(K, -1)
    a = x @ W + b
    h = torch.tanh(a)
    d_z = score(h @ U + c, torch.eye(V)[targets], K)
    d_a = d_z @ U.T * slope(a, h)
    d_x = (d_a @ W.T).reshape(*ids.shape, -1)
    return spread(ids, d_x, V), x.T @ d_a, bias(d_a), h.T @ d_z, bias(d_z)


def forgets_the_mean(*given):
    return backwards(*given, score=lambda z, hot, K: z.softmax(1) - hot)


def all_signs_turned(*given):
    return tuple(-gradient for gradient in backwards(*given))


def forgets_the_targets(*given):
    return backwards(*given, score=lambda z, hot, K: z.softmax(1) / K)


def softmax_over_questions(*given):
    return backwards(*given, score=lambda z, hot, K: (z.softmax(0) - hot) / K)


def scores_for_probabilities(*given):
    return backwards(*given, score=lambda z, hot, K: (z - hot) / K)


def loss_in_bits(*given):
    return tuple(gradient / math.log(2) for gradient in backwards(*given))


def mean_over_the_vocabulary(*given):
    return tuple(gradient / len(given[-1]) for gradient in backwards(*given))


def only_the_target_s_score(*given):
    return backwards(*given, score=lambda z, hot, K: torch.where(hot > 0, z.softmax(1) - 1, 0) / K)


def no_tanh(*given):
    return backwards(*given, slope=lambda a, h: torch.ones_like(a))


def slope_without_square(*given):
    return backwards(*given, slope=lambda a, h: 1 - h)


def slope_from_the_input(*given):
    return backwards(*given, slope=lambda a, h: 1 - a * a)


def tanh_twice(*given):
    return backwards(*given, slope=lambda a, h: 1 - torch.tanh(h) ** 2)


def slope_of_a_sigmoid(*given):
    return backwards(*given, slope=lambda a, h: h - h * h)


def slope_of_a_relu(*given):
    return backwards(*given, slope=lambda a, h: (a > 0).double())


def mean_for_the_biases(*given):
    return backwards(*given, bias=lambda d: d.mean(0))


def last_reading_wins(*given):
    def spread(ids, d, V):
        table = torch.zeros(V, d.shape[-1], dtype=d.dtype)
        for row, vectors in zip(ids, d, strict=True):
            for token, vector in zip(row, vectors, strict=True):
                table[token] = vector
        return table

    return backwards(*given, spread=spread)


def rows_are_means(*given):
    def spread(ids, d, V):
        hot = F.one_hot(ids, V).double().flatten(0, 1)
        return hot.T @ d.flatten(0, 1) / hot.sum(0).clamp_min(1)[:, None]

    return backwards(*given, spread=spread)


def newest_place_only(*given):
    return backwards(
        *given, spread=lambda ids, d, V: torch.eye(V)[ids[:, -1]].double().T @ d[:, -1]
    )


def places_before_questions(*given):
    def spread(ids, d, V):
        return F.one_hot(ids.flatten(), V).double().T @ d.transpose(0, 1).flatten(0, 1)

    return backwards(*given, spread=spread)


def gives_updated_weights(*given):
    return tuple(w - g for w, g in zip(given[2:], backwards(*given), strict=True))


def in_order_of_the_way_back(*given):
    return backwards(*given)[::-1]


def forgets_the_table(*given):
    return backwards(*given)[1:]


def weights_as_nn_linear(*given):
    d_table, d_W, d_b, d_U, d_c = backwards(*given)
    return d_table, d_W.T, d_b, d_U.T, d_c


def table_as_numbers(*given):
    return [gradient.tolist() for gradient in backwards(*given)]


def table_twice_as_large(*given):
    d_table, *others = backwards(*given)
    return 2 * d_table, *others


GRADIENTS_KILLED = {
    forgets_the_mean: "divide d_z by K.",
    all_signs_turned: "every sign is turned",
    forgets_the_targets: "the targets do not occur",
    softmax_over_questions: "runs over the questions",
    scores_for_probabilities: "not of scores",
    loss_in_bits: "slopes in bits",
    mean_over_the_vocabulary: "K * V",
    only_the_target_s_score: "the target's score alone",
    no_tanh: "left out on the way back",
    slope_without_square: "the square is missing",
    slope_from_the_input: "squared what goes in",
    tanh_twice: "tanh of it once more",
    slope_of_a_sigmoid: "slope of a sigmoid",
    slope_of_a_relu: "slope of a ReLU",
    mean_for_the_biases: "for the biases you took the mean",
    last_reading_wins: "your table keeps the last",
    rows_are_means: "means over the places",
    newest_place_only: "the newest place only",
    places_before_questions: "cut in another order",
    gives_updated_weights: "after a step of descent",
    in_order_of_the_way_back: "the order is table",
    forgets_the_table: "tuple of 4 came",
    weights_as_nn_linear: "is transposed",
    table_as_numbers: "must be a tensor",
    table_twice_as_large: "right so far: c, U, b, W; ",
}


def test_the_kill_table_of_mlp_gradients():
    assert_exercise(mlp_gradients, gradients_stub, GRADIENTS_KILLED)


def test_other_right_answers_to_mlp_gradients():
    assert_right(mlp_gradients, by_questions, by_einsum, backwards)


def test_autograd_is_not_the_way_back_by_hand():
    outcome = mlp_gradients.judge(by_autograd)
    assert outcome.status == "not yet" and "autograd does the work" in outcome.message


def test_the_key_of_mlp_gradients_is_what_autograd_gives():
    shapes = ((11, 2), (6, 5), (5,), (5, 11), (11,))
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(s, dtype=torch.float64, generator=generator) for s in shapes]
    ids = torch.randint(11, (20, 3), generator=generator)
    targets = torch.randint(11, (20,), generator=generator)
    by_hand = mlp_gradients.reference(ids, targets, *weights)
    for one, other in zip(by_hand, by_autograd(ids, targets, *weights), strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-10)


# All of them


@pytest.mark.parametrize("exercise", [table_gradient, context_windows, epoch_steps, mlp_gradients])
def test_an_answer_that_spoils_what_it_is_given_is_judged_by_what_it_returns(exercise):
    def spoils(*given):
        result = exercise.reference(*given)
        for thing in given:
            if isinstance(thing, torch.Tensor):
                thing.zero_()
        return result

    assert exercise.judge(spoils).status == "right"
