"""Answers to the exercises of notebook 18, written from its cards alone."""

import torch
import torch.nn.functional as F


def lora_output__right__einsum(x, weight, down, up, alpha):
    extra = torch.einsum("bti,ri,or->bto", x, down, up)
    return torch.einsum("bti,oi->bto", x, weight) + extra * alpha / len(down)


def lora_output__right__merged(x, weight, down, up, alpha):
    return F.linear(x, weight + up @ down * (alpha / up.shape[1]))


def lora_output__wrong__no_rank(x, weight, down, up, alpha):
    return x @ weight.T + alpha * (x @ down.T @ up.T)


def lora_output__wrong__no_alpha(x, weight, down, up, alpha):
    return x @ weight.T + x @ down.T @ up.T / len(down)


def lora_output__wrong__addition_only(x, weight, down, up, alpha):
    return alpha / len(down) * (x @ down.T @ up.T)


def lora_output__wrong__base_only(x, weight, down, up, alpha):
    return x @ weight.T


def lora_output__wrong__divided_by_inputs(x, weight, down, up, alpha):
    return x @ weight.T + alpha / down.shape[1] * (x @ down.T @ up.T)


def lora_output__wrong__divided_by_outputs(x, weight, down, up, alpha):
    return x @ weight.T + alpha / len(up) * (x @ down.T @ up.T)


def lora_output__wrong__scaled_all(x, weight, down, up, alpha):
    return alpha / len(down) * (x @ weight.T + x @ down.T @ up.T)


def lora_output__wrong__upside_down(x, weight, down, up, alpha):
    return x @ weight.T + len(down) / alpha * (x @ down.T @ up.T)


def lora_output__wrong__subtracted(x, weight, down, up, alpha):
    return x @ weight.T - alpha / len(down) * (x @ down.T @ up.T)


def lora_output__wrong__changes_weight(x, weight, down, up, alpha):
    weight += alpha / len(down) * up @ down
    return x @ weight.T


def answer_targets__right__list(prompt, answer, length):
    row = [-100] * (len(prompt) - 1) + list(answer)
    return torch.tensor(row + [-100] * (length - len(row)))


def answer_targets__right__place_by_place(prompt, answer, length):
    whole, out = [*prompt, *answer], torch.full((length,), -100)
    for t in range(len(whole) - 1):
        if t + 1 >= len(prompt):
            out[t] = whole[t + 1]
    return out


def answer_targets__wrong__not_shifted(prompt, answer, length):
    row = [-100] * len(prompt) + list(answer)
    return torch.tensor((row + [-100] * length)[:length])


def answer_targets__wrong__second_letter(prompt, answer, length):
    row = [-100] * len(prompt) + list(answer)[1:]
    return torch.tensor((row + [-100] * length)[:length])


def answer_targets__wrong__prompt_learned(prompt, answer, length):
    row = [*prompt, *answer][1:]
    return torch.tensor((row + [-100] * length)[:length])


def answer_targets__wrong__end_not_learned(prompt, answer, length):
    row = [-100] * (len(prompt) - 1) + list(answer)[:-1]
    return torch.tensor((row + [-100] * length)[:length])


def answer_targets__wrong__filled_with_zeros(prompt, answer, length):
    row = [-100] * (len(prompt) - 1) + list(answer)
    return torch.tensor((row + [0] * length)[:length])


def answer_targets__wrong__too_early(prompt, answer, length):
    row = [-100] * (len(prompt) - 2) + list(answer)
    return torch.tensor((row + [-100] * length)[:length])


def answer_targets__wrong__not_filled_up(prompt, answer, length):
    return torch.tensor([-100] * (len(prompt) - 1) + list(answer))


def answer_targets__wrong__filled_in_front(prompt, answer, length):
    row = [-100] * (len(prompt) - 1) + list(answer)
    return torch.tensor([-100] * (length - len(row)) + row)


def answer_targets__wrong__minus_one(prompt, answer, length):
    row = [-1] * (len(prompt) - 1) + list(answer)
    return torch.tensor((row + [-1] * length)[:length])


def answer_targets__wrong__end_repeated(prompt, answer, length):
    row = [-100] * (len(prompt) - 1) + list(answer)
    return torch.tensor((row + [answer[-1]] * length)[:length])


def answer_mean__right__mask(losses, targets):
    return losses[targets != -100].mean()


def answer_mean__right__loop(losses, targets):
    kept = [
        loss
        for loss, t in zip(losses.flatten().tolist(), targets.flatten().tolist(), strict=True)
        if t != -100
    ]
    return torch.tensor(sum(kept) / len(kept))


