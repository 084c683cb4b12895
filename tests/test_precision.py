"""The type that helps is picked; float16 never goes without its scaler, and loses no step."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bhushgpt.batches import Batches
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.speed import precision
from bhushgpt.speed.acceleration import Acceleration, accelerate
from bhushgpt.speed.precision import (
    PRECISIONS,
    GradientScaler,
    autocast,
    pick_precision,
    train_scaled,
)
from bhushgpt.training import NonFinite, TrainState, batch_loss, train
from bhushgpt.training_config import TrainingConfig

CONFIG = TrainingConfig(steps=6, batch_size=4, learning_rate=1e-2)
BATCHES = Batches(np.random.default_rng(0).integers(0, 11, 300), 4, 8)


def small_gpt() -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(vocab_size=11, context_length=8, n_layer=2, n_head=2, n_embd=16))


@pytest.mark.parametrize(
    ("kind", "able", "speedup", "expected"),
    [
        ("cpu", ("float64", "float32", "bfloat16"), 4.0, "bfloat16"),
        ("cpu", ("float64", "float32", "bfloat16"), 1.1, "float32"),  # there, but no help
        ("cpu", ("float64", "float32"), 4.0, "float32"),
        ("cpu", ("float64", "float32", "float16"), 4.0, "float32"),  # float16 is for cards
        ("cuda", ("float64", "float32", "float16", "bfloat16"), 8.0, "bfloat16"),
        ("cuda", ("float64", "float32", "float16", "bfloat16"), 0.9, "bfloat16"),  # an unlucky one
        ("cuda", ("float64", "float32", "float16"), 0.5, "float16"),  # V100, T4
        ("cuda", ("float64", "float32"), 0.5, "float32"),
        ("mps", ("float32", "float16", "bfloat16"), 4.0, "float32"),
    ],
)
def test_auto_takes_what_the_device_has_and_what_was_measured_to_help(
    monkeypatch, kind, able, speedup, expected
):
    monkeypatch.setattr(precision, "describe_device", lambda device: SimpleNamespace(dtypes=able))
    monkeypatch.setattr(precision, "bfloat16_speedup", lambda device: speedup)
    assert pick_precision(torch.device(kind)) == expected


def test_a_type_that_a_card_lacks_is_refused_with_what_it_has(monkeypatch):
    able = ("float64", "float32", "float16")
    monkeypatch.setattr(precision, "describe_device", lambda device: SimpleNamespace(dtypes=able))
    with pytest.raises(UserError, match=r"cannot compute with bfloat16.*--precision float16"):
        pick_precision(torch.device("cuda"), "bfloat16")
    with pytest.raises(UserError, match="no precision 'bf16'"):
        pick_precision("cpu", "bf16")


def test_the_measurement_is_a_number_and_leaves_the_random_numbers_alone():
    before = torch.get_rng_state()
    assert precision.bfloat16_speedup(torch.device("cpu")) > 0
    assert torch.equal(torch.get_rng_state(), before)


def test_autocast_computes_products_in_the_type_and_keeps_weights():
    model = small_gpt()
    ids = BATCHES[0][0]
    for name in PRECISIONS:
        with autocast("cpu", name):
            assert model(ids).dtype == getattr(torch, name)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_a_small_type_trains_as_float32_does_but_for_rounding(name):
    losses = {}
    for kind in ("float32", name):
        model = small_gpt()
        state = TrainState.fresh(model, CONFIG)
        loss_function = accelerate(model, Acceleration(precision=kind))
        losses[kind] = [report.loss for report in train(state, BATCHES, CONFIG, loss_function)]
    assert losses[name] == pytest.approx(losses["float32"], abs=0.02)
    assert losses[name] != losses["float32"]


@pytest.mark.parametrize("scale", [1.0, 2.0**10, 2.0**16])
def test_a_scaled_gradient_is_the_plain_one_to_the_last_digit(scale):
    plain, scaled = small_gpt(), small_gpt()
    inputs, targets = BATCHES[0]
    batch_loss(plain, inputs, targets).backward()
    scaler = GradientScaler(scale=scale)
    loss = scaler.scaled(batch_loss(scaled, inputs, targets), scaled)
    loss.backward()
    assert loss.item() == batch_loss(plain, inputs, targets).item()
    for weight, expected in zip(scaled.parameters(), plain.parameters(), strict=True):
        assert torch.equal(weight.grad, expected.grad)  # type: ignore[arg-type]


def test_without_a_scaler_small_gradients_vanish_in_float16_and_with_it_they_stay():
    tiny = 1e-9  # below float16's smallest number

    def gradient(scaler: GradientScaler | None) -> float:
        layer = nn.Linear(1, 1, bias=False)
        with autocast("cpu", "float16"):
            loss = layer(torch.ones(1, 1)).float().sum() * tiny
        (loss if scaler is None else scaler.scaled(loss, layer)).backward()
        return layer.weight.grad.item()  # type: ignore[union-attr]

    assert gradient(None) == 0
    assert gradient(GradientScaler(scale=2.0**16)) == pytest.approx(tiny, rel=0.01)


class Overflowing:
    """A loss in whose backward a number passes float16's largest, as long as the scale is high."""

    def __init__(self, limit: float) -> None:
        self.scaler, self.limit, self.scales = GradientScaler(), limit, []

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        self.scales.append(self.scaler.scale)
        loss = batch_loss(model, inputs, targets)
        if self.scaler.scale > self.limit:
            loss.register_hook(lambda gradient: gradient * torch.inf)
        return self.scaler.scaled(loss, model)


