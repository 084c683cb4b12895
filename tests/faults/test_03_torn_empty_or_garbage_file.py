"""Fault 3: a file is cut off, empty or something else: named, with both sizes, and not loaded."""

import pytest

from bhushgpt.errors import UserError
from bhushgpt.storage.checkpoints import (
    MODEL,
    OPTIMIZER,
    SETTINGS,
    load_checkpoint,
    save_checkpoint,
)
from bhushgpt.storage.run_folder import newest_good_checkpoint
from bhushgpt.training import train
from tests.small_runs import TOKENIZER, batches_of, fresh_state, small_config


@pytest.fixture
def two(tmp_path):
    config = small_config(6)
    state = fresh_state(config)
    next(train(state, batches_of(config), config.training))
    saved = []
    for state.step in (2, 4):
        saved.append(save_checkpoint(tmp_path, state, config, TOKENIZER))
    return saved


@pytest.mark.parametrize(
    "name", [MODEL, OPTIMIZER, SETTINGS, "tokenizer.json", "random.safetensors"]
)
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:100], "is damaged: it has 100 bytes and should have {size:,}"),
        (lambda data: b"", "is empty and should have {size:,}"),
        (lambda data: b"garbage" * 1000, "is damaged: it has 7,000 bytes and should have {size:,}"),
        (lambda data: bytes(len(data)), "its content is not what was saved"),
    ],
    ids=["torn", "empty", "garbage", "zeros"],
)
def test_it_is_named_and_the_one_before_used(name, damage, words, two) -> None:
    older, newest = two
    data = (newest / name).read_bytes()
    (newest / name).write_bytes(damage(data))
    with pytest.raises(UserError) as raised:
        load_checkpoint(newest.parent)
    message = str(raised.value)
    assert str(newest / name) in message
    assert words.format(size=len(data)) in message
    assert f"It was not loaded. Use the checkpoint before it instead: {older}." in message
    path, notices = newest_good_checkpoint(newest.parent)
    assert path == older
    assert notices[0].startswith("step_00000004 cannot be used: ")
    assert load_checkpoint(path).state.step == 2


def test_with_no_good_one_left_every_damage_is_told(two) -> None:
    for checkpoint in two:
        (checkpoint / MODEL).write_bytes(b"")
    with pytest.raises(UserError, match=r"step_00000004 cannot.*step_00000002 cannot.*Train a new"):
        newest_good_checkpoint(two[0].parent)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"format": 1}', b"\xff\xfe", b"[" * 100000])
def test_a_manifest_of_garbage_is_named(text, two) -> None:
    (two[1] / "manifest.json").write_bytes(text)
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        load_checkpoint(two[1])
