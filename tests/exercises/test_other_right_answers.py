"""Right answers in the words of others: notebooks 00-16 accept three ways or more to each exercise.

Loops, einsum, float64, the library where it is allowed, numpy, in place. Each was written from the
question alone, without a look at the checker.
"""

import hashlib
import heapq
import io
import itertools
import math
import random
import re
import statistics
import struct
import tarfile
import zlib
from collections import Counter
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from kill_table import assert_right
from torch import nn

from bhushgpt.corpus import split_point
from bhushgpt.data import HEADER
from bhushgpt.exercises.nb00_start_here import chances_after, window
from bhushgpt.exercises.nb01_descent import fit_slope
from bhushgpt.exercises.nb01_pytorch_basics import (
    merge_heads,
    n_parameters,
    probability_of_targets,
)
from bhushgpt.exercises.nb02_cpu_vs_cuda import fair_seconds
from bhushgpt.exercises.nb02_limits import bottleneck, mlp_flops
from bhushgpt.exercises.nb03_text_and_tokens import bits_per_character, split_at_line, unmerge
from bhushgpt.exercises.nb04_bigram import back_off, loss_by_hand, no_shift, windows_in_order
from bhushgpt.exercises.nb05_training import clip, lion, text_loss
from bhushgpt.exercises.nb07_attention import multi_head, prefix_softmax
from bhushgpt.exercises.nb07_positions import turn, what_changes
from bhushgpt.exercises.nb08_layer_norm import layer_norm
from bhushgpt.exercises.nb08_transformer_block import block_parameters, pre_norm_block
from bhushgpt.exercises.nb09_gpt_v1 import early_stop, text_vectors, untied_count
from bhushgpt.exercises.nb10_generation import (
    next_chances,
    nucleus_size,
    remembering_head,
    write_until,
)
from bhushgpt.exercises.nb11_checkpoints import damaged, may_go, safe_plan
from bhushgpt.exercises.nb13_byte_pair_encoding import bytes_per_token, encode_piece, token_row
from bhushgpt.exercises.nb14_openwebtext import passes, side_of, tar_header
from bhushgpt.exercises.nb14_openwebtext import window as file_window
from bhushgpt.exercises.nb15_faster_training import accumulate, busy, slope, wsd
from bhushgpt.exercises.nb16_gpt_v2 import BLOCK_PARTS, bits_per_byte, their_name, training_days

# 00


def test_chances_after():
    def by_a_pattern(text, past):
        found = re.findall(f"(?<={re.escape(past)})(?s:.)", text)
        return {letter: found.count(letter) / len(found) for letter in set(found)}

    def by_startswith(text, past):
        chances, total = {}, 0
        for i in range(len(text)):
            if text.startswith(past, i) and i + len(past) < len(text):
                follower = text[i + len(past)]
                chances[follower] = chances.get(follower, 0) + 1
                total += 1
        for letter in chances:
            chances[letter] /= total
        return chances

    def by_find(text, past):
        followers, at = [], text.find(past)
        while at != -1:
            followers += text[at + len(past) : at + len(past) + 1]
            at = text.find(past, at + 1)
        counts = Counter(followers)
        return {letter: np.float32(n) / len(followers) for letter, n in counts.items()}

    assert_right(chances_after, by_a_pattern, by_startswith, by_find)


def test_window():
    def by_loops(T, n):
        rows = torch.zeros(T, T)
        for t in range(T):
            for s in range(max(0, t - n + 1), t + 1):
                rows[t, s] = 1
        return rows

    assert_right(
        window,
        by_loops,
        lambda T, n: torch.ones(T, T).tril().triu(1 - n),
        lambda T, n: [[int(t - n < s <= t) for s in range(T)] for t in range(T)],
        lambda T, n: np.tri(T, dtype=int) - np.tri(T, k=-n, dtype=int),
    )


# 01


def test_fit_slope():
    def by_backward(x, y, rate, steps):
        w = torch.zeros((), requires_grad=True)
        for _ in range(steps):
            F.mse_loss(w * x, y).backward()
            with torch.no_grad():
                w -= rate * w.grad
            w.grad = None
        return w.item()

    def by_an_optimizer(x, y, rate, steps):
        layer = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(layer.weight)
        descent = torch.optim.SGD(layer.parameters(), lr=rate)
        for _ in range(steps):
            descent.zero_grad()
            (layer(x[:, None])[:, 0] - y).square().mean().backward()
            descent.step()
        return layer.weight.item()

    def in_float64(x, y, rate, steps):
        x, y, w = x.double().numpy(), y.double().numpy(), 0.0
        for _ in range(steps):
            w = w - rate * np.mean(2 * x * (w * x - y))
        return w

    def closed(x, y, rate, steps):
        best, bend = x @ y / (x @ x), 2 * (x @ x) / len(x)
        return best * (1 - (1 - rate * bend) ** steps)

    assert_right(fit_slope, by_backward, by_an_optimizer, in_float64, closed)


def test_n_parameters():
    modules = nn.Embedding(79, 32), nn.Linear(32, 79)
    counted = sum(p.numel() for module in modules for p in module.parameters())
    assert_right(n_parameters, counted, 5135.0, np.int64(5135), torch.tensor(5135))


