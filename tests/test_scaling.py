"""Counts against formulas and published numbers, the fit against laws that are known, the plan."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bhushgpt.errors import UserError
from bhushgpt.forecast import parameter_count
from bhushgpt.gpt import GPTConfig
from bhushgpt.presets import preset
from bhushgpt.roofline import Limits
from bhushgpt.scaling import (
    HOLMES,
    MOST_EPOCHS,
    SHAPES,
    Cost,
    ScalingLaw,
    Trained,
    fit_law,
    plan_run,
    recipe,
    resampled_laws,
    training_flops,
)

RECORD = Path(__file__).resolve().parent.parent / "benchmarks" / "scaling_law.json"
TRUE = ScalingLaw(floor=1.2, size_factor=0.08, size_power=0.45, data_factor=0.35, data_power=0.8)
GRID = [
    (n, d) for n in (3e4, 1e5, 3e5, 8e5, 3e6) for d in (500_000, 1_000_000, 2_000_000, 4_000_000)
]
GPT3 = GPTConfig(vocab_size=50257, context_length=2048, n_layer=96, n_head=96, n_embd=12288)


def runs_of(law: ScalingLaw, noise: float = 0.0) -> list[Trained]:
    errors = np.random.default_rng(7).normal(0, noise, len(GRID)) if noise else np.zeros(len(GRID))
    return [
        Trained(parameters=int(n), tokens=d, loss=law.loss(n, d) + float(error))
        for (n, d), error in zip(GRID, errors, strict=True)
    ]


@pytest.mark.parametrize("form", ["auto", "explicit"])
@pytest.mark.parametrize("position", ["learned", "rotary"])
def test_the_flops_that_torch_counts_are_those_of_the_formula(position, form):
    L, H, C, T, V = 3, 2, 20, 7, 11
    config = GPTConfig(
        vocab_size=V,
        context_length=T,
        n_layer=L,
        n_head=H,
        n_embd=C,
        position=position,
        attention_form=form,
    )
    assert training_flops(config) == 6 * (12 * L * C * C + V * C) + 12 * L * C * T
    assert training_flops(config, 5) == 6 * (12 * L * C * C + V * C) + 12 * L * C * 5


def test_parameters_of_gpt_2_are_those_that_were_published():
    limits = Limits(flops=1e12, bandwidth=1e10)
    config = preset("gpt-v2", 50257).model
    cost = Cost.of(config, tokens=1025, batch_tokens=1024, limits=limits, mfu=1.0)
    assert round(cost.parameters / 1e6, 1) == 124.4
    assert cost.steps == 2


def test_the_cost_of_gpt_3_is_the_published_one():
    """Brown et al. 2020, table D.1: 174,600 million parameters and 3.14e23 FLOPs for 300 billion
    tokens. They count no attention and no head, so we have 3 % more. Its blocks are alike: two
    models of one and of two say what 96 cost."""
    limits = Limits(flops=1e15, bandwidth=1e12)
    run = {"tokens": 300 * 10**9, "batch_tokens": 3_200_000, "limits": limits, "mfu": 0.5}
    one, two = (Cost.of(dataclasses.replace(GPT3, n_layer=n), **run) for n in (1, 2))
    parameters = one.parameters + 95 * (two.parameters - one.parameters)
    flops = one.flops + 95 * (two.flops - one.flops)
    assert round(parameters / 1e6, -2) == 174_600
    assert flops == pytest.approx(3.14e23, rel=0.04)
    assert two.steps == 93_750
    assert two.state_bytes == 16 * two.parameters
    assert two.seconds == pytest.approx(two.flops / 0.5e15)


@pytest.mark.parametrize("share", [0, -0.1, 1.01])
def test_a_share_of_the_limit_that_cannot_be_is_refused(share):
    limits = Limits(flops=1e12, bandwidth=1e10)
    with pytest.raises(UserError, match=r"mfu is .* such as 0\.4"):
        Cost.of(recipe(SHAPES[0], 79, 1).model, tokens=1, batch_tokens=1, limits=limits, mfu=share)


def test_a_law_is_found_again_from_what_it_says():
    found = fit_law(runs_of(TRUE))
    for name, value in dataclasses.asdict(TRUE).items():
        assert getattr(found, name) == pytest.approx(value, abs=0.01), name


def test_no_other_exponents_fit_better():
    """The oracle: a fine grid over both exponents, each solved by torch's least squares."""
    runs = runs_of(TRUE, noise=0.01)
    found = fit_law(runs)
    losses = torch.tensor([run.loss for run in runs], dtype=torch.float64)

    def error(law_says) -> float:
        return float(((law_says - losses) ** 2).sum())

    ours = error(torch.tensor([found.loss(run.parameters, run.tokens) for run in runs]))
    size = torch.tensor([run.parameters / 1e6 for run in runs], dtype=torch.float64)
    data = torch.tensor([run.tokens / 1e6 for run in runs], dtype=torch.float64)
    for a, b in itertools.product(torch.linspace(0.1, 1.5, 29), repeat=2):
        columns = torch.stack([torch.ones_like(size), size**-a, data**-b], dim=1)
        factors = torch.linalg.lstsq(columns, losses[:, None]).solution
        if (factors >= 0).all():
            assert ours <= error((columns @ factors)[:, 0]) + 1e-9


