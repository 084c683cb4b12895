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
