"""Fault 1: a run is killed while it saves. Nothing that was saved is lost, and leftovers go."""

import os
import re
import subprocess
import sys

import pytest

from bhushgpt.storage.checkpoints import load_checkpoint, save_checkpoint
from bhushgpt.storage.run_folder import LEFT, sweep
from tests.small_runs import TOKENIZER, fresh_state, small_config
from tools.curriculum import ROOT

needs_fork = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="This system cannot fork, so no process is killed here."
)


def campaign(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"tests.faults.campaigns.{name}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@needs_fork
def test_killed_at_random_moments_it_goes_on_as_if_never_stopped() -> None:
    """The long form, 200 kills, is a part of `make faults`."""
    done = campaign("kills", "--kills", "6")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 kills" in done.stdout
    assert ": 0 unreadable, 0 finished saves gone" in done.stdout


@needs_fork
def test_dying_at_any_point_of_a_save_loses_nothing() -> None:
    """The long form, every single point, is a part of `make faults`."""
    done = campaign("crash_points", "--every", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("something lost: no") == 2
    noticed = re.search(r"a mistake: noticed at (\d+) points", done.stdout)
    assert noticed and int(noticed[1]) > 3


def test_what_was_left_is_swept_and_reported(tmp_path) -> None:
    config = small_config(6)
    saved = save_checkpoint(tmp_path, fresh_state(config), config, TOKENIZER)
    half = tmp_path / ".step_00000003.99999.new.tmp"
    half.mkdir()
    (half / "model.safetensors").write_bytes(bytes(1234))
    (tmp_path / ".last.99999.tmp").symlink_to("nowhere")
    (tmp_path / ".run.json.a1b2c3d4").write_text("{")
    assert sweep(tmp_path) == [
        "Removed .step_00000003.99999.new.tmp (1,234 bytes), left by a save that was stopped.",
        "Removed .last.99999.tmp (7 bytes), left by a save that was stopped.",
        "Removed .run.json.a1b2c3d4 (1 bytes), left by a save that was stopped.",
    ]
    assert not [path for path in tmp_path.iterdir() if LEFT.fullmatch(path.name)]
    assert load_checkpoint(saved).state.step == 0


def test_a_save_that_lacked_only_its_name_gets_it(tmp_path) -> None:
    config = small_config(6)
    saved = save_checkpoint(tmp_path, fresh_state(config), config, TOKENIZER)
    saved.rename(tmp_path / ".step_00000000.99999.new.tmp")
    (sentence,) = sweep(tmp_path)
    assert sentence == (
        "The save of step_00000000 had been stopped just before its end; it is complete now."
    )
    assert load_checkpoint(tmp_path).state.step == 0


def test_a_checkpoint_that_was_being_deleted_does_not_come_back(tmp_path) -> None:
    config = small_config(6)
    saved = save_checkpoint(tmp_path, fresh_state(config), config, TOKENIZER)
    saved.rename(tmp_path / ".step_00000000.99999.gone.tmp")
    assert sweep(tmp_path)[0].startswith("Removed .step_00000000.99999.gone.tmp")
    assert not list(tmp_path.glob("step_*"))
