"""Answers to the exercises of notebook 10, written from its cards alone."""

import math

import numpy as np
import torch

from bhushgpt.language_model import eval_mode


def next_chances__right__scatter(logits, temperature, k):
    top = (logits / temperature).topk(min(k, len(logits)))
    out = torch.zeros_like(logits)
    return out.scatter(0, top.indices, top.values.softmax(0))


def next_chances__right__sorted(logits, temperature, k):
    order = logits.argsort(descending=True)
    kept = logits.double().clone()
    kept[order[k:]] = -torch.inf
    return (kept / temperature).softmax(-1)


def next_chances__wrong__ties_kept(logits, temperature, k):
    bar = logits.topk(k).values[-1]
    return (logits / temperature).masked_fill(logits < bar, -torch.inf).softmax(-1)


def next_chances__wrong__times_temperature(logits, temperature, k):
    top = (logits * temperature).topk(k)
    return torch.zeros_like(logits).scatter(0, top.indices, top.values.softmax(0))


def next_chances__wrong__not_shared_out_again(logits, temperature, k):
    p = (logits / temperature).softmax(-1)
    top = p.topk(k)
    return torch.zeros_like(p).scatter(0, top.indices, top.values)


def next_chances__wrong__no_temperature(logits, temperature, k):
    top = logits.topk(k)
    return torch.zeros_like(logits).scatter(0, top.indices, top.values.softmax(0))


def next_chances__wrong__k_numbers(logits, temperature, k):
    return (logits / temperature).topk(k).values.softmax(-1)


def next_chances__wrong__zero_not_infinity(logits, temperature, k):
    top = (logits / temperature).topk(k)
    return torch.zeros_like(logits).scatter(0, top.indices, top.values).softmax(-1)


def next_chances__wrong__lowest(logits, temperature, k):
    top = (logits / temperature).topk(k, largest=False)
    return torch.zeros_like(logits).scatter(0, top.indices, top.values.softmax(0))


def next_chances__wrong__changes_logits(logits, temperature, k):
    logits /= temperature
    logits[logits.argsort(descending=True)[k:]] = -torch.inf
    return logits.softmax(-1)


def next_chances__wrong__one_more(logits, temperature, k):
    top = (logits / temperature).topk(min(k + 1, len(logits)))
    return torch.zeros_like(logits).scatter(0, top.indices, top.values.softmax(0))


def nucleus_size__right__loop(chances, p):
    sizes = []
    for row in chances.tolist():
        total, n = 0.0, 0
        for x in sorted(row, reverse=True):
            total, n = total + x, n + 1
            if total >= p:
                break
        sizes.append(n)
    return torch.tensor(sizes)


def nucleus_size__right__before(chances, p):
    s = chances.sort(dim=-1, descending=True).values
    return (s.cumsum(-1) - s < p).sum(-1)


def nucleus_size__wrong__crossing_left_out(chances, p):
    return (chances.sort(-1, descending=True).values.cumsum(-1) < p).sum(-1)


def nucleus_size__wrong__not_sorted(chances, p):
    return 1 + (chances.cumsum(-1) < p).sum(-1)


def nucleus_size__wrong__smallest_first(chances, p):
    return 1 + (chances.sort(-1).values.cumsum(-1) < p).sum(-1)


def nucleus_size__wrong__above_p(chances, p):
    return (chances > p).sum(-1)


def nucleus_size__wrong__whole_batch(chances, p):
    return (1 + (chances.sort(-1, descending=True).values.cumsum(-1) < p).sum(-1)).sum()


def nucleus_size__wrong__wrong_axis(chances, p):
    return 1 + (chances.sort(0, descending=True).values.cumsum(0) < p).sum(0)


def nucleus_size__wrong__two_more(chances, p):
    return 2 + (chances.sort(-1, descending=True).values.cumsum(-1) < p).sum(-1)


def _head(
    new, positions, keys, values, w_q, w_k, w_v, *, at=0, scale=True, grown=True, placed=True
):
    x = new + positions[len(keys) + at] if placed else new
    ks, vs = torch.cat([keys, (x @ w_k)[None]]), torch.cat([values, (x @ w_v)[None]])
    k, v = (ks, vs) if grown else (keys, values)
    s = k @ (x @ w_q)
    if scale:
        s = s / k.shape[1] ** 0.5
    return s.softmax(0) @ v, ks, vs


def remembering_head__right__plain(new, positions, keys, values, w_q, w_k, w_v):
    return _head(new, positions, keys, values, w_q, w_k, w_v)


def remembering_head__right__loop(new, positions, keys, values, w_q, w_k, w_v):
    S, D = keys.shape
    x = new + positions[S]
    q, k, v = (torch.einsum("c,cd->d", x, w) for w in (w_q, w_k, w_v))
    K, V = torch.vstack([keys, k]), torch.vstack([values, v])
    weights = torch.stack([(q * row).sum() / D**0.5 for row in K]).softmax(0)
    return sum(w * row for w, row in zip(weights, V, strict=True)), K, V


