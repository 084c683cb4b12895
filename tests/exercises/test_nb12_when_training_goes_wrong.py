"""The checkers of notebook 12 know the mistakes that people make."""

import torch
from kill_table import assert_exercise, assert_right

from bhushgpt.exercises.nb12_when_training_goes_wrong import looks_ahead, memorising_since
from bhushgpt.language_model import eval_mode

# 1. Does it look ahead?


def looking_stub(model, ids): ...


def moved(model, ids, place, upto, tolerance=1e-5, mode=True):
    """Return whether scores before `upto` move when the token at `place` changes."""
    other = ids.clone()
    other[0, place] = (other[0, place] + 1) % 7
    if not mode:
        return bool(((model(other) - model(ids))[:, :upto].abs() > tolerance).any())
    with eval_mode(model):
        return bool(((model(other) - model(ids))[:, :upto].abs() > tolerance).any())


def every(model, ids, **how):
    return any(moved(model, ids, p, p, **how) for p in range(1, ids.shape[1]))


def by_growing_prefixes(model, ids):
    with eval_mode(model):
        whole = model(ids)
        parts = [model(ids[:, :n])[:, -1] for n in range(1, ids.shape[1] + 1)]
    return not torch.allclose(torch.stack(parts, 1), whole, atol=1e-5)


def from_behind(model, ids):
    was = model.training
    model.eval()
    found = False
    for place in reversed(range(1, ids.shape[1])):
        other = torch.cat([ids[:, :place], (ids[:, place:] + 3) % 7], dim=1)
        gap = (model(other) - model(ids))[0, :place].abs()
        found |= gap.max().item() > 1e-5
    model.train(was)
    return found


def one_place_after_another(model, ids):
    for place in range(1, ids.shape[1]):
        if moved(model, ids, place, place):
            return True
    return False


def both_in_one_batch(model, ids):
    with eval_mode(model):
        for p in range(1, ids.shape[1]):
            other = ids.clone()
            other[0, p] = (other[0, p] + 1) % 7
            alone, both = model(ids), model(torch.cat([ids, other]))
            if not torch.allclose(alone[0, :p], both[1, :p], atol=1e-5):
                return True
    return False


def never(model, ids):
    return moved(model, ids, 0, 0)


def always(model, ids):
    return True


def the_wrong_way_round(model, ids):
    return not every(model, ids)


def compares_all_places(model, ids):
    return any(moved(model, ids, p, None) for p in range(1, ids.shape[1]))


def compares_the_own_place(model, ids):
    return any(moved(model, ids, p, p + 1) for p in range(1, ids.shape[1]))


def leaves_dropout_on(model, ids):
    return every(model, ids, mode=False)


def leaves_the_model_in_eval(model, ids):
    model.eval()
    return every(model, ids)


def exactly_equal(model, ids):
    return every(model, ids, tolerance=0.0)


def too_tolerant(model, ids):
    return every(model, ids, tolerance=0.1)


def the_last_token_only(model, ids):
    return moved(model, ids, -1, ids.shape[1] - 1)


def the_neighbour_only(model, ids):
    for p in range(1, ids.shape[1]):
        other = ids.clone()
        other[0, p] = (other[0, p] + 1) % 7
        with eval_mode(model):
            if ((model(other) - model(ids))[:, p - 1].abs() > 1e-5).any():
                return True
    return False


def first_place_and_last_token(model, ids):
    return moved(model, ids, -1, 1)


def the_first_place_only(model, ids):
    return any(moved(model, ids, p, 1) for p in range(1, ids.shape[1]))


def the_middle_token_only(model, ids):
    return moved(model, ids, 5, 5)


def writes_into_the_ids(model, ids):
    with eval_mode(model):
        for p in range(1, ids.shape[1]):
            before = model(ids)
            ids[0, p] = (ids[0, p] + 1) % 7
            if ((model(ids) - before)[:, :p].abs() > 1e-5).any():
                return True
    return False


def gives_the_difference(model, ids):
    return 0.25


def always_back_to_train(model, ids):
    model.eval()
    found = looks_ahead.reference(model, ids)
    model.train()
    return found


def all_of_none(model, ids):
    return not ids[:, 1:].numel() or looks_ahead.reference(model, ids)


