"""The checkers of notebook 18 know the mistakes that people make."""

import math

import pytest
import torch
import torch.nn.functional as F
from kill_table import assert_exercise, assert_right

from bhushgpt.exercises.nb18_fine_tuning import answer_mean, answer_targets, lora_output
from bhushgpt.instructions import Exchange, instruction_rows
from bhushgpt.language_model import next_token_loss, token_losses
from bhushgpt.lora import LoRA
from bhushgpt.tokenizers import CharTokenizer

NO = -100


# 1. lora_output


def lora_stub(x, weight, down, up, alpha): ...


def add(x, d, u):
    return x @ d.T @ u.T


def merges_in_place(x, w, d, u, a):
    w += a / len(d) * u @ d
    return x @ w.T


def for_two_axes(x, w, d, u, a):
    if x.dim() > 2:
        x = x.flatten(0, 1)
    return x @ w.T + a / len(d) * add(x, d, u)


LORA_WRONG = [
    (lambda x, w, d, u, a: x @ w.T, "the addition is missing"),
    (lambda x, w, d, u, a: a / len(d) * add(x, d, u), "the layer itself is missing"),
    (lambda x, w, d, u, a: x @ w.T + add(x, d, u), "the addition is not scaled"),
    (lambda x, w, d, u, a: x @ w.T + a * add(x, d, u), "divide by the rank, the rows of A"),
    (lambda x, w, d, u, a: x @ w.T + len(d) / a * add(x, d, u), "it stands on its head"),
    (lambda x, w, d, u, a: x @ w.T + len(d) * a * add(x, d, u), "you multiply alpha by R"),
    (lambda x, w, d, u, a: x @ w.T + a / w.shape[1] * add(x, d, u), "divide alpha by the inputs"),
    (lambda x, w, d, u, a: x @ w.T + a / len(w) * add(x, d, u), "divide alpha by the outputs"),
    (lambda x, w, d, u, a: x @ w.T + a / len(d) ** 0.5 * add(x, d, u), "divide by the root of R"),
    (lambda x, w, d, u, a: x @ w.T - a / len(d) * add(x, d, u), "the addition is taken off"),
    (lambda x, w, d, u, a: a / len(d) * (x @ w.T + add(x, d, u)), "not for the layer's own part"),
    (lambda x, w, d, u, a: x @ w.T + (a / len(d)) ** 2 * add(x, d, u), "the factor is there twice"),
    (lambda x, w, d, u, a: 2 * x @ w.T + a / len(d) * add(x, d, u), "own part is there twice"),
    (lambda x, w, d, u, a: x @ (w * (a / len(d) * u @ d)).T, "multiplied number by number"),
    (
        lambda x, w, d, u, a: x @ w.T + a / len(d) * F.relu(x @ d.T) @ u.T,
        "a ReLU between A and B",
    ),
    (lambda x, w, d, u, a: (x @ w.T + a / len(d) * add(x, d, u)).mT, "the shape is (2, 5, 4)"),
    (lambda x, w, d, u, a: x @ w + add(x, d, u), "your code stopped with"),
    (lambda x, w, d, u, a: torch.zeros(2, 4, 5), "not those of the formula"),
    (merges_in_place, "your code changes `"),
    (for_two_axes, "the shape is (8, 5)"),
]


def test_the_kill_table_of_lora_output():
    assert_exercise(lora_output, lora_stub, LORA_WRONG)


def merged_first(x, weight, down, up, alpha):
    return x @ (weight + alpha / down.shape[0] * (up @ down)).mT


def by_linear(x, weight, down, up, alpha):
    return F.linear(x, weight) + F.linear(F.linear(x, down), up) * (alpha / len(down))


def by_the_package(x, weight, down, up, alpha):
    base = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer = LoRA(base, rank=len(down), alpha=alpha)
    layer.load_state_dict({"base.weight": weight, "down": down, "up": up})
    return layer(x).detach()


def test_other_ways_to_the_lora_output_are_right():
    assert_right(lora_output, merged_first, by_linear, by_the_package)


# 2. answer_targets


def targets_stub(prompt, answer, length): ...


def fill(tokens, length, with_=NO):
    return torch.tensor((tokens + length * [with_])[:length])


def empties_the_prompt(prompt, answer, length):
    row = fill((len(prompt) - 1) * [NO] + answer, length)
    prompt.clear()
    return row