def test_no_factor_of_a_law_is_negative():
    """Losses that fall in straight lines over ln N want a floor below 0."""
    falling = [dataclasses.replace(r, loss=3 - 0.2 * np.log(r.parameters)) for r in runs_of(TRUE)]
    law = fit_law(falling)
    assert min(law.floor, law.size_factor, law.data_factor) >= 0


@pytest.mark.parametrize("kept", [slice(0, 4), slice(0, 8), slice(0, None, 4)])
def test_too_few_sizes_or_lengths_are_refused(kept):
    with pytest.raises(UserError, match="three sizes for three lengths"):
        fit_law(runs_of(TRUE)[kept])


def test_resampled_laws_hold_the_true_forecast_between_them():
    laws = resampled_laws(runs_of(TRUE, noise=0.01), n=40)
    forecasts = sorted(law.loss(6e6, 8e6) for law in laws)
    assert forecasts[0] < TRUE.loss(6e6, 8e6) < forecasts[-1]
    assert 0.001 < forecasts[-3] - forecasts[2] < 0.2


def test_more_noise_makes_a_law_less_sure():
    spreads = []
    for noise in (0.002, 0.02):
        forecasts = [law.loss(6e6, 8e6) for law in resampled_laws(runs_of(TRUE, noise), n=20)]
        spreads.append(np.std(forecasts))
    assert spreads[1] > 3 * spreads[0]


def test_five_runs_tell_nothing_of_the_error():
    five = [runs_of(TRUE)[i] for i in (0, 5, 10, 15, 19)]
    with pytest.raises(UserError, match="cannot be told"):
        resampled_laws(five)


@pytest.mark.parametrize("shift", [-0.3, 0.4])
def test_a_law_moved_to_a_text_says_what_was_measured_there_and_changes_its_floor_alone(shift):
    run = Trained(parameters=100_000, tokens=500_000, loss=TRUE.loss(10**5, 5 * 10**5) + shift)
    moved = TRUE.moved_to(run)
    assert moved.loss(100_000, 500_000) == pytest.approx(run.loss)
    assert moved.loss(10**6, 10**7) == pytest.approx(TRUE.loss(10**6, 10**7) + shift)


def test_a_law_of_a_very_easy_text_has_no_floor_below_nothing():
    easy = Trained(parameters=100_000, tokens=500_000, loss=0.1)
    moved = TRUE.moved_to(easy)
    assert moved.floor == 0
    assert moved.loss(100_000, 500_000) == pytest.approx(0.1)
    assert 0 < moved.loss(10**7, 10**8) < 0.1


# The plan: no clock, the speeds are given

SPEEDS = {shape: 1e10 / training_flops(recipe(shape, 79, 1).model) for shape in SHAPES}
BOOK: dict[str, Any] = {"vocab_size": 79, "text_tokens": 500_000}


def test_more_time_takes_a_larger_model_and_a_lower_loss():
    plans = [plan_run(seconds, SPEEDS, TRUE, **BOOK) for seconds in (10, 100, 1000)]
    sizes = [plan.parameters for plan in plans]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    assert plans[0].loss > plans[1].loss > plans[2].loss


def test_a_plan_fills_its_time_and_no_more():
    for seconds in (5, 30, 100):
        plan = plan_run(seconds, SPEEDS, TRUE, **BOOK)
        steps = plan.config.training.steps
        shape = next(s for s in SHAPES if recipe(s, 79, steps) == plan.config)
        step = 2048 / SPEEDS[shape]
        assert seconds - step < plan.seconds <= seconds
        assert plan.tokens == plan.config.training.steps * 2048


