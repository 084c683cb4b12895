from types import SimpleNamespace

import pytest

from bhushgpt import devices
from bhushgpt.environment import current_scale, pick
from bhushgpt.errors import UserError


@pytest.mark.parametrize("scale", ["smoke", "laptop", "gpu"])
def test_the_variable_decides(monkeypatch, scale):
    monkeypatch.setenv("BHUSHGPT_SCALE", scale)
    assert current_scale() == scale
    assert pick(smoke="smoke", laptop="laptop", gpu="gpu") == scale


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize(
    ("best", "gigabytes", "expected"),
    [
        ("cuda", 139, "gpu"),  # H200
        ("cuda", 14.6, "gpu"),  # T4
        ("cuda", 8, "laptop"),  # a laptop's card
        ("mps", 64, "laptop"),
        ("cpu", 64, "laptop"),  # also where a card is seen and cannot be computed on
    ],
)
def test_without_the_variable_the_device_decides(monkeypatch, empty, best, gigabytes, expected):
    monkeypatch.setattr(devices, "best_kind", lambda: best)
    card = SimpleNamespace(memory_bytes=gigabytes * 2**30)
    monkeypatch.setattr(devices, "describe_device", lambda kind: card)
    if empty:
        monkeypatch.setenv("BHUSHGPT_SCALE", "")
    else:
        monkeypatch.delenv("BHUSHGPT_SCALE", raising=False)
    assert current_scale() == expected


def test_another_word_is_refused_with_the_words_there_are(monkeypatch):
    monkeypatch.setenv("BHUSHGPT_SCALE", "labtop")
    with pytest.raises(UserError, match=r"'labtop'.*Did you mean 'laptop'.*gpu, laptop, smoke"):
        current_scale()
    with pytest.raises(UserError):
        pick(smoke=1, laptop=2)


def test_a_gpu_value_left_out_is_the_laptops(monkeypatch):
    monkeypatch.setenv("BHUSHGPT_SCALE", "gpu")
    assert pick(smoke=1, laptop=2) == 2
    assert pick(smoke=1, laptop=2, gpu=0) == 0  # a value that is false is still a value
