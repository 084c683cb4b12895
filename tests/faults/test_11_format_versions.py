"""Fault 11: a checkpoint of an older format is read as before; a newer one is refused by number."""

import json
import shutil

import numpy as np
import pytest

from bhushgpt.batches import Batches
from bhushgpt.errors import UserError
from bhushgpt.storage.checkpoints import load_checkpoint, save_checkpoint
from bhushgpt.storage.run_folder import FORMAT, MANIFEST, newest_good_checkpoint, read_manifest
from bhushgpt.training import train
from tools.curriculum import ROOT

# Written by the course when it had format 1: a GPT after 3 of 6 steps on "abcabc...".
FIRST = ROOT / "tests" / "fixtures" / "checkpoint_format_1"
# What the very same run printed for the steps after it, on the machine that wrote it.
NEXT_LOSSES = [1.1085186, 1.0916193, 1.0926266]


@pytest.fixture
def old(tmp_path):
    shutil.copytree(FIRST, tmp_path / "run")
    return tmp_path / "run" / "step_00000003"


def test_format_1_goes_on_where_it_stopped(old) -> None:
    assert read_manifest(old)["format"] == 1
    loaded = load_checkpoint(old.parent)
    assert loaded.state.step == 3
    assert loaded.tokenizer.decode([0, 1, 2]) == "abc"
    assert loaded.random is None
    batches = Batches(np.arange(100) % 3, 2, 4)
    losses = [report.loss for report in train(loaded.state, batches, loaded.config.training)]
    # Other processors round otherwise, so not to the last bit.
    assert losses == pytest.approx(NEXT_LOSSES, rel=1e-4)


def test_what_is_saved_from_it_has_the_format_of_today(old) -> None:
    loaded = load_checkpoint(old)
    again = save_checkpoint(old.parent, loaded.state, loaded.config, loaded.tokenizer)
    assert read_manifest(again)["format"] == FORMAT == 2
    assert load_checkpoint(again).config == loaded.config


def test_damage_in_format_1_is_found_as_well(old) -> None:
    data = bytearray((old / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (old / "model.safetensors").write_bytes(data)
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        load_checkpoint(old)


@pytest.mark.parametrize("number", [0, 3, 99, -1, "2", None, True, 1.5, [2]])
def test_any_other_format_is_refused_by_its_number(number, old) -> None:
    manifest = json.loads((old / MANIFEST).read_text())
    (old / MANIFEST).write_text(json.dumps(manifest | {"format": number}))
    with pytest.raises(UserError) as raised:
        load_checkpoint(old)
    assert f"has checkpoint format {number!r}; this version of bhushgpt reads 1 and 2." in str(
        raised.value
    )
    with pytest.raises(UserError, match="update bhushgpt, or take another checkpoint"):
        newest_good_checkpoint(old.parent)
