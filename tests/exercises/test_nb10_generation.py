import torch
from kill_table import assert_exercise

from bhushgpt.exercises.nb10_generation import (
    next_chances,
    nucleus_size,
    remembering_head,
    write_until,
)
from bhushgpt.generation import Sampling, keep_top_k, keep_top_p, next_ids
from bhushgpt.language_model import eval_mode

# 1. Temperature and top-k in one


def chances_stub(logits, temperature, k): ...


def filtered(logits, k):
    return keep_top_k(logits[None], k)[0]


def softmax_before_dividing(logits, temperature, k):
    return filtered(logits, k).softmax(-1) / temperature


def divides_and_evens_out(logits, temperature, k):
    chances = filtered(logits, k).softmax(-1) / temperature
    return chances / chances.sum()


def multiplies(logits, temperature, k):
    return (filtered(logits, k) * temperature).softmax(-1)


def keeps_ties(logits, temperature, k):
    least = logits.topk(min(k, len(logits))).values[-1]
    return (logits / temperature).masked_fill(logits < least, -torch.inf).softmax(-1)


def zero_is_not_never(logits, temperature, k):
    least = logits.topk(min(k, len(logits))).values[-1]
    return (logits / temperature).masked_fill(logits < least, 0.0).softmax(-1)


def filters_after_the_softmax(logits, temperature, k):
    chances = (logits / temperature).softmax(-1)
    least = chances.topk(min(k, len(logits))).values[-1]
    return chances.masked_fill(chances < least, 0.0)


def keeps_the_lowest(logits, temperature, k):
    values, ids = logits.topk(k, largest=False)
    return torch.zeros_like(logits).scatter(0, ids, (values / temperature).softmax(-1))


def forgets_k(logits, temperature, k):
    return (logits / temperature).softmax(-1)


def writes_into_the_logits(logits, temperature, k):
    logits /= temperature
    return filtered(logits, k).softmax(-1)


def fails_for_a_large_k(logits, temperature, k):
    values, ids = logits.topk(k)
    return torch.zeros_like(logits).scatter(0, ids, (values / temperature).softmax(-1))


def only_k_numbers(logits, temperature, k):
    return (logits.topk(min(k, len(logits))).values / temperature).softmax(-1)


def softmax_by_hand(logits, temperature, k):
    scores, ids = logits.topk(min(k, len(logits)))
    powers = (scores / temperature).exp()
    return torch.zeros_like(logits).index_put((ids,), powers / powers.sum())


def two_at_least(logits, temperature, k):
    return next_chances.reference(logits, temperature, max(k, 2))


def test_the_kill_table_of_next_chances() -> None:
    assert_exercise(
        next_chances,
        chances_stub,
        {
            two_at_least: "k = 1 leaves the likeliest",
            softmax_by_hand: "at temperature 0.001",
            softmax_before_dividing: "divides the probabilities by the temperature, so",
            divides_and_evens_out: "the temperature changes nothing here",
            multiplies: "multiplied by the temperature",
            keeps_ties: "4 stay: exactly k may, ties or not",
            zero_is_not_never: "its score must be -infinity",
            filters_after_the_softmax: "taken away after the softmax",
            keeps_the_lowest: "the k lowest scores stayed",
            forgets_k: "k was not used",
            writes_into_the_logits: "your code changes `logits`",
            fails_for_a_large_k: "selected index k out of range",
            only_k_numbers: "the shape is (2,), expected (5,)",
        },
    )


def test_next_chances_agree_with_the_package() -> None:
    logits = torch.tensor([0.3, -1.0, 2.0, 0.9])
    expected = next_chances.reference(logits, 0.7, 3)
    rows = keep_top_k(logits.expand(1, -1) / 0.7, 3)
    torch.testing.assert_close(rows.softmax(-1)[0], expected)
    best = next_ids(rows, Sampling(temperature=0), torch.Generator())
    assert best.item() == expected.argmax()


# 2. How large is the nucleus?


def size_stub(chances, p): ...


def ordered(chances):
    return chances.sort(dim=-1, descending=True).values


def drops_the_crossing_token(chances, p):
    return (ordered(chances).cumsum(-1) <= p).sum(-1)


def does_not_sort(chances, p):
    return (chances.cumsum(-1) - chances < p).sum(-1)


def sorts_the_wrong_way(chances, p):
    rising = chances.sort(dim=-1).values
    return (rising.cumsum(-1) - rising < p).sum(-1)


