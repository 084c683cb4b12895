"""Answers to the exercises of notebook 09, written from its cards alone."""

import math

import torch


def untied_count__right__formula(V, L, C):
    return 2 * V * C + L * (12 * C * C + 13 * C) + 2 * C


def untied_count__right__added(V, L, C):
    total = C + C
    for _ in range(L):
        total += (
            2 * 2 * C + (3 * C * C + 3 * C) + (C * C + C) + (4 * C * C + 4 * C) + (4 * C * C + C)
        )
    return total + V * C + C * V


def untied_count__wrong__tied(V, L, C):
    return V * C + L * (12 * C * C + 13 * C) + 2 * C


def untied_count__wrong__head_with_bias(V, L, C):
    return 2 * V * C + V + L * (12 * C * C + 13 * C) + 2 * C


def untied_count__wrong__no_last_norm(V, L, C):
    return 2 * V * C + L * (12 * C * C + 13 * C)


def untied_count__wrong__no_biases(V, L, C):
    return 2 * V * C + L * 12 * C * C + 2 * C


def untied_count__wrong__positions_too(V, L, C):
    return 2 * V * C + 64 * C + L * (12 * C * C + 13 * C) + 2 * C


def untied_count__wrong__one_block(V, L, C):
    return 2 * V * C + 12 * C * C + 13 * C + 2 * C


def untied_count__wrong__norm_in_each_block(V, L, C):
    return 2 * V * C + L * (12 * C * C + 13 * C + 2 * C)


def early_stop__right__counting(losses, patience):
    best, waited = 0, 0
    for i, loss in enumerate(losses):
        if i == 0 or loss < losses[best]:
            best, waited = i, 0
        else:
            waited += 1
        if waited == patience:
            break
    return best


def early_stop__right__slices(losses, patience):
    best = 0
    while True:
        better = [
            i
            for i in range(best + 1, min(len(losses), best + patience + 1))
            if losses[i] < losses[best]
        ]
        if not better:
            return best
        best = better[0]


def early_stop__wrong__best_of_all(losses, patience):
    return min(range(len(losses)), key=lambda i: losses[i])


def _stop(losses, patience, *, reset=True, over=0, give="best", equal=False, before=False):
    best, waited = 0, 0
    for i in range(1, len(losses)):
        compare = losses[i - 1] if before else losses[best]
        if losses[i] < compare or (equal and losses[i] == compare):
            best, waited = i, 0 if reset else waited
        else:
            waited += 1
        if waited == patience + over:
            return {"best": best, "stop": i, "loss": losses[best]}[give]
    return {"best": best, "stop": len(losses) - 1, "loss": losses[best]}[give]


def early_stop__wrong__never_reset(losses, patience):
    return _stop(losses, patience, reset=False)


def early_stop__wrong__waits_one_more(losses, patience):
    return _stop(losses, patience, over=1)


def early_stop__wrong__stops_one_early(losses, patience):
    return _stop(losses, patience, over=-1) if patience > 1 else 0


def early_stop__wrong__where_it_stopped(losses, patience):
    return _stop(losses, patience, give="stop")


def early_stop__wrong__the_loss(losses, patience):
    return _stop(losses, patience, give="loss")


def early_stop__wrong__equal_is_new(losses, patience):
    return _stop(losses, patience, equal=True)


def early_stop__wrong__against_the_one_before(losses, patience):
    return _stop(losses, patience, before=True)


def text_vectors__right__index(stream, lengths):
    return stream[torch.arange(len(stream)), lengths - 1]


def text_vectors__right__gather(stream, lengths):
    at = (lengths - 1).view(-1, 1, 1).expand(-1, 1, stream.shape[-1])
    return stream.gather(1, at).squeeze(1)


def text_vectors__right__loop(stream, lengths):
    return torch.stack([rows[:n][-1] for rows, n in zip(stream, lengths.tolist(), strict=True)])


def text_vectors__wrong__last_of_all(stream, lengths):
    return stream[:, -1]


def text_vectors__wrong__one_too_early(stream, lengths):
    return stream[torch.arange(len(stream)), (lengths - 2).clamp(min=0)]


def text_vectors__wrong__padding_behind(stream, lengths):
    return stream[torch.arange(len(stream)), lengths.clamp(max=stream.shape[1] - 1)]


def text_vectors__wrong__mean(stream, lengths):
    return torch.stack([rows[:n].mean(0) for rows, n in zip(stream, lengths.tolist(), strict=True)])