def test_looks_ahead():
    wrong = {
        always_back_to_train: "leaves the model in train mode",
        all_of_none: "nothing comes later: False",
        never: "you never say True",
        always: "you always say True",
        the_wrong_way_round: "wrong way round",
        compares_all_places: "places behind the changed token may move",
        compares_the_own_place: "own place may move",
        leaves_dropout_on: "draws anew at each call",
        leaves_the_model_in_eval: "leaves the model in eval mode",
        exactly_equal: "is rounding",
        too_tolerant: "tolerance is too large",
        the_last_token_only: "not only the last",
        the_neighbour_only: "right before the changed token is compared",
        first_place_and_last_token: "only the last token changed",
        the_first_place_only: "later ones may look ahead as well",
        the_middle_token_only: "a token in the middle is changed",
        writes_into_the_ids: "your code changes `ids`",
        gives_the_difference: "return True or False",
    }
    assert_exercise(looks_ahead, looking_stub, wrong)


def test_right_ways_to_look_ahead():
    assert_right(
        looks_ahead, by_growing_prefixes, from_behind, one_place_after_another, both_in_one_batch
    )


# 2. Since when does it memorise?


def since_stub(held_out, rise): ...


def by_a_loop(held_out, rise):
    best, low = 0, float("inf")
    for step in sorted(held_out):
        if held_out[step] < low:
            best, low = step, held_out[step]
    return best if held_out[sorted(held_out)[-1]] > low + rise else 0


def by_sorting(held_out, rise):
    by_loss = sorted((loss, step) for step, loss in held_out.items())
    last = sorted(held_out.items())[-1][1]
    return by_loss[0][1] * (last - by_loss[0][0] > rise)


def by_tensors(held_out, rise):
    steps = torch.tensor(sorted(held_out))
    losses = torch.tensor([held_out[int(step)] for step in steps], dtype=torch.float64)
    return steps[losses.argmin()] if losses[-1] - losses.min() > rise else torch.tensor(0)


def lowest(held_out):
    return min(held_out, key=held_out.get)


def the_last_step(held_out, rise):
    return max(held_out)


def the_first_step(held_out, rise):
    return min(held_out)


def the_loss(held_out, rise):
    return min(held_out.values())


def the_rise(held_out, rise):
    return held_out[max(held_out)] - min(held_out.values())


def the_index(held_out, rise):
    return sorted(held_out).index(lowest(held_out))


def the_worst(held_out, rise):
    return max(held_out, key=held_out.get)


def steps_and_losses(held_out):
    steps = sorted(held_out)
    return steps, [held_out[step] for step in steps]


def the_first_rise(held_out, rise):
    steps, losses = steps_and_losses(held_out)
    return next(steps[n] for n in range(1, len(steps)) if losses[n] > losses[n - 1])


def before_the_first_rise(held_out, rise):
    steps, losses = steps_and_losses(held_out)
    return next(steps[n - 1] for n in range(1, len(steps)) if losses[n] > losses[n - 1])


def one_later(held_out, rise):
    steps = sorted(held_out)
    return steps[steps.index(lowest(held_out)) + 1]


def where_it_had_risen(held_out, rise):
    low = held_out[lowest(held_out)]
    late = [s for s in sorted(held_out) if s > lowest(held_out) and held_out[s] > low + rise]
    return late[0] if late else 0


def never_at_all(held_out, rise):
    return 0


def the_first_of_the_dict(held_out, rise):
    return next(iter(held_out))


def without_a_threshold(held_out, rise):
    return lowest(held_out) if held_out[max(held_out)] > min(held_out.values()) else 0


def the_highest_afterwards(held_out, rise):
    after = [loss for step, loss in held_out.items() if step >= lowest(held_out)]
    return lowest(held_out) if max(after) > min(after) + rise else 0


def a_threshold_of_its_own(held_out, rise):
    last = held_out[max(held_out)]
    best = lowest(held_out)
    after = held_out[best]
    return best if last > after + 0.05 else 0


def says_yes(held_out, rise):
    return True


def alone_it_is_the_step(held_out, rise):
    return memorising_since.reference(held_out, rise) if len(held_out) > 1 else min(held_out)


def test_memorising_since():
    wrong = {
        the_last_step: "that is the last step",
        the_first_step: "first step that was measured",
        the_loss: "that is the loss;",
        the_rise: "how much it rose",
        the_index: "place in the list",
        the_worst: "the loss was highest",
        the_first_rise: "where the loss first went up.",
        before_the_first_rise: "step before the loss first went up",
        one_later: "one glance later",
        where_it_had_risen: "had risen by more than",
        never_at_all: "0 means that nothing rose",
        the_first_of_the_dict: "comes first in the dict",
        without_a_threshold: "less than `rise` is",
        the_highest_afterwards: "a bump in between",
        a_threshold_of_its_own: "Use `rise`",
        says_yes: "return a step, or 0",
        alone_it_is_the_step: "measured once has not risen",
    }
    assert_exercise(memorising_since, since_stub, wrong)


def test_right_ways_to_tell_memorising():
    assert_right(memorising_since, by_a_loop, by_sorting, by_tensors)
