"""A file is whole or it is the old one."""

import lzma
import os
import stat

import pytest

from bhushgpt.errors import UserError
from bhushgpt.files import read_file, sha256, write_atomically


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