def takes_p_as_a_threshold(chances, p):
    return (chances >= p).sum(-1)


def counts_the_small_ones(chances, p):
    return (chances < p).sum(-1)


def one_more_at_an_exact_sum(chances, p):
    return (
        ((ordered(chances).cumsum(-1) <= p).sum(-1) + 1)
        .clamp(max=5)
        .where(ordered(chances)[:, 0] < 1, torch.tensor(1))
    )


def counts_the_whole_batch(chances, p):
    return (ordered(chances).cumsum(-1) - ordered(chances) < p).sum()


def counts_down_the_columns(chances, p):
    return torch.tensor([1, 2])


def one_more_than_below_p(chances, p):
    sums = chances.sort(dim=-1, descending=True).values.cumsum(dim=-1)
    return (sums < p).sum(dim=-1) + 1


def test_the_kill_table_of_nucleus_size() -> None:
    assert_exercise(
        nucleus_size,
        size_stub,
        {
            one_more_than_below_p: "so that p = 1 is never reached",
            drops_the_crossing_token: "the token that crosses p is missing",
            does_not_sort: "in the order of their ids",
            sorts_the_wrong_way: "from the rarest on",
            takes_p_as_a_threshold: "p is no threshold for single tokens",
            counts_the_small_ones: "not by whether its own chance is below p",
            one_more_at_an_exact_sum: "exactly p = 0.75 and that is enough",
            counts_the_whole_batch: "the shape is ()",
            counts_down_the_columns: "rows and sizes are exchanged",
            (lambda chances, p: torch.tensor([4, 1])): "the size is 2 (0.5 + 0.25), not 4",
        },
    )


def test_nucleus_sizes_agree_with_the_package() -> None:
    logits = torch.randn(6, 20)
    for p in (0.1, 0.5, 0.9):
        kept = keep_top_p(logits, p).isfinite().sum(-1)
        assert torch.equal(nucleus_size.reference(logits.softmax(-1), p), kept)


# 3. A loop that stops


def write_stub(model, ids, n_tokens, stop): ...


def loop(
    model,
    ids,
    n_tokens,
    stop,
    *,
    see=lambda model, ids: ids[:, -model.context_length :],
    keep=lambda model, ids: ids,
    position=-1,
    stop_in_prompt=False,
    keep_stop=True,
):
    for _ in range(n_tokens):
        if stop_in_prompt and stop in ids:
            break
        ids = keep(model, ids)
        with eval_mode(model):
            best = model(see(model, ids))[:, position].argmax(-1, keepdim=True)
        if best.item() == stop and not keep_stop:
            break
        ids = torch.cat([ids, best], dim=1)
        if best.item() == stop:
            break
    return ids


def forgets_eval_mode(model, ids, n_tokens, stop):
    for _ in range(n_tokens):
        with torch.no_grad():
            best = model(ids[:, -model.context_length :])[:, -1].argmax(-1, keepdim=True)
        ids = torch.cat([ids, best], dim=1)
        if best.item() == stop:
            break
    return ids


def leaves_eval_mode_on(model, ids, n_tokens, stop):
    model.eval()
    with torch.no_grad():
        return loop(model, ids, n_tokens, stop)


def records_gradients(model, ids, n_tokens, stop):
    model.eval()
    for _ in range(n_tokens):
        best = model(ids[:, -model.context_length :])[:, -1].argmax(-1, keepdim=True)
        ids = torch.cat([ids, best], dim=1)
        if best.item() == stop:
            break
    model.train()
    return ids


def reads_the_first_position(model, ids, n_tokens, stop):
    return loop(model, ids, n_tokens, stop, position=0)


def crops_the_text(model, ids, n_tokens, stop):
    return loop(model, ids, n_tokens, stop, keep=lambda m, ids: ids[:, -m.context_length :])


def does_not_crop(model, ids, n_tokens, stop):
    return loop(model, ids, n_tokens, stop, see=lambda model, ids: ids)


def returns_only_the_new(model, ids, n_tokens, stop):
    return loop(model, ids, n_tokens, stop)[:, ids.shape[1] :]


def one_too_many(model, ids, n_tokens, stop):
    return loop(model, ids, n_tokens + 1, stop)


def one_too_few(model, ids, n_tokens, stop):
    return loop(model, ids, n_tokens - 1, stop)


def leaves_out_the_stop(model, ids, n_tokens, stop):
    return loop(model, ids, n_tokens, stop, keep_stop=False)


