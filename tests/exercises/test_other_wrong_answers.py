"""Wrong answers in the words of others: the mistakes of notebooks 00-16 that came to mind later.

Each was written from the question alone, and the checkers were mended where one of them passed or
was told of another mistake.
"""

import hashlib
import math
import random

import torch
import torch.nn.functional as F
from kill_table import assert_exercise

from bhushgpt.exercises.nb03_text_and_tokens import bits_per_character
from bhushgpt.exercises.nb05_training import clip, text_loss
from bhushgpt.exercises.nb09_gpt_v1 import early_stop, text_vectors, untied_count
from bhushgpt.exercises.nb10_generation import nucleus_size
from bhushgpt.exercises.nb11_checkpoints import damaged, may_go
from bhushgpt.exercises.nb13_byte_pair_encoding import bytes_per_token
from bhushgpt.exercises.nb14_openwebtext import side_of
from bhushgpt.exercises.nb15_faster_training import busy, slope, wsd
from bhushgpt.exercises.nb16_gpt_v2 import bits_per_byte, their_name, training_days

# 09/untied_count

UNTIED_COUNT = [
    (lambda V, L, C: untied_count.reference(V, L, C) + 2 * V * C, "that is four tables"),
    (lambda V, L, C: L * (12 * C * C) + 2 * V * C, "biases and norms are missing"),
    (lambda V, L, C: L * (8 * C * C + 13 * C) + 2 * V * C + 2 * C, "the MLP goes there"),
    (lambda V, L, C: L * (12 * C * C + 9 * C) + 2 * V * C + 2 * C, "each block has two"),
    (lambda V, L, C: untied_count.reference(V, L, C) + L * C, "13 C of biases and"),
    (lambda V, L, C: L * (12 * C * C + 13 * C) + V * C + 2 * C + V, "the head has a table"),
    (lambda V, L, C: 12 * C * C + 13 * C + 2 * V * C + 2 * C * L, "V=23, L=3, C=10 gives"),
    (lambda V, L, C: L * (12 * C * C + 13 * C + 2 * V * C) + 2 * C, "the tables stand outside"),
    (lambda V, L, C: L * (12 * C * C + 13 * C) + 2 * C, "both tables of V x"),
    (lambda V, L, C: L * (11 * C * C + 12 * C) + 2 * V * C + 2 * C, "the projection behind the"),
    (lambda V, L, C: 4 * untied_count.reference(V, L, C), "those are bytes in"),
]


def test_the_untied_count_of_others():
    assert_exercise(untied_count, ..., UNTIED_COUNT)


# 09/early_stop


def last_index(losses, patience):
    return len(losses) - 1


def one_early(losses, patience):
    best = 0
    for i, x in enumerate(losses):
        if x < losses[best]:
            best = i
        elif i - best >= patience - 1:
            break
    return best


def compares_previous(losses, patience):
    best = 0
    bad = 0
    for i in range(1, len(losses)):
        if losses[i] < losses[i - 1]:
            best = i
            bad = 0
        else:
            bad += 1
            if bad >= patience:
                break
    return best


def highest(losses, patience):
    return losses.index(max(losses))


def from_one(losses, patience):
    return early_stop.reference(losses, patience) + 1


def patience_ignored(losses, patience):
    return early_stop.reference(losses, 3)


EARLY_STOP = [
    (last_index, "you looked beyond the"),
    (one_early, "two losses that brought"),
    (compares_previous, "lower than the one"),
    (highest, "index 0 has the highest"),
    (from_one, "one worse loss is not"),
    (patience_ignored, "a loss that only equals"),
    (lambda losses, patience: float(min(losses)), "that is the lowest"),
    (lambda losses, patience: patience, "that is `patience`, or"),
]


def test_the_early_stop_of_others():
    assert_exercise(early_stop, ..., EARLY_STOP)


# 09/text_vectors

