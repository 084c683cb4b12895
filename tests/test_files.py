"""A file is whole or it is the old one."""

import errno
import lzma
import os
import stat
from pathlib import Path
from typing import TypedDict

import pytest

from bhushgpt import files
from bhushgpt.errors import UserError
from bhushgpt.files import flush, open_regular, read_file, read_json, sha256, write_atomically
from bhushgpt.training_config import TrainingConfig


def test_the_new_file_replaces_the_old_one_and_nothing_else_stays(tmp_path):
    file = tmp_path / "new folder" / "a.txt"
    write_atomically(file, b"old")
    write_atomically(file, b"new")
    assert file.read_bytes() == b"new"
    assert os.listdir(file.parent) == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permission bits for others.")
def test_others_may_read_the_file(tmp_path):
    write_atomically(tmp_path / "a.txt", b"x")
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    file = tmp_path / "a.txt"
    write_atomically(file, b"old")

    def disk_full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_xz_is_unpacked_and_a_damaged_one_is_named(tmp_path):
    file = tmp_path / "story.txt.xz"
    packed = lzma.compress(b"Once upon a time. " * 50)
    file.write_bytes(packed)
    assert read_file(file) == b"Once upon a time. " * 50
    file.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(UserError, match=r"story\.txt\.xz is a damaged \.xz file"):
        read_file(file)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.txt cannot be read: No such file"):
        read_file(tmp_path / "gone.txt")


def test_the_fingerprint_changes_with_one_bit():
    assert sha256(b"a") != sha256(b"c")
    assert sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.skipif(os.name == "nt", reason="Windows flushes its folders itself.")
@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_disk_that_cannot_flush_a_folder_is_told_of_once(number, tmp_path, monkeypatch):
    fsync = os.fsync

    def folders_fail(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", folders_fail)
    files._notice.cache_clear()
    with pytest.warns(UserWarning, match="cannot flush a folder") as said:
        write_atomically(tmp_path / "a.txt", b"x")
        write_atomically(tmp_path / "b" / "c.txt", b"x")
    assert len(said) == 1
    assert (tmp_path / "a.txt").read_bytes() == b"x"


def test_a_folder_that_cannot_be_flushed_for_want_of_room_is_an_error(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="Input/output"):
        flush(tmp_path)


def test_a_disk_without_modes_is_no_trouble(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    write_atomically(tmp_path / "a.txt", b"x")
    assert (tmp_path / "a.txt").read_bytes() == b"x"


class Point(TypedDict):
    x: int
    name: str


def test_json_comes_as_what_it_is_to_be(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('{"steps": 3, "betas": [0.5, 0.9], "max_grad_norm": Infinity}')
    config = TrainingConfig(steps=3, betas=(0.5, 0.9), max_grad_norm=float("inf"))
    assert read_json(file, TrainingConfig) == config
    file.write_text('{"x": 1, "name": "a"}')
    assert read_json(file, Point) == {"x": 1, "name": "a"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"steps": "3"}', r"Expected `int`, got `str` - at `\$\.steps`"),
        ('{"steps": true}', r"Expected `int`, got `bool` - at `\$\.steps`"),
        ('{"steps": 2.5}', r"Expected `int`, got `float` - at `\$\.steps`"),
        ("{}", "missing required field `steps`"),
        ("[]", "Expected `object`, got `array`"),
        ('{"steps": 0}', "steps is 0, it must be at least 1"),
        ('{"steps": 1, "shedule": "wsd"}', "a setting 'shedule' .* Did you mean 'schedule'"),
        ("{", "is damaged: it is not JSON"),
        ("\xff", "is damaged: it is not JSON"),
        ("[" * 200_000, "is damaged: it is not JSON"),
    ],
)
def test_json_that_is_something_else_is_refused_by_file_and_field(text, words, tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=f"a\\.json.*{words}"):
        read_json(file, TrainingConfig)


def test_json_without_end_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LONGEST_JSON", 10)
    (tmp_path / "a.json").write_text("[1, 2, 3, 4]")
    with pytest.raises(UserError, match="more than 10 bytes"):
        read_json(tmp_path / "a.json", list)


@pytest.mark.parametrize("over", [0, 1])
def test_json_is_read_up_to_its_limit(over, tmp_path, monkeypatch):
    text = '{"a": 1}'
    (tmp_path / "a.json").write_text(text)
    monkeypatch.setattr(files, "LONGEST_JSON", len(text) - over)
    if over:
        with pytest.raises(UserError, match=r"has more than 7 bytes\. It is not read"):
            read_json(tmp_path / "a.json", dict[str, int])
    else:
        assert read_json(tmp_path / "a.json", dict[str, int]) == {"a": 1}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes.")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is not an ordinary file"):
        open_regular(tmp_path / "pipe")


def test_a_second_stream_after_padding_is_read_and_all_count_together(tmp_path, monkeypatch):
    packed = lzma.compress(b"one") + bytes(8) + lzma.compress(b"two")
    (tmp_path / "a.xz").write_bytes(packed)
    assert read_file(tmp_path / "a.xz") == b"onetwo"
    monkeypatch.setattr(files, "LARGEST", 1000)
    (tmp_path / "b.xz").write_bytes(lzma.compress(bytes(990)) + lzma.compress(bytes(20)))
    with pytest.raises(UserError, match="MB of text, too much to be read at once"):
        read_file(tmp_path / "b.xz")


def test_a_text_that_is_too_large_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST", 1000)
    (tmp_path / "a.txt").write_bytes(bytes(1000))
    assert len(read_file(tmp_path / "a.txt")) == 1000
    (tmp_path / "a.txt").write_bytes(bytes(1001))
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("read"))
    with pytest.raises(UserError, match="too much to be read at once"):
        read_file(tmp_path / "a.txt")
