"""Saved = loaded, resumed = uninterrupted, damaged = refused."""

import json

import numpy as np
import pytest
import torch

from bhushgpt.batches import Batches
from bhushgpt.checkpoints import (
    MODEL,
    OPTIMIZER,
    SETTINGS,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT
from bhushgpt.manifests import MANIFEST
from bhushgpt.presets import RunConfig, build_model, preset
from bhushgpt.tokenizers import CharTokenizer
from bhushgpt.training import TrainState, train

TOKENIZER = CharTokenizer("\n abcdefgh")


def fresh(name="gpt-v1-smoke", steps=6) -> tuple[RunConfig, TrainState, Batches]:
    config = preset(name, TOKENIZER.vocab_size, steps=steps)
    state = TrainState.fresh(build_model(config), config.training)
    tokens = np.random.default_rng(0).integers(0, TOKENIZER.vocab_size, 2000)
    batches = Batches(tokens, config.training.batch_size, config.model.context_length)
    return config, state, batches


@pytest.fixture
def saved(tmp_path):
    config, state, batches = fresh()
    for report in train(state, batches, config.training):
        if report.step == 3:
            break
    return save_checkpoint(tmp_path, state, config, TOKENIZER)


@pytest.mark.parametrize("name", ["gpt-v1-smoke", "bigram"])
def test_resumed_equals_uninterrupted_bit_for_bit(name, tmp_path):
    config, state, batches = fresh(name)
    losses = []
    for report in train(state, batches, config.training):
        losses.append(report.loss)
        if report.step == 3:
            save_checkpoint(tmp_path, state, config, TOKENIZER)
    loaded = load_checkpoint(tmp_path)
    resumed = [report.loss for report in train(loaded.state, batches, loaded.config.training)]
    assert resumed == losses[3:]
    for ours, theirs in zip(state.model.parameters(), loaded.state.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("forgotten", ["optimizer", "step", "weights"])
def test_leaving_out_a_part_of_the_state_changes_the_run(forgotten, saved):
    def rest(state, config):
        _, _, batches = fresh()
        return [report.loss for report in train(state, batches, config.training)]

    whole = load_checkpoint(saved)
    expected = rest(whole.state, whole.config)
    part = load_checkpoint(saved)
    if forgotten == "optimizer":
        part.state.optimizer = TrainState.fresh(part.state.model, part.config.training).optimizer
    elif forgotten == "step":
        part.state.step = 2
    else:
        part.state.model.load_state_dict(build_model(part.config).state_dict())
    assert rest(part.state, part.config)[-3:] != expected


def test_settings_and_tokenizer_come_back(saved):
    config, _, _ = fresh()
    loaded = load_checkpoint(saved)
    assert loaded.config == config
    assert loaded.tokenizer.digest == TOKENIZER.digest
    assert loaded.state.step == 3


def test_the_tied_weight_stays_tied(saved):
    model = load_checkpoint(saved).state.model
    assert isinstance(model, GPT)
    assert model.head.weight is model.tokens.weight


def test_the_newest_complete_checkpoint_is_taken(saved):
    run = saved.parent
    (run / "step_00000009").mkdir()  # no manifest: a save that was killed
    assert latest_checkpoint(run) == saved
    assert not list(run.glob(".*.tmp"))


@pytest.mark.parametrize("name", [MODEL, OPTIMIZER, SETTINGS])
def test_one_flipped_bit_is_refused_by_name(name, saved):
    file = saved / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(UserError, match=rf"{name} is damaged.*earlier checkpoint"):
        load_checkpoint(saved)


def test_a_missing_file_is_named(saved):
    (saved / OPTIMIZER).unlink()
    with pytest.raises(UserError, match=rf"{OPTIMIZER} is missing"):
        load_checkpoint(saved)


def test_another_format_version_is_refused_by_number(saved):
    manifest = json.loads((saved / MANIFEST).read_text())
    (saved / MANIFEST).write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(UserError, match=r"format 99.*reads 1"):
        load_checkpoint(saved)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', "\x00"])
def test_a_damaged_manifest_is_refused(text, saved):
    (saved / MANIFEST).write_text(text)
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(saved)


def test_an_empty_folder_says_how_to_make_a_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"no checkpoint.*python -m bhushgpt train"):
        load_checkpoint(tmp_path)