TEXT_VECTORS = [
    (
        lambda stream, lengths: stream[torch.arange(len(stream)), lengths - 2],
        "one too early: a text",
    ),
    (
        lambda stream, lengths: torch.stack(
            [row[:k].mean(0) for row, k in zip(stream, lengths, strict=True)]
        ),
        "that is the mean of",
    ),
    (
        lambda stream, lengths: torch.stack(
            [row[:k].max(0).values for row, k in zip(stream, lengths, strict=True)]
        ),
        "those are the largest numbers of the",
    ),
    (
        lambda stream, lengths: torch.stack(
            [row[:k].sum(0) for row, k in zip(stream, lengths, strict=True)]
        ),
        "that is the sum of the",
    ),
    (
        lambda stream, lengths: stream[torch.arange(len(stream)), -lengths],
        "you counted from behind",
    ),
    (lambda stream, lengths: stream.sum(1), "that is the sum of everything"),
    (lambda stream, lengths: stream.max(1).values, "those are the largest numbers of all"),
    (
        lambda stream, lengths: stream[torch.arange(len(stream)), (lengths - 1).max()],
        "the longest text decides",
    ),
    (lambda stream, lengths: stream[:, lengths.min() - 1], "the shortest text decides"),
    (
        lambda stream, lengths: stream[torch.arange(len(stream)), :, lengths - 1],
        "your code stopped with",
    ),
    (
        lambda stream, lengths: [row[k - 1] for row, k in zip(stream, lengths, strict=True)],
        "a Tensor of shape (3",
    ),
    (
        lambda stream, lengths: stream[torch.arange(len(stream)), lengths - 1].T,
        "rows and columns are",
    ),
]


def test_the_text_vectors_of_others():
    assert_exercise(text_vectors, ..., TEXT_VECTORS)


# 15/busy

BUSY = [
    (
        lambda weights, tokens_per_second, limit: 4 * weights * tokens_per_second / limit,
        "that counts backward only",
    ),
    (
        lambda weights, tokens_per_second, limit: 8 * weights * tokens_per_second / limit,
        "8 would compute forward",
    ),
    (
        lambda weights, tokens_per_second, limit: 6 * tokens_per_second / limit,
        "every weight is used",
    ),
    (lambda weights, tokens_per_second, limit: 6 * weights / limit, "that is for one token"),
    (
        lambda weights, tokens_per_second, limit: 6 * weights / tokens_per_second / limit,
        "you divide by the tokens",
    ),
    (
        lambda weights, tokens_per_second, limit: 1 - 6 * weights * tokens_per_second / limit,
        "that is the share that",
    ),
    (
        lambda weights, tokens_per_second, limit: 12 * weights * tokens_per_second / limit,
        "6 operations are all",
    ),
    (
        lambda weights, tokens_per_second, limit: 6 * weights * tokens_per_second / limit / 86400,
        "both are per second",
    ),
    (
        lambda weights, tokens_per_second, limit: f"{6 * weights * tokens_per_second / limit:.1%}",
        "your function gives back",
    ),
    (
        lambda weights, tokens_per_second, limit: 6 * weights * tokens_per_second // limit,
        "124 million weights: 0.372, not 0.",
    ),
    (
        lambda weights, tokens_per_second, limit: 6 * weights * tokens_per_second * 4 / limit,
        "operations are counted, not",
    ),
]


def test_the_busy_of_others():
    assert_exercise(busy, ..., BUSY)


# 16/their_name

THEIR_NAME = [
    (
        lambda ours: their_name.reference(ours).replace("h.", "blocks."),
        "there, yours is 'blocks.0.attn.c_attn.weight'",
    ),
    (
        lambda ours: their_name.reference(ours).replace("ln_2", "ln_1"),
        "blocks.2.norm_2.bias is 'h.2.ln_2.bias' there",
    ),
    (
        lambda ours: their_name.reference(ours).replace("c_attn", "qkv"),
        "there, yours is 'h.0.attn.qkv.weight'",
    ),
    (
        lambda ours: (
            their_name.reference(ours).replace("wte", "wpe")
            if ours.startswith("tokens")
            else their_name.reference(ours)
        ),
        "outside the blocks: tokens.weight",
    ),
    (
        lambda ours: their_name.reference(ours).replace("bias", "b").replace("weight", "w"),
        "there, yours is 'h.0.attn.c_attn.w'",
    ),
    (
        lambda ours: ours,
        "there, yours is 'blocks.0.attention.qkv.weight'",
    ),
    (
        lambda ours: (
            their_name.reference(ours).replace("ln_f", "ln_2")
            if ours.startswith("norm")
            else their_name.reference(ours)
        ),
        "outside the blocks: norm.weight",
    ),
    (
        lambda ours: their_name.reference(ours).split("."),
        "blocks.0.attention.qkv.weight is 'h.0.attn.c_attn.weight' there, yours is ['h'",
    ),
    (
        lambda ours: their_name.reference(ours).replace("mlp.c_fc", "mlp.widen"),
        "blocks.2.mlp.widen.weight is 'h.2.mlp.c_fc.weight' there",
    ),
    (
        lambda ours: their_name.reference(ours).replace("attn.", "attention."),
        "there, yours is 'h.0.attention.c_attention.weight'",
    ),
    (
        lambda ours: their_name.reference(ours).upper(),
        "there, yours is 'H.0.ATTN.C_ATTN.WEIGHT'",
    ),
    (
        lambda ours: their_name.reference(ours).replace("weight", "bias"),
        "there, yours is 'h.0.attn.c_attn.bias'",
    ),
]