def answer_mean__right__weights(losses, targets):
    learned = targets.ne(-100)
    return losses.where(learned, 0.0).sum() / learned.sum()


def answer_mean__wrong__all(losses, targets):
    return losses.mean()


def answer_mean__wrong__divided_by_all(losses, targets):
    return (losses * (targets != -100)).mean()


def answer_mean__wrong__row_by_row(losses, targets):
    w = (targets != -100).float()
    return ((losses * w).sum(1) / w.sum(1).clamp(min=1)).mean()


def answer_mean__wrong__sum(losses, targets):
    return losses[targets != -100].sum()


def answer_mean__wrong__masked_ones(losses, targets):
    return losses[targets == -100].mean()


def answer_mean__wrong__zero_is_masked(losses, targets):
    return losses[targets > 0].mean()


def answer_mean__wrong__shifted(losses, targets):
    return losses[:, :-1][targets[:, 1:] != -100].mean()


def answer_mean__wrong__divided_by_rows(losses, targets):
    return losses[targets != -100].sum() / len(losses)


# The third set.


def lora_output__right__two_ways(x, weight, down, up, alpha):
    return x @ weight.T + alpha / down.shape[0] * (x @ down.T @ up.T)


def lora_output__right__merged_weight(x, weight, down, up, alpha):
    merged = weight + torch.einsum("or,ri->oi", up, down) * (alpha / up.shape[1])
    return F.linear(x, merged)


# wrong for R != I: divided by I, the inputs, should be by R, the rows of A
def lora_output__wrong__third_divided_by_inputs(x, weight, down, up, alpha):
    return x @ weight.T + alpha / down.shape[-1] * (x @ down.T @ up.T)


# wrong for alpha 3, R 2: times 1, should be times 1.5
def lora_output__wrong__whole_number_scale(x, weight, down, up, alpha):
    return x @ weight.T + (alpha // len(down)) * (x @ down.T @ up.T)


# wrong for alpha != R: x W^T is scaled too, only the addition should be
def lora_output__wrong__all_is_scaled(x, weight, down, up, alpha):
    return alpha / down.shape[0] * (x @ (weight + up @ down).T)


def answer_targets__right__shift_then_mask(prompt, answer, length):
    targets = (prompt + answer)[1:]
    for place in range(len(prompt) - 1):
        targets[place] = -100
    targets += [-100] * (length - len(targets))
    return torch.tensor(targets)


def answer_targets__right__third_place_by_place(prompt, answer, length):
    whole = [*prompt, *answer]
    row = torch.full((length,), -100, dtype=torch.long)
    for place in range(length):
        if len(prompt) <= place + 1 < len(whole):
            row[place] = whole[place + 1]
    return row


def answer_targets__wrong__third_not_shifted(prompt, answer, length):
    row = torch.full((length + 1,), -100)
    row[len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
    return row[:length]


# wrong for rows shorter than length: 0 behind the end would be learned, should be -100
def answer_targets__wrong__third_filled_with_zeros(prompt, answer, length):
    targets = [-100] * (len(prompt) - 1) + answer
    return torch.tensor(targets + [0] * (length - len(targets)))


def answer_targets__wrong__first_token_masked(prompt, answer, length):
    targets = [-100] * len(prompt) + answer[1:]
    return torch.tensor(targets + [-100] * (length - len(targets)))


def answer_targets__wrong__masked_by_id(prompt, answer, length):
    targets = [i if i in answer else -100 for i in (prompt + answer)[1:]]
    return torch.tensor(targets + [-100] * (length - len(targets)))


def answer_mean__right__where_then_divide(losses, targets):
    learned = targets.ne(-100)
    kept = torch.where(learned, losses, torch.zeros_like(losses))
    return kept.sum() / learned.sum()


# wrong for an infinite loss that is not learned: inf * 0 is nan, should be left out
def answer_mean__wrong__times_the_mask(losses, targets):
    learned = (targets != -100).to(losses.dtype)
    return (losses * learned).sum() / learned.sum()


def answer_mean__wrong__mean_of_row_means(losses, targets):
    rows = [row[wanted != -100].mean() for row, wanted in zip(losses, targets, strict=False)]
    return torch.stack(rows).mean()


# wrong where anything is masked: divided by all B * T places, should be by the learned ones
def answer_mean__wrong__divided_by_all_places(losses, targets):
    return losses.masked_fill(targets == -100, 0).mean()
