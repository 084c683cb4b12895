"""Fault 23: Apple's GPU gives other results than the CPU, or NaN: checked once, and said."""

import pytest
import torch

from bhushgpt.diagnosis import machine as module
from bhushgpt.diagnosis.machine import device_notices, self_check

REAL = module._computed


def run(change):
    """Return the verdict on a device that computes what the CPU does, changed."""
    return self_check("cpu", lambda *given: change(REAL(*given)))


def test_results_that_differ_are_said_with_what_to_do() -> None:
    sentence = run(lambda found: {name: value + 0.05 for name, value in found.items()})
    assert sentence is not None
    assert "differs from the CPU by 0.05" in sentence
    assert "--device cpu" in sentence


def test_nan_in_a_single_gradient_is_found() -> None:
    def spoil(found):
        name = [name for name in found if name.startswith("the gradient")][-1]
        found[name].view(-1)[-1] = torch.nan
        return found

    assert "gives NaN or infinity for the gradient of" in (run(spoil) or "")


def test_rounding_is_no_difference() -> None:
    assert run(lambda found: {name: value * (1 + 1e-6) for name, value in found.items()}) is None


def test_a_run_on_mps_is_told_once_before_it_starts_and_other_devices_are_not(monkeypatch) -> None:
    monkeypatch.setattr(module, "self_check", lambda device: f"{device} is wrong")
    assert device_notices("mps") == ["mps is wrong"]
    assert device_notices("cpu") == device_notices("cuda") == []
    monkeypatch.setattr(module, "self_check", lambda device: None)
    assert device_notices("mps") == []


def test_this_machines_mps_computes_what_its_cpu_computes() -> None:
    if not torch.backends.mps.is_available():
        pytest.skip("this machine has no Apple GPU")
    assert self_check("mps") is None
