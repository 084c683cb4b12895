"""Fault 34: no CUDA, an old driver, or no compiler: one sentence, and the rest goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bhushgpt.devices import pick_device
from bhushgpt.errors import UserError

TRAINING = """
import sys
import numpy as np
import torch
from bhushgpt.speed.acceleration import accelerate, pick_acceleration
from bhushgpt.batches import Batches
from bhushgpt.presets import preset
from bhushgpt.presets import build_model
from bhushgpt.training import TrainState, train

config = preset("gpt-v1-smoke", 9, steps=3)
chosen, notices = pick_acceleration("cpu", config, "float32", compile="on")
print(*notices, sep="\\n")
model = build_model(config)
batches = Batches(np.arange(500) % 9, config.training.batch_size, config.model.context_length)
state = TrainState.fresh(model, config.training)
for report in train(state, batches, config.training, accelerate(model, chosen)):
    pass
print(report.step, "steps, compiled:", chosen.compile)
"""


def test_without_a_compiler_training_goes_on_with_one_sentence(tmp_path):
    nowhere = {"PATH": str(tmp_path), "CXX": str(tmp_path / "no_compiler")}
    # A cache of its own: what was compiled before needs no compiler now.
    environment = os.environ | nowhere | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    root = Path(__file__).resolve().parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-c", TRAINING],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    sentence, last = done.stdout.splitlines()
    assert sentence.startswith("The model is not compiled, since torch.compile does not work here")
    assert "C++ compiler" in sentence
    assert last == "3 steps, compiled: False"


def test_without_a_card_the_message_says_what_to_use(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"no NVIDIA card\. Use the device 'cpu'"):
        pick_device("cuda")
    assert pick_device("auto").type != "cuda"


def test_a_card_that_this_build_cannot_use_is_passed_over(monkeypatch):
    """An old driver or card is seen, but fails at the first operation."""

    def fails(*_args, device=None, **_settings):
        if str(device) == "cuda":
            raise RuntimeError("CUDA driver version is insufficient\nmore lines")
        return torch.zeros(1)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", fails)
    with pytest.raises(UserError, match=r"driver version is insufficient.*Use the device 'cpu'"):
        pick_device("cuda")
    assert pick_device("auto").type != "cuda"