def never_stops(model, ids, n_tokens, stop):
    return loop(model, ids, n_tokens, -1)


def stops_at_the_prompt(model, ids, n_tokens, stop):
    return loop(model, ids, n_tokens, stop, stop_in_prompt=True)


def stops_where_the_prompt_ends(model, ids, n_tokens, stop):
    return ids if ids[0, -1] == stop else loop(model, ids, n_tokens, stop)


def writes_one_at_least(model, ids, n_tokens, stop):
    return write_until.reference(model, ids, max(n_tokens, 1), stop)


def stops_at_something(model, ids, n_tokens, stop):
    return write_until.reference(model, ids, n_tokens, stop or -1)


def test_the_kill_table_of_write_until() -> None:
    assert_exercise(
        write_until,
        write_stub,
        {
            stops_at_something: "0 is a token like others",
            writes_one_at_least: "asks for no token at all",
            forgets_eval_mode: "in training mode while it writes",
            leaves_eval_mode_on: "leaves the model in eval mode",
            records_gradients: "gradients are recorded while writing",
            reads_the_first_position: "the scores of the first position",
            crops_the_text: "the text itself was cropped",
            does_not_crop: "but it looks at 4",
            returns_only_the_new: "the prompt is missing",
            one_too_many: "one token too many",
            one_too_few: "one token too few",
            leaves_out_the_stop: "the stop token itself belongs to the text",
            never_stops: "must end with the stop token 8",
            stops_at_the_prompt: "only a new one does",
            stops_where_the_prompt_ends: "look at new tokens alone",
        },
    )


# 4. One head with a memory


def head_stub(new, positions, keys, values, w_q, w_k, w_v): ...


def head(new, place, keys, values, w_q, w_k, w_v, *, divide=5**0.5, first=False, alone=False):
    x = new + place
    old = keys, values
    rows = [(keys, (x @ w_k)[None]), (values, (x @ w_v)[None])]
    keys, values = (torch.cat([b, a] if first else [a, b]) for a, b in rows)
    seen_keys, seen_values = old if alone else (keys, values)
    weights = (seen_keys @ (x @ w_q) / divide).softmax(0)
    return weights @ seen_values, keys, values


def position_zero(new, positions, keys, *rest):
    return head(new, positions[0], keys, *rest)


def position_too_far(new, positions, keys, *rest):
    return head(new, positions[len(keys) + 1], keys, *rest)


def position_of_the_last(new, positions, keys, *rest):
    return head(new, positions[len(keys) - 1], keys, *rest)


def no_position(new, positions, keys, *rest):
    return head(new, 0, keys, *rest)


def does_not_see_itself(new, positions, keys, *rest):
    return head(new, positions[len(keys)], keys, *rest, alone=True)


def no_scale(new, positions, keys, *rest):
    return head(new, positions[len(keys)], keys, *rest, divide=1.0)


def scale_without_the_root(new, positions, keys, *rest):
    return head(new, positions[len(keys)], keys, *rest, divide=5.0)


def puts_the_new_key_first(new, positions, keys, *rest):
    return head(new, positions[len(keys)], keys, *rest, first=True)


def does_not_grow(new, positions, keys, values, *w):
    return head(new, positions[len(keys)], keys, values, *w)[0], keys, values


def changes_the_given_cache(new, positions, keys, values, *w):
    result = head(new, positions[len(keys)], keys, values, *w)
    if len(keys):
        keys.zero_()
    return result


def returns_the_output_alone(new, positions, keys, values, *w):
    return head(new, positions[len(keys)], keys, values, *w)[0]


def counts_from_the_end(new, positions, keys, values, *w):
    # As if the cache always held three tokens.
    return head(new, positions[3], keys, values, *w)


def test_the_kill_table_of_remembering_head() -> None:
    assert_exercise(
        remembering_head,
        head_stub,
        {
            position_zero: "as if it stood at the start",
            position_too_far: "the position is one too far",
            position_of_the_last: "the position of the last cached one",
            no_position: "got no position",
            does_not_see_itself: "does not attend to itself",
            no_scale: "not divided by the root of the head size",
            scale_without_the_root: "divided by the head size, not by its root",
            puts_the_new_key_first: "the new key stands first",
            does_not_grow: "the cache has not grown",
            changes_the_given_cache: "your code changes `",
            returns_the_output_alone: "but a tuple is expected",
            counts_from_the_end: "not for the first token of a text",
        },
    )
