"""Fault 5: the disk fills up. The old checkpoint stays, and the message says how much is needed."""

import errno
import shutil
from collections import namedtuple

import pytest
import torch
from safetensors import SafetensorError
from test_01_kill_while_saving import campaign

from bhushgpt.files import NoRoom, check_room
from bhushgpt.forecast import expected_bytes
from bhushgpt.storage.checkpoints import load_checkpoint, save_checkpoint
from bhushgpt.storage.run_folder import LEFT
from tests.faults.campaigns.full_disk import can_run
from tests.small_runs import TOKENIZER, fresh_state, small_config

Usage = namedtuple("Usage", "total used free")


def test_on_a_disk_that_fills_up_at_every_point_nothing_is_lost() -> None:
    if not can_run():
        pytest.skip("A small disk of one's own needs Linux with unshare and mount.")
    done = campaign("full_disk", "--tries", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 refused before writing, 3 stopped while writing" in done.stdout


@pytest.fixture
def run(tmp_path):
    config = small_config(6)
    state = fresh_state(config)
    save_checkpoint(tmp_path, state, config, TOKENIZER)
    state.step = 3
    return tmp_path, state, config


def test_too_little_room_is_noticed_before_anything_is_written(run, monkeypatch) -> None:
    folder, state, config = run
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 5000))
    with pytest.raises(
        NoRoom, match=r"step 3 needs 0\.2 MB, and the disk of .* has 0\.1 MB free\. Make room"
    ):
        save_checkpoint(folder, state, config, TOKENIZER)
    assert load_checkpoint(folder).state.step == 0


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        SafetensorError("Error while serializing: I/O error: No space left (os error 28)"),
    ],
)
def test_a_disk_that_fills_up_meanwhile_leaves_what_was_there(error, run, monkeypatch) -> None:
    folder, state, config = run

    def full(*_, **__):
        raise error

    monkeypatch.setattr("bhushgpt.storage.checkpoints.write_tensors", full)
    with pytest.raises(NoRoom) as raised:
        save_checkpoint(folder, state, config, TOKENIZER)
    message = str(raised.value)
    assert message.startswith("The disk is full: the checkpoint of step 3 needs 0.2 MB, and ")
    assert "Earlier checkpoints are as they were." in message
    assert not [path for path in folder.iterdir() if LEFT.fullmatch(path.name)]
    assert load_checkpoint(folder).state.step == 0
    monkeypatch.undo()
    save_checkpoint(folder, state, config, TOKENIZER)  # there is room again: it goes on
    assert load_checkpoint(folder).state.step == 3


def test_what_a_run_will_need_is_known_before_it_starts(run, monkeypatch) -> None:
    folder, state, config = run
    with torch.no_grad():
        for parameter in state.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
    state.optimizer.step()
    saved = save_checkpoint(folder, state, config, TOKENIZER)
    real = sum(file.stat().st_size for file in saved.iterdir())
    assert real <= expected_bytes(config) < real + 2**18
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 2_000_000))
    with pytest.raises(NoRoom, match=r"This run needs 3\.0 MB, and .* 2\.0 MB free"):
        check_room(folder / "not" / "yet", 3_000_000, "This run")