def fails_for_one_token(prompt, answer, length):
    if len(prompt) == 1:
        return torch.full((length,), NO)
    return fill((len(prompt) - 1) * [NO] + answer, length)


def forgets_zero(prompt, answer, length):
    row = fill((len(prompt) - 1) * [NO] + answer, length)
    return torch.where(row > 0, row, NO)


TARGETS_WRONG = [
    (
        lambda p, a, n: torch.tensor(
            [i if i in a else NO for i in (p + a)[1:]] + (n - len(p + a) + 1) * [NO]
        ),
        "its place decides",
    ),
    (lambda p, a, n: fill(len(p) * [NO] + a[1:], n), "first token of the answer is not learned"),
    (
        lambda p, a, n: fill((len(p) - 2) * [NO] + p[-1:] + a, n),
        "last token of the prompt is learned",
    ),
    (lambda p, a, n: fill((p + a)[1:], n), "the whole prompt is learned"),
    (lambda p, a, n: fill((len(p) - 1) * [NO] + a, n, 0), "the filling is learned: it has no"),
    (lambda p, a, n: fill((len(p) - 1) * [NO] + a, n, a[-1]), "the end came again and again"),
    (lambda p, a, n: fill(len(p) * [NO] + a, n), "nothing was shifted"),
    (lambda p, a, n: fill((len(p) - 1) * [NO] + a[:-1], n), "could never stop"),
    (lambda p, a, n: fill(p[1:] + len(a) * [NO], n), "have changed places"),
    (lambda p, a, n: fill((len(p) - 1) * [0] + a, n, 0), "0 is the number of a token"),
    (lambda p, a, n: fill((len(p) - 1) * [-1] + a, n, -1), "you mask with -1"),
    (lambda p, a, n: fill((len(p + a) - 2) * [NO] + a[-1:], n), "only the last token"),
    (lambda p, a, n: fill((len(p) - 1) * [NO] + a[:1], n), "only the first token of the answer"),
    (
        lambda p, a, n: torch.tensor((n - len(p + a) + 1) * [NO] + (len(p) - 1) * [NO] + a),
        "the filling stands in front",
    ),
    (lambda p, a, n: fill((len(p) - 1) * [0] + len(a) * [1], n, 0), "a mask of ones and zeros"),
    (lambda p, a, n: fill([NO, *(p + a)[2:]], n), "only the first token of the prompt"),
    (lambda p, a, n: fill((p + a)[:-1], n), "those are the inputs"),
    (lambda p, a, n: torch.tensor((len(p) - 1) * [NO] + a), "the row is not filled up"),
    (lambda p, a, n: torch.tensor(len(p) * [NO] + a), "as many places as prompt and answer"),
    (lambda p, a, n: fill((len(p) - 1) * [NO] + a, n).tolist(), "give a tensor"),
    (lambda p, a, n: fill((len(p) - 1) * [NO] + a, n).float(), "targets are whole numbers"),
    (empties_the_prompt, "your code changes `"),
    (fails_for_one_token, "a prompt of one token"),
    (forgets_zero, "token 0 is a token like others"),
]


def test_the_kill_table_of_answer_targets():
    assert_exercise(answer_targets, targets_stub, TARGETS_WRONG)


def by_masking(prompt, answer, length):
    row = torch.tensor((prompt + answer)[1:] + length * [NO])[:length]
    row[: len(prompt) - 1] = NO
    return row


def by_where(prompt, answer, length):
    ids = torch.tensor(prompt + answer + (length + 1) * [0])[1 : length + 1]
    place = torch.arange(length)
    learned = (place >= len(prompt) - 1) & (place < len(prompt) + len(answer) - 1)
    return torch.where(learned, ids, NO)


def by_a_loop(prompt, answer, length):
    row = []
    for place in range(length):
        here = place + 1 - len(prompt)
        row.append(answer[here] if 0 <= here < len(answer) else NO)
    return torch.tensor(row)


def test_other_ways_to_the_answer_targets_are_right():
    assert_right(answer_targets, by_masking, by_where, by_a_loop)


