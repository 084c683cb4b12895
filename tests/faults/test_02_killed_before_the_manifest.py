"""Fault 2: a folder without a manifest is a save that never ended. It is ignored, and said so."""

import pytest

from bhushgpt.errors import UserError
from bhushgpt.storage.checkpoints import MODEL, load_checkpoint, save_checkpoint
from bhushgpt.storage.run_folder import MANIFEST, newest_good_checkpoint
from tests.small_runs import TOKENIZER, fresh_state, small_config


def test_the_one_before_is_used(tmp_path) -> None:
    config = small_config(6)
    state = fresh_state(config)
    first = save_checkpoint(tmp_path, state, config, TOKENIZER)
    state.step = 3
    second = save_checkpoint(tmp_path, state, config, TOKENIZER)
    (second / MANIFEST).unlink()
    path, notices = newest_good_checkpoint(tmp_path)
    assert path == first
    assert notices == [
        "step_00000003 has no manifest.json: it was never finished, and is ignored.",
        "step_00000000 is whole: the run goes on from there.",
    ]
    assert load_checkpoint(tmp_path).state.step == 0


def test_if_it_is_the_only_one_the_message_says_so(tmp_path) -> None:
    only = tmp_path / "step_00000003"
    only.mkdir()
    (only / MODEL).write_bytes(b"half")
    with pytest.raises(UserError, match=r"No checkpoint in .* can be used.*never finished"):
        newest_good_checkpoint(tmp_path)
    with pytest.raises(UserError, match=r"no folder step_\.\.\. with a manifest\.json in it"):
        load_checkpoint(tmp_path)
