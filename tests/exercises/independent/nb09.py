"""Answers to the exercises of notebook 09, written from its cards alone."""

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
