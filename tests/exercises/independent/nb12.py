"""Answers to the exercises of notebook 12, written from its cards alone."""

import torch


def _moves(model, ids, change, before):
    was = model.training
    model.eval()
    with torch.no_grad():
        a, b = model(ids), model(change)
    model.train(was)
    return (a - b)[:, :before].abs().max().item() >= 1e-5 if before else False


def looks_ahead__right__every_place(model, ids):
    V = model(ids).shape[-1]
    for t in range(1, ids.shape[1]):
        other = ids.clone()
        other[0, t] = (other[0, t] + 1) % V
        if _moves(model, ids, other, t):
            return True
    return False


def looks_ahead__right__shorter_texts(model, ids):
    was = model.training
    model.eval()
    with torch.no_grad():
        V = model(ids).shape[-1]
        found = False
        for t in range(1, ids.shape[1]):
            for step in (1, V // 2 or 1):
                other = ids.clone()
                other[:, t:] = (other[:, t:] + step) % V
                found |= (model(ids)[:, :t] - model(other)[:, :t]).abs().max().item() > 1e-5
    model.train(was)
    return bool(found)


def looks_ahead__wrong__own_place_counts(model, ids):
    other = ids.clone()
    other[0, -1] = 0 if other[0, -1] else 1
    return _moves(model, ids, other, ids.shape[1])


def looks_ahead__wrong__first_token_changed(model, ids):
    other = ids.clone()
    other[0, 0] = 0 if other[0, 0] else 1
    return _moves(model, ids, other, ids.shape[1])


def looks_ahead__wrong__always_false(model, ids):
    return False


def looks_ahead__wrong__always_true(model, ids):
    return True


def looks_ahead__wrong__ids_changed(model, ids):
    other = ids
    before = model(ids)
    other[0, -1] = 0 if other[0, -1] else 1
    return (before - model(other))[:, :-1].abs().max().item() > 1e-5


def looks_ahead__wrong__in_train_mode(model, ids):
    other = ids.clone()
    other[0, -1] = 0 if other[0, -1] else 1
    return (model(ids) - model(other))[:, :-1].abs().max().item() > 1e-5


def looks_ahead__wrong__left_in_eval(model, ids):
    model.eval()
    return looks_ahead__right__every_place(model, ids)


def looks_ahead__wrong__equal_to_the_bit(model, ids):
    other = ids.clone()
    other[0, -1] = 0 if other[0, -1] else 1
    was = model.training
    model.eval()
    answer = not torch.equal(model(ids)[:, :-1], model(other)[:, :-1])
    model.train(was)
    return answer


def looks_ahead__wrong__only_first_place(model, ids):
    other = ids.clone()
    other[0, -1] = 0 if other[0, -1] else 1
    return _moves(model, ids, other, 1)


def looks_ahead__wrong__other_way_round(model, ids):
    return not looks_ahead__right__every_place(model, ids)


def memorising_since__right__sorted(held_out, rise):
    pairs = sorted(held_out.items())
    low, step = min((loss, step) for step, loss in pairs)
    return step if pairs[-1][1] - low > rise else 0


def memorising_since__right__max(held_out, rise):
    best = min(held_out, key=held_out.__getitem__)
    if held_out[max(held_out)] > held_out[best] + rise:
        return best
    return 0


def memorising_since__wrong__last_in_the_dictionary(held_out, rise):
    best = min(held_out, key=held_out.get)
    return best if list(held_out.values())[-1] > held_out[best] + rise else 0


def memorising_since__wrong__the_loss(held_out, rise):
    low = min(held_out.values())
    return low if held_out[max(held_out)] > low + rise else 0


def memorising_since__wrong__highest(held_out, rise):
    best = min(held_out, key=held_out.get)
    return best if max(held_out.values()) > held_out[best] + rise else 0


def memorising_since__wrong__rise_ignored(held_out, rise):
    best = min(held_out, key=held_out.get)
    return best if held_out[max(held_out)] > held_out[best] else 0


def memorising_since__wrong__always_the_lowest(held_out, rise):
    return min(held_out, key=held_out.get)


def memorising_since__wrong__rise_as_factor(held_out, rise):
    best = min(held_out, key=held_out.get)
    return best if held_out[max(held_out)] > held_out[best] * (1 + rise) else 0


def memorising_since__wrong__none(held_out, rise):
    best = min(held_out, key=held_out.get)
    return best if held_out[max(held_out)] > held_out[best] + rise else None


def memorising_since__wrong__the_last_step(held_out, rise):
    best = min(held_out, key=held_out.get)
    return max(held_out) if held_out[max(held_out)] > held_out[best] + rise else 0


# The third set.


def looks_ahead__right__every_place_every_id(model, ids):
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            plain = model(ids.clone())
            n_ids, length = plain.shape[-1], ids.shape[1]
            for place in range(1, length):
                for other in range(n_ids):
                    changed = ids.clone()
                    changed[0, place] = other
                    moved = (model(changed) - plain)[:, :place].abs() >= 1e-5
                    if moved.any():
                        return True
        return False
    finally:
        for module, training in modes:
            module.training = training


def _scores_of(model, row):
    with torch.inference_mode():
        return model(torch.tensor([row])).double().tolist()[0]


def looks_ahead__right__plain_lists_from_the_end(model, ids):
    was = {module: module.training for module in model.modules()}
    for module in was:
        module.training = False
    row = ids[0].tolist()
    before = _scores_of(model, row)
    answer = False
    for place in reversed(range(1, len(row))):
        for other in set(range(len(before[0]))) - {row[place]}:
            after = _scores_of(model, [*row[:place], other, *row[place + 1 :]])
            gaps = (
                abs(a - b)
                for old, new in zip(before[:place], after[:place], strict=False)
                for a, b in zip(old, new, strict=False)
            )
            answer = answer or any(gap >= 1e-5 for gap in gaps)
    for module, training in was.items():
        module.training = training
    return answer


def looks_ahead__wrong__sets_last_token_to_zero(model, ids):
    was = model.training
    model.eval()
    changed = ids.clone()
    changed[0, -1] = 0
    with torch.no_grad():
        moved = (model(changed) - model(ids))[0, :-1].abs()
    model.train(was)
    return bool((moved >= 1e-5).any())


def looks_ahead__wrong__always_back_to_train(model, ids):
    model.eval()
    result = False
    with torch.no_grad():
        plain = model(ids)
        for place in range(1, ids.shape[1]):
            for other in range(plain.shape[-1]):
                changed = ids.clone()
                changed[0, place] = other
                if (model(changed) - plain)[0, :place].abs().max() >= 1e-5:
                    result = True
    model.train()
    return result


# wrong for any causal model: the changed place itself is compared too, so True instead of False
def looks_ahead__wrong__changed_place_is_compared(model, ids):
    was = model.training
    model.eval()
    result = False
    with torch.no_grad():
        plain = model(ids)
        for place in range(1, ids.shape[1]):
            changed = ids.clone()
            changed[0, place] = (changed[0, place] + 1) % plain.shape[-1]
            if (model(changed) - plain)[0, : place + 1].abs().max() >= 1e-5:
                result = True
    model.train(was)
    return result


def looks_ahead__wrong__dropout_left_on(model, ids):
    with torch.no_grad():
        plain = model(ids)
        for place in range(1, ids.shape[1]):
            for other in range(plain.shape[-1]):
                changed = ids.clone()
                changed[0, place] = other
                if (model(changed) - plain)[0, :place].abs().max() >= 1e-5:
                    return True
    return False


def memorising_since__right__min_with_key(held_out, rise):
    best = min(sorted(held_out), key=held_out.get)
    last = max(held_out)
    return best if held_out[last] - held_out[best] > rise else 0


def memorising_since__right__one_pass_over_sorted_items(held_out, rise):
    lowest, where, final = float("inf"), 0, None
    for step, loss in sorted(held_out.items()):
        if loss < lowest:
            lowest, where = loss, step
        final = loss
    if final - lowest > rise:
        return where
    return 0


# wrong for {300: 2.0, 100: 1.0, 200: 1.1} in this order, rise 0.5: 0, should be 100
def memorising_since__wrong__last_in_the_dict_is_last(held_out, rise):
    last = list(held_out.values())[-1]
    best = min(held_out, key=held_out.get)
    return best if last - held_out[best] > rise else 0


# wrong for {1: 1.0, 2: 1.5}, rise 0.5: 1, should be 0 (not more than rise)
def memorising_since__wrong__at_least_rise(held_out, rise):
    best = min(held_out, key=held_out.get)
    return best if held_out[max(held_out)] >= held_out[best] + rise else 0


# wrong for {1: 1.0, 2: 3.0, 3: 1.1}, rise 0.5: 1, should be 0 (it came down again)
def memorising_since__wrong__highest_later_loss(held_out, rise):
    best = min(held_out, key=held_out.get)
    later = [loss for step, loss in held_out.items() if step >= best]
    return best if max(later) - held_out[best] > rise else 0
