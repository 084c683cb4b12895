"""Saved = loaded, resumed = uninterrupted, damaged = refused."""

import dataclasses
import errno
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bhushgpt.batches import Batches
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT
from bhushgpt.presets import RunConfig, build_model, preset
from bhushgpt.storage.checkpoints import (
    MODEL,
    OPTIMIZER,
    SETTINGS,
    load_checkpoint,
    save_checkpoint,
)
from bhushgpt.storage.checkpoints import TOKENIZER as TOKENIZER_FILE
from bhushgpt.storage.run_folder import (
    MANIFEST,
    latest_checkpoint,
    list_checkpoints,
    write_manifest,
)
from bhushgpt.tokenizers import CharTokenizer
from bhushgpt.training import TrainState, train

TOKENIZER = CharTokenizer("\n abcdefgh")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


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


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "rotary"])
def test_every_kind_of_positions_comes_back(position, tmp_path):
    config, _, _ = fresh()
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, position=position))
    state = TrainState.fresh(build_model(config), config.training)
    loaded = load_checkpoint(save_checkpoint(tmp_path, state, config, TOKENIZER))
    for name, tensor in state.model.state_dict().items():
        assert torch.equal(tensor, loaded.state.model.state_dict()[name])


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
    with pytest.raises(UserError, match=rf"{name} is damaged.*no earlier checkpoint"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("3.exp_avg"), r"3\.exp_avg: is missing"),
        (lambda tensors: tensors.update({"99.step": torch.zeros(())}), "99.step: there is no such"),
        (
            lambda tensors: tensors.update({"0.exp_avg": torch.zeros(2, 2)}),
            r"0\.exp_avg: has \(2, 2",
        ),
    ],
)
def test_an_optimizer_that_is_not_the_models_is_refused(change, message, saved):
    tensors = load_file(saved / OPTIMIZER)
    change(tensors)
    save_file(tensors, saved / OPTIMIZER)
    (saved / MANIFEST).unlink()
    write_manifest(saved)
    with pytest.raises(UserError, match=message):
        load_checkpoint(saved)


def test_a_missing_file_is_named(saved):
    (saved / OPTIMIZER).unlink()
    with pytest.raises(UserError, match=rf"{OPTIMIZER} is missing"):
        load_checkpoint(saved)


def test_another_format_version_is_refused_by_number(saved):
    manifest = json.loads((saved / MANIFEST).read_text())
    (saved / MANIFEST).write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(UserError, match=r"format 99.*reads 1 and 2"):
        load_checkpoint(saved)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', "\x00"])
def test_a_damaged_manifest_is_refused(text, saved):
    (saved / MANIFEST).write_text(text)
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(saved)


def test_an_empty_folder_says_how_to_make_a_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"no checkpoint.*python -m bhushgpt train$"):
        load_checkpoint(tmp_path)


def changed(saved, path, value):
    """Change one setting of a checkpoint, the manifest with it, as a careful forger would."""
    file = saved / (
        TOKENIZER_FILE if path.startswith("characters") or path == "tokenizer" else SETTINGS
    )
    settings = json.loads(file.read_text())
    *way, last = path.split(".")
    place = settings
    for name in way:
        place = place[name]
    place[last] = value
    settings = value if path == "tokenizer" else settings
    file.write_text(json.dumps(settings))
    (saved / MANIFEST).unlink()
    write_manifest(saved)
    return saved


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("config.model.n_embd", "abc", "setting n_embd of the checkpoint is 'abc'"),
        ("config.model.n_layer", True, "setting n_layer of the checkpoint is True"),
        ("config.training.steps", 2.5, "setting steps of the checkpoint is 2.5"),
        ("config.held_out", 5, "held_out is 5"),
        ("config.preset", 7, "setting preset of the checkpoint is 7"),
        ("config.model.n_layer", 10**9, "do not have the sizes"),
        ("config.model.n_embd", 10**9, "do not have the sizes"),
        ("config.model.n_embd", 64, "do not have the sizes"),
        ("config.model.context_length", 10**12, "do not have the sizes"),
        ("config.model.vocab_size", 10**12, "do not belong together"),
        ("config.model", "x", r"cannot be read as a checkpoint.*AttributeError"),
        ("config.kind", "zebra", r"no kind of model 'zebra' here\. There are: bigram, gpt, mlp"),
        ("config.training.betas", 3, r"cannot be read as a checkpoint.*TypeError"),
        ("config", [], "cannot be read as a checkpoint"),
        ("optimizer_groups", [], "settings in the checkpoint are of another optimizer"),
        ("step", -5, "says step -5 of 6"),
        ("step", 10**9, "says step 1000000000 of 6"),
        ("step", "x", "says step 'x' of 6"),
        ("characters", "abc", "does not fit its fingerprint"),
        ("tokenizer", CharTokenizer("ab").to_dict(), "tokenizer in .* has 2 tokens, its model 10"),
    ],
)
def test_settings_that_were_changed_are_refused_before_anything_is_built(
    path, value, message, saved
):
    with pytest.raises(UserError, match=message):
        load_checkpoint(changed(saved, path, value))


def test_a_context_that_fits_the_weights_but_not_the_memory_is_refused(tmp_path):
    config, _, _ = fresh()
    rotary = dataclasses.replace(config.model, position="rotary")
    config = dataclasses.replace(config, model=rotary)
    state = TrainState.fresh(build_model(config), config.training)
    saved = save_checkpoint(tmp_path, state, config, TOKENIZER)
    assert load_checkpoint(saved).config == config
    with pytest.raises(UserError, match="GiB of memory"):
        load_checkpoint(changed(saved, "config.model.context_length", 10**12))


def test_the_last_two_checkpoints_are_kept(tmp_path):
    config, state, _ = fresh()
    for state.step in (0, 2, 4, 6):
        save_checkpoint(tmp_path, state, config, TOKENIZER)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_00000004", "step_00000006"]


def test_what_a_killed_save_left_is_swept_by_the_next(saved):
    left = saved.parent / ".step_00000003.99999.new.tmp"
    left.mkdir()
    (left / MODEL).write_bytes(b"half")
    config, state, _ = fresh()
    save_checkpoint(saved.parent, state, config, TOKENIZER)
    assert names(saved.parent) == ["last", "step_00000000", "step_00000003"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_save_that_fails_leaves_the_one_before_and_nothing_else(error, saved, monkeypatch):
    def fail(folder):
        raise error

    monkeypatch.setattr("bhushgpt.storage.run_folder.write_manifest", fail)
    config, state, _ = fresh()
    with pytest.raises((UserError, KeyboardInterrupt)) as raised:
        save_checkpoint(saved.parent, state, config, TOKENIZER)
    if raised.type is UserError:
        assert "The disk is full: the checkpoint of step 0 needs 0." in str(raised.value)
        assert "free. Earlier checkpoints are as they were" in str(raised.value)
    assert names(saved.parent) == ["last", "step_00000003"]
    assert load_checkpoint(saved).state.step == 3


def test_saving_the_same_step_again_replaces_it(saved):
    loaded = load_checkpoint(saved)
    (saved / MODEL).write_bytes(b"damaged")
    save_checkpoint(saved.parent, loaded.state, loaded.config, TOKENIZER)
    assert load_checkpoint(saved.parent).state.step == 3
    assert names(saved.parent) == ["last", "step_00000003"]
