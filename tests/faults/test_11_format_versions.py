"""Fault 11: a checkpoint that was written earlier is read; another format is refused by number."""

import json
import shutil

import numpy as np
import pytest

from bhushgpt.batches import Batches
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPTConfig
from bhushgpt.presets import RunConfig, build_model
from bhushgpt.storage.checkpoints import MODEL, OPTIMIZER, RANDOM, load_checkpoint, save_checkpoint
from bhushgpt.storage.run_folder import (
    FORMAT,
    MANIFEST,
    newest_good_checkpoint,
    read_manifest,
    write_manifest,
)
from bhushgpt.storage.tensors import read_header
from bhushgpt.tokenizers import CharTokenizer
from bhushgpt.training import TrainState, train
from bhushgpt.training_config import TrainingConfig
from tools.curriculum import ROOT

# Written by `first_half` when the course had format 1.
STORED = ROOT / "tests" / "fixtures" / "checkpoint_format_1"
# What the very same run printed for the steps after it, on the machine that wrote it.
NEXT_LOSSES = [1.1085186, 1.0916193, 1.0926266]
BATCHES = Batches(np.arange(100) % 3, 2, 4)
CONFIG = RunConfig(
    preset="gpt-v1-smoke",
    model=GPTConfig(vocab_size=3, context_length=4, n_layer=1, n_head=2, n_embd=4, dropout=0.1),
    training=TrainingConfig(steps=6, batch_size=2, learning_rate=0.003, schedule="linear"),
)


def first_half(folder):
    """Train a GPT for 3 of 6 steps on "abcabc...", and save it."""
    state = TrainState.fresh(build_model(CONFIG), CONFIG.training)
    next(report for report in train(state, BATCHES, CONFIG.training) if report.step == 3)
    return save_checkpoint(folder, state, CONFIG, CharTokenizer("abc"))


@pytest.fixture
def stored(tmp_path):
    shutil.copytree(STORED, tmp_path / "run")
    return tmp_path / "run" / "step_00000003"


def test_what_was_written_earlier_goes_on_where_it_stopped(stored) -> None:
    assert read_manifest(stored)["format"] == FORMAT == 1
    loaded = load_checkpoint(stored.parent)
    assert (loaded.state.step, loaded.config) == (3, CONFIG)
    assert loaded.tokenizer.decode([0, 1, 2]) == "abc"
    losses = [report.loss for report in train(loaded.state, BATCHES, loaded.config.training)]
    # Other processors round otherwise, so not to the last bit.
    assert losses == pytest.approx(NEXT_LOSSES, rel=1e-4)


def test_what_is_written_today_has_the_same_form(stored, tmp_path) -> None:
    today = first_half(tmp_path / "today")
    assert {file.name for file in today.iterdir()} == {file.name for file in stored.iterdir()}
    for name in ("config.json", "tokenizer.json"):
        assert json.loads((today / name).read_text()) == json.loads((stored / name).read_text())
    for name in (MODEL, OPTIMIZER):
        assert read_header(today / name) == read_header(stored / name)


def test_a_part_that_may_be_missing_may_be_missing(stored) -> None:
    (stored / RANDOM).unlink()
    (stored / MANIFEST).unlink()
    write_manifest(stored)
    loaded = load_checkpoint(stored)
    assert loaded.random is None
    assert loaded.state.step == 3
    (stored / OPTIMIZER).unlink()
    (stored / MANIFEST).unlink()
    write_manifest(stored)
    with pytest.raises(UserError, match=rf"has no {OPTIMIZER}"):
        load_checkpoint(stored)
    assert load_checkpoint(stored, optimizer=False).state.step == 3


def test_damage_is_found_in_it(stored) -> None:
    data = bytearray((stored / MODEL).read_bytes())
    data[-1] ^= 1
    (stored / MODEL).write_bytes(data)
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        load_checkpoint(stored)


@pytest.mark.parametrize("number", [0, 2, 99, -1, "1", None, True, 1.5, 1.0, [2]])
def test_any_other_format_is_refused_by_its_number(number, stored) -> None:
    manifest = json.loads((stored / MANIFEST).read_text())
    (stored / MANIFEST).write_text(json.dumps(manifest | {"format": number}))
    with pytest.raises(UserError) as raised:
        load_checkpoint(stored)
    assert f"has checkpoint format {number!r}; this version of bhushgpt reads 1." in str(
        raised.value
    )
    with pytest.raises(UserError, match="update bhushgpt, or take another checkpoint"):
        newest_good_checkpoint(stored.parent)
