"""The checkers of notebook 20 know the mistakes that people make."""

import math

import numpy as np
import torch
from kill_table import assert_exercise, assert_right

from bhushgpt.exercises.nb20_scaling import parameters, power_law, together, training_days
from bhushgpt.gpt import GPTConfig

# 1. parameters


def parameters_stub(vocab_size, context_length, n_layer, n_embd): ...


def block(C):
    return 12 * C * C + 13 * C


def whole(V, T, L, C):
    return (V + T) * C + L * block(C) + 2 * C


PARAMETERS_WRONG = [
    (lambda V, T, L, C: whole(V, T, L, C) + V * C, "tied to the token table"),
    (lambda V, T, L, C: V * C + L * block(C) + 2 * C, "table of positions is missing"),
    (lambda V, T, L, C: T * C + L * block(C) + 2 * C, "table of tokens is missing"),
    (lambda V, T, L, C: (V + T) * C + L * block(C), "after the last block"),
    (lambda V, T, L, C: (V + T) * C + L * (12 * C * C + 4 * C) + 2 * C, "biases of the four"),
    (lambda V, T, L, C: (V + T) * C + L * (12 * C * C + 9 * C) + 2 * C, "two norms of each"),
    (
        lambda V, T, L, C: (V + T) * C + L * (12 * C * C + 11 * C) + 2 * C,
        "two norms; you counted one",
    ),
    (lambda V, T, L, C: (V + T) * C + L * (12 * C * C + 11 * C) + C, "a gain and a bias"),
    (lambda V, T, L, C: (V + T) * C + L * (8 * C * C + 13 * C) + 2 * C, "there and back"),
    (lambda V, T, L, C: whole(V, T, L, C) - L * (C * C + C), "the projection after the heads"),
    (lambda V, T, L, C: whole(V, T, L, C) - 2 * L * (C * C + C), "query, key and value"),
    (lambda V, T, L, C: whole(V, T, 1, C), "n_layer of them"),
    (lambda V, T, L, C: 12 * L * C * C, "rule of thumb"),
    (lambda V, T, L, C: 12 * L * C * C + (V + T) * C, "matrices alone"),
    (lambda V, T, L, C: whole(V, T, L, C) + L * T * T, "causal mask"),
    (lambda V, T, L, C: whole(V, T, L, C) / 1e6, "millions"),
    (lambda V, T, L, C: 4 * whole(V, T, L, C), "bytes in float32"),
    (lambda V, T, L, C: whole(97, 23, 3, 20), "one size only"),
    (lambda V, T, L, C: 12345, "yours: 12,345"),
    (lambda V, T, L, C: "many", "a str came"),
]


def test_the_kill_table_of_parameters():
    assert_exercise(parameters, parameters_stub, PARAMETERS_WRONG)


def by_building(V, T, L, C):
    sizes = {"vocab_size": V, "context_length": T, "n_layer": L, "n_head": 4, "n_embd": C}
    with torch.device("meta"):
        return GPTConfig(**sizes).build().parameter_count()


def layer_by_layer(V, T, L, C):
    def linear(i, o):
        return i * o + o

    norm = 2 * C
    one = norm + linear(C, 3 * C) + linear(C, C) + norm + linear(C, 4 * C) + linear(4 * C, C)
    return V * C + T * C + sum(one for _ in range(L)) + norm


def test_other_ways_to_count_parameters_are_right():
    assert_right(parameters, by_building, layer_by_layer, whole)


# 2. training_days


def days_stub(parameters, tokens, limit, mfu): ...


def days(n, d, limit, mfu):
    return 6 * n * d / limit / mfu / 86400


