"""What a model costs before it is built, and what loss it will reach: counts, a fitted law, a plan.

Costs are counted, not estimated: the model computes a step on the device "meta", where tensors have
shapes and no numbers. A loss cannot be counted. So small models are trained, a curve is laid
through what they reached, and the curve says what a larger one, or a longer run, would reach.

Lesson: notebook 20. Sources: Kaplan et al., arXiv 2001.08361 (6 N D); Hoffmann et al.,
arXiv 2203.15556 (the law with a floor); Golub and Pereyra, 1973 (what is linear is solved, only
the rest is searched).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from bhushgpt.errors import UserError
from bhushgpt.forecast import parameter_count
from bhushgpt.gpt import GPTConfig
from bhushgpt.language_model import ModelConfig, next_token_loss
from bhushgpt.presets import RunConfig
from bhushgpt.roofline import Limits
from bhushgpt.training_config import TrainingConfig

BYTES_PER_WEIGHT = 16
"""While training in float32: the weight, its gradient, and AdamW's two means, 4 bytes each."""


# What it costs


@cache
def training_flops(config: ModelConfig, context_length: int | None = None) -> float:
    """Return the FLOPs of training for each token, counted while one window is computed.

    Matrix products count, forward and backward; what else there is costs little. Attention counts
    in full, although the mask hides half of it.

    Args:
        config: The model.
        context_length: T of the window; the model's own if left out.

    >>> small = GPTConfig(vocab_size=79, context_length=64, n_layer=2, n_head=2, n_embd=32)
    >>> products = 12 * 2 * 32**2 + 79 * 32  # weights of the matrix products
    >>> training_flops(small) == 6 * products + 12 * 2 * 32 * 64
    True
    """
    length = config.context_length if context_length is None else context_length
    if isinstance(config, GPTConfig) and config.attention_form == "auto":
        config = replace(config, attention_form="explicit")  # whose products all have names
    with torch.device("meta"):
        model, ids = config.build(), torch.zeros(1, length, dtype=torch.long)
        with FlopCounterMode(display=False) as counter:
            next_token_loss(model(ids), ids).backward()
    return counter.get_total_flops() / length


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a training run takes on a machine.

    >>> limits = Limits(flops=1e12, bandwidth=1e10)
    >>> small = GPTConfig(vocab_size=79, context_length=64, n_layer=2, n_head=2, n_embd=32)
    >>> cost = Cost.of(small, tokens=2_048_000, batch_tokens=2048, limits=limits, mfu=0.5)
    >>> cost.steps, cost.state_bytes // 2**10, round(cost.seconds, 2)
    (1000, 469, 0.87)
    """

    parameters: int
    """N, numbers that are trained."""
    steps: int
    """Optimizer steps."""
    state_bytes: int
    """Weights, gradients and AdamW's means in float32; activations come on top."""
    flops: float
    """Of the whole run."""
    seconds: float
    """At the stated share of the machine's limit."""

    @classmethod
    def of(
        cls, config: ModelConfig, *, tokens: int, batch_tokens: int, limits: Limits, mfu: float
    ) -> "Cost":
        """Return the cost of training a model on so many tokens.

        Args:
            config: The model; it is built on the device "meta" only.
            tokens: D, in the whole run; a token that is seen twice counts twice.
            batch_tokens: In one step.
            limits: Of the machine.
            mfu: Share of `limits.flops` that a step reaches, as measured (notebook 15).

        Raises:
            UserError: If the share is not above 0 and at most 1.
        """
        if not 0 < mfu <= 1:
            raise UserError(f"mfu is {mfu}: it is a share above 0 and at most 1, such as 0.4.")
        with torch.device("meta"):
            parameters = config.build().parameter_count()
        flops = training_flops(config) * tokens
        return cls(
            parameters=parameters,
            steps=math.ceil(tokens / batch_tokens),
            state_bytes=BYTES_PER_WEIGHT * parameters,
            flops=flops,
            seconds=flops / (mfu * limits.flops),
        )