def test_the_their_name_of_others():
    assert_exercise(their_name, ..., THEIR_NAME)


# 16/bits_per_byte

BITS_PER_BYTE = [
    (
        lambda nats_per_token, n_tokens, n_bytes: nats_per_token / math.log(2) * n_tokens,
        "that is bits for the",
    ),
    (
        lambda nats_per_token, n_tokens, n_bytes: (
            nats_per_token / math.log(2) * n_tokens / n_bytes * 8
        ),
        "that is eight times",
    ),
    (
        lambda nats_per_token, n_tokens, n_bytes: (
            nats_per_token / math.log(2) * n_tokens / n_bytes / 8
        ),
        "that is bits per bit",
    ),
    (
        lambda nats_per_token, n_tokens, n_bytes: math.exp(nats_per_token) * n_tokens / n_bytes,
        "exp(loss) is the perplexity",
    ),
    (
        lambda nats_per_token, n_tokens, n_bytes: 2**nats_per_token * n_tokens / n_bytes,
        "2**loss is a perplexity",
    ),
    (
        lambda nats_per_token, n_tokens, n_bytes: math.log2(nats_per_token) * n_tokens / n_bytes,
        "the loss is a logarithm",
    ),
    (
        lambda nats_per_token, n_tokens, n_bytes: (
            nats_per_token / math.log(2) * (n_bytes - n_tokens) / n_bytes
        ),
        "4 nats for each of",
    ),
    (lambda nats_per_token, n_tokens, n_bytes: nats_per_token, "that is the loss in"),
    (lambda nats_per_token, n_tokens, n_bytes: n_tokens / n_bytes, "that is tokens per"),
    (lambda nats_per_token, n_tokens, n_bytes: n_bytes / n_tokens, "that is bytes per token"),
]


def test_the_bits_per_byte_of_others():
    assert_exercise(bits_per_byte, ..., BITS_PER_BYTE)


# 16/training_days

TRAINING_DAYS = [
    (
        lambda parameters, tokens, flops, mfu: 3 * parameters * tokens / flops / mfu / 86400,
        "3 N D counts the multiplications",
    ),
    (
        lambda parameters, tokens, flops, mfu: 4 * parameters * tokens / flops / mfu / 86400,
        "4 N D is the backward",
    ),
    (
        lambda parameters, tokens, flops, mfu: 8 * parameters * tokens / flops / mfu / 86400,
        "8 N D computes forward",
    ),
    (
        lambda parameters, tokens, flops, mfu: parameters * tokens / flops / mfu / 86400,
        "a weight is used in",
    ),
    (
        lambda parameters, tokens, flops, mfu: 6 * parameters / flops / mfu / 86400,
        "the tokens are missing",
    ),
    (
        lambda parameters, tokens, flops, mfu: 6 * tokens / flops / mfu / 86400,
        "the parameters are missing",
    ),
    (
        lambda parameters, tokens, flops, mfu: 6 * parameters * tokens / flops / mfu / 86400 / 7,
        "these are weeks",
    ),
    (
        lambda parameters, tokens, flops, mfu: 1 / (6 * parameters * tokens / flops / mfu / 86400),
        "upside down: that is",
    ),
    (
        lambda parameters, tokens, flops, mfu: 6 * parameters * tokens / flops / (1 - mfu) / 86400,
        "1 - mfu is the share",
    ),
    (
        lambda parameters, tokens, flops, mfu: 6 * parameters * tokens / mfu / 86400,
        "divide by the speed",
    ),
    (
        lambda parameters, tokens, flops, mfu: 6 * parameters * tokens / flops / mfu / 8640,
        "a day has 86,400 seconds",
    ),
    (
        lambda parameters, tokens, flops, mfu: (
            6 * parameters * tokens / flops / (mfu * 100) / 86400
        ),
        "mfu is a share from",
    ),
]


