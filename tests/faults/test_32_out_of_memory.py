"""Fault 32: the memory is estimated before the run, and full memory gets the knobs to turn."""

import re
import subprocess
import sys

import pytest
import torch

from bhushgpt.diagnosis.memory import memory_explained
from bhushgpt.environment import memory_size
from bhushgpt.errors import UserError
from bhushgpt.forecast import check_memory, grown, training_memory
from bhushgpt.presets import preset
from tests.small_runs import with_model

CONFIG = preset("gpt-v1-large", 79)
SMALL = preset("gpt-v1-smoke", 79)


def test_what_cannot_fit_is_refused_with_both_numbers_before_anything_is_built() -> None:
    huge = with_model(CONFIG, context_length=10**6)
    with pytest.raises(UserError, match=r"needs about [\d,.]+ GiB of memory, and cpu has [\d,.]+"):
        check_memory(huge, torch.device("cpu"))


# A machine with little memory: the process may not have more than it has now and some.
LITTLE = """
import resource, dataclasses, sys
import numpy as np, psutil, torch
from bhushgpt.batches import Batches
from bhushgpt.errors import UserError
from bhushgpt.diagnosis.memory import memory_explained
from bhushgpt.presets import build_model, preset
from bhushgpt.training import TrainState, train

torch.set_num_threads(1)
config = preset("gpt-v1", 79)
training = dataclasses.replace(
    config.training, batch_size=96, accumulation_steps=int(sys.argv[1]), steps=1, warmup_steps=0
)
config = dataclasses.replace(config, training=training)
warm = preset("gpt-v1-smoke", 79)  # threads and buffers that a first step makes
batches = Batches(np.arange(4096) % 79, 8, 32)
next(train(TrainState.fresh(build_model(warm), warm.training), batches, warm.training))
now = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (now + 180 * 2**20, now + 180 * 2**20))
batches = Batches(np.arange(4096) % 79, training.batch_size, config.model.context_length)
try:
    with memory_explained(config, "cpu"):
        state = TrainState.fresh(build_model(config), training)
        for report in train(state, batches, training):
            print("trained", report.step)
except UserError as error:
    print(error)
    assert "Traceback" not in str(error)
    finite = all(weight.isfinite().all() for weight in state.model.parameters())
    print("step", state.step, "finite", finite)
"""


def with_little_more(accumulation: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LITTLE, str(accumulation)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory so")
def test_full_memory_gives_the_table_and_the_setting_it_names_fits() -> None:
    said = with_little_more(1)
    assert said.startswith("The memory is full. This run needs about")
    rows = re.findall(r"^  (\w+) +(\S+) +([\d,]+) MiB  (fits|too large)$", said, re.M)
    assert [row[0] for row in rows] == ["batch", "context", "width", "precision"]
    assert re.search(r"A batch of up to \d+ windows fits at a time", said)
    assert "step 0 finite True" in said  # nothing of the run is spoilt
    (setting,) = [row[1] for row in rows if row[0] == "batch" and row[3] == "fits"]
    parts = int(setting.removeprefix("accumulation_steps="))
    assert "trained 1" in with_little_more(parts)


@pytest.mark.parametrize("where", ["cpu", "cuda", "mps"])
def test_every_device_s_words_for_it_are_understood(where, monkeypatch) -> None:
    words = {
        "cpu": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        "mps": RuntimeError("MPS backend out of memory (MPS allocated: 17.00 GB)"),
    }
    needed = grown(training_memory(SMALL, where), where)
    monkeypatch.setattr("bhushgpt.devices.free_memory", lambda device: needed // 2)
    with pytest.raises(UserError) as raised, memory_explained(SMALL, where):
        raise words[where]
    message = str(raised.value)
    assert f"and {where} has at most {memory_size(needed // 2)} for it" in message
    assert f"This run needs about {memory_size(needed)} of memory" in message
    assert "accumulation_steps=" in message
