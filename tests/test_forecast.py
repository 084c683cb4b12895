"""The memory formula against what torch really keeps, the time against the clock's arithmetic."""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from bhushgpt.batches import Batches
from bhushgpt.devices import describe_device
from bhushgpt.errors import UserError
from bhushgpt.evaluation import windows_at_once
from bhushgpt.forecast import (
    Forecast,
    _trial_rows,
    check_memory,
    expected_bytes,
    forecast,
    loading_memory,
    other_bytes,
    parameter_count,
    run_memory,
    training_memory,
)
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.language_model import eval_mode, token_losses
from bhushgpt.presets import PRESETS, RunConfig, build_model, preset
from bhushgpt.speed import Acceleration
from bhushgpt.storage.tensors import weights_once
from bhushgpt.training import TrainState, train


class Peak(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive, self.bytes = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for made in result if isinstance(result, list | tuple) else [result]:
            if isinstance(made, torch.Tensor):
                storage = made.untyped_storage()
                self.alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.alive = {k: v for k, v in self.alive.items() if not v[0].expired()}
        self.bytes = max(self.bytes, sum(size for _, size in self.alive.values()))
        return result


def batches_for(config):
    tokens = np.random.default_rng(0).integers(0, 79, 5000)
    return Batches(tokens, config.training.batch_size, config.model.context_length)


def sized(name, vocab_size=79, *, rows, parts=1, **sizes):
    """Return a preset of few rows, and of other sizes if given."""
    config = preset(name, vocab_size)
    training = dataclasses.replace(
        config.training, batch_size=rows * parts, accumulation_steps=parts
    )
    model = dataclasses.replace(config.model, **sizes)
    return dataclasses.replace(config, model=model, training=training)


SMALL = {"context_length": 32, "n_head": 4, "n_embd": 32, "n_layer": 4}
GPT2 = {"context_length": 32, "n_head": 5, "n_embd": 60, "n_layer": 4}


@pytest.mark.parametrize(
    ("config", "precision", "chunked"),
    [
        (sized("bigram", rows=32), "float32", False),
        (sized("gpt-v1-smoke", rows=8), "float32", False),
        (sized("gpt-v1", rows=8), "float32", False),
        (sized("gpt-v1", rows=40, parts=3, **SMALL), "bfloat16", False),
        (sized("gpt-v1", rows=64, attention_form="fused", **SMALL), "bfloat16", False),
        (sized("gpt-v1-large", rows=64, **SMALL), "bfloat16", False),
        (sized("gpt-v2-mini", 1024, rows=64, **SMALL), "bfloat16", False),
        (sized("gpt-modern", rows=64, **SMALL), "bfloat16", False),
        (sized("speedrun", rows=64, **SMALL), "float32", False),
        (sized("tinystories", 512, rows=64, **SMALL), "float32", False),
        (sized("gpt-v2", 9000, rows=4, **GPT2), "bfloat16", True),
        (sized("gpt-v2-medium", 9000, rows=4, parts=2, **GPT2), "float32", True),
        (sized("gpt-v2-large", 9000, rows=4, attention_form="fused", **GPT2), "bfloat16", True),
        (sized("gpt-v2-xl", 9000, rows=2, **GPT2), "bfloat16", True),
    ],
    ids=lambda value: value.preset if isinstance(value, RunConfig) else "",
)
def test_the_memory_of_a_run_is_what_its_tensors_take(config, precision, chunked):
    """Counted from the first two layers, without numbers; measured in a real run of two steps."""
    how = Acceleration(
        precision=precision,
        chunk_tokens=256 if chunked else 0,
        cheap_dropout=getattr(config.model, "dropout", 0) > 0,
        quick_layers=True,
    )
    batches = batches_for(config)
    rows = windows_at_once(config.model.context_length, config.model.vocab_size)
    ids = torch.zeros(rows, config.model.context_length, dtype=torch.long)
    with Peak() as peak:
        state = TrainState.fresh(build_model(config), config.training)
        for report in train(state, batches, config.training, how.loss_function()):
            if report.step == 2:
                break
        with torch.no_grad(), eval_mode(state.model):
            token_losses(state.model(ids), ids)
    assert 0.97 < run_memory(config, "cpu", how) / peak.bytes < 1.1


def test_a_step_on_a_card_keeps_no_attention_weights_and_no_masks_of_them():
    # Learned positions: rotating costs something that differs between the two as well.
    config = sized("gpt-v1-large", rows=64, position="learned")
    half = Acceleration(precision="bfloat16")
    card, host = (training_memory(config, where, half) for where in ("cuda", "cpu"))
    H, T, B, n_layer = 8, 128, config.training.batch_size, 8
    # Weights of attention, their mask, and the thinned out weights: 2, 1 and 2 bytes at least.
    assert host - card > 5 * B * H * T * T * n_layer


@pytest.mark.parametrize(
    ("name", "vocabulary", "gibibytes"), [("gpt-v2", 50_257, 24), ("gpt-v1-large", 79, 4)]
)
@pytest.mark.parametrize("precision", ["float32"])
def test_cards_are_not_refused_what_fits(name, vocabulary, gibibytes, precision, monkeypatch):
    card = dataclasses.replace(describe_device("cpu"), memory_bytes=gibibytes * 2**30, kind="cuda")
    monkeypatch.setattr("bhushgpt.forecast.describe_device", lambda device: card)
    how = Acceleration(precision=precision, chunk_tokens=512 if name == "gpt-v2" else 0)
    check_memory(preset(name, vocabulary), torch.device("cuda"), how)


def test_accumulation_is_counted():
    whole, parts = sized("gpt-v1", rows=512, **SMALL), sized("gpt-v1", rows=64, parts=8, **SMALL)
    weights = 4 * parameter_count(whole)
    few = training_memory(sized("gpt-v1", rows=64, **SMALL))
    assert few <= training_memory(parts) <= few + weights < training_memory(whole) / 2


def test_counting_changes_no_random_state_and_takes_no_memory():
    before = torch.get_rng_state()
    assert training_memory(sized("gpt-v1-smoke", rows=10**9)) > 2**45
    assert torch.equal(before, torch.get_rng_state())


def test_a_forecast_changes_neither_model_nor_random_state():
    config = preset("gpt-v1-smoke", 79)
    model = build_model(config)
    before = [parameter.clone() for parameter in model.parameters()]
    random_state = torch.get_rng_state()
    forecast(config, model, batches_for(config), torch.device("cpu"))
    assert torch.equal(random_state, torch.get_rng_state())
    for old, new in zip(before, model.parameters(), strict=True):
        assert torch.equal(old, new)


def test_a_forecast_is_within_a_factor_of_1_5_of_the_real_run(monkeypatch):
    # The processor's time and not the wall's: other programs must not decide a test. The best of
    # three tries, since they still slow down the memory.
    monkeypatch.setattr("bhushgpt.forecast.time.perf_counter", time.process_time)
    config = preset("gpt-v1-smoke", 79, steps=60)
    ratios = []
    for _ in range(3):
        model = build_model(config)
        expected = forecast(config, model, batches_for(config), torch.device("cpu")).seconds
        state = TrainState.fresh(model, config.training)
        begin = time.process_time()
        for _ in train(state, batches_for(config), config.training):
            pass
        ratios.append(expected / (time.process_time() - begin))
        if 1 / 1.5 < ratios[-1] < 1.5:
            return
    raise AssertionError(f"forecast divided by the real time: {ratios}")


GROWTH = """
import dataclasses, itertools, sys
from pathlib import Path
import numpy as np, torch
from bhushgpt.batches import Batches
from bhushgpt.cpu_settings import keep_freed_memory
from bhushgpt.forecast import grown, run_memory
from bhushgpt.presets import build_model, preset
from bhushgpt.speed import pick_acceleration
from bhushgpt.training import TrainState, train

def status(word):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(word))

def steps(config, how, count):
    tokens = np.arange(100_000) % 79
    batches = Batches(tokens, config.training.batch_size, config.model.context_length)
    state = TrainState.fresh(build_model(config), config.training)
    made = train(state, batches, config.training, loss_function=how.loss_function())
    return list(itertools.islice(made, count))

config, small = preset(sys.argv[1], 79), preset("gpt-v1-smoke", 79)
parts = int(sys.argv[3])
size = config.training.batch_size * parts
training = dataclasses.replace(config.training, batch_size=size, accumulation_steps=parts)
config = dataclasses.replace(config, training=training)
how, _ = pick_acceleration(torch.device("cpu"), config, sys.argv[2], "off")
keep_freed_memory()
steps(small, how, 1)  # what the first step loads is not the run's
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
steps(config, how, 3)
print(grown(run_memory(config, "cpu", how)) / (status("VmHWM") - before))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak")
@pytest.mark.parametrize(
    ("name", "precision", "parts"),
    [
        ("gpt-v1", "float32", 1),
        pytest.param("gpt-v1", "float32", 4, marks=pytest.mark.long),
        pytest.param("gpt-v1", "bfloat16", 1, marks=pytest.mark.long),
        pytest.param("gpt-modern", "float32", 1, marks=pytest.mark.long),
        pytest.param("gpt-v1-large", "float32", 1, marks=pytest.mark.long),
        pytest.param("tinystories", "bfloat16", 1, marks=pytest.mark.long),
        pytest.param("gpt-v2-mini", "float32", 1, marks=pytest.mark.long),
    ],
)
def test_a_process_grows_by_what_is_forecast(name, precision, parts):
    command = [sys.executable, "-c", GROWTH, name, precision, str(parts)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 1 / 1.25 < float(done.stdout) < 1.25


def test_time_and_speed_of_a_forecast_belong_together():
    config = preset("gpt-v1-smoke", 79)
    expected = forecast(config, build_model(config), batches_for(config), torch.device("cpu"))
    tokens = config.training.steps * config.training.batch_size * config.model.context_length
    assert expected.seconds == pytest.approx(tokens / expected.tokens_per_second)
    assert expected.parameters == build_model(config).parameter_count()


def test_a_forecast_reads_as_a_sentence():
    text = str(
        Forecast(
            parameters=811_648,
            trained=811_648,
            memory_bytes=90 * 2**20,
            seconds=240,
            tokens_per_second=17e3,
        )
    )
    assert "811,648 parameters" in text
    assert "90 MiB" in text
    assert "4.0 minutes at 17,000 tokens/s" in text


@pytest.mark.parametrize("name", PRESETS)
def test_the_parameter_formula_equals_the_model(name):
    config = preset(name, 79)
    if not isinstance(config.model, GPTConfig):
        assert parameter_count(config) == build_model(config).parameter_count()
        return
    with torch.device("meta"):  # counts without filling the memory: the largest has 1.5 billion
        assert parameter_count(config) == GPT(config.model).parameter_count()


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "rotary"])
def test_the_parameter_formula_equals_what_a_checkpoint_holds(position):
    config = preset("gpt-v1-smoke", 79)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, position=position))
    state = TrainState.fresh(build_model(config), config.training)
    stored = sum(tensor.numel() for tensor in weights_once(state).values())
    assert parameter_count(config) == stored


def test_a_large_step_is_judged_by_a_part_of_it():
    config = preset("gpt-v1-large", 79)
    small = dataclasses.replace(config, model=preset("gpt-v1-smoke", 79).model)
    large_rows = _trial_rows(config, torch.device("cpu"))
    assert 1 <= large_rows < config.training.batch_size / 8
    assert _trial_rows(config, torch.device("cuda")) == config.training.batch_size
    assert _trial_rows(small, torch.device("cpu")) == config.training.batch_size
    training = dataclasses.replace(config.training, accumulation_steps=4)
    parts = dataclasses.replace(config, training=training)
    assert _trial_rows(parts, torch.device("cuda")) == config.training.batch_size / 4


def test_a_run_that_cannot_fit_is_refused_with_both_numbers():
    config = preset("bigram", 10**6)
    with pytest.raises(UserError, match=r"about 20,8.* GiB of memory, and cpu has .*1,000,000"):
        check_memory(config, torch.device("cpu"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "3 s"), (80, "80 s"), (600, "10.0 minutes"), (9000, "2.5 hours"), (10**6, "11.6 days")],
)
def test_a_duration_is_said_in_the_unit_that_fits(seconds, text):
    expected = Forecast(
        parameters=1, trained=1, memory_bytes=1, seconds=seconds, tokens_per_second=1
    )
    assert f"about {text} at" in str(expected)


def clock(monkeypatch, looks):
    """Let the forecast see these times, one at each look at the clock."""
    seen = iter(looks)
    monkeypatch.setattr("bhushgpt.forecast.time.perf_counter", lambda: next(seen))


@pytest.mark.parametrize(
    ("parts", "seconds", "expected"),
    [
        # Three rows take 2 s and six 3 s, so the other ten take ten thirds of a second.
        (1, [100, 2, 3, 2, 3, 50, 60], 3 + 10 / 3),
        (4, [100, 2, 2, 50], 4 * 2),  # all four rows of a part at once
        (8, [100, 2, 2, 50], 8 * 2),
    ],
)
def test_a_step_takes_what_its_timed_parts_say(monkeypatch, parts, seconds, expected):
    """The first step also warms up, and another program came between in the last ones."""
    config = preset("gpt-v1-smoke", 79, steps=40)
    training = dataclasses.replace(config.training, batch_size=16, accumulation_steps=parts)
    config = dataclasses.replace(config, training=training)
    work = 6 * parameter_count(config) * config.model.context_length
    monkeypatch.setattr("bhushgpt.forecast.TRIAL_WORK", 3.2 * work)
    clock(monkeypatch, np.cumsum([0, *seconds]).tolist())
    found = forecast(config, build_model(config), batches_for(config), torch.device("cpu"))
    assert found.seconds == pytest.approx(40 * expected)
    assert found.tokens_per_second == pytest.approx(16 * 32 / expected)


def test_timing_leaves_the_models_mode_and_no_gradients():
    config = preset("gpt-v1-smoke", 79)
    model = build_model(config).eval()
    forecast(config, model, batches_for(config), torch.device("cpu"))
    assert not model.training
    assert all(weight.grad is None for weight in model.parameters())


def test_holding_a_model_takes_its_weights_and_the_tables_of_its_positions():
    config = preset("gpt-v1-smoke", 79)
    assert isinstance(config.model, GPTConfig)
    rotary = dataclasses.replace(config.model, position="rotary")
    config = dataclasses.replace(config, model=rotary)
    # Of each position the cosines and sines of half a head, in every layer.
    tables = rotary.n_layer * 4 * rotary.context_length * rotary.n_embd // rotary.n_head
    weights = 4 * parameter_count(config)
    assert loading_memory(config) == weights + tables
    assert loading_memory(config, optimizer=True) == 3 * weights + tables


def test_a_batch_in_parts_takes_the_memory_of_a_part():
    config = preset("gpt-v1-smoke", 79)

    def with_batch(rows, parts):
        sizes = dataclasses.replace(config.training, batch_size=rows, accumulation_steps=parts)
        return training_memory(dataclasses.replace(config, training=sizes))

    # From the second part on, the gradients are there as well.
    gradients = 4 * parameter_count(config)
    assert with_batch(16, 4) == with_batch(4, 1) + gradients < with_batch(16, 1)


def test_a_checkpoint_holds_three_numbers_for_each_weight():
    config = preset("gpt-v1-smoke", 79)
    assert expected_bytes(config) == 3 * 4 * parameter_count(config) + other_bytes(config)