def test_the_training_days_of_others():
    assert_exercise(training_days, ..., TRAINING_DAYS)


# 14/side_of

SIDE_OF = [
    (lambda page, share: random.random() < share, "the same page, asked"),
    (
        lambda page, share: (
            int.from_bytes(hashlib.sha256(page.encode()).digest()[:8], "big") / 2**64 > share
        ),
        "at a share of 0.1, 89%",
    ),
    (lambda page, share: len(page) % 10 < share * 10, "all pages of the same"),
    (
        lambda page, share: (
            int.from_bytes(hashlib.sha256(page.encode()).digest()[:8], "big") / 2**64 < 0.1
        ),
        "the share changes nothing",
    ),
    (
        lambda page, share: (
            int.from_bytes(hashlib.sha256(page[:1].encode()).digest()[:8], "big") / 2**64 < share
        ),
        "all pages that begin",
    ),
    (
        lambda page, share: (
            int.from_bytes(hashlib.sha256(page.encode()).digest()[:8], "big") < share * 2**63
        ),
        "at a share of 0.1, 5.0%",
    ),
    (lambda page, share: hash(page) % 100 < 100 * share, "Python's own hash() of"),
    (
        lambda page, share: (
            int.from_bytes(hashlib.sha256(page.encode()).digest()[:8], "big") / 2**64
        ),
        "at a share of 0.1, 100%",
    ),
    (
        lambda page, share: (
            int.from_bytes(hashlib.sha256(page[-4:].encode()).digest()[:8], "big") / 2**64 < share
        ),
        "all pages that end",
    ),
]


def test_the_side_of_of_others():
    assert_exercise(side_of, ..., SIDE_OF)


# 05/text_loss

TEXT_LOSS = [
    (
        lambda losses, stride: torch.cat([losses[0], losses[1:, :-stride].flatten()]).mean(),
        "you kept the overlap",
    ),
    (
        lambda losses, stride: torch.cat([losses[0, -stride:], losses[1:].flatten()]).mean(),
        "it is the other way",
    ),
    (lambda losses, stride: losses[0].mean(), "that is the first window"),
    (lambda losses, stride: losses[1:, -stride:].mean(), "the first window is"),
    (lambda losses, stride: losses[-1].mean(), "that is the last window"),
    (lambda losses, stride: losses[:, ::stride].mean(), "every `stride`-th column was"),
    (
        lambda losses, stride: torch.cat([losses[0], losses[1:, -(stride + 1) :].flatten()]).mean(),
        "you counted one column",
    ),
    (
        lambda losses, stride: torch.cat([losses[0], losses[1:, -stride:].flatten()]),
        "those are the losses",
    ),
    (
        lambda losses, stride: torch.cat([losses[0], losses[1:, -stride:].flatten()]).mean().exp(),
        "that is the perplexity",
    ),
    (
        lambda losses, stride: torch.cat([losses[0], losses[1:, -1]]).mean(),
        "only the last column of",
    ),
    (
        lambda losses, stride: torch.cat([losses[0], losses[1:, -stride:].flatten()]).median(),
        "that is the median",
    ),
    (lambda losses, stride: losses[:, -1].mean(), "only the last column was"),
]


def test_the_text_loss_of_others():
    assert_exercise(text_loss, ..., TEXT_LOSS)


# 03/bits_per_character

