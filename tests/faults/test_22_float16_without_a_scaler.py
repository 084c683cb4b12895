"""Fault 22: float16 without a scaler is refused; a T4 or V100 gets float16 and its scaler."""

from types import SimpleNamespace

import pytest
import torch

from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.presets import preset
from bhushgpt.speed import acceleration, precision
from bhushgpt.speed.acceleration import Acceleration, accelerate, pick_acceleration

SMALL = GPTConfig(vocab_size=7, context_length=4, n_layer=1, n_head=1, n_embd=8)


def test_weights_in_float16_are_refused_with_what_to_do():
    with pytest.raises(UserError, match=r"tokens.weight.*model.float\(\).*brings a scaler along"):
        accelerate(GPT(SMALL).half(), Acceleration())


def test_float16_never_comes_without_its_scaler():
    for settings in (Acceleration(precision="float16"), Acceleration()):
        loss_function = accelerate(GPT(SMALL), settings)
        assert (loss_function.scaler is not None) == (settings.precision == "float16")


@pytest.mark.parametrize(
    ("card", "capability", "expected"),
    [("T4", (7, 5), "float16"), ("V100", (7, 0), "float16"), ("A100", (8, 0), "bfloat16")],
)
def test_an_older_card_trains_in_float16_with_a_scaler(monkeypatch, card, capability, expected):
    brain = ("bfloat16",) if capability >= (8, 0) else ()
    able = ("float64", "float32", "float16", *brain)
    monkeypatch.setattr(precision, "describe_device", lambda device: SimpleNamespace(dtypes=able))
    monkeypatch.setattr(precision, "bfloat16_speedup", lambda device: 4.0)
    monkeypatch.setattr(acceleration, "compile_trouble", lambda kind: None)
    chosen, notices = pick_acceleration(torch.device("cuda"), preset("gpt-v2", 50257))
    assert (chosen.precision, notices) == (expected, [])
    assert (acceleration.AcceleratedLoss(chosen).scaler is not None) == (expected == "float16")
