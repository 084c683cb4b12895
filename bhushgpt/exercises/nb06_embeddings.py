"""Exercises of notebook 06: rows that learn, windows, epochs, and gradients by hand.

Letters: K questions, N context length, C channels, M hidden units, T time, V vocabulary.

Lesson: notebook 06.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bhushgpt.exercises.attempts import autograd_watched, kind
from bhushgpt.exercises.exercise import Exercise
from bhushgpt.exercises.same_numbers import mistake_in, same

Answer = Callable[..., Any]


# 1. Which rows learn


def _table_gradient(ids: Tensor, gradient: Tensor, V: int) -> Tensor:
    result = gradient.new_zeros(V, gradient.shape[1])
    for row, token in enumerate(ids.tolist()):
        result[token] += gradient[row]
    return result


def _scattered(table: Tensor, ids: Tensor, rows: Tensor, how: str) -> Tensor:
    """Return zeros like the table, with the rows of each id put together in another way."""
    places = ids[:, None].expand_as(rows)
    return torch.zeros_like(table).scatter_reduce(0, places, rows, how, include_self=False)


def _table_mistakes(ids: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    """Return what each known mistake computes, by the sentence that names it."""
    right = _table_gradient(ids, gradient, 5)
    first, last = torch.zeros(5, 3), torch.zeros(5, 3)
    for token, row in zip(ids.tolist(), gradient, strict=True):
        last[token] = row
        first[token] = row if not first[token].any() else first[token]
    order = list(dict.fromkeys(ids.tolist()))
    appearance = torch.cat([right[order], torch.zeros(5 - len(order), 3)])
    hot = F.one_hot(ids, 5).float()
    return {
        "a token that was read twice gets both gradients, added; yours keeps the last one.": last,
        "a token that was read twice gets both gradients, added; yours keeps the first.": first,
        "you average over the places where a token was read; its gradients add up.": (
            _scattered(right, ids, gradient, "mean")
        ),
        "you keep the largest gradient of each token; they add up.": (
            _scattered(right, ids, gradient, "amax")
        ),
        "the gradients of a token are multiplied with each other; they add up.": (
            _scattered(right, ids, gradient, "prod")
        ),
        "you divide by the number of places; the mean is in the gradient already.": right / 7,
        "that is how often each token was read; weigh each reading with its gradient.": (
            hot.T @ torch.ones(7, 3)
        ),
        "every row gets the sum of everything: only the row that was read learns.": (
            gradient.sum(0).expand(5, 3)
        ),
        "the sign is turned: that is the step of descent, not the gradient.": -right,
        "you give the gradient to all tokens but the one that was read.": (1 - hot).T @ gradient,
        "that is one row for each place read; return one for each of the V tokens.": right[ids],
        "this is the gradient that came, as it came; sort its rows by token.": gradient,
        "only the tokens that occur have a row; those that were not read get zeros.": (
            right[sorted(order)]
        ),
        "rows and columns are exchanged: one row for each token, (V, C).": right.T,
        "rows are numbered by first appearance; token i belongs into row i.": appearance,
        "each gradient landed one row too low: ids begin at 0.": right.roll(1, 0),
    }


def _check_table_gradient(answer: Answer) -> str | None:
    ids, gradient = torch.tensor([3, 0, 3, 1, 3, 0, 1]), torch.randn(7, 3)
    expected, mistakes = _table_gradient(ids, gradient, 5), _table_mistakes(ids, gradient)
    found = mistake_in(answer(ids.clone(), gradient.clone(), 5), expected, mistakes)
    if found:
        return found
    ids, gradient = torch.tensor([1, 1]), torch.randn(2, 4)
    expected = _table_gradient(ids, gradient, 9)
    if not same(answer(ids.clone(), gradient.clone(), 9), expected):
        return "right for 5 tokens, but not for 9 of which only token 1 is read: use V."
    return None


table_gradient = Exercise(
    name="table_gradient",
    question="Return the gradient of the table (V, C) from ids (K,) and their vectors' gradients.",
    hints=(
        "Changing row i of the table changes every vector that was read from row i.",
        "So row i of the answer is the sum of the gradients at the places where ids == i.",
        "Start from zeros (V, C) and add each gradient to the row of its token.",
    ),
    praise="each row learns from all the places that read it, and from no other.",
    reference=_table_gradient,
    axes_of_one=lambda: [
        (torch.tensor([1]), torch.randn(1, 3), 5),
        (torch.tensor([1, 2, 1]), torch.randn(3, 1), 5),
        (torch.tensor([0, 0]), torch.randn(2, 3), 1),
    ],
    checks=_check_table_gradient,
)


# 2. The window of each place


def _context_windows(ids: Tensor, n: int, pad: int) -> Tensor:
    padded = [pad] * (n - 1) + ids.tolist()
    return torch.tensor([padded[place : place + n] for place in range(len(ids))])


def _cut(tokens: Sequence[int], first: int, width: int, rows: int = 7, step: int = 1) -> Tensor:
    """Return windows of a row of tokens that is filled with 5 on both sides."""
    long = [5] * 10 + list(tokens) + [5] * 10
    starts = [10 + first + step * row for row in range(rows)]
    return torch.tensor([long[start : start + width] for start in starts])


def _window_mistakes(ids: Tensor) -> dict[str, Tensor]:
    """Return what each known mistake gives for n = 3 and pad 5, by the sentence that names it."""
    row, right = ids.tolist(), _context_windows(ids, 3, 5)
    short = [[*row[: t + 1], 5, 5][:3] if t < 2 else row[t - 2 : t + 1] for t in range(7)]
    whole_pads = right.clone()
    whole_pads[:2] = 5
    return {
        "you look ahead: row t begins at place t. It must end there.": _cut(row, 0, 3),
        "the answer leaks: row t holds the token after place t.": _cut(row, -1, 3),
        "the token at place t is known already: it is the last one of its window.": (
            _cut(row, -3, 3)
        ),
        "the newest token stands first; write the windows in reading order.": right.flip(1),
        "the first places have no window: fill what is missing with pad.": right[2:],
        "before the beginning you read the end of the text: index -1 counts from behind.": (
            torch.tensor([[row[t - 2], row[t - 1], row[t]] for t in range(7)])
        ),
        "what is missing is filled with 0; fill it with pad, which is 5 here.": (
            right.where(right != 5, 0)
        ),
        "what is missing is filled with the first token; fill it with pad.": (
            right.where(right != 5, row[0])
        ),
        "rows and columns are exchanged: one row for each place, (T, n).": right.T,
        "your windows do not overlap; every place has a window of its own.": (
            _cut([*row, 5, 5], 0, 3, rows=3, step=3)
        ),
        "your windows hold n + 1 tokens; the one at place t counts as one of the n.": (
            _cut(row, -3, 4)
        ),
        "your windows hold n - 1 tokens; the one at place t comes on top.": _cut(row, -1, 2),
        "in a short window the pads stand behind: what is missing are the oldest tokens.": (
            torch.tensor(short)
        ),
        "you go on after the end of the text: there are T places, so T rows.": (
            _cut(row, -2, 3, rows=9)
        ),
        "a place with a short past keeps the tokens that it has; only the rest is pad.": whole_pads,
        "that is the window of the last place alone; each of the T places has one.": right[-1],
    }


def _check_context_windows(answer: Answer) -> str | None:
    ids = torch.arange(10, 17)
    expected, mistakes = _context_windows(ids, 3, 5), _window_mistakes(ids)
    as_numbers = {sentence: wrong.float() for sentence, wrong in mistakes.items()}
    found = mistake_in(answer(ids.clone(), 3, 5), expected.float(), as_numbers)
    if found:
        return found
    for length, n in ((4, 1), (2, 5)):
        ids = torch.arange(20, 20 + length)
        expected = _context_windows(ids, n, 7).float()
        if not same(answer(ids.clone(), n, 7), expected):
            return f"right for 7 tokens and n = 3, but not for {length} tokens and n = {n}."
    ids = torch.tensor([0, 3, 0])
    if not same(answer(ids.clone(), 2, 5), _context_windows(ids, 2, 5)):
        return "id 0 is a token like others, and no sign that one is missing."
    return None


context_windows = Exercise(
    name="context_windows",
    question="Return for each place of ids (T,) the last n tokens up to it, (T, n), padded.",
    hints=(
        "The window of place t ends at t: it begins at t - n + 1, which may be below 0.",
        "Put n - 1 pads before the text; then place t is at index t + n - 1.",
        "Now row t is the slice from t to t + n of the longer row.",
    ),
    praise="n tokens for every place, in reading order, and none from the future.",
    reference=_context_windows,
    axes_of_one=lambda: [
        (torch.tensor([4]), 3, 7),
        (torch.tensor([4, 2]), 1, 7),
        (torch.tensor([4]), 1, 7),
    ],
    checks=_check_context_windows,
)


# 3. Steps and epochs


def _epoch_steps(n_tokens: int, batch_size: int, context_length: int, epochs: int) -> int:
    return math.ceil(epochs * n_tokens / (batch_size * context_length))


STEP_MISTAKES: dict[str, Callable[[int, int, int, int], float]] = {
    "that is the exact quotient; steps are whole, so round it up.": (
        lambda n, B, T, e: e * n / (B * T)
    ),
    "you round down, so the last characters are missing: the step that is begun counts.": (
        lambda n, B, T, e: e * n // (B * T)
    ),
    "you round up after every epoch; the run goes on without a pause, so round once.": (
        lambda n, B, T, e: e * math.ceil(n / (B * T))
    ),
    "you round down after every epoch; round once, at the end, and up.": (
        lambda n, B, T, e: e * (n // (B * T))
    ),
    "a step answers a question at each of the T places of a window, not one a window.": (
        lambda n, B, T, e: math.ceil(e * n / B)
    ),
    "a step takes B windows, not one.": lambda n, B, T, e: math.ceil(e * n / T),
    "that is a single epoch.": lambda n, B, T, e: math.ceil(n / (B * T)),
    "a step takes B times T characters, not B plus T.": (
        lambda n, B, T, e: math.ceil(e * n / (B + T))
    ),
    "a window of T + 1 characters asks T questions: the first is only an input.": (
        lambda n, B, T, e: math.ceil(e * n / (B * (T + 1)))
    ),
    "T inputs have T targets, the last one behind the window; no place is lost.": (
        lambda n, B, T, e: math.ceil(e * n / (B * (T - 1)))
    ),
    "you count every possible start of a window; windows of one epoch add up to the text.": (
        lambda n, B, T, e: math.ceil(e * (n - T) / B)
    ),
    "more epochs take more steps: multiply by epochs.": (
        lambda n, B, T, e: math.ceil(n / (B * T) / e)
    ),
    "that is how many characters the run reads; divide by those of one step.": (
        lambda n, B, T, e: e * n
    ),
    "those are the characters of one step; how many steps make up the text?": (
        lambda n, B, T, e: B * T
    ),
    "you divide by B and multiply by T: both belong into the denominator.": (
        lambda n, B, T, e: math.ceil(e * n / B * T)
    ),
    "those are windows, not steps: B of them go into one.": (
        lambda n, B, T, e: e * math.ceil(n / T)
    ),
}


def _check_epoch_steps(answer: Answer) -> str | None:
    sizes = (1051, 7, 11, 5)
    result, expected = answer(*sizes), _epoch_steps(*sizes)
    if isinstance(result, bool) or not isinstance(result, int | float):
        return f"return a number; {kind(result)} came."
    if result != expected:
        for sentence, wrong in STEP_MISTAKES.items():
            if math.isclose(result, wrong(*sizes)):
                return sentence
        return f"5 epochs of 1,051 characters in 7 windows of 11 are {expected} steps: {result}?"
    if answer(600, 4, 15, 3) != 30:
        return "600 characters in steps of 60, three times, are 30 steps and not one more."
    return None


epoch_steps = Exercise(
    name="epoch_steps",
    question="Return how many steps of B windows of T make the given number of epochs.",
    hints=(
        "How many characters does one step ask for? Every place of every window asks once.",
        "An epoch is n_tokens characters, so the run has epochs * n_tokens of them.",
        "Divide, and round up: math.ceil.",
    ),
    praise="the whole run is divided once, and a step that is begun counts.",
    reference=_epoch_steps,
    checks=_check_epoch_steps,
)


# 4. Gradients by hand

NAMES = ("table", "W", "b", "U", "c")
Gradients = tuple[Tensor, ...]


def _mlp_gradients(
    ids: Tensor, targets: Tensor, table: Tensor, W: Tensor, b: Tensor, U: Tensor, c: Tensor
) -> Gradients:
    K, C = len(ids), table.shape[1]
    x = table[ids].view(K, -1)
    h = torch.tanh(x @ W + b)
    z = h @ U + c
    d_z = (z.softmax(dim=1) - F.one_hot(targets, len(c))) / K
    d_a = (d_z @ U.T) * (1 - h**2)
    d_vectors = (d_a @ W.T).view(-1, C)
    d_table = torch.zeros_like(table).index_add(0, ids.flatten(), d_vectors)
    return d_table, x.T @ d_a, d_a.sum(dim=0), h.T @ d_z, d_z.sum(dim=0)


def _variant(
    weights: Sequence[Tensor],
    ids: Tensor,
    targets: Tensor,
    score: Answer = lambda z, hot: (z.softmax(dim=1) - hot) / len(z),
    slope: Answer = lambda a, h: 1 - h**2,
    gather: Answer = lambda table, ids, d: torch.zeros_like(table).index_add(0, ids.flatten(), d),
    over: Answer = lambda d: d.sum(dim=0),
    cut: Answer = lambda d_x, C: d_x.reshape(-1, C),
) -> Gradients:
    """Compute all gradients with one thing done in another way."""
    table, W, b, U, c = weights
    x = table[ids].flatten(1)
    a = x @ W + b
    h = a.tanh()
    d_z = score(h @ U + c, F.one_hot(targets, len(c)))
    d_a = (d_z @ U.T) * slope(a, h)
    d_table = gather(table, ids, cut(d_a @ W.T, table.shape[1]))
    return d_table, x.T @ d_a, over(d_a), h.T @ d_z, over(d_z)


def _last_wins(table: Tensor, ids: Tensor, d: Tensor) -> Tensor:
    result = torch.zeros_like(table)
    for token, row in zip(ids.flatten().tolist(), d, strict=True):
        result[token] = row
    return result


def _gradient_mistakes(
    weights: Sequence[Tensor], ids: Tensor, targets: Tensor
) -> Mapping[str, Gradients]:
    """Return what each known mistake computes, by the sentence that names it."""

    def variant(**changes: Answer) -> Gradients:
        return _variant(weights, ids, targets, **changes)

    def mean_rows(table: Tensor, ids: Tensor, d: Tensor) -> Tensor:
        return _scattered(table, ids.flatten(), d, "mean")

    def newest_place(table: Tensor, ids: Tensor, d: Tensor) -> Tensor:
        d = d.view(*ids.shape, -1)[:, -1]
        return torch.zeros_like(table).index_add(0, ids[:, -1], d)

    return {
        "the loss is a mean over the K questions: divide d_z by K.": variant(
            score=lambda z, hot: z.softmax(1) - hot
        ),
        "every sign is turned: d_z is softmax minus one-hot, not the other way round.": variant(
            score=lambda z, hot: (hot - z.softmax(1)) / len(z)
        ),
        "the targets do not occur: take 1 off the target's probability in d_z.": variant(
            score=lambda z, hot: z.softmax(1) / len(z)
        ),
        "your softmax runs over the questions; over the V scores of one question, it is 1.": (
            variant(score=lambda z, hot: (z.softmax(0) - hot) / len(z))
        ),
        "d_z is made of probabilities, not of scores: softmax(z) minus one-hot.": variant(
            score=lambda z, hot: (z - hot) / len(z)
        ),
        "those are slopes in bits: there is no ln 2 in a loss in nats.": variant(
            score=lambda z, hot: (z.softmax(1) - hot) / len(z) / math.log(2)
        ),
        "you divide by K * V: the mean runs over questions only.": variant(
            score=lambda z, hot: (z.softmax(1) - hot) / z.numel()
        ),
        "you follow the target's score alone; softmax makes every score of a question count.": (
            variant(score=lambda z, hot: hot * (z.softmax(1) - 1) / len(z))
        ),
        "the tanh is left out on the way back: multiply by its slope, 1 - h**2.": variant(
            slope=lambda a, h: 1
        ),
        "the slope of tanh is 1 - h**2; the square is missing.": variant(slope=lambda a, h: 1 - h),
        "the slope of tanh is 1 - tanh(a)**2: you squared what goes in, not what comes out.": (
            variant(slope=lambda a, h: 1 - a**2)
        ),
        "h is tanh(a) already; you took tanh of it once more for the slope.": variant(
            slope=lambda a, h: 1 - h.tanh() ** 2
        ),
        "h * (1 - h) is the slope of a sigmoid; that of tanh is 1 - h**2.": variant(
            slope=lambda a, h: h * (1 - h)
        ),
        "that is the slope of a ReLU; this hidden layer has tanh.": variant(
            slope=lambda a, h: a > 0
        ),
        "for the biases you took the mean over questions; K is in d_z already, so sum.": variant(
            over=lambda d: d.mean(dim=0)
        ),
        "a token that was read several times adds up its gradients; your table keeps the last.": (
            variant(gather=_last_wins)
        ),
        "your table's rows are means over the places that read them; they are sums.": variant(
            gather=mean_rows
        ),
        "your table learns from the newest place only; all N places read from it.": variant(
            gather=newest_place
        ),
        "the gradient of x was cut in another order than the ids: (K, N*C) becomes (K * N, C).": (
            variant(cut=lambda d_x, C: d_x.reshape(len(d_x), -1, C).transpose(0, 1).reshape(-1, C))
        ),
        "those are the weights after a step of descent; return the gradients.": tuple(
            weight - slope for weight, slope in zip(weights, variant(), strict=True)
        ),
    }


def _agreement(result: Sequence[object], expected: Sequence[Tensor]) -> list[bool]:
    """Return for each gradient whether it is right; float32 is precise enough to tell."""
    pairs = zip(result, expected, strict=True)
    return [same(one, other.float(), 1e-6) for one, other in pairs]


def _misshapen(result: object, expected: Gradients) -> str | None:
    """Return what is wrong about the form of an answer, before its numbers are looked at."""
    if not isinstance(result, tuple | list) or len(result) != len(NAMES):
        size = f" of {len(result)}" if isinstance(result, tuple | list) else ""
        return f"return the gradients of table, W, b, U and c; {kind(result)}{size} came."
    for name, one, right in zip(NAMES, result, expected, strict=True):
        if not isinstance(one, Tensor):
            return f"the gradient of {name} must be a tensor; {kind(one)} came."
        if one.shape != right.shape and one.shape == right.T.shape:
            return f"the gradient of {name} is transposed: it has the shape of {name} itself."
        if one.shape != right.shape:
            return (
                f"where the gradient of {name}, {tuple(right.shape)}, belongs, {kind(one)} came; "
                "the order is table, W, b, U, c."
            )
    return None


def _of_sizes(K: int, N: int, C: int, M: int, V: int) -> tuple[Tensor, ...]:
    """Return ids, targets and weights of these sizes."""
    shapes = ((V, C), (N * C, M), (M,), (M, V), (V,))
    weights = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    return torch.randint(min(V, 4), (K, N)), torch.randint(V, (K,)), *weights


def _check_mlp_gradients(answer: Answer) -> str | None:
    ids, targets, *weights = _of_sizes(K=7, N=3, C=2, M=5, V=11)
    expected = _mlp_gradients(ids, targets, *weights)
    mistakes = _gradient_mistakes(weights, ids, targets)
    clones = [tensor.clone() for tensor in (ids, targets, *weights)]
    with autograd_watched() as kept:
        result = answer(*clones)
    if kept:
        return "autograd does the work here: write the way back yourself, from the scores on."
    found = _misshapen(result, expected)
    right = [] if found else _agreement(result, expected)
    if found or all(right):
        return found
    for sentence, wrong in mistakes.items():
        if all(_agreement(result, wrong)):
            return sentence
    first = next(i for i in reversed(range(5)) if not right[i])
    done = [NAMES[i] for i in reversed(range(first + 1, 5))]
    story = f"right so far: {', '.join(done)}; " if done else ""
    return f"{story}going backwards, the gradient of {NAMES[first]} is the first that differs."


mlp_gradients = Exercise(
    name="mlp_gradients",
    question="Return the gradients of the mean loss for table, W, b, U and c, without autograd.",
    hints=(
        "Backwards: the scores' gradient d_z is (softmax(z) - one-hot of the target) / K.",
        "z = h @ U + c: U gets h.T @ d_z, c gets d_z summed over questions, h gets d_z @ U.T.",
        "a = x @ W + b, h = tanh(a): d_a = d_h * (1 - h**2), then as above for W, b and x.",
        "Cut d_x into vectors of C and add each to the row of the token that it was read from.",
    ),
    praise="all five gradients, number for number what autograd gives.",
    reference=_mlp_gradients,
    axes_of_one=lambda: [
        _of_sizes(K=1, N=3, C=2, M=5, V=11),
        _of_sizes(K=7, N=1, C=1, M=1, V=4),
        _of_sizes(K=3, N=2, C=2, M=5, V=1),
    ],
    checks=_check_mlp_gradients,
)