def test_what_a_run_does_besides_its_steps_is_taken_from_its_time():
    others = {SHAPES[4]: 10.0}
    plan = plan_run(50, {SHAPES[4]: 34_000.0}, TRUE, others=others, **BOOK)
    assert plan.config == plan_run(40, {SHAPES[4]: 34_000.0}, TRUE, **BOOK).config


def test_a_size_whose_looks_take_all_the_time_is_not_chosen():
    others = dict.fromkeys(SHAPES[1:], 60.0)
    assert plan_run(50, SPEEDS, TRUE, others=others, **BOOK).parameters == 4576
    with pytest.raises(UserError, match=r"and 60 s for all that is not a step\. Type more"):
        plan_run(50, SPEEDS, TRUE, others=dict.fromkeys(SHAPES, 60.0), **BOOK)


def test_no_other_size_would_do_better_in_the_time():
    plan = plan_run(60, SPEEDS, TRUE, **BOOK)
    for shape in SHAPES:
        other = plan_run(60, {shape: SPEEDS[shape]}, TRUE, **BOOK)
        assert plan.loss <= other.loss


def test_a_faster_machine_makes_more_of_the_same_time():
    faster = {shape: 4 * speed for shape, speed in SPEEDS.items()}
    assert plan_run(20, faster, TRUE, **BOOK).loss < plan_run(20, SPEEDS, TRUE, **BOOK).loss


def test_a_text_is_not_read_more_often_than_was_measured():
    plan = plan_run(10**6, SPEEDS, TRUE, vocab_size=79, text_tokens=50_000)
    assert plan.epochs <= MOST_EPOCHS
    assert plan.epochs > MOST_EPOCHS - 0.1


@pytest.mark.parametrize("seconds", [0, -3, float("nan")])
def test_no_time_is_refused(seconds):
    with pytest.raises(UserError, match="--minutes 5"):
        plan_run(seconds, SPEEDS, TRUE, **BOOK)


def test_less_than_a_step_is_refused_with_both_times():
    slow = dict.fromkeys(SHAPES, 1024.0)
    with pytest.raises(UserError, match=r"1\.9 seconds are fewer than one step takes: .* 2 s"):
        plan_run(1.9, slow, TRUE, **BOOK)
    assert plan_run(2.1, slow, TRUE, **BOOK).config.training.steps == 1


def test_a_plan_reads_as_a_sentence():
    plan = plan_run(50, {SHAPES[4]: 34_000.0}, TRUE, **BOOK)
    assert "830 steps of 2,048 tokens at a rate of 0.003: 3.4 times through the text" in str(plan)


# What was recorded


def test_the_law_of_the_book_is_the_one_of_the_recorded_runs():
    """After new runs, put into HOLMES and MOST_EPOCHS what benchmarks/scaling_law.py prints."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    runs = [
        Trained(parameters=row["parameters"], tokens=row["tokens"], loss=row["held_out"])
        for row in record["runs"]
    ]
    sizes = [parameter_count(recipe(shape, 79, 1)) for shape in SHAPES]
    assert sorted({run.parameters for run in runs}) == sizes
    found = fit_law(runs)
    for name, value in dataclasses.asdict(HOLMES).items():
        assert getattr(found, name) == pytest.approx(value, abs=0.002), name
    worst = max(abs(found.loss(run.parameters, run.tokens) - run.loss) for run in runs)
    assert worst < 0.07
    longest = [max(run.tokens for run in runs if run.parameters == size) for size in sizes]
    assert MOST_EPOCHS == round(min(longest) / record["train_tokens"])


def test_every_row_of_the_scarce_table_has_its_three_seeds():
    rows = json.loads((RECORD.parent / "scarce_data.json").read_text(encoding="utf-8"))["rows"]
    seeds: dict[tuple, list[int]] = {}
    for row in rows:
        setting = ("weight_decay", "dropout", "epochs", "ema", "ensemble")
        seeds.setdefault(tuple(row[key] for key in setting), []).append(row["seed"])
        assert 0 < row["training"] < 4.5 and 1 < row["held_out"] < 4.5
    assert all(sorted(three) == [0, 1, 2] for three in seeds.values())
    values = [sorted(set(column)) for column in zip(*seeds, strict=True)]
    assert len(values[1]) >= 2, "run benchmarks/scarce_data.py: it goes on where it stopped"
    assert len(seeds) == np.prod([len(column) for column in values])