BITS_PER_CHARACTER = [
    (lambda nats_per_token, ids, text: nats_per_token / math.log(2), "that is bits per token"),
    (
        lambda nats_per_token, ids, text: nats_per_token * len(ids) / len(text),
        "that is nats per character",
    ),
    (
        lambda nats_per_token, ids, text: nats_per_token / math.log(2) * len(text) / len(ids),
        "the ratio is upside",
    ),
    (
        lambda nats_per_token, ids, text: nats_per_token * math.log(2) * len(ids) / len(text),
        "you multiplied by ln",
    ),
    (
        lambda nats_per_token, ids, text: (
            nats_per_token / math.log(2) * len(ids) / len(text.encode())
        ),
        "that is bits per byte",
    ),
    (
        lambda nats_per_token, ids, text: nats_per_token / math.log(2) * len(ids),
        "that is bits for the",
    ),
    (
        lambda nats_per_token, ids, text: nats_per_token / math.log(2) / len(text),
        "that is the loss for",
    ),
    (
        lambda nats_per_token, ids, text: nats_per_token * len(ids) / len(text) / math.log(10),
        "that is the logarithm",
    ),
    (
        lambda nats_per_token, ids, text: math.log2(nats_per_token) * len(ids) / len(text),
        "the loss is a logarithm",
    ),
    (
        lambda nats_per_token, ids, text: math.exp(nats_per_token) * len(ids) / len(text),
        "exp(loss) is the perplexity",
    ),
    (
        lambda nats_per_token, ids, text: nats_per_token / math.log(2) * len(set(ids)) / len(text),
        "each token counts, also",
    ),
    (
        lambda nats_per_token, ids, text: nats_per_token / math.log(2) * len(ids) / len(set(text)),
        "each character counts, also",
    ),
    (lambda nats_per_token, ids, text: 2**nats_per_token, "for 2.2 nats, 7 tokens"),
    (
        lambda nats_per_token, ids, text: nats_per_token / math.log(2) * (len(ids) - 1) / len(text),
        "every token of ids",
    ),
    (
        lambda nats_per_token, ids, text: (
            nats_per_token / math.log(2) * len(ids) / len(text.split())
        ),
        "that is bits per word",
    ),
]


def test_the_bits_per_character_of_others():
    assert_exercise(bits_per_character, ..., BITS_PER_CHARACTER)


# 15/slope

SLOPE = [
    (
        lambda logits, answers: (
            (logits.softmax(-1) - F.one_hot(answers, logits.shape[1])) / logits.numel()
        ),
        "you divide by all numbers",
    ),
    (
        lambda logits, answers: (
            (logits.softmax(-1) - F.one_hot(answers, logits.shape[1])) / logits.shape[1]
        ),
        "you divide by the number",
    ),
    (
        lambda logits, answers: F.one_hot(answers, logits.shape[1]) - logits.softmax(-1),
        "the sign is turned",
    ),
    (
        lambda logits, answers: (
            logits.softmax(-1) * F.one_hot(answers, logits.shape[1]) / len(answers)
        ),
        "softmax times one-hot is",
    ),
    (
        lambda logits, answers: (logits.exp() - F.one_hot(answers, logits.shape[1])) / len(answers),
        "exp(scores) are no probabilities",
    ),
    (
        lambda logits, answers: (
            (logits.sigmoid() - F.one_hot(answers, logits.shape[1])) / len(answers)
        ),
        "a sigmoid looks at",
    ),
    (lambda logits, answers: slope.reference(logits, answers).sum(0), "you added the rows"),
    (lambda logits, answers: F.cross_entropy(logits, answers), "that is the loss itself"),
    (lambda logits, answers: slope.reference(logits, answers).T, "rows and columns are"),
    (
        lambda logits, answers: (
            -F.one_hot(answers, logits.shape[1]) / logits.softmax(-1) / len(answers)
        ),
        "that is the slope for",
    ),
    (
        lambda logits, answers: (
            (logits.softmax(-1) - 1) * F.one_hot(answers, logits.shape[1]) / len(answers)
        ),
        "only the true words",
    ),
    (
        lambda logits, answers: (
            (logits - F.one_hot(answers, logits.shape[1])).softmax(-1) / len(answers)
        ),
        "you took 1 off the",
    ),
    (
        lambda logits, answers: logits.softmax(-1).gather(1, answers[:, None]) - 1,
        "this is another gradient",
    ),
]


def test_the_slope_of_others():
    assert_exercise(slope, ..., SLOPE)


# 15/wsd


def fast_rise(step, steps, warmup, decay, peak):
    return peak if step < warmup else wsd.reference(step, steps, warmup, decay, peak)