# What it will reach


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A run that was made: how large, how long, and what it reached."""

    parameters: int
    """N."""
    tokens: int
    """D, seen in training; a token that is seen twice counts twice."""
    loss: float
    """Held-out, in nats per token."""


@dataclass(frozen=True, kw_only=True)
class ScalingLaw:
    """loss = floor + size_factor / N^size_power + data_factor / D^data_power.

    N is in millions of parameters and D in millions of tokens, so that the factors are nats.

    >>> law = ScalingLaw(floor=1, size_factor=0.2, size_power=0.5, data_factor=0.3, data_power=1)
    >>> round(law.loss(4_000_000, 3_000_000), 3)  # 1 + 0.2 / 2 + 0.3 / 3
    1.2
    """

    floor: float
    """What no size and no amount of data gets below."""
    size_factor: float
    """Nats that a model of a million parameters lacks."""
    size_power: float
    """How fast that shrinks with N."""
    data_factor: float
    """Nats that a run of a million tokens lacks."""
    data_power: float
    """How fast that shrinks with D."""

    def loss(self, parameters: float, tokens: float) -> float:
        """Return the loss (nats per token) that a run should reach."""
        return (
            self.floor
            + self.size_factor * (parameters / 1e6) ** -self.size_power
            + self.data_factor * (tokens / 1e6) ** -self.data_power
        )

    def moved_to(self, run: Trained) -> "ScalingLaw":
        """Return the law of another text, from one short run on it.

        Another text is harder or easier to its end: its floor is a higher one, or a lower one.
        Size and data help as much as before. A floor below 0 there is not: where 0 is still too
        high, size and data matter less on that text, too.
        """
        floor = self.floor + run.loss - self.loss(run.parameters, run.tokens)
        rest = self.loss(run.parameters, run.tokens) - self.floor
        ratio = min(1.0, run.loss / rest)
        return replace(
            self,
            floor=max(0.0, floor),
            size_factor=self.size_factor * ratio,
            data_factor=self.data_factor * ratio,
        )


FINEST = 0.001  # of an exponent: a finer one changes no forecast


def fit_law(runs: Sequence[Trained]) -> ScalingLaw:
    """Return the law that comes nearest to what runs reached, in least squares.

    With the two exponents given, the floor and the two factors are a linear problem. So exponents
    are tried on a grid, each solved exactly, and the grid gets finer around the best.

    Raises:
        UserError: If there are fewer than five runs, three sizes or three lengths: five numbers
            cannot be found from them.

    >>> true = ScalingLaw(floor=1.1, size_factor=0.1, size_power=0.6, data_factor=0.4,
    ...                   data_power=0.7)
    >>> runs = [Trained(parameters=n, tokens=d, loss=true.loss(n, d))
    ...         for n in (10**5, 10**6, 10**7) for d in (10**5, 10**6, 10**7)]
    >>> found = fit_law(runs)
    >>> round(found.floor, 2), round(found.size_power, 2), round(found.data_power, 2)
    (1.1, 0.6, 0.7)
    """
    sizes = {run.parameters for run in runs}
    lengths = {run.tokens for run in runs}
    if len(runs) < 5 or len(sizes) < 3 or len(lengths) < 3:
        raise UserError(
            f"A law has five numbers; {len(runs)} runs of {len(sizes)} sizes and {len(lengths)} "
            "lengths do not give them. Train at least three sizes for three lengths."
        )
    size = np.array([run.parameters / 1e6 for run in runs])
    data = np.array([run.tokens / 1e6 for run in runs])
    losses = np.array([run.loss for run in runs])

    def solved(powers: tuple[float, float]) -> tuple[float, np.ndarray]:
        columns = np.stack([np.ones_like(size), size ** -powers[0], data ** -powers[1]], axis=1)
        factors = _non_negative(columns, losses)
        return float(((columns @ factors - losses) ** 2).sum()), factors

    best, step = (1.0, 1.0), 0.5
    while step >= FINEST:
        moves = [(best[0] + i * step, best[1] + j * step) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        nearby = [powers for powers in moves if min(powers) > FINEST]
        before, best = best, min(nearby, key=lambda powers: solved(powers)[0])
        if best == before:
            step /= 2
    floor, size_factor, data_factor = (float(number) for number in solved(best)[1])
    return ScalingLaw(
        floor=floor,
        size_factor=size_factor,
        size_power=best[0],
        data_factor=data_factor,
        data_power=best[1],
    )


def _non_negative(columns: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the least-squares factors of columns, none below 0.

    A negative floor or factor says nothing: what wants to be one is left out. Of the few subsets
    of the columns, the best that needs none is the answer.
    """
    best, least = np.zeros(columns.shape[1]), math.inf
    for kept in product((True, False), repeat=columns.shape[1]):
        chosen = list(kept)
        factors = np.zeros(columns.shape[1])
        factors[chosen] = np.linalg.lstsq(columns[:, chosen], values, rcond=None)[0]
        error = ((columns @ factors - values) ** 2).sum()
        if (factors >= 0).all() and error < least:
            best, least = factors, error
        if all(kept) and (factors >= 0).all():
            break  # the whole set is the best there can be
    return best


