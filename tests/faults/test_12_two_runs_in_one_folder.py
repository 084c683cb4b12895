"""Fault 12: two runs want one folder. The second is refused and told who the first is."""

import errno
import json
import os
import platform
import subprocess
import sys
from contextlib import contextmanager

import filelock
import pytest

from bhushgpt import files
from bhushgpt.errors import UserError
from bhushgpt.files import LOCK, one_writer
from bhushgpt.storage.checkpoints import load_checkpoint, save_checkpoint
from tests.small_runs import TOKENIZER, fresh_state, small_config
from tools.curriculum import ROOT

HOLD = (
    "import sys; from pathlib import Path; from bhushgpt.files import one_writer\n"
    "with one_writer(Path(sys.argv[1])): print('locked', flush=True); sys.stdin.read()"
)


@contextmanager
def other_run(folder):
    """Have another process hold the folder."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stdout.readline() == "locked\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_second_run_is_refused_until_the_first_is_gone(tmp_path) -> None:
    config = small_config(6)
    state = fresh_state(config)
    with other_run(tmp_path) as process:
        with pytest.raises(UserError) as raised:
            save_checkpoint(tmp_path, state, config, TOKENIZER)
        message = str(raised.value)
        assert message.startswith(f"Another run is writing to {tmp_path}: process {process.pid} on")
        assert f"{platform.node()}, since 2" in message
        assert message.endswith("Wait for it, stop it, or name another folder.")
        assert not list(tmp_path.glob("step_*"))
        process.kill()  # as hard as can be: no lock stays behind
        process.wait()
        save_checkpoint(tmp_path, state, config, TOKENIZER)
    assert load_checkpoint(tmp_path).state.step == 0


def test_reading_needs_no_lock(tmp_path) -> None:
    config = small_config(6)
    save_checkpoint(tmp_path, fresh_state(config), config, TOKENIZER)
    with other_run(tmp_path):
        assert load_checkpoint(tmp_path).state.step == 0


def test_who_holds_the_folder_may_save_in_it(tmp_path) -> None:
    config = small_config(6)
    with one_writer(tmp_path):
        save_checkpoint(tmp_path, fresh_state(config), config, TOKENIZER)
        with one_writer(tmp_path / "."), one_writer(tmp_path):
            assert (tmp_path / LOCK).exists()
        assert (tmp_path / LOCK).exists()
    assert not (tmp_path / LOCK).exists()


def test_an_error_inside_gives_the_lock_back(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt), one_writer(tmp_path):
        raise KeyboardInterrupt
    with one_writer(tmp_path):
        pass


@pytest.mark.parametrize(
    ("holder", "refused"),
    [
        ({"process": os.getpid(), "host": platform.node(), "since": "now"}, True),
        ({"process": 2**22 + 1, "host": platform.node(), "since": "then"}, False),
        ({"process": 2**22 + 1, "host": "another", "since": "then"}, True),
        ("nonsense", False),
    ],
)
def test_on_a_disk_without_locks_the_file_is_believed(holder, refused, tmp_path, monkeypatch):
    if os.name == "nt":
        pytest.skip("Windows has locks on every disk.")
    disk_without_locks(monkeypatch)
    (tmp_path / LOCK).write_text(" " + json.dumps(holder))
    files._notice.cache_clear()
    if refused:
        with pytest.raises(UserError, match=r"Another run is writing"), one_writer(tmp_path):
            pass
    else:
        with pytest.warns(UserWarning, match="knows no locks") as said, one_writer(tmp_path):
            assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()
        with one_writer(tmp_path):  # the notice comes once
            pass
        assert len(said) == 1


def disk_without_locks(monkeypatch):
    import fcntl

    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)


def test_a_lock_that_is_a_link_is_refused(tmp_path) -> None:
    if os.name == "nt":
        pytest.skip("Links need special rights there.")
    (tmp_path / "mine").write_text("not to be written to")
    (tmp_path / LOCK).symlink_to(tmp_path / "mine")
    with (
        pytest.raises(UserError, match=r"\.lock is a link, so it is no lock"),
        one_writer(tmp_path),
    ):
        pass
    assert (tmp_path / "mine").read_text() == "not to be written to"


def test_what_a_killed_run_left_of_its_lock_is_no_lock(tmp_path) -> None:
    with other_run(tmp_path) as process:
        process.kill()
        process.wait()
    assert (tmp_path / LOCK).exists()
    with one_writer(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()


def test_a_lock_whose_file_was_just_removed_is_taken_again(tmp_path, monkeypatch) -> None:
    """Between opening the file and locking it, the other run may have ended and removed it."""
    if os.name == "nt":
        pytest.skip("Windows does not remove an open file.")
    tries = []
    lock = filelock.lock_descriptor

    def late(handle, **how):
        tries.append(handle)
        if len(tries) == 1:
            (tmp_path / LOCK).unlink()
        return lock(handle, **how)

    monkeypatch.setattr(filelock, "lock_descriptor", late)
    with one_writer(tmp_path):
        assert (tmp_path / LOCK).exists()
    assert len(tries) == 2