def test_the_reference_is_what_the_package_makes():
    tokenizer = CharTokenizer("\n :?AQabc")
    _, targets = instruction_rows([Exchange("ab?", "c"), Exchange("cab?", "bb")], tokenizer)
    prompt, answer = tokenizer.encode("Q: ab?\nA: "), tokenizer.encode("c\n")
    row = answer_targets.reference(prompt, answer, targets.shape[1])
    assert torch.equal(row, targets[0])


# 3. answer_mean


def mean_stub(losses, targets): ...


def rows(losses, targets):
    return [row[mask != NO] for row, mask in zip(losses, targets, strict=True)]


def zeroes_in_place(losses, targets):
    losses[targets == NO] = 0
    return losses.sum() / (targets != NO).sum()


MEAN_WRONG = [
    (lambda x, t: x.mean(), "mean over all places"),
    (lambda x, t: (x * (t != NO)).sum(), "that is the sum"),
    (lambda x, t: (x * (t != NO)).mean(), "still counted in the mean"),
    (lambda x, t: torch.stack([r.mean() for r in rows(x, t)]).mean(), "mean of the rows' means"),
    (lambda x, t: x[t != NO].sum() / len(x), "you divide by the rows"),
    (lambda x, t: x[t != NO].sum() / x.shape[1], "by the length of a row"),
    (lambda x, t: x[t == NO].mean(), "what is NOT learned"),
    (lambda x, t: x[t > 0].mean(), "token 0 was left out"),
    (lambda x, t: torch.stack([r.mean() for r in rows(x, t)]).sum(), "means are added up"),
    (lambda x, t: torch.stack([r[-1] for r in rows(x, t)]).mean(), "only the last learned place"),
    (lambda x, t: rows(x, t)[0].mean(), "only the first row"),
    (lambda x, t: x[t != NO].mean().exp(), "the perplexity"),
    (lambda x, t: x[t != NO].mean() / math.log(2), "those are bits"),
    (lambda x, t: -x[t != NO].mean(), "the sign is turned"),
    (lambda x, t: torch.stack([r[0] for r in rows(x, t)]).mean(), "only the first learned place"),
    (lambda x, t: x[t != NO].max(), "the largest loss"),
    (lambda x, t: x[t != NO].sum() / ((t != NO).sum() - 1), "one is taken off"),
    (lambda x, t: torch.stack([r.mean() for r in rows(x, t)]), "one mean for each row"),
    (lambda x, t: x * (t != NO), "one for each place; their mean is wanted"),
    (lambda x, t: x[t != NO].median(), "not those of the formula"),
    (zeroes_in_place, "your code changes `"),
    (lambda x, t: (x * (t != NO)).sum() / (t != NO).sum(), "0 times infinity is nan"),
]


def test_the_kill_table_of_answer_mean():
    assert_exercise(answer_mean, mean_stub, MEAN_WRONG)


def by_masked_fill(losses, targets):
    learned = targets != NO
    return losses.masked_fill(~learned, 0).sum() / learned.sum()


def by_counting(losses, targets):
    pairs = zip(losses.flatten().tolist(), targets.flatten().tolist(), strict=True)
    kept = [loss for loss, target in pairs if target != NO]
    return torch.tensor(sum(kept) / len(kept))


def by_nanmean(losses, targets):
    return losses.where(targets != NO, torch.nan).nanmean()


def test_other_ways_to_the_answer_mean_are_right():
    assert_right(answer_mean, by_masked_fill, by_counting, by_nanmean)


def test_the_reference_is_what_the_package_and_torch_compute():
    logits = torch.randn(3, 7, 11)
    targets = torch.randint(11, (3, 7)).masked_fill(torch.rand(3, 7) < 0.5, NO)
    ours = answer_mean.reference(token_losses(logits, targets.clamp(min=0)), targets)
    weights = (targets != NO).float()
    torch.testing.assert_close(ours, next_token_loss(logits, targets.clamp(min=0), weights))
    library = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=NO)
    torch.testing.assert_close(ours, library)


@pytest.mark.parametrize("exercise", [lora_output, answer_targets, answer_mean])
def test_every_message_is_short_and_every_exercise_knows_twelve_mistakes(exercise):
    tables = {
        "lora_output": LORA_WRONG,
        "answer_targets": TARGETS_WRONG,
        "answer_mean": MEAN_WRONG,
    }
    wrong = tables[exercise.name]
    assert len(wrong) >= 12
    assert all(len(str(exercise.judge(answer))) < 300 for answer, _ in wrong)
