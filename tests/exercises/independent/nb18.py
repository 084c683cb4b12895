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
