"""Fault 6: folders with odd names, places that cannot be written, things that are no folder."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from bhushgpt import files
from bhushgpt.errors import UserError
from bhushgpt.storage import run_folder
from bhushgpt.storage.checkpoints import MODEL, load_checkpoint, save_checkpoint
from bhushgpt.storage.run_folder import MANIFEST, list_checkpoints, new_checkpoint, write_manifest
from tests.small_runs import TOKENIZER, fresh_state, small_config

CONFIG = small_config(6)
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files.")


def save(folder: Path) -> Path:
    return save_checkpoint(folder, fresh_state(CONFIG), CONFIG, TOKENIZER)


@pytest.mark.parametrize("name", ["with spaces in it", "Übungsläufe", "实验", "-x", "a'b\"c"])
def test_any_name_of_a_folder_will_do(name, tmp_path) -> None:
    if os.name == "nt" and '"' in name:
        pytest.skip("Windows allows no quotes in names.")
    assert load_checkpoint(save(tmp_path / name)).state.step == 0


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    save(Path("~/run"))
    assert [path.name for path in list_checkpoints(tmp_path / "run")] == ["step_00000000"]
    assert load_checkpoint(Path("~/run")).state.step == 0


def test_a_relative_folder_stays_where_it_was_while_saving(tmp_path, monkeypatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with new_checkpoint(Path("run"), 7) as temporary:
        monkeypatch.chdir("elsewhere")
        (temporary / "a").write_text("a")
    assert (tmp_path / "run" / "step_00000007" / MANIFEST).is_file()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path) -> None:
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(UserError, match=r"run is not a folder\. Name another one"):
        save(tmp_path / "run")
    assert (tmp_path / "run").read_text() == "not a folder"


def test_a_place_that_cannot_be_written_is_named(tmp_path) -> None:
    if not hasattr(os, "geteuid"):
        pytest.skip("Windows has other rights than these.")
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    # Root may write anywhere but into the kernel's own folders.
    place = locked if os.geteuid() else Path("/proc")
    if not place.is_dir():
        pytest.skip("Nothing is forbidden to this user here.")
    with pytest.raises(UserError, match=r"cannot be written: .+\. Name another folder"):
        save(place / "run")


@posix
def test_a_folder_that_became_read_only_keeps_what_it_has(tmp_path) -> None:
    if os.geteuid() == 0:
        pytest.skip("Nothing is read-only for root; the test above has a place that is.")
    saved = save(tmp_path)
    tmp_path.chmod(0o555)
    try:
        state = fresh_state(CONFIG)
        state.step = 3
        with pytest.raises(UserError, match="cannot be written"):
            save_checkpoint(tmp_path, state, CONFIG, TOKENIZER)
    finally:
        tmp_path.chmod(0o755)
    assert load_checkpoint(tmp_path).folder == saved


def make_pipe(place: Path) -> None:
    os.mkfifo(place)


def make_file(place: Path) -> None:
    place.write_text("mine")


def make_link(place: Path) -> None:
    place.symlink_to("/dev/null")


@posix
@pytest.mark.parametrize("make", [make_pipe, make_file, make_link])
def test_what_is_no_folder_is_not_replaced_by_a_checkpoint(make, tmp_path) -> None:
    place = tmp_path / "step_00000000"
    make(place)
    before = place.lstat()
    with pytest.raises(UserError, match=r"step_00000000 is not a folder, so it is not replaced"):
        save(tmp_path)
    assert place.lstat() == before
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000000"]


@posix
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_pipe, "is not an ordinary file"),
        (make_link, "is a link out of its folder"),
        (lambda place: place.symlink_to("/dev/zero"), "is a link out of its folder"),
        (lambda place: place.symlink_to("/etc/passwd"), "is a link out of its folder"),
        (lambda place: place.mkdir(), "is not an ordinary file"),
        (lambda place: place.symlink_to("missing"), "is missing"),
    ],
)
def test_what_is_no_file_is_not_read(make, words, tmp_path) -> None:
    saved = save(tmp_path)
    (saved / MODEL).unlink()
    make(saved / MODEL)
    with pytest.raises(UserError, match=words):
        load_checkpoint(saved)


@posix
def test_a_pipe_in_the_place_of_the_manifest_does_not_hang(tmp_path) -> None:
    saved = save(tmp_path)
    (saved / MANIFEST).unlink()
    os.mkfifo(saved / MANIFEST)
    with pytest.raises(UserError, match=r"no folder step_"):
        load_checkpoint(saved)


def test_a_manifest_that_lists_a_file_elsewhere_is_refused(tmp_path) -> None:
    saved = save(tmp_path)
    (tmp_path / "outside").write_text("x")
    for name in ("../outside", str(tmp_path / "outside")):
        (saved / MANIFEST).unlink()
        write_manifest(saved)
        # Forged with its own checksum right, as by someone who has read the source.
        content: Any = dict(run_folder.read_manifest(saved))
        del content["sha256"]
        content["files"][name] = run_folder.fingerprint(tmp_path / "outside")
        whole = content | {"sha256": run_folder._digest(content)}
        (saved / MANIFEST).write_text(json.dumps(whole))
        with pytest.raises(UserError, match="which lies outside its folder"):
            load_checkpoint(saved)


@posix
def test_files_have_the_modes_that_any_new_file_has(tmp_path) -> None:
    (tmp_path / "any").write_text("x")
    usual = stat.S_IMODE((tmp_path / "any").stat().st_mode)
    saved = save(tmp_path / "run")
    assert {stat.S_IMODE(file.stat().st_mode) for file in saved.iterdir()} == {usual}


def test_a_disk_without_modes_is_no_trouble(tmp_path, monkeypatch) -> None:
    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    monkeypatch.setattr(os, "chmod", refuse)
    assert load_checkpoint(save(tmp_path)).state.step == 0


@posix
def test_a_disk_that_cannot_flush_a_folder_is_told_of_once(tmp_path, monkeypatch) -> None:
    fsync = os.fsync

    def folders_fail(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", folders_fail)
    files._notice.cache_clear()
    with pytest.warns(UserWarning, match="cannot flush a folder") as said:
        save(tmp_path)
        save(tmp_path)
    assert len(said) == 1
    assert load_checkpoint(tmp_path).state.step == 0


@posix
def test_a_link_to_a_run_is_the_run(tmp_path) -> None:
    save(tmp_path / "disk" / "run")
    (tmp_path / "latest").symlink_to(tmp_path / "disk" / "run")
    assert load_checkpoint(tmp_path / "latest").state.step == 0