WSD = [
    (fast_rise, "there is no warm-up"),
    (
        lambda step, steps, warmup, decay, peak: (
            peak * (step + 1) / warmup
            if step < warmup
            else peak * 0.5 * (1 + math.cos(math.pi * (step - (steps - decay)) / decay))
            if step > steps - decay
            else peak
        ),
        "the fall is a straight line: step 19 should have 0.34, not 0.37",
    ),
    (
        lambda step, steps, warmup, decay, peak: (
            peak * (step + 1) / warmup
            if step < warmup
            else peak * (steps - step) / (steps - warmup)
        ),
        "between warm-up and decay the rate stays; step 10 has 0.41",
    ),
    (
        lambda step, steps, warmup, decay, peak: (
            peak * (step + 1) / warmup
            if step < warmup
            else peak * (step - (steps - decay)) / decay
            if step > steps - decay
            else peak
        ),
        "the fall is a straight line: step 19 should have 0.34, not 0.26",
    ),
    (
        lambda step, steps, warmup, decay, peak: (
            peak * (step + 1) / warmup
            if step < warmup
            else peak / (step - (steps - decay) + 1)
            if step > steps - decay
            else peak
        ),
        "the fall is a straight line: step 19 should have 0.34, not 0.15",
    ),
    (
        lambda step, steps, warmup, decay, peak: (
            peak * (step + 1) / warmup
            if step < warmup
            else peak * (steps - step) / decay
            if step > decay
            else peak
        ),
        "between warm-up and decay the rate stays; step 10 has 1.11",
    ),
    (
        lambda step, steps, warmup, decay, peak: (
            (step + 1) / warmup
            if step < warmup
            else (steps - step) / decay
            if step > steps - decay
            else 1.0
        ),
        "the peak plays no part",
    ),
    (
        lambda step, steps, warmup, decay, peak: (
            peak * (step + 1) / steps
            if step < warmup
            else peak * (steps - step) / decay
            if step > steps - decay
            else peak
        ),
        "the warm-up should be",
    ),
    (
        lambda step, steps, warmup, decay, peak: (
            peak * min(1, (step + 1) / warmup) * min(1, (steps - step + 1) / decay)
        ),
        "the fall is a straight line: step 19 should have 0.34, not 0.43",
    ),
    (
        lambda step, steps, warmup, decay, peak: (
            peak * (step + 1) / warmup if step < warmup else 0.0 if step > steps - decay else peak
        ),
        "the last step has a",
    ),
    (
        lambda step, steps, warmup, decay, peak: (
            peak * (step + 1) / warmup
            if step <= warmup
            else peak * (steps - step) / decay
            if step > steps - decay
            else peak
        ),
        "right at first and",
    ),
]


def test_the_wsd_of_others():
    assert_exercise(wsd, ..., WSD)


# 13/bytes_per_token

BYTES_PER_TOKEN = [
    (
        lambda texts, encode: (
            sum(len(t.encode()) for t in texts) / sum(len(set(encode(t))) for t in texts)
        ),
        "for these three texts it is 3.1731, yours is 6.8750",
    ),
    (
        lambda texts, encode: (
            sum(len(t.encode("utf-16")) for t in texts) / sum(len(encode(t)) for t in texts)
        ),
        "for these three texts it is 3.1731, yours is 6.2692",
    ),
    (
        lambda texts, encode: (
            sum(len(t.encode()) for t in texts) / len(texts) / sum(len(encode(t)) for t in texts)
        ),
        "you divided twice: the",
    ),
    (lambda texts, encode: sum(len(encode(t)) for t in texts), "those are tokens alone"),
    (lambda texts, encode: sum(len(t.encode()) for t in texts), "those are bytes alone"),
    (
        lambda texts, encode: len("\n".join(texts).encode()) / len(encode("\n".join(texts))),
        "for these three texts it is 3.1731, yours is 3.0926",
    ),
    (
        lambda texts, encode: (
            sum(len(t.encode()) for t in texts) // sum(len(encode(t)) for t in texts)
        ),
        "a ratio is no whole",
    ),
    (
        lambda texts, encode: max(len(t.encode()) / len(encode(t)) for t in texts),
        "that is only the first",
    ),
    (
        lambda texts, encode: (
            sum(len(t.split()) for t in texts) / sum(len(encode(t)) for t in texts)
        ),
        "for these three texts it is 3.1731, yours is 0.6923",
    ),
    (
        lambda texts, encode: sum(len(t.encode()) / len(encode(t)) for t in texts),
        "you added the texts'",
    ),
    (
        lambda texts, encode: sorted(len(t.encode()) / len(encode(t)) for t in texts)[
            len(texts) // 2
        ],
        "that is the middle",
    ),
    (
        lambda texts, encode: (
            math.log2(280)
            * sum(len(encode(t)) for t in texts)
            / sum(len(t.encode()) for t in texts)
        ),
        "for these three texts it is 3.1731, yours is 2.5620",
    ),
]