@pytest.mark.parametrize("parts", [1, 2])
def test_an_overflow_lowers_the_scale_and_no_step_is_lost(parts):
    config = replace(CONFIG, accumulation_steps=parts)
    plain, scaled = (TrainState.fresh(small_gpt(), config) for _ in range(2))
    expected = list(train(plain, BATCHES, config))
    loss_function = Overflowing(limit=2.0**9)
    reports = list(train_scaled(scaled, BATCHES, config, loss_function, loss_function.scaler))
    assert reports == expected
    assert loss_function.scales[0] == 2.0**16 and loss_function.scales[-1] == 2.0**8
    assert loss_function.scaler.retries == 4
    for weight, other in zip(scaled.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(weight, other)


def test_a_loss_that_is_no_number_at_any_scale_stops_before_the_weights_are_touched():
    state = TrainState.fresh(small_gpt(), CONFIG)
    loss_function = Overflowing(limit=0.0)
    with pytest.raises(NonFinite, match=r"stopped at step 1: .*weights are still those"):
        list(train_scaled(state, BATCHES, CONFIG, loss_function, loss_function.scaler))
    assert loss_function.scaler.scale == 1 and state.step == 0
    for weight, other in zip(state.model.parameters(), small_gpt().parameters(), strict=True):
        assert torch.equal(weight, other)


def test_the_scale_grows_again_after_a_calm_time():
    scaler = GradientScaler(scale=4.0, growth_interval=3)
    layer = nn.Linear(1, 1)
    for _ in range(7):
        scaler.scaled(layer(torch.ones(1, 1)).sum(), layer)
    assert scaler.scale == 16.0
    assert scaler.lower() and scaler.scale == 4.0


@pytest.mark.parametrize("scale", [0.5, 3.0, 1000.0])
def test_a_scale_that_would_change_digits_is_refused(scale):
    with pytest.raises(UserError, match="power of two"):
        GradientScaler(scale=scale)


def test_a_copied_model_is_unscaled_too():
    import copy

    model: Any = small_gpt()
    loss_function = accelerate(model, Acceleration(precision="float16"))
    inputs, targets = BATCHES[0]
    twin = copy.deepcopy(model)
    loss_function(model, inputs, targets).backward()
    loss_function(twin, inputs, targets).backward()
    for weight, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(weight.grad, other.grad)


def test_the_scale_grows_up_to_its_cap_and_down_to_one():
    scaler = GradientScaler(scale=precision.LARGEST_SCALE / 2, growth_interval=1)
    layer = nn.Linear(1, 1)
    scales = []
    for _ in range(4):
        scaler.scaled(layer(torch.ones(1, 1)).sum(), layer)
        scales.append(scaler.scale)
    top = precision.LARGEST_SCALE
    assert scales == [top / 2, top, top, top]
    small = GradientScaler(scale=2.0)
    assert small.lower() and small.scale == 1 and not small.lower()
