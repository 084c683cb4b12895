"""Fault 13: old checkpoints go only once the new one is verified; `best` and `last` never go."""

import os
import shutil
from pathlib import Path

import pytest

from bhushgpt.errors import UserError
from bhushgpt.storage import run_folder
from bhushgpt.storage.checkpoints import MODEL, load_checkpoint, save_checkpoint
from bhushgpt.storage.run_folder import BEST, LAST, followed, list_checkpoints, set_aside_after
from tests.small_runs import TOKENIZER, fresh_state, small_config

CONFIG = small_config(60)


@pytest.fixture
def run(tmp_path):
    return tmp_path


def save(folder, *steps, **options):
    state = fresh_state(CONFIG)
    for state.step in steps:
        save_checkpoint(folder, state, CONFIG, TOKENIZER, **options)


def steps(folder) -> list[int]:
    return [int(path.name.removeprefix("step_")) for path in list_checkpoints(folder)]


@pytest.mark.parametrize(("keep", "left"), [(1, [40]), (2, [30, 40]), (9, [10, 20, 30, 40])])
def test_the_newest_are_kept(keep, left, run) -> None:
    save(run, 10, 20, 30, 40, keep=keep)
    assert steps(run) == left
    assert followed(run, LAST) == run / "step_00000040"


def test_the_best_stays_whatever_comes_after(run) -> None:
    save(run, 10)
    save(run, 20, best=True)
    save(run, 30, 40, 50, keep=1)
    assert steps(run) == [20, 50]
    assert load_checkpoint(run / BEST).state.step == 20
    assert load_checkpoint(run / LAST).state.step == 50
    save(run, 60, keep=1, best=True)
    assert steps(run) == [60]
    assert load_checkpoint(run / BEST).state.step == 60


def test_the_last_saved_stays_though_others_have_higher_steps(run) -> None:
    save(run, 40, 50)
    save(run, 30, keep=1)
    assert steps(run) == [30, 50]
    assert load_checkpoint(run / LAST).state.step == 30


def test_nothing_is_deleted_if_the_new_one_is_not_whole(run, monkeypatch) -> None:
    save(run, 10)
    finish = run_folder._finish

    def badly(temporary, target, **how):
        finish(temporary, target, **how)
        (target / MODEL).write_bytes(b"the disk did not keep its word")

    monkeypatch.setattr(run_folder, "_finish", badly)
    with pytest.raises(UserError, match=r"step_00000020.model\.safetensors is damaged"):
        save(run, 20, keep=1)
    assert steps(run) == [10, 20]
    assert followed(run, LAST) == run / "step_00000010"
    assert load_checkpoint(run / "step_00000010").state.step == 10


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(13, "Permission denied")])
def test_stopped_between_two_names_the_old_one_has_its_own_back(error, run, monkeypatch) -> None:
    save(run, 10)
    replace = Path.replace

    def stop(path, target):
        if ".new." in path.name:
            raise error
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises((KeyboardInterrupt, UserError)):
        save(run, 10)
    monkeypatch.undo()
    assert load_checkpoint(run).state.step == 10
    assert run_folder.sweep(run) == []


def test_a_deletion_that_fails_is_a_warning_and_the_run_goes_on(run, monkeypatch) -> None:
    save(run, 10)
    monkeypatch.setattr(run_folder, "remove", lambda path: ".gone." not in path.name)
    with pytest.warns(UserWarning, match=r"old checkpoint .*step_00000010 cannot be deleted\. The"):
        save(run, 20, keep=1)
    monkeypatch.undo()
    assert steps(run) == [20]
    assert run_folder.sweep(run)[0].startswith("Removed .step_00000010.")  # at the next start


def test_a_link_that_cannot_be_set_is_a_warning(tmp_path, monkeypatch) -> None:
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_folder, "point", full)
    with pytest.warns(UserWarning, match=r"last cannot be set to step_00000010: No space left"):
        save(tmp_path, 10)
    assert load_checkpoint(tmp_path).state.step == 10


@pytest.mark.parametrize("keep", [0, -1])
def test_keeping_none_is_refused(keep, tmp_path) -> None:
    with pytest.raises(UserError, match=f"keep is {keep}: at least 1"):
        save(tmp_path, 10, keep=keep)


@pytest.mark.parametrize("target", ["/etc", "../elsewhere", "step_00000001/../..", "", "step_x"])
def test_a_link_to_anything_else_is_not_followed(target, tmp_path) -> None:
    (tmp_path / "elsewhere").mkdir()
    run = tmp_path / "run"
    run.mkdir()
    (run / BEST).write_text(target)
    assert followed(run, BEST) is None
    if target and os.name != "nt":
        (run / LAST).symlink_to(target)
        assert followed(run, LAST) is None