def test_the_bytes_per_token_of_others():
    assert_exercise(bytes_per_token, ..., BYTES_PER_TOKEN)


# 10/nucleus_size

NUCLEUS_SIZE = [
    (
        lambda chances, p: (chances.sort(-1, descending=True).values.cumsum(-1) < p).sum(-1),
        "the token that crosses",
    ),
    (lambda chances, p: (chances >= p).sum(-1), "p is no threshold for"),
    (lambda chances, p: (chances.sort(-1).values.cumsum(-1) < p).sum(-1), "the tokens were added"),
    (
        lambda chances, p: (chances.sort(-1, descending=True).values.cumsum(-1) < p).sum(),
        "one number for each row is wanted, shape (2,); the shape is ()",
    ),
    (
        lambda chances, p: (chances.sort(0, descending=True).values.cumsum(0) < p).sum(0) + 1,
        "one number for each row is wanted, shape (2,); the shape is (5,)",
    ),
    (
        lambda chances, p: chances.sort(-1, descending=True).values.cumsum(-1) < p,
        "one number for each row is wanted, shape (2,); the shape is (2",
    ),
    (
        lambda chances, p: (
            (chances.sort(-1, descending=True).values.cumsum(-1) < 1 - p).sum(-1) + 1
        ),
        "for the first row and p = 0.7 the size is 2 (0.5 + 0.25), not 1",
    ),
    (
        lambda chances, p: (chances.sort(-1, descending=True).values.cumsum(-1) <= p).sum(-1) + 1,
        "0.5 + 0.25 is exactly",
    ),
    (
        lambda chances, p: (
            (chances.softmax(-1).sort(-1, descending=True).values.cumsum(-1) < p).sum(-1) + 1
        ),
        "for the first row and p = 0.7 the size is 2 (0.5 + 0.25), not 4",
    ),
    (
        lambda chances, p: (chances.sort(-1, descending=True).values.cumsum(-1) < p).sum(-1) + 2,
        "for the first row and p = 0.7 the size is 2 (0.5 + 0.25), not 3",
    ),
]


def test_the_nucleus_size_of_others():
    assert_exercise(nucleus_size, ..., NUCLEUS_SIZE)


# 11/may_go

MAY_GO = [
    (
        lambda steps, keep, last, best: may_go.reference(steps, keep, last, last),
        "the best one, 200",
    ),
    (
        lambda steps, keep, last, best: may_go.reference(steps, keep, best, best),
        "the last one saved",
    ),
    (
        lambda steps, keep, last, best: may_go.reference(steps, keep - 1, last, best),
        "with keep = 2 exactly two stay; yours keeps 1",
    ),
    (
        lambda steps, keep, last, best: may_go.reference(steps, keep + 1, last, best),
        "with keep = 2 exactly two stay; yours keeps 3",
    ),
    (
        lambda steps, keep, last, best: sorted(set(steps[:-keep]) - {last, best}),
        "the list need not be",
    ),
    (
        lambda steps, keep, last, best: may_go.reference(steps, keep, last, best)[::-1],
        "the right ones, but",
    ),
    (
        lambda steps, keep, last, best: set(may_go.reference(steps, keep, last, best)),
        "of [100, 200, 300, 400, 500] with keep = 2 these may go: [100, 200, 300]; yours says [200",
    ),
    (
        lambda steps, keep, last, best: len(may_go.reference(steps, keep, last, best)),
        "your function gives back",
    ),
    (
        lambda steps, keep, last, best: sorted(set(sorted(steps)[keep:]) - {last, best}),
        "of [100, 200, 300, 400, 500] with keep = 2 these may go: [100, 200, 300]; yours says [300",
    ),
    (
        lambda steps, keep, last, best: may_go.reference(steps, keep, last, best)[:1],
        "only the oldest may",
    ),
    (
        lambda steps, keep, last, best: [str(x) for x in may_go.reference(steps, keep, last, best)],
        "steps are numbers; texts",
    ),
    (
        lambda steps, keep, last, best: [
            steps.index(x) for x in may_go.reference(steps, keep, last, best)
        ],
        "those are places in",
    ),
]