def remembering_head__wrong__position_behind(new, positions, keys, values, w_q, w_k, w_v):
    return _head(new, positions, keys, values, w_q, w_k, w_v, at=1)


def remembering_head__wrong__position_before(new, positions, keys, values, w_q, w_k, w_v):
    return _head(new, positions, keys, values, w_q, w_k, w_v, at=-1)


def remembering_head__wrong__position_zero(new, positions, keys, values, w_q, w_k, w_v):
    return _head(new, positions, keys, values, w_q, w_k, w_v, at=-len(keys))


def remembering_head__wrong__no_position(new, positions, keys, values, w_q, w_k, w_v):
    return _head(new, positions, keys, values, w_q, w_k, w_v, placed=False)


def remembering_head__wrong__no_scale(new, positions, keys, values, w_q, w_k, w_v):
    return _head(new, positions, keys, values, w_q, w_k, w_v, scale=False)


def remembering_head__wrong__does_not_see_itself(new, positions, keys, values, w_q, w_k, w_v):
    return _head(new, positions, keys, values, w_q, w_k, w_v, grown=False)


def remembering_head__wrong__keys_and_values_exchanged(new, positions, keys, values, w_q, w_k, w_v):
    o, k, v = _head(new, positions, keys, values, w_q, w_k, w_v)
    return o, v, k


def remembering_head__wrong__cache_not_grown(new, positions, keys, values, w_q, w_k, w_v):
    return _head(new, positions, keys, values, w_q, w_k, w_v)[0], keys, values


def remembering_head__wrong__new_row_first(new, positions, keys, values, w_q, w_k, w_v):
    o, k, v = _head(new, positions, keys, values, w_q, w_k, w_v)
    return o, k.roll(1, 0), v.roll(1, 0)


def remembering_head__wrong__value_without_position(new, positions, keys, values, w_q, w_k, w_v):
    x = new + positions[len(keys)]
    k, v = torch.cat([keys, (x @ w_k)[None]]), torch.cat([values, (new @ w_v)[None]])
    return (k @ (x @ w_q) / k.shape[1] ** 0.5).softmax(0) @ v, k, v


def _write(
    model,
    ids,
    n_tokens,
    stop,
    *,
    mode=True,
    cut=True,
    keep_stop=True,
    prompt_stops=False,
    draw=False,
):
    was, text = model.training, ids
    if mode:
        model.eval()
    with torch.no_grad():
        for _ in range(n_tokens):
            if prompt_stops and (text == stop).any():
                break
            logits = model(text[:, -model.context_length :] if cut else text)[:, -1]
            new = (
                torch.multinomial(logits.softmax(-1), 1)
                if draw
                else logits.argmax(-1, keepdim=True)
            )
            if new.item() == stop and not keep_stop:
                break
            text = torch.cat([text, new], 1)
            if new.item() == stop:
                break
    model.train(was)
    return text


def write_until__right__plain(model, ids, n_tokens, stop):
    return _write(model, ids, n_tokens, stop)


@torch.no_grad()
def write_until__right__list(model, ids, n_tokens, stop):
    was = model.training
    model.eval()
    try:
        row = ids[0].tolist()
        while len(row) < ids.shape[1] + n_tokens:
            row.append(int(model(torch.tensor([row[-model.context_length :]]))[0, -1].argmax()))
            if row[-1] == stop:
                break
    finally:
        model.train(was)
    return torch.tensor([row])


def write_until__wrong__stop_left_out(model, ids, n_tokens, stop):
    return _write(model, ids, n_tokens, stop, keep_stop=False)


def write_until__wrong__stop_in_the_prompt(model, ids, n_tokens, stop):
    return _write(model, ids, n_tokens, stop, prompt_stops=True)


def write_until__wrong__drawn(model, ids, n_tokens, stop):
    return _write(model, ids, n_tokens, stop, draw=True)


def write_until__wrong__train_mode(model, ids, n_tokens, stop):
    return _write(model, ids, n_tokens, stop, mode=False)


def write_until__wrong__left_in_eval(model, ids, n_tokens, stop):
    text = _write(model, ids, n_tokens, stop)
    model.eval()
    return text


def write_until__wrong__left_in_train(model, ids, n_tokens, stop):
    text = _write(model, ids, n_tokens, stop)
    model.train()
    return text


def write_until__wrong__context_overrun(model, ids, n_tokens, stop):
    return _write(model, ids, n_tokens, stop, cut=False)


def write_until__wrong__new_tokens_only(model, ids, n_tokens, stop):
    return _write(model, ids, n_tokens, stop)[:, ids.shape[1] :]