def resampled_laws(runs: Sequence[Trained], n: int = 100, seed: int = 0) -> list[ScalingLaw]:
    """Return laws of the same sizes and lengths with other luck: how sure is the first one?

    Each is fitted to what the first law says plus errors, drawn with replacement from those that it
    made and enlarged for the five numbers that were fitted to them (the residual bootstrap). What
    all runs have in common, such as a bad learning rate, no resampling finds.

    Args:
        runs: What `fit_law` was given; more than five.
        n: How many laws.
        seed: Of the draws.

    Source: Efron, "Bootstrap methods", 1979.
    """
    law = fit_law(runs)
    if len(runs) <= 5:
        raise UserError("Five runs fit a law of five numbers exactly: its error cannot be told.")
    said = np.array([law.loss(run.parameters, run.tokens) for run in runs])
    errors = np.array([run.loss for run in runs]) - said
    errors *= math.sqrt(len(runs) / (len(runs) - 5))
    random = np.random.default_rng(seed)
    drawn = said + random.choice(errors, size=(n, len(runs)))
    return [
        fit_law([replace(run, loss=float(x)) for run, x in zip(runs, row, strict=True)])
        for row in drawn
    ]


# What to do with so many minutes

Shape = tuple[int, int, int]
"""Blocks, heads and channels."""
SHAPES: tuple[Shape, ...] = (
    (1, 2, 16),
    (2, 2, 32),
    (2, 4, 64),
    (3, 4, 96),
    (4, 4, 128),
    (6, 6, 192),
)
"""The sizes that the recorded law was measured on, from 5 thousand to 2.7 million parameters."""