def test_the_may_go_of_others():
    assert_exercise(may_go, ..., MAY_GO)


# 05/clip

CLIP = [
    (
        lambda gradients, longest: [
            x * longest / max(y.abs().max() for y in gradients) for x in gradients
        ],
        "you made the largest",
    ),
    (
        lambda gradients, longest: [
            x / torch.stack([y.norm() for y in gradients]).norm() for x in gradients
        ],
        "the length comes out",
    ),
    (
        lambda gradients, longest: [
            x * longest / torch.stack([y.norm() for y in gradients]).norm() for x in gradients
        ],
        "a gradient shorter than",
    ),
    (
        lambda gradients, longest: [
            x * min(1, longest / float(torch.cat([y.flatten() for y in gradients]).norm())) ** 2
            for x in gradients
        ],
        "the factor is there",
    ),
    (
        lambda gradients, longest: [
            x * torch.stack([y.norm() for y in gradients]).norm() / longest for x in gradients
        ],
        "the factor is upside",
    ),
    (
        lambda gradients, longest: torch.cat([x.flatten() for x in gradients]).clamp(
            -longest, longest
        ),
        "a gradient of length",
    ),
    (
        lambda gradients, longest: [
            x * min(1.0, longest / float(torch.stack([y.norm() for y in gradients]).max()))
            for x in gradients
        ],
        "the longest tensor became",
    ),
    (
        lambda gradients, longest: [
            x
            * min(
                1.0,
                longest / float(torch.stack([y.square().mean() for y in gradients]).sum().sqrt()),
            )
            for x in gradients
        ],
        "the length is made",
    ),
    (
        lambda gradients, longest: torch.cat([x.flatten() for x in gradients]).norm(),
        "your function gives back",
    ),
    (lambda gradients, longest: [x.sign() * longest for x in gradients], "all numbers have the"),
    (lambda gradients, longest: [x - longest for x in gradients], "you took the limit"),
    (
        lambda gradients, longest: (
            [
                gradients[0]
                * min(1.0, longest / float(torch.cat([y.flatten() for y in gradients]).norm())),
                *gradients[1:],
            ]
        ),
        "only the first tensor",
    ),
]


def test_the_clip_of_others():
    assert_exercise(clip, ..., CLIP)


# 11/damaged

DAMAGED = [
    (
        lambda manifest, files: sorted(n for n in manifest if n not in files),
        "the last byte of `model`",
    ),
    (
        lambda manifest, files: sorted(
            n
            for n in files
            if n in manifest and hashlib.sha256(files[n]).hexdigest() != manifest[n]
        ),
        "`optimizer` is missing and",
    ),
    (
        lambda manifest, files: sorted(
            n
            for n in set(manifest) | set(files)
            if n not in files
            or n not in manifest
            or hashlib.sha256(files[n]).hexdigest() != manifest[n]
        ),
        "a file that the manifest",
    ),
    (
        lambda manifest, files: [
            n
            for n in manifest
            if n not in files or hashlib.sha256(files[n]).hexdigest() != manifest[n]
        ],
        "right, but the names",
    ),
    (
        lambda manifest, files: sorted(
            n
            for n in manifest
            if n in files and hashlib.sha256(files[n]).hexdigest() == manifest[n]
        ),
        "files that are whole",
    ),
    (
        lambda manifest, files: bool(
            [
                n
                for n in manifest
                if n not in files or hashlib.sha256(files[n]).hexdigest() != manifest[n]
            ]
        ),
        "your function gives back a bool",
    ),
    (
        lambda manifest, files: len(
            [
                n
                for n in manifest
                if n not in files or hashlib.sha256(files[n]).hexdigest() != manifest[n]
            ]
        ),
        "your function gives back an",
    ),
    (
        lambda manifest, files: sorted(
            n
            for n in manifest
            if n not in files or hashlib.sha256(files[n]).hexdigest()[:8] != manifest[n][:8]
        ),
        "two fingerprints that differ",
    ),
    (
        lambda manifest, files: sorted(
            n
            for n in manifest
            if n not in files or hashlib.sha256(files[n]).hexdigest() not in manifest.values()
        ),
        "`config` and `vocabulary` have",
    ),
]


def test_the_damaged_of_others():
    assert_exercise(damaged, ..., DAMAGED)