def write_until__wrong__one_more(model, ids, n_tokens, stop):
    return _write(model, ids, n_tokens + 1, stop)


def write_until__wrong__never_stops(model, ids, n_tokens, stop):
    return _write(model, ids, n_tokens, -1)


def write_until__right__second_set_other_names(model, text, left, end):
    if left == 0:
        return text
    with eval_mode(model):
        new = model(text[:, -model.context_length :])[:, -1:].argmax(-1)
    text = torch.hstack([text, new])
    if new.item() == end:
        return text
    return write_until__right__second_set_other_names(model, text, left - 1, end)


# The third set.


def next_chances__right__topk_then_scatter(logits, temperature, k):
    best, places = logits.topk(min(k, len(logits)))
    shares = (best / temperature).softmax(dim=0)
    return torch.zeros_like(logits).scatter(0, places, shares)


def next_chances__right__sorted_python(logits, temperature, k):
    scores = [score / temperature for score in logits.tolist()]
    order = sorted(range(len(scores)), key=lambda i: -scores[i])[:k]
    top = scores[order[0]]
    parts = {i: math.exp(scores[i] - top) for i in order}
    total = sum(parts.values())
    chances = [parts.get(i, 0.0) / total for i in range(len(scores))]
    return torch.tensor(chances, dtype=logits.dtype)


# [1, 1, 1], k = 2: all three stay; right is exactly two.
def next_chances__wrong__ties_stay(logits, temperature, k):
    lowest = logits.topk(min(k, len(logits))).values[-1]
    kept = torch.where(logits < lowest, -torch.inf, logits)
    return (kept / temperature).softmax(-1)


# The chances are right, but logits holds -inf afterwards; it must stay as it was.
def next_chances__wrong__changes_the_scores(logits, temperature, k):
    order = logits.argsort(descending=True, stable=True)
    logits[order[k:]] = -torch.inf
    return (logits / temperature).softmax(-1)


# k < V: the rest is not shared out, the sum is below 1; right is 1.
def next_chances__wrong__sum_below_one(logits, temperature, k):
    chances = (logits / temperature).softmax(-1)
    best = chances.topk(min(k, len(chances)))
    return torch.zeros_like(chances).scatter(0, best.indices, best.values)


def next_chances__wrong__temperature_on_chances(logits, temperature, k):
    best = logits.softmax(-1).topk(min(k, len(logits)))
    shares = best.values / temperature
    return torch.zeros_like(logits).scatter(0, best.indices, shares / shares.sum())


def nucleus_size__right__counts_below(chances, p):
    total = chances.sort(dim=-1, descending=True).values.cumsum(dim=-1)
    return ((total < p).sum(dim=-1) + 1).clamp(max=chances.shape[-1])


def nucleus_size__right__numpy_search(chances, p):
    rows = -np.sort(-chances.detach().numpy(), axis=1)
    sizes = []
    for row in rows:
        first = int(np.searchsorted(np.cumsum(row), row.dtype.type(p), side="left"))
        sizes.append(min(first + 1, len(row)))
    return torch.tensor(sizes)


# [0.9, 0.1], p = 0.8: nothing stays; right is 1, the one that crosses belongs to it.
def nucleus_size__wrong__third_crossing_left_out(chances, p):
    total = chances.sort(-1, descending=True).values.cumsum(-1)
    return (total < p).sum(-1)


# [0.5, 0.25, 0.25], p = 0.5: 2; right is 1, one has at least p already.
def nucleus_size__wrong__one_more_when_exact(chances, p):
    total = chances.sort(-1, descending=True).values.cumsum(-1)
    return ((total <= p).sum(-1) + 1).clamp(max=chances.shape[-1])


# [0.1, 0.9], p = 0.5: not sorted, 2; right is 1.
def nucleus_size__wrong__third_not_sorted(chances, p):
    total = chances.cumsum(-1)
    return ((total < p).sum(-1) + 1).clamp(max=chances.shape[-1])


def nucleus_size__wrong__more_than_all(chances, p):
    total = chances.sort(-1, descending=True).values.cumsum(-1)
    return (total < p).sum(-1) + 1


def remembering_head__right__cat(new, positions, keys, values, w_q, w_k, w_v):
    x = new + positions[len(keys)]
    keys = torch.cat([keys, (x @ w_k)[None]])
    values = torch.cat([values, (x @ w_v)[None]])
    weights = (keys @ (x @ w_q) / keys.shape[1] ** 0.5).softmax(dim=0)
    return weights @ values, keys, values