def recipe(shape: Shape, vocab_size: int, steps: int, *, seed: int = 1337) -> RunConfig:
    """Return the settings of the runs that the recorded law was fitted to.

    A step sees 32 windows of 64 tokens. The rate is 0.003 for 128 channels and falls as the model
    gets wider, since each sum is then one of more weights that all move; it is at most 0.01. It
    rises over the first 30 steps and falls over the last quarter (`wsd`).

    >>> recipe((4, 4, 128), 79, steps=400).training.decay_steps
    100
    """
    n_layer, n_head, n_embd = shape
    return RunConfig(
        preset="minutes",
        model=GPTConfig(
            vocab_size=vocab_size,
            context_length=64,
            n_layer=n_layer,
            n_head=n_head,
            n_embd=n_embd,
            position="rotary",
        ),
        training=TrainingConfig(
            steps=steps,
            batch_size=32,
            learning_rate=min(0.01, 3e-3 * 128 / n_embd),
            warmup_steps=min(30, steps // 4),
            schedule="wsd",
            decay_steps=max(1, steps // 4),
            seed=seed,
        ),
    )


# Fitted to benchmarks/scaling_law.json by `fit_law`; a test fits it again.
HOLMES = ScalingLaw(
    floor=0.9901,
    size_factor=0.0605,
    size_power=0.4141,
    data_factor=0.5069,
    data_power=0.4629,
)
"""The law of the course's book, in nats per character."""
MOST_EPOCHS = 8
"""Every size of the recorded law has read its text so often, and the larger ones no more often."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run that fits into a time, and what it should reach."""

    config: RunConfig
    """Size, batch, rate and steps."""
    parameters: int
    """N."""
    tokens: int
    """D, in the whole run."""
    epochs: float
    """How often it reads the text."""
    seconds: float
    """How long its steps take."""
    loss: float
    """Held-out, in nats per token, as the law forecasts it."""

    def __str__(self) -> str:
        training, model = self.config.training, self.config.model
        batch = training.batch_size * model.context_length
        return (
            f"{self.parameters:,} parameters, {training.steps:,} steps of {batch:,} tokens at a "
            f"rate of {training.learning_rate:.2g}: {self.epochs:.1f} times through the text, "
            f"about {self.loss:.2f} nats per token"
        )


def plan_run(
    seconds: float,
    speeds: Mapping[Shape, float],
    law: ScalingLaw,
    *,
    vocab_size: int,
    text_tokens: int,
    others: Mapping[Shape, float] | None = None,
) -> Plan:
    """Return the run that should reach the lowest loss in a time.

    A small model makes more steps, a large one learns more from each: the law says which wins. No
    clock is read, so the same speeds give the same plan.

    Args:
        seconds: For the steps, and for `others`.
        speeds: Shape -> tokens per second that it trains with here.
        law: Of this text.
        vocab_size: V of the tokenizer.
        text_tokens: In the training part; nothing is read more often than `MOST_EPOCHS` times.
        others: Shape -> seconds that its run takes besides the steps; by default none.

    Raises:
        UserError: If the time is not above 0, or too short for one step of the smallest model.

    >>> law = ScalingLaw(floor=1, size_factor=0.1, size_power=0.5, data_factor=0.5, data_power=1)
    >>> speeds = {(2, 2, 32): 90_000.0, (4, 4, 128): 30_000.0}
    >>> book = dict(vocab_size=79, text_tokens=500_000)
    >>> for seconds in (5, 60, 600):
    ...     print(plan_run(seconds, speeds, law, **book).config.model.n_embd)
    32
    128
    128
    """
    if not seconds > 0:
        raise UserError(
            f"{seconds:.3g} seconds are left for training. Type more minutes, such as --minutes 5."
        )
    drafts = {shape: recipe(shape, vocab_size, 1) for shape in speeds}
    batch = max(d.training.batch_size * d.model.context_length for d in drafts.values())
    plans: list[Plan] = []
    for shape, speed in speeds.items():
        left = seconds - (others or {}).get(shape, 0.0)
        steps = int(min(speed * left, MOST_EPOCHS * text_tokens) / batch)
        if steps < 1:
            continue
        config, tokens = recipe(shape, vocab_size, steps), steps * batch
        parameters = parameter_count(config)
        plans.append(
            Plan(
                config=config,
                parameters=parameters,
                tokens=tokens,
                epochs=tokens / text_tokens,
                seconds=tokens / speed,
                loss=law.loss(parameters, tokens),
            )
        )
    if not plans:
        shape, speed = max(speeds.items(), key=lambda item: item[1])
        besides = (others or {}).get(shape, 0.0)
        looks = f", and {besides:.2g} s for all that is not a step" if besides else ""
        raise UserError(
            f"{seconds:.3g} seconds are fewer than one step takes: the smallest model needs "
            f"{batch / speed:.3g} s for its {batch:,} tokens here{looks}. Type more minutes, such "
            "as --minutes 5."
        )
    return min(plans, key=lambda plan: plan.loss)