def text_vectors__wrong__all_pairs(stream, lengths):
    return stream[:, lengths - 1]


def text_vectors__wrong__first(stream, lengths):
    return stream[:, 0]


def text_vectors__wrong__longest_for_all(stream, lengths):
    return stream[:, lengths.max() - 1]


def early_stop__wrong__second_set_below_the_one_before(losses, patience):
    best, bad = 0, 0
    for i in range(1, len(losses)):
        bad = 0 if losses[i] < losses[i - 1] else bad + 1
        if losses[i] < losses[best]:
            best = i
        if bad == patience:
            return best
    return best


# The third set.


def untied_count__right__third_formula(V, L, C):
    return 2 * V * C + L * (12 * C**2 + 13 * C) + 2 * C


def untied_count__right__layer_by_layer(V, L, C):
    total = V * C  # token table
    for _block in range(L):
        total += (C + 1) * 3 * C + (C + 1) * C  # attention
        total += (C + 1) * 4 * C + (4 * C + 1) * C  # MLP
        total += 2 * (C + C)  # norms
    return total + C + C + V * C


# Any sizes: a bias of V numbers in the head; right is without it.
def untied_count__wrong__third_head_with_bias(V, L, C):
    return V * C + L * (12 * C * C + 13 * C) + 2 * C + (C * V + V)


def early_stop__right__loop(losses, patience):
    best, waited = 0, 0
    for i, loss in enumerate(losses):
        if i == 0 or loss < losses[best]:
            best, waited = i, 0
        else:
            waited += 1
            if waited == patience:
                break
    return best


def early_stop__right__jump_from_best_to_best(losses, patience):
    def go_on(best):
        for later in range(best + 1, min(best + patience + 1, len(losses))):
            if losses[later] < losses[best]:
                return later
        return None

    best = 0
    while (found := go_on(best)) is not None:
        best = found
    return best


def early_stop__wrong__compared_with_the_one_before(losses, patience):
    best, waited, before = 0, 0, math.inf
    for i, loss in enumerate(losses):
        waited = 0 if loss < before else waited + 1
        if loss < losses[best]:
            best = i
        if waited == patience:
            break
        before = loss
    return best


# [2, 1, 1, 3], patience 2: the tie counts as new, index 2; right is 1, it is no new lowest.
def early_stop__wrong__ties_are_new(losses, patience):
    best, waited = 0, 0
    for i, loss in enumerate(losses):
        if loss <= losses[best]:
            best, waited = i, 0
        else:
            waited += 1
        if waited >= patience:
            break
    return best


# [2, 3, 1], patience 1: goes on one too far, 2; right is 0.
def early_stop__wrong__one_too_patient(losses, patience):
    best, waited = 0, 0
    for i, loss in enumerate(losses):
        if i == 0 or loss < losses[best]:
            best, waited = i, 0
        else:
            waited += 1
        if waited > patience:
            break
    return best


# [1, 2, 0.5, 2, 0.1], patience 2: failures all add up, stops at index 3, gives 2; right is 4.
def early_stop__wrong__never_set_back(losses, patience):
    best, waited = 0, 0
    for i, loss in enumerate(losses):
        if loss < losses[best]:
            best = i
        elif i > 0:
            waited += 1
            if waited == patience:
                break
    return best


def text_vectors__right__indexed(stream, lengths):
    return stream[torch.arange(len(stream)), lengths.long() - 1]


def text_vectors__right__marked_rows(stream, lengths):
    last = torch.arange(stream.shape[1])[None, :] == lengths[:, None] - 1  # (B, T)
    rows = [text[mark] for text, mark in zip(stream, last, strict=True)]
    return torch.cat(rows, dim=0)


# lengths [1, 2], T = 2: text 0 gets place 1, one too far; right is lengths - 1.
def text_vectors__wrong__one_too_far(stream, lengths):
    place = lengths.long().clamp(max=stream.shape[1] - 1)
    return stream[torch.arange(len(stream)), place]


# lengths [2]: the mean of both real tokens; right is the second one alone.
def text_vectors__wrong__mean_of_real_tokens(stream, lengths):
    real = torch.arange(stream.shape[1]) < lengths[:, None]
    total = (stream * real[..., None]).sum(1)
    return total / lengths[:, None]


# B = 1: squeeze() takes the batch axis off, too, (C,); right is (1, C).
def text_vectors__wrong__squeezed(stream, lengths):
    index = (lengths.long() - 1)[:, None, None].expand(-1, 1, stream.shape[-1])
    return stream.gather(1, index).squeeze()