def remembering_head__right__einsum_filled(new, positions, keys, values, w_q, w_k, w_v):
    S, D = keys.shape
    all_keys, all_values = keys.new_empty(S + 1, D), values.new_empty(S + 1, D)
    all_keys[:S], all_values[:S] = keys, values
    x = positions.select(0, S) + new
    query = torch.einsum("c,cd->d", x, w_q) / math.sqrt(D)
    all_keys[S] = torch.einsum("c,cd->d", x, w_k)
    all_values[S] = torch.einsum("c,cd->d", x, w_v)
    scores = torch.einsum("sd,d->s", all_keys, query)
    parts = (scores - scores.max()).exp()
    out = torch.einsum("s,sd->d", parts, all_values) / parts.sum()
    return out, all_keys, all_values


# S = 3: position 2; right is 3, the new token is the fourth (S = 0 would even read the last row).
def remembering_head__wrong__position_one_early(new, positions, keys, values, w_q, w_k, w_v):
    x = new + positions[len(keys) - 1]
    keys = torch.cat([keys, (x @ w_k)[None]])
    values = torch.cat([values, (x @ w_v)[None]])
    weights = (keys @ (x @ w_q) / keys.shape[1] ** 0.5).softmax(dim=0)
    return weights @ values, keys, values


# Any input: the new token looks only at the old ones; right is at itself, too.
def remembering_head__wrong__not_at_itself(new, positions, keys, values, w_q, w_k, w_v):
    x = new + positions[len(keys)]
    weights = (keys @ (x @ w_q) / keys.shape[1] ** 0.5).softmax(dim=0)
    out = weights @ values
    return out, torch.cat([keys, (x @ w_k)[None]]), torch.cat([values, (x @ w_v)[None]])


# The result is right, but new has the position added to it afterwards; it must stay as it was.
def remembering_head__wrong__adds_into_new(new, positions, keys, values, w_q, w_k, w_v):
    new += positions[len(keys)]
    keys = torch.vstack([keys, new @ w_k])
    values = torch.vstack([values, new @ w_v])
    weights = (keys @ (new @ w_q) / keys.shape[1] ** 0.5).softmax(dim=0)
    return weights @ values, keys, values


def remembering_head__wrong__third_value_without_position(
    new, positions, keys, values, w_q, w_k, w_v
):
    x = new + positions[len(keys)]
    keys = torch.cat([keys, (x @ w_k)[None]])
    values = torch.cat([values, (new @ w_v)[None]])
    weights = (keys @ (x @ w_q) / keys.shape[1] ** 0.5).softmax(dim=0)
    return weights @ values, keys, values


def write_until__right__eval_mode(model, ids, n_tokens, stop):
    with eval_mode(model):
        for _ in range(n_tokens):
            scores = model(ids[:, -model.context_length :])[:, -1]
            token = scores.argmax(dim=-1, keepdim=True)
            ids = torch.cat([ids, token], dim=1)
            if token.item() == stop:
                break
    return ids


def write_until__right__own_switches_on_a_list(model, ids, n_tokens, stop):
    modes = {part: part.training for part in model.modules()}
    text = ids[0].tolist()
    left = n_tokens
    try:
        model.eval()
        with torch.no_grad():
            while left > 0:
                seen = torch.tensor([text[-model.context_length :]], device=ids.device)
                text.append(int(model(seen)[0, -1].argmax()))
                left = 0 if text[-1] == stop else left - 1
    finally:
        for part, training in modes.items():
            part.training = training
    return torch.tensor([text], dtype=ids.dtype, device=ids.device)


# A model that was in eval mode is in train mode afterwards; it must be left as it was found.
def write_until__wrong__always_train_afterwards(model, ids, n_tokens, stop):
    model.eval()
    with torch.no_grad():
        for _ in range(n_tokens):
            token = model(ids[:, -model.context_length :])[:, -1].argmax(-1)
            ids = torch.cat([ids, token[:, None]], dim=1)
            if token.item() == stop:
                break
    model.train()
    return ids


# A text longer than the context: its beginning is lost; right is to crop only what the model sees.
def write_until__wrong__text_is_cropped(model, ids, n_tokens, stop):
    with eval_mode(model):
        for _ in range(n_tokens):
            ids = ids[:, -model.context_length :]
            token = model(ids)[:, -1].argmax(-1, keepdim=True)
            ids = torch.cat([ids, token], 1)
            if token.item() == stop:
                break
    return ids


def write_until__wrong__third_stop_in_the_prompt(model, ids, n_tokens, stop):
    with eval_mode(model):
        for _ in range(n_tokens):
            if (ids == stop).any():
                break
            token = model(ids[:, -model.context_length :])[:, -1].argmax(-1, True)
            ids = torch.cat([ids, token], 1)
    return ids


def write_until__wrong__dropout_left_on(model, ids, n_tokens, stop):
    with torch.no_grad():
        for _ in range(n_tokens):
            token = model(ids[:, -model.context_length :])[:, -1].argmax(-1, True)
            ids = torch.cat([ids, token], 1)
            if token.item() == stop:
                break
    return ids