posix = pytest.mark.skipif(os.name == "nt", reason="Links need special rights there.")


def test_a_name_is_a_file_of_one_line(run) -> None:
    save(run, 10, best=True)
    for link in (BEST, LAST):
        assert not (run / link).is_symlink()
        assert (run / link).read_text() == "step_00000010\n"


@posix
def test_a_link_of_an_earlier_version_is_read_and_replaced(run) -> None:
    save(run, 10, 20)
    for link in (BEST, LAST):
        (run / link).unlink(missing_ok=True)
        (run / link).symlink_to("step_00000010")
    assert followed(run, BEST) == run / "step_00000010"
    assert load_checkpoint(run / BEST).state.step == 10
    save(run, 30, keep=1)
    assert steps(run) == [10, 30]
    assert (run / LAST).read_text() == "step_00000030\n"


def as_links(run) -> None:
    """Make the run one of an earlier version, whose names were symbolic links."""
    for link in (BEST, LAST):
        name = (run / link).read_text().strip()
        (run / link).unlink()
        (run / link).symlink_to(name)


def copy_with_links_followed(run, copy) -> None:
    as_links(run)
    shutil.copytree(run, copy)
    assert (copy / BEST / MODEL).is_file()


def copy_with_links_dropped(run, copy) -> None:
    as_links(run)
    shutil.copytree(run, copy, ignore=lambda *_: [BEST, LAST])


def copy_with_links_as_empty_files(run, copy) -> None:
    as_links(run)
    shutil.copytree(run, copy, symlinks=True)
    for link in (BEST, LAST):
        (copy / link).unlink()
        (copy / link).touch()


def copy_with_links_to_where_it_was(run, copy) -> None:
    shutil.copytree(run, copy, symlinks=True)
    for link in (BEST, LAST):
        (copy / link).unlink()
        (copy / link).symlink_to("/gone/run/step_00000020")


COPIES = [
    shutil.copytree,
    copy_with_links_followed,
    copy_with_links_dropped,
    copy_with_links_as_empty_files,
    copy_with_links_to_where_it_was,
]


@posix
@pytest.mark.parametrize("copy", COPIES, ids=lambda copy: copy.__name__)
def test_the_best_stays_in_every_copy_of_a_run(copy, tmp_path) -> None:
    save(tmp_path / "run", 10, best=True)
    save(tmp_path / "run", 20, best=True)
    save(tmp_path / "run", 30)
    run = tmp_path / "copy"
    copy(tmp_path / "run", run)
    save(run, 40, 50, keep=1)
    assert steps(run) == [20, 50]
    assert load_checkpoint(run / LAST).state.step == 50
    save(run, 60, keep=1, best=True)
    assert steps(run) == [60]
    assert load_checkpoint(run / BEST).state.step == 60
    assert (run / BEST).read_text() == "step_00000060\n"


@posix
def test_a_copied_name_of_what_is_set_aside_goes_too(tmp_path) -> None:
    save(tmp_path / "run", 10)
    save(tmp_path / "run", 20, best=True)
    copy_with_links_followed(tmp_path / "run", tmp_path / "copy")
    set_aside_after(tmp_path / "copy", 10)
    assert followed(tmp_path / "copy", BEST) is None
    assert load_checkpoint(tmp_path / "copy" / "aside_1_step_00000020").state.step == 20


def test_later_checkpoints_are_set_aside_and_none_is_lost(run) -> None:
    save(run, 10)
    save(run, 20, best=True)
    save(run, 30, keep=9)
    assert set_aside_after(run, 10) == [
        "step_00000020 comes after step 10; it is now called aside_1_step_00000020.",
        "step_00000030 comes after step 10; it is now called aside_1_step_00000030.",
    ]
    assert steps(run) == [10]
    assert followed(run, LAST) == run / "step_00000010"
    assert followed(run, BEST) is None
    assert load_checkpoint(run / "aside_1_step_00000030").state.step == 30
    save(run, 20)
    assert set_aside_after(run, 10)[0].endswith("now called aside_2_step_00000020.")
    assert set_aside_after(run, 10) == []


def test_a_copy_that_lost_the_name_of_the_best_still_knows_it(run) -> None:
    save(run, 10)
    save(run, 20, best=True)
    save(run, 30)
    (run / BEST).unlink()
    assert followed(run, BEST) == run / "step_00000020"
    assert load_checkpoint(run / BEST).state.step == 20
    save(run, 40, 50, keep=1)
    assert steps(run) == [20, 50]