DAYS_WRONG = [
    (lambda n, d, f, m: days(n, d, f, m) / 3, "forward alone"),
    (lambda n, d, f, m: days(n, d, f, m) * 2 / 3, "backward alone"),
    (lambda n, d, f, m: 3 * n * d / f / m / 86400, "comes with an addition"),
    (lambda n, d, f, m: n * d / f / m / 86400, "counts one operation"),
    (lambda n, d, f, m: 8 * n * d / f / m / 86400, "computed again"),
    (lambda n, d, f, m: 6 * n * d / f / 86400, "no run reaches the limit"),
    (lambda n, d, f, m: 6 * n * d / f * m / 86400, "do not multiply"),
    (lambda n, d, f, m: 6 * n * d / f / m, "those are seconds"),
    (lambda n, d, f, m: 6 * n * d / f / m / 60, "those are minutes"),
    (lambda n, d, f, m: 6 * n * d / f / m / 3600, "those are hours"),
    (lambda n, d, f, m: days(n, d, f, m) / 7, "those are weeks"),
    (lambda n, d, f, m: 6 * n / f / m / 86400, "the tokens are missing"),
    (lambda n, d, f, m: 6 * d / f / m / 86400, "the weights are missing"),
    (lambda n, d, f, m: 1 / days(n, d, f, m), "upside down"),
    (lambda n, d, f, m: 6 * n * d / m / 86400, "speed of the machine"),
    (lambda n, d, f, m: days(n, d, f, 1 - m), "the share that is lost"),
    (lambda n, d, f, m: days(n, d, f, m / 100), "not per cent"),
    (lambda n, d, f, m: 3.21, "yours: 3.21"),
    (lambda n, d, f, m: f"{days(n, d, f, m)} days", "a str came"),
]


def test_the_kill_table_of_training_days():
    assert_exercise(training_days, days_stub, DAYS_WRONG)


def in_petaflop_days(n, d, limit, mfu):
    return 6 * n * d / 1e15 / 86400 / (limit * mfu / 1e15)


def by_speed(n, d, limit, mfu):
    tokens_per_second = limit * mfu / (6 * n)
    return d / tokens_per_second / 60 / 60 / 24


def test_other_ways_to_training_days_are_right():
    assert_right(training_days, days, in_petaflop_days, by_speed)


# 3. power_law


def power_law_stub(sizes, losses): ...


def line(x, y):
    return np.polyfit(x, y, 1)


def fitted(x, y):
    slope, height = line(np.log(x), np.log(y))
    return math.exp(height), -slope


def undone_by_exp(x, y):
    slope, height = line(np.log10(x), np.log10(y))
    return math.exp(height), -slope


def undone_by_ten(x, y):
    slope, height = line(np.log(x), np.log(y))
    return 10**height, -slope


def other_way(x, y):
    slope, height = line(np.log(y), np.log(x))
    return math.exp(height), -slope


def by_ends(x, y):
    power = math.log(y[0] / y[-1]) / math.log(x[-1] / x[0])
    return y[0] * x[0] ** power, power


def by_origin(x, y):
    return 1.0, -(np.log(x) @ np.log(y)) / (np.log(x) @ np.log(x))


def plain_line(x, y):
    slope, height = line(x, y)
    return height, -slope


def half_logs(x, y):
    slope, height = line(x, np.log(y))
    return math.exp(height), -slope


def other_half(x, y):
    slope, height = line(np.log(x), y)
    return height, -slope


def plus_one(x, y):
    slope, height = line(np.log1p(x), np.log1p(y))
    return math.exp(height), -slope


POWER_LAW_WRONG = [
    (lambda x, y: (fitted(x, y)[0], -fitted(x, y)[1]), "wrong sign"),
    (lambda x, y: (math.log(fitted(x, y)[0]), fitted(x, y)[1]), "still a logarithm"),
    (undone_by_exp, "undone by 10**, not by exp"),
    (undone_by_ten, "undone by exp, not by 10**"),
    (lambda x, y: fitted(x, y)[::-1], "in the other order"),
    (lambda x, y: (fitted(x, y)[0], 1 / fitted(x, y)[1]), "of sizes over losses"),
    (other_way, "ln size over ln loss"),
    (plain_line, "without logarithms"),
    (half_logs, "an exponential, not a power"),
    (other_half, "only the sizes are logarithms"),
    (by_ends, "use all of them"),
    (by_origin, "through the origin"),
    (plus_one, "log1p"),
    (lambda x, y: (y[0], fitted(x, y)[1]), "not the first loss"),
    (lambda x, y: (y.mean(), fitted(x, y)[1]), "not the mean loss"),
    (lambda x, y: fitted(x, y)[1], "give back two numbers"),
    (lambda x, y: (1.5, 0.5), "yours: 1.500 and 0.500"),
]


def test_the_kill_table_of_power_law():
    assert_exercise(power_law, power_law_stub, POWER_LAW_WRONG)