def test_merge_heads():
    def by_a_loop(x):
        B, H, T, D = x.shape
        out = x.new_empty(B, T, H * D)
        for h in range(H):
            out[:, :, h * D : (h + 1) * D] = x[:, h]
        return out

    assert_right(
        merge_heads,
        by_a_loop,
        lambda x: x.permute(0, 2, 1, 3).flatten(2),
        lambda x: torch.einsum("bhtd->bthd", x).flatten(start_dim=2),
        lambda x: torch.stack(x.unbind(1), dim=2).view(len(x), x.shape[2], -1),
    )


def test_probability_of_targets():
    def by_loops(logits, targets):
        rows = [
            [torch.softmax(logits[b, t], 0)[targets[b, t]].item() for t in range(logits.shape[1])]
            for b in range(len(logits))
        ]
        return torch.tensor(rows)

    def by_a_sum(logits, targets):
        hot = F.one_hot(targets, logits.shape[-1]).float()
        return torch.einsum("btv,btv->bt", logits.softmax(-1), hot)

    def by_the_loss(logits, targets):
        return (-F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")).exp()

    def in_float64(logits, targets):
        p = logits.double().softmax(2)
        b, t = torch.meshgrid(*map(torch.arange, targets.shape), indexing="ij")
        return p[b, t, targets]

    assert_right(probability_of_targets, by_loops, by_a_sum, by_the_loss, in_float64)


# 02


def test_fair_seconds():
    def by_sorting(fn, clock, repeats, warmup):
        def once():
            clock.synchronize()
            start = clock.now()
            fn()
            clock.synchronize()
            return clock.now() - start

        while warmup:
            fn()
            warmup -= 1
        times = sorted(once() for _ in range(repeats))
        return (times[(repeats - 1) // 2] + times[repeats // 2]) / 2

    def by_numpy(fn, clock, repeats, warmup):
        for _ in range(warmup):
            fn()
            clock.synchronize()
        times = np.zeros(repeats)
        for i in range(repeats):
            clock.synchronize()
            times[i] -= clock.now()
            fn()
            clock.synchronize()
            times[i] += clock.now()
        return np.median(times)

    def warm_ones_thrown_away(fn, clock, repeats, warmup):
        times = []
        for _ in range(warmup + repeats):
            clock.synchronize()
            begin = clock.now()
            fn()
            clock.synchronize()
            times.append(clock.now() - begin)
        return statistics.median(times[warmup:])

    assert_right(fair_seconds, by_sorting, by_numpy, warm_ones_thrown_away)


def test_mlp_flops():
    def by_layers(tokens, *sizes):
        return sum(2 * tokens * a * b for a, b in itertools.pairwise(sizes))

    def by_numbers_out(tokens, inputs, hidden, outputs):
        first, second = tokens * hidden, tokens * outputs
        return first * (inputs + inputs) + second * (hidden + hidden)

    assert_right(
        mlp_flops,
        by_layers,
        by_numbers_out,
        lambda t, i, h, o: 2.0 * t * h * (i + o),
        lambda tokens, inputs, hidden, outputs: np.int64(2) * tokens * hidden * (inputs + outputs),
    )


def test_bottleneck():
    def by_comparing(n, machine):
        launch, transfer = machine.launch, 12 * n**2 / machine.link
        arithmetic = 2 * n * n * n / machine.flops
        if launch >= transfer and launch >= arithmetic:
            return "launch"
        return "transfer" if transfer > arithmetic else "arithmetic"

    def by_sorting(n, machine):
        times = [
            (machine.launch, "launch"),
            (3 * 4 * n * n / machine.link, "transfer"),
            (2 * n**3 / machine.flops, "arithmetic"),
        ]
        return sorted(times)[-1][1]

    def by_numpy(n, machine):
        names = np.array(["launch", "transfer", "arithmetic"])
        times = [machine.launch, 3 * n * n * 4 / machine.link, 2 * n**3 / machine.flops]
        return names[np.argmax(times)]

    assert_right(bottleneck, by_comparing, by_sorting, by_numpy)


# 03


def test_split_at_line():
    def by_lines(text, held_out):
        point, train = split_point(len(text), held_out), ""
        lines = text.splitlines(keepends=True)
        while len(train) < point:
            train += lines.pop(0)
        return train, "".join(lines)

    def by_steps(text, held_out):
        cut = split_point(len(text), held_out)
        while cut > 0 and text[cut - 1] != "\n":
            cut += 1
        return text[:cut], text[cut:]

    def by_starts(text, held_out):
        point = split_point(len(text), held_out)
        starts = [0] + [match.end() for match in re.finditer("\n", text)]
        cut = min(start for start in starts if start >= point)
        return [text[:cut], text[cut:]]

    assert_right(split_at_line, by_lines, by_steps, by_starts)


def test_unmerge():
    def by_recursion(ids, merges):
        found = []
        for i in ids:
            found += by_recursion(merges[i], merges) if i in merges else [i]
        return found

    def by_a_stack(ids, merges):
        stack, found = list(ids)[::-1], []
        while stack:
            top = stack.pop()
            if top in merges:
                stack += reversed(merges[top])
            else:
                found.append(top)
        return found

    def until_nothing_changes(ids, merges):
        ids = list(ids)
        while any(i in merges for i in ids):
            ids = list(itertools.chain.from_iterable(merges.get(i, (i,)) for i in ids))
        return ids

    def by_a_table(ids, merges):
        table = {}
        for new, (left, right) in merges.items():
            table[new] = table.get(left, [left]) + table.get(right, [right])
        return [old for i in ids for old in table.get(i, [i])]

    assert_right(unmerge, by_recursion, by_a_stack, until_nothing_changes, by_a_table)


def test_bits_per_character():
    assert_right(
        bits_per_character,
        lambda loss, ids, text: loss * len(ids) / (math.log(2) * len(text)),
        lambda loss, ids, text: math.log2(math.e) * loss * (len(ids) / len(text)),
        lambda loss, ids, text: math.log2(math.exp(loss)) * len(ids) / len(text),
        lambda loss, ids, text: np.float64(loss) / np.log(2) / np.divide(len(text), len(ids)),
        lambda loss, ids, text: (
            torch.tensor(loss, dtype=torch.float64) / math.log(2) * len(ids) / len(text)
        ),
    )


# 04


def test_loss_by_hand():
    def by_loops(logits, targets):
        B, T, _V = logits.shape
        total = torch.zeros(())
        for b in range(B):
            for t in range(T):
                scores = logits[b, t] - logits[b, t].max()
                total = total + scores.exp().sum().log() - scores[targets[b, t]]
        return total / (B * T)

    def by_einsum(logits, targets):
        hot = F.one_hot(targets, logits.shape[-1]).to(logits.dtype)
        return -torch.einsum("btv,btv->", logits.log_softmax(-1), hot) / targets.numel()

    def in_float64(logits, targets):
        rows = logits.double().flatten(0, 1)
        return (rows.logsumexp(1) - rows[torch.arange(len(rows)), targets.flatten()]).mean()

    def in_place(logits, targets):
        logits -= logits.amax(-1, keepdim=True)
        logits -= logits.exp().sum(-1, keepdim=True).log()
        return logits.gather(2, targets.unsqueeze(2)).mean().neg()

    assert_right(loss_by_hand, by_loops, by_einsum, in_float64, in_place)


def test_windows_in_order():
    def by_a_loop(tokens, T):
        inputs, targets = [], []
        for start in range(0, len(tokens) - T, T):
            inputs.append(tokens[start : start + T])
            targets.append(tokens[start + 1 : start + T + 1])
        return np.array(inputs), np.array(targets)

    def by_views(tokens, T):
        rows = np.lib.stride_tricks.sliding_window_view(tokens, T + 1)[::T]
        return rows[:, :-1], rows[:, 1:]

    def by_places(tokens, T):
        places = np.arange((len(tokens) - 1) // T)[:, None] * T + np.arange(T)
        return tokens[places].tolist(), tokens[places + 1].tolist()

    def by_torch(tokens, T):
        rows = torch.from_numpy(tokens).unfold(0, T + 1, T)
        return rows[:, :T], rows[:, 1:]

    assert_right(windows_in_order, by_a_loop, by_views, by_places, by_torch)


def test_back_off():
    def by_a_loop(counts, shorter):
        c, t = sum(counts), sum(1 for n in counts if n)
        if c == 0:
            return list(shorter)
        return [(n + t * p) / (c + t) for n, p in zip(counts, shorter, strict=True)]

    def by_a_mixture(counts, shorter):
        if not counts.any():
            return shorter
        weight = counts.sum() / (counts.sum() + np.count_nonzero(counts))
        return weight * counts / counts.sum() + (1 - weight) * shorter

    def in_place(counts, shorter):
        kinds, total = np.count_nonzero(counts), counts.sum()
        if total:
            shorter *= kinds
            shorter += counts
            shorter /= total + kinds
        return shorter

    def by_torch(counts, shorter):
        counts, shorter = torch.as_tensor(counts).double(), torch.as_tensor(shorter)
        c, t = counts.sum(), counts.gt(0).sum()
        return torch.where(c > 0, (counts + t * shorter) / (c + t).clamp(min=1), shorter)

    assert_right(back_off, by_a_loop, by_a_mixture, in_place, by_torch)


def test_choices():
    for exercise in (no_shift, what_changes):
        assert_right(exercise, "b", "B", " b ")


# 05


def test_lion():
    def by_lerp(weight, gradient, mean, lr, b1, b2, decay):
        step = torch.sign(torch.lerp(gradient, mean, b1))
        return weight * (1 - lr * decay) - lr * step, torch.lerp(gradient, mean, b2)

    def in_place(weight, gradient, mean, lr, b1, b2, decay):
        step = mean.clone().mul_(b1).add_(gradient, alpha=1 - b1).sign_()
        weight.mul_(1 - lr * decay).add_(step, alpha=-lr)
        mean.mul_(b2).add_(gradient, alpha=1 - b2)
        return weight, mean

    def in_float64(weight, gradient, mean, lr, b1, b2, decay):
        w, g, m = (x.double() for x in (weight, gradient, mean))
        mix = b1 * m + g - b1 * g
        ups = (mix > 0).double() - (mix < 0).double()
        return w - lr * ups - lr * decay * w, b2 * m + g - b2 * g

    assert_right(lion, by_lerp, in_place, in_float64)


def test_clip():
    def by_flattening(gradients, longest):
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        return [g * longest / norm if norm > longest else g for g in gradients]

    def in_place(gradients, longest):
        norm = math.sqrt(sum((g**2).sum().item() for g in gradients))
        if norm > longest:
            for g in gradients:
                g *= longest / norm
        return gradients

    def by_the_library(gradients, longest):
        weights = [nn.Parameter(torch.zeros_like(g)) for g in gradients]
        for weight, g in zip(weights, gradients, strict=True):
            weight.grad = g
        nn.utils.clip_grad_norm_(weights, longest)
        return [weight.grad for weight in weights]

    def in_float64(gradients, longest):
        norm = torch.linalg.vector_norm(torch.stack([g.double().norm() for g in gradients]))
        return tuple(g.double() * min(1.0, longest / max(norm.item(), 1e-9)) for g in gradients)

    assert_right(clip, by_flattening, in_place, by_the_library, in_float64)


def test_text_loss():
    def by_a_loop(losses, stride):
        total, count = losses[0].sum().item(), losses.shape[1]
        for late in losses[1:]:
            total += late[len(late) - stride :].sum().item()
            count += stride
        return total / count

    def by_a_mask(losses, stride):
        counts = torch.ones_like(losses, dtype=torch.bool)
        counts[1:, : losses.shape[1] - stride] = False
        return losses[counts].mean()

    def in_float64(losses, stride):
        rows, T = losses.double().numpy(), losses.shape[1]
        return (rows[0].sum() + rows[1:, T - stride :].sum()) / (T + (len(rows) - 1) * stride)

    assert_right(text_loss, by_a_loop, by_a_mask, in_float64)


# 07


def test_prefix_softmax():
    def by_loops(scores, prefix):
        out = torch.zeros_like(scores)
        for row in range(scores.shape[-1]):
            end = max(prefix, row + 1)
            out[..., row, :end] = scores[..., row, :end].softmax(-1)
        return out

    def by_powers(scores, prefix):
        T = scores.shape[-1]
        seen = torch.ones(T, T).tril()
        seen[:, :prefix] = 1
        powers = (scores - scores.amax(-1, keepdim=True)).exp() * seen
        return powers / powers.sum(-1, keepdim=True)

    def in_place(scores, prefix):
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        hidden[:, :prefix] = False
        scores[..., hidden] = float("-inf")
        return F.softmax(scores, dim=-1)

    def in_float64(scores, prefix):
        T = scores.shape[-1]
        hidden = [[key > row and key >= prefix for key in range(T)] for row in range(T)]
        return scores.double().masked_fill(torch.tensor(hidden), -1e300).softmax(2)

    assert_right(prefix_softmax, by_loops, by_powers, in_place, in_float64)


def test_multi_head():
    def by_the_library(q, k, v, n_head):
        q, k, v = (x.unflatten(2, (n_head, -1)).transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)

    def head_by_head(q, k, v, n_head):
        outs = []
        hidden = torch.ones(q.shape[1], q.shape[1]).triu(1).bool()
        for a, b, c in zip(*(x.chunk(n_head, dim=-1) for x in (q, k, v)), strict=True):
            scores = a @ b.transpose(1, 2) / math.sqrt(a.shape[-1])
            outs.append(scores.masked_fill(hidden, -math.inf).softmax(-1) @ c)
        return torch.cat(outs, dim=-1)

    def by_einsum(q, k, v, n_head):
        B, T, C = q.shape
        q, k, v = (x.double().view(B, T, n_head, C // n_head) for x in (q, k, v))
        scores = torch.einsum("bthd,bshd->bhts", q, k) * (C // n_head) ** -0.5
        scores = scores.where(torch.ones(T, T).tril() == 1, -math.inf)
        return torch.einsum("bhts,bshd->bthd", scores.softmax(-1), v).reshape(B, T, C)

    assert_right(multi_head, by_the_library, head_by_head, by_einsum)


def test_turn():
    def by_complex_numbers(vector, position):
        half = len(vector) // 2
        speeds = torch.tensor([10000 ** (-2 * i / len(vector)) for i in range(half)])
        turned = torch.complex(vector[:half], vector[half:]) * torch.polar(
            torch.ones(half), position * speeds
        )
        return torch.cat([turned.real, turned.imag])

    def by_a_loop(vector, position):
        D, out = len(vector), vector.clone()
        for i in range(D // 2):
            angle = position / 10000 ** (2 * i / D)
            a, b = vector[i].item(), vector[i + D // 2].item()
            out[i] = a * math.cos(angle) - b * math.sin(angle)
            out[i + D // 2] = a * math.sin(angle) + b * math.cos(angle)
        return out

    def in_float64(vector, position):
        a, b = vector.double().chunk(2)
        angle = position * torch.logspace(0, -4, len(a) + 1, dtype=torch.float64)[:-1]
        return torch.hstack([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()])

    def by_rotating_halves(vector, position):
        first, second = vector.chunk(2)
        angle = position / 10000 ** (torch.arange(0, len(vector), 2) / len(vector))
        angle = angle.repeat(2)
        return vector * angle.cos() + torch.cat([-second, first]) * angle.sin()

    assert_right(turn, by_complex_numbers, by_a_loop, in_float64, by_rotating_halves)


# 08


def test_layer_norm():
    def by_var(x, gain, bias):
        variance, mean = torch.var_mean(x, dim=-1, keepdim=True, correction=0)
        return (x - mean) / torch.sqrt(variance + 1e-5) * gain + bias

    def by_a_loop(x, gain, bias):
        out = torch.empty_like(x)
        for b in range(x.shape[0]):
            for t in range(x.shape[1]):
                token = x[b, t]
                spread = ((token - token.mean()) ** 2).mean()
                out[b, t] = (token - token.mean()) / (spread + 1e-5) ** 0.5 * gain + bias
        return out

    def in_float64(x, gain, bias):
        x = x.double()
        second = x.pow(2).mean(-1, keepdim=True) - x.mean(-1, keepdim=True).pow(2)
        return gain * ((x - x.mean(-1, keepdim=True)) / (second + 1e-5).sqrt()) + bias

    def in_place(x, gain, bias):
        x -= x.mean(-1, keepdim=True)
        x /= x.square().mean(-1, keepdim=True).add_(1e-5).sqrt_()
        x *= gain
        x += bias
        return x

    assert_right(layer_norm, by_var, by_a_loop, in_float64, in_place)


def test_pre_norm_block():
    def in_two_lines(x, attention, mlp, norm_1, norm_2):
        middle = x + attention(norm_1(x))
        return middle + mlp(norm_2(middle))

    def on_a_copy(x, attention, mlp, norm_1, norm_2):
        stream = x.clone()
        stream += attention(norm_1(stream.clone()))
        stream += mlp(norm_2(stream.clone()))
        return stream

    def as_one_sum(x, attention, mlp, norm_1, norm_2):
        heard = attention(norm_1(x))
        return torch.stack([x, heard, mlp(norm_2(torch.add(x, heard)))]).sum(0)

    assert_right(pre_norm_block, in_two_lines, on_a_copy, as_one_sum)


def test_block_parameters():
    def by_building(C):
        with torch.device("meta"):
            parts = [nn.Linear(C, 3 * C), nn.Linear(C, C), nn.Linear(C, 4 * C), nn.Linear(4 * C, C)]
            parts += [nn.LayerNorm(C), nn.LayerNorm(C)]
        return sum(p.numel() for part in parts for p in part.parameters())

    def by_shapes(C):
        shapes = [(3 * C, C), (3 * C,), (C, C), (C,), (4 * C, C), (4 * C,), (C, 4 * C), (C,)]
        return sum(math.prod(shape) for shape in shapes + [(C,)] * 4)

    assert_right(
        block_parameters,
        by_building,
        by_shapes,
        lambda C: 12 * C * C + 13 * C,
        lambda n_embd: float(n_embd * (12 * n_embd + 13)),
    )


# 09


def test_untied_count():
    def by_building(V, L, C):
        with torch.device("meta"):
            block = nn.TransformerEncoderLayer(C, 1, 4 * C)
            parts = [nn.Embedding(V, C), nn.Linear(C, V, bias=False), nn.LayerNorm(C)]
        parts += [block] * L
        return sum(p.numel() for part in parts for p in part.parameters())

    def piece_by_piece(V, L, C):
        total = V * C
        for _ in range(L):
            total += 2 * C + (C * 3 * C + 3 * C) + (C * C + C)
            total += 2 * C + (C * 4 * C + 4 * C) + (4 * C * C + C)
        return total + 2 * C + V * C

    assert_right(
        untied_count,
        by_building,
        piece_by_piece,
        lambda V, L, C: C * (L * (12 * C + 13) + 2 * V + 2),
    )


def test_early_stop():
    def by_counting(losses, patience):
        best, best_at, bad = math.inf, 0, 0
        for at, loss in enumerate(losses):
            if loss < best:
                best, best_at, bad = loss, at, 0
            else:
                bad += 1
                if bad == patience:
                    return best_at
        return best_at

    def by_prefixes(losses, patience):
        for end in range(1, len(losses) + 1):
            best = losses.index(min(losses[:end]))
            if end - 1 - best >= patience:
                return best
        return losses.index(min(losses))

    def by_numpy(losses, patience):
        lowest = np.minimum.accumulate(losses)
        at = 0
        while True:
            nxt = np.flatnonzero(lowest < lowest[at])
            if len(nxt) == 0 or nxt[0] - at > patience:
                return at
            at = nxt[0]

    assert_right(early_stop, by_counting, by_prefixes, by_numpy)


def test_text_vectors():
    assert_right(
        text_vectors,
        lambda stream, lengths: torch.stack(
            [row[n - 1] for row, n in zip(stream, lengths.tolist(), strict=True)]
        ),
        lambda stream, lengths: torch.einsum(
            "btc,bt->bc", stream, F.one_hot(lengths - 1, stream.shape[1]).to(stream.dtype)
        ),
        lambda stream, lengths: stream.gather(
            1, (lengths - 1)[:, None, None].expand(-1, 1, stream.shape[2])
        )[:, 0],
        lambda stream, lengths: torch.cat(
            [stream[b : b + 1, lengths[b] - 1].double() for b in range(len(stream))]
        ),
    )


# 10


def test_next_chances():
    def by_sorting(logits, temperature, k):
        allowed = logits.argsort(descending=True)[:k]
        kept = torch.full_like(logits, -math.inf)
        kept[allowed] = logits[allowed]
        return (kept / temperature).softmax(0)

    def by_hand(logits, temperature, k):
        best = sorted(range(len(logits)), key=lambda i: -logits[i].item())[:k]
        top = max(logits[i].item() for i in best)
        powers = {i: math.exp((logits[i].item() - top) / temperature) for i in best}
        return torch.tensor([powers.get(i, 0.0) / sum(powers.values()) for i in range(len(logits))])

    def in_float64(logits, temperature, k):
        p = (logits.double() / temperature).softmax(-1)
        kept = torch.zeros_like(p).scatter(0, p.topk(min(k, len(p))).indices, 1.0) * p
        return kept / kept.sum()

    assert_right(next_chances, by_sorting, by_hand, in_float64)


def test_nucleus_size():
    def by_loops(chances, p):
        sizes = []
        for row in chances:
            total, n = 0.0, 0
            for chance in sorted(row.tolist(), reverse=True):
                if total >= p:
                    break
                total, n = total + chance, n + 1
            sizes.append(n)
        return torch.tensor(sizes)

    def by_reached(chances, p):
        sums = chances.sort(dim=1, descending=True)[0].cumsum(1)
        return 1 + (sums[:, :-1] < p).sum(1)

    def by_numpy(chances, p):
        rows = -np.sort(-chances.double().numpy(), axis=1)
        return torch.from_numpy((np.cumsum(rows, axis=1) - rows < p).sum(axis=1))

    assert_right(nucleus_size, by_loops, by_reached, by_numpy)


def test_write_until():
    def with_its_mode_put_back(model, ids, n_tokens, stop):
        training = model.training
        model.eval()
        try:
            with torch.no_grad():
                for _ in range(n_tokens):
                    if ids.shape[1] > model.context_length:
                        scores = model(ids[:, ids.shape[1] - model.context_length :])
                    else:
                        scores = model(ids)
                    best = int(scores[0, -1].argmax())
                    ids = torch.cat([ids, torch.tensor([[best]])], dim=-1)
                    if best == stop:
                        return ids
        finally:
            model.train(training)
        return ids

    def by_a_list(model, ids, n_tokens, stop):
        tokens, was = ids[0].tolist(), model.training
        model.train(False)
        end = len(tokens) + n_tokens
        while len(tokens) < end:
            past = torch.tensor([tokens[-model.context_length :]])
            with torch.inference_mode():
                tokens.append(model(past)[0, -1].max(dim=0).indices.item())
            if tokens[-1] == stop:
                break
        model.train(was)
        return torch.tensor([tokens])

    @torch.no_grad()
    def cut_behind_the_stop(model, ids, n_tokens, stop):
        begin, was = ids.shape[1], model.training
        model.eval()
        for _ in range(n_tokens):
            scores = model(ids[:, -model.context_length :])[:, -1, :]
            ids = torch.hstack([ids, scores.topk(1).indices])
        model.train(was)
        written = ids[0, begin:].tolist()
        return ids[:, : begin + written.index(stop) + 1] if stop in written else ids

    assert_right(write_until, with_its_mode_put_back, by_a_list, cut_behind_the_stop)


def test_remembering_head():
    def by_the_library(new, positions, keys, values, w_q, w_k, w_v):
        x = (new + positions[keys.shape[0]]).unsqueeze(0)
        keys = torch.vstack([keys, x @ w_k])
        values = torch.vstack([values, x @ w_v])
        return F.scaled_dot_product_attention(x @ w_q, keys, values)[0], keys, values

    def by_einsum(new, positions, keys, values, w_q, w_k, w_v):
        x = new + positions[len(values)]
        q, k, v = (torch.einsum("c,cd->d", x, w) for w in (w_q, w_k, w_v))
        keys, values = torch.cat([keys, k[None]]), torch.cat([values, v.unsqueeze(0)])
        shares = torch.einsum("td,d->t", keys, q).div(math.sqrt(len(q))).softmax(-1)
        return torch.einsum("t,td->d", shares, values), keys, values

    def by_a_loop(new, positions, keys, values, w_q, w_k, w_v):
        x = new + positions[len(keys)]
        keys = torch.stack([*keys, x @ w_k])
        values = torch.stack([*values, x @ w_v])
        q = x @ w_q
        powers = [math.exp(float(key @ q) / len(q) ** 0.5) for key in keys]
        out = sum(power * value for power, value in zip(powers, values, strict=True))
        return [out / sum(powers), keys, values]

    assert_right(remembering_head, by_the_library, by_einsum, by_a_loop)


# 11


def test_damaged():
    def by_a_loop(manifest, files):
        bad = []
        for name in sorted(manifest):
            data = files.get(name)
            if data is None or hashlib.sha256(data).hexdigest() != manifest[name]:
                bad.append(name)
        return bad

    def by_sets(manifest, files):
        whole = {(name, hashlib.new("sha256", data).hexdigest()) for name, data in files.items()}
        return sorted(name for name, _ in set(manifest.items()) - whole)

    def by_elimination(manifest, files):
        left = dict(manifest)
        for name, data in files.items():
            digest = hashlib.sha256()
            digest.update(data)
            if left.get(name) == digest.hexdigest():
                del left[name]
        return sorted(left)

    assert_right(damaged, by_a_loop, by_sets, by_elimination)


def test_safe_plan():
    assert_right(
        safe_plan,
        lambda name: [
            ("write", name + ".new"),
            ("flush", name + ".new"),
            ("rename", name + ".new", name),
            ("flush folder",),
        ],
        lambda name: [
            ["write", f"tmp-{name}"],
            ["flush", f"tmp-{name}"],
            ["flush folder"],
            ["rename", f"tmp-{name}", name],
            ["flush folder"],
        ],
        lambda name: (
            ("write", "~" + name),
            ("flush", "~" + name),
            ("rename", "~" + name, name),
            ("flush", name),
            ("flush folder",),
        ),
    )


def test_may_go():
    def by_a_loop(steps, keep, last, best):
        gone = []
        newest = sorted(steps, reverse=True)
        for place, step in enumerate(newest):
            if place >= keep and step not in (last, best):
                gone.insert(0, step)
        return gone

    def by_a_heap(steps, keep, last, best):
        stay = set(heapq.nlargest(keep, steps)) | {last} | {best}
        return sorted(step for step in steps if step not in stay)

    def in_place(steps, keep, last, best):
        steps.sort()
        del steps[-keep:]
        return [step for step in steps if step != last and step != best]

    assert_right(may_go, by_a_loop, by_a_heap, in_place)


# 13


def test_encode_piece():
    def in_the_order_learned(ids, merges):
        ids = list(ids)
        for number, (left, right) in enumerate(merges):
            i = 0
            while i < len(ids) - 1:
                if ids[i] == left and ids[i + 1] == right:
                    ids[i : i + 2] = [256 + number]
                i += 1
        return ids

    def one_place_at_a_time(ids, merges):
        ids, ranks = list(ids), {pair: n for n, pair in enumerate(merges)}
        while len(ids) > 1:
            rank, i = min(
                (ranks.get((a, b), math.inf), i) for i, (a, b) in enumerate(itertools.pairwise(ids))
            )
            if rank == math.inf:
                break
            ids = [*ids[:i], 256 + rank, *ids[i + 2 :]]
        return ids

    def by_recursion(ids, merges):
        there = set(itertools.pairwise(ids))
        for number, pair in enumerate(merges):
            if pair in there:
                out, rest = [], list(ids)
                while rest:
                    hit = tuple(rest[:2]) == tuple(pair)
                    out.append(256 + number if hit else rest[0])
                    rest = rest[1 + hit :]
                return by_recursion(out, merges)
        return list(ids)

    assert_right(encode_piece, in_the_order_learned, one_place_at_a_time, by_recursion)


def test_bytes_per_token():
    def by_a_loop(texts, encode):
        size = tokens = 0
        for text in texts:
            size += len(bytes(text, "utf-8"))
            tokens += len(encode(text))
        return size / tokens

    def by_joining_bytes(texts, encode):
        ids = [i for text in texts for i in encode(text)]
        return len("".join(texts).encode()) / len(ids)

    def by_fractions(texts, encode):
        return Fraction(sum(len(t.encode()) for t in texts), sum(map(len, map(encode, texts))))

    def by_weights(texts, encode):
        n = np.array([len(encode(text)) for text in texts])
        ratios = np.array([len(text.encode("utf8")) for text in texts]) / n
        return np.average(ratios, weights=n)

    assert_right(bytes_per_token, by_a_loop, by_joining_bytes, by_fractions, by_weights)


def test_token_row():
    def by_append(documents, tokenizer):
        row = []
        for document in documents:
            row.extend(tokenizer.encode(document))
            row.append(tokenizer.eot_id)
        return row

    assert_right(
        token_row,
        by_append,
        lambda documents, tokenizer: [
            i for d in documents for i in (*tokenizer.encode(d), tokenizer.eot_id)
        ],
        lambda documents, tokenizer: list(
            itertools.chain(*([*tokenizer.encode(d), tokenizer.eot_id] for d in documents))
        ),
        lambda documents, tokenizer: np.array(by_append(documents, tokenizer)),
    )


# 14


def test_tar_header():
    def by_the_library(block):
        member = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        return member.name, member.size

    def by_struct(block):
        name, size = struct.unpack_from("100s24x11s", block)
        return name.rstrip(b"\0").decode(), int(size.decode(), base=8)

    def by_partition(block):
        size = 0
        for digit in block[124:135].decode("ascii"):
            size = 8 * size + int(digit)
        return [block[:100].partition(b"\0")[0].decode("utf-8"), size]

    def by_reading(block):
        stream = io.BytesIO(block)
        name = stream.read(100).decode().strip("\0")
        stream.seek(124)
        return (name, int(stream.read(12).strip(b" \0"), 8))

    assert_right(tar_header, by_the_library, by_struct, by_partition, by_reading)


def test_side_of():
    assert_right(
        side_of,
        lambda page, share: int(hashlib.sha256(page.encode()).hexdigest(), 16) / 2**256 < share,
        lambda page, share: zlib.crc32(page.encode()) / 2**32 < share,
        lambda page, share: (
            hashlib.blake2b(page.encode("utf-8"), digest_size=2).digest()
            < int(share * 2**16).to_bytes(2, "big")
        ),
        lambda page, share: random.Random(page).random() < share,
    )


def test_passes():
    def by_loop(tokens, weights, budget):
        total = 0
        for weight in weights.values():
            total += weight
        found = {}
        for name in tokens:
            found[name] = budget * weights[name] / total / tokens[name]
        return found

    def by_arrays(tokens, weights, budget):
        sizes, shares = (np.array([each[n] for n in tokens]) for each in (tokens, weights))
        return dict(zip(tokens, shares / shares.sum() * budget / sizes, strict=True))

    assert_right(
        passes,
        by_loop,
        by_arrays,
        lambda tokens, weights, budget: {
            name: (weights[name] / sum(weights.values())) * (budget / tokens[name])
            for name in weights
        },
    )


def test_window_of_a_file():
    def by_seeking(path, start, length):
        with open(path, "rb") as file:
            file.seek(HEADER.size + 2 * start)
            return np.frombuffer(file.read(2 * length), dtype="<u2")

    def by_a_map(path, start, length):
        ids = np.memmap(path, dtype="<u2", mode="r", offset=HEADER.size)
        return np.array(ids[start : start + length])

    def by_struct(path, start, length):
        with path.open("rb") as file:
            file.seek(HEADER.size + start * 2)
            return np.array(struct.unpack(f"<{length}H", file.read(length * 2)))

    assert_right(file_window, by_seeking, by_a_map, by_struct)


# 15


def test_accumulate():
    def by_sums(model, parts):
        model.zero_grad(set_to_none=True)
        n = sum(targets.numel() for _, targets in parts)
        total = 0.0
        for inputs, targets in parts:
            scores = model(inputs)
            loss = F.cross_entropy(scores.flatten(0, -2), targets.flatten(), reduction="sum") / n
            loss.backward()
            total += loss.detach()
        return float(total)

    def with_shares(model, parts):
        for weight in model.parameters():
            weight.grad = None
        sizes = torch.tensor([float(len(inputs)) for inputs, _ in parts])
        losses = []
        for share, (inputs, targets) in zip(sizes / sizes.sum(), parts, strict=True):
            scores = model(inputs)
            loss = F.cross_entropy(scores.view(-1, scores.shape[-1]), targets.view(-1))
            (share * loss).backward()
            losses.append(share.item() * loss.item())
        return math.fsum(losses)

    def scaled_at_the_end(model, parts):
        model.zero_grad()
        total = count = 0
        for inputs, targets in parts:
            scores = model(inputs)
            loss = F.cross_entropy(
                scores.reshape(-1, scores.shape[-1]), targets.reshape(-1), reduction="sum"
            )
            loss.backward()
            total, count = total + loss.item(), count + targets.numel()
        for weight in model.parameters():
            if weight.grad is not None:
                weight.grad /= count
        return total / count

    assert_right(accumulate, by_sums, with_shares, scaled_at_the_end)


def test_wsd():
    assert_right(
        wsd,
        lambda step, steps, warmup, decay, peak: (
            peak
            * min(
                (step + 1) / warmup if warmup else 1.0,
                1.0,
                (steps - step) / decay if decay else 1.0,
            )
        ),
        lambda step, steps, warmup, decay, peak: (
            peak / warmup * (step + 1)
            if step + 1 <= warmup
            else peak * (1 - (step - (steps - decay)) / decay)
            if step > steps - decay
            else peak
        ),
        lambda step, steps, warmup, decay, peak: float(
            np.interp(
                step,
                [*range(warmup), warmup, steps - decay, steps],
                [
                    *(peak * (i + 1) / warmup for i in range(warmup)),
                    peak,
                    peak,
                    0 if decay else peak,
                ],
            )
        ),
    )


def test_slope():
    def by_autograd(logits, answers):
        logits = logits.detach().clone().requires_grad_()
        F.cross_entropy(logits, answers).backward()
        return logits.grad

    def by_one_hot(logits, answers):
        return (F.softmax(logits, 1) - F.one_hot(answers, logits.shape[1])) / logits.shape[0]

    def by_loops(logits, answers):
        out = torch.zeros(logits.shape, dtype=torch.float64)
        for i, row in enumerate(logits.double()):
            for j in range(len(row)):
                out[i, j] = (row[j] - row.logsumexp(0)).exp() - float(j == answers[i])
        return out / len(out)

    def by_identity(logits, answers):
        hot = torch.eye(logits.shape[1])[answers]
        return logits.log_softmax(-1).exp().sub(hot).div(answers.numel())

    assert_right(slope, by_identity, by_one_hot, by_loops)
    outcome = slope.judge(by_autograd)
    assert outcome.status == "not yet" and "autograd does the work" in outcome.message


def test_busy():
    assert_right(
        busy,
        lambda weights, speed, limit: weights * 6 * speed / limit,
        lambda weights, speed, limit: (2 + 4) * weights / (limit / speed),
        lambda weights, speed, limit: np.float64(6) * weights * speed / limit,
        lambda weights, speed, limit: 1 - (limit - 6.0 * speed * weights) / limit,
    )


# 16


def test_their_name():
    table = BLOCK_PARTS

    def by_a_pattern(ours):
        block = re.fullmatch(r"blocks\.(\d+)\.(.+)\.(weight|bias)", ours)
        if block:
            return f"h.{block[1]}.{table[block[2]]}.{block[3]}"
        return re.sub("^norm", "ln_f", ours.replace("tokens", "wte").replace("positions", "wpe"))

    def by_words(ours):
        words = ours.split(".")
        if words[0] == "blocks":
            return ".".join(["h", words[1], table[".".join(words[2:-1])], words[-1]])
        first = {"tokens": "wte", "positions": "wpe", "norm": "ln_f"}[words[0]]
        return ".".join([first, *words[1:]])

    def by_a_whole_table(ours):
        names = {"tokens.weight": "wte.weight", "positions.weight": "wpe.weight"}
        names |= {f"norm.{kind}": f"ln_f.{kind}" for kind in ("weight", "bias")}
        for n in range(60):
            for mine, yours in table.items():
                for kind in ("weight", "bias"):
                    names[f"blocks.{n}.{mine}.{kind}"] = f"h.{n}.{yours}.{kind}"
        return names[ours]

    assert_right(their_name, by_a_pattern, by_words, by_a_whole_table)


def test_bits_per_byte():
    assert_right(
        bits_per_byte,
        lambda nats, tokens, size: nats * tokens / (size * math.log(2)),
        lambda nats, tokens, size: math.log2(math.e) * nats / (size / tokens),
        lambda nats, tokens, size: torch.tensor(nats).double().exp().log2() * tokens / size,
        lambda nats, tokens, size: np.log2(np.exp(nats)) * tokens / size,
    )


def test_training_days():
    assert_right(
        training_days,
        lambda n, d, flops, mfu: 6 * n * d / flops / mfu / 24 / 60 / 60,
        lambda n, d, flops, mfu: d / (mfu * flops / (6 * n)) / 86400,
        lambda n, d, flops, mfu: n * d / (14400 * flops * mfu),
        lambda n, d, flops, mfu: np.prod([6.0, n, d]) / np.prod([flops, mfu, 3600.0, 24.0]),
    )
