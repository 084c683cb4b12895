"""oneDNN is let in only where it is exact and quicker, and the setting is put back otherwise."""

from types import SimpleNamespace

import pytest
import torch

from bhushgpt import cpu_settings
from bhushgpt.cpu_settings import fast_float32_products, float32_products_as_shipped


@pytest.fixture(autouse=True)
def _settings_come_back():
    settings = cpu_settings._settings()
    before = settings and settings.fp32_precision
    yield
    if settings is not None:
        settings.fp32_precision = before


def matrices():
    return torch.randn(300, 500), torch.randn(500, 200)


def made_by(monkeypatch, name):
    monkeypatch.setattr(cpu_settings, "describe_device", lambda kind: SimpleNamespace(name=name))


def test_products_stay_float32_whatever_was_decided():
    left, right = matrices()
    true = left.double() @ right.double()
    usual = (left @ right - true).abs().max()
    fast_float32_products()
    assert (left @ right - true).abs().max() <= 4 * usual


def test_operands_rounded_to_bfloat16_are_noticed(monkeypatch):
    """The planted mistake: a processor that uses the permission."""
    settings = SimpleNamespace(fp32_precision="none")

    original = torch.Tensor.__matmul__

    def rounding(left, right):
        if settings.fp32_precision == "bf16" and left.dtype == torch.float32:
            return original(left.bfloat16().float(), right.bfloat16().float())
        return original(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounding)
    monkeypatch.setattr(cpu_settings, "_settings", lambda: settings)
    made_by(monkeypatch, "AMD EPYC")
    assert fast_float32_products() is False
    assert settings.fp32_precision == "none"


@pytest.mark.parametrize(
    ("name", "on"),
    [
        ("AMD EPYC", True),
        ("AMD64 Family 25 Model 80 Stepping 0, AuthenticAMD", True),  # so Windows says it
        ("Intel(R) Xeon(R) Processor @ 2.60GHz", False),
        ("Apple M2", False),
        ("cpu", False),
    ],
)
def test_who_made_the_processor_decides_and_no_clock(monkeypatch, name, on):
    """It was measured once: on a busy machine the same run then ended with other digits."""
    settings = SimpleNamespace(fp32_precision="none")
    monkeypatch.setattr(cpu_settings, "_settings", lambda: settings)
    made_by(monkeypatch, name)
    assert fast_float32_products() is on
    assert settings.fp32_precision == ("bf16" if on else "none")


def test_a_second_call_tries_nothing(monkeypatch):
    settings = SimpleNamespace(fp32_precision="bf16")
    monkeypatch.setattr(cpu_settings, "_settings", lambda: settings)
    monkeypatch.setattr(cpu_settings, "_is_exact", lambda *args: pytest.fail("tried again"))
    assert fast_float32_products() is True


def test_a_torch_without_the_setting_and_a_gpu_are_left_alone(monkeypatch):
    assert fast_float32_products("meta") is False
    monkeypatch.setattr(cpu_settings, "_settings", lambda: None)
    assert fast_float32_products() is False
    with float32_products_as_shipped():
        pass


def test_as_shipped_inside_and_as_before_outside():
    settings = cpu_settings._settings()
    if settings is None:
        pytest.skip("this torch has no oneDNN")
    settings.fp32_precision = "bf16"
    with float32_products_as_shipped():
        assert settings.fp32_precision == "none"
    assert settings.fp32_precision == "bf16"


def test_trying_leaves_random_numbers_and_setting_alone():
    state = torch.get_rng_state()
    settings = cpu_settings._settings()
    if settings is None:
        pytest.skip("this torch has no oneDNN")
    before = settings.fp32_precision
    assert cpu_settings._is_exact(settings, before) in (True, False)
    assert settings.fp32_precision == before
    assert torch.equal(state, torch.get_rng_state())