def by_covariance(x, y):
    a, b = np.log(x), np.log(y)
    slope = ((a - a.mean()) * (b - b.mean())).sum() / ((a - a.mean()) ** 2).sum()
    return np.array([np.exp(b.mean() - slope * a.mean()), -slope])


def by_torch(x, y):
    columns = torch.stack([torch.ones(len(x)).double(), -torch.tensor(x).log()], dim=1)
    height, power = torch.linalg.lstsq(columns, torch.tensor(y).log()[:, None]).solution[:, 0]
    return [height.exp(), power]


def by_base_two(x, y):
    slope, height = line(np.log2(x), np.log2(y))
    return 2**height, -slope


def test_other_ways_to_a_power_law_are_right():
    assert_right(power_law, by_covariance, by_torch, by_base_two)


# 4. together


def together_stub(logits, others): ...


def soft(x, axis=-1):
    return x.softmax(axis)


def writes(a, b):
    return a.copy_(soft(a)).add_(soft(b)).div_(2).log()


def softmax_by_hand(a, b):
    p, q = a.exp() / a.exp().sum(-1, keepdim=True), b.exp() / b.exp().sum(-1, keepdim=True)
    return torch.log(0.5 * p + 0.5 * q)


TOGETHER_WRONG = [
    (softmax_by_hand, "scores near 1000 come out wrong"),
    (lambda a, b: (a + b) / 2, "shouts louder"),
    (lambda a, b: ((a + b) / 2).log_softmax(-1), "afterwards"),
    (lambda a, b: (a + b).log_softmax(-1), "scores were added"),
    (lambda a, b: (a.log_softmax(-1) + b.log_softmax(-1)) / 2, "mean of the logarithms"),
    (lambda a, b: a.log_softmax(-1) + b.log_softmax(-1), "logarithms were added"),
    (lambda a, b: (soft(a) + soft(b)).log(), "sum to 2"),
    (lambda a, b: (soft(a) + soft(b)) / 2, "those are probabilities"),
    (lambda a, b: ((soft(a, 1) + soft(b, 1)) / 2).log(), "over the positions"),
    (lambda a, b: ((soft(a, 0) + soft(b, 0)) / 2).log(), "over the rows"),
    (lambda a, b: torch.maximum(soft(a), soft(b)).log(), "the larger of the two"),
    (lambda a, b: torch.minimum(soft(a), soft(b)).log(), "the smaller of the two"),
    (lambda a, b: a.log_softmax(-1), "second model has no say"),
    (lambda a, b: b.log_softmax(-1), "first model has no say"),
    (lambda a, b: ((a.exp() + b.exp()) / 2).log(), "the sum: use softmax"),
    (lambda a, b: (a.exp() + b.exp()).log(), "without halving"),
    (lambda a, b: ((soft(a) + soft(b)) / 2).log_softmax(-1), "taken twice"),
    (lambda a, b: ((soft(a) + soft(b)) / 2).log2(), "base 2"),
    (lambda a, b: -((soft(a) + soft(b)) / 2).log(), "the sign is wrong"),
    (lambda a, b: ((soft(a) + soft(b)) / 2).amax(-1).log(), "not one for each token"),
    (lambda a, b: ((soft(a) + soft(b)) / 2).log().flatten(), "the shape is (30,)"),
    (lambda a, b: torch.zeros_like(a), "not those of the formula"),
    (writes, "your code changes `"),
]


def test_the_kill_table_of_together():
    assert_exercise(together, together_stub, TOGETHER_WRONG)


def by_logaddexp(a, b):
    return torch.logaddexp(a.log_softmax(-1), b.log_softmax(-1)) - math.log(2)


def by_hand(a, b):
    a, b = ((x - x.amax(-1, keepdim=True)).exp() for x in (a, b))
    p, q = a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)
    return torch.log(0.5 * p + 0.5 * q)


def by_stack(a, b):
    return torch.stack([a, b]).softmax(dim=-1).mean(dim=0).log()


def test_other_ways_to_vote_are_right():
    assert_right(together, by_logaddexp, by_hand, by_stack)


def test_no_message_of_the_checkers_is_too_long():
    for exercise, table in (
        (parameters, PARAMETERS_WRONG),
        (training_days, DAYS_WRONG),
        (power_law, POWER_LAW_WRONG),
        (together, TOGETHER_WRONG),
    ):
        assert all(len(exercise.judge(answer).message) < 300 for answer, _ in table)
