"""Fault 16: a run goes on with other settings. It says which differ and which value holds."""

import dataclasses
import json
import re
import shutil

import pytest

from bhushgpt.commands.line import main
from bhushgpt.storage.checkpoints import MODEL, load_checkpoint
from bhushgpt.storage.run_folder import latest_checkpoint
from tests.faults.trained import train_for_a_few_steps
from tests.interrupted_runs import flags, history, train, whole_state


@pytest.fixture(scope="module")
def unbroken(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    assert train(text, folder) == 0
    return folder


@pytest.fixture
def stopped(unbroken, tmp_path):
    """A run of 30 steps that stopped after 25."""
    folder = shutil.copytree(unbroken, tmp_path / "stopped", symlinks=True)
    shutil.rmtree(latest_checkpoint(folder))
    for name in ("last", "best"):
        (folder / name).unlink()
    record = json.loads((folder / "run.json").read_text())
    del record["ladder"]
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def resume(folder, *more):
    return main(["train", "--resume", str(folder), *map(str, more)])


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (["--preset", "gpt-v1"], "--preset is gpt-v1-smoke in the run, and you asked for gpt-v1"),
        (["--steps", "7"], "--steps is 30 so far in the run, and you asked for 7"),
    ],
)
def test_what_the_steps_so_far_depend_on_stays(asked, named, stopped, capsys):
    before = whole_state(stopped)
    assert resume(stopped, *asked) == 1
    err = capsys.readouterr().err
    assert named in err
    assert "so these hold" in err
    assert "What may change on the way: --steps (more of them)" in err
    assert whole_state(stopped) == before


def test_all_differences_are_named_at_once(stopped, capsys):
    assert resume(stopped, "--preset", "bigram", "--steps", "7") == 1
    assert re.search(r"--preset is .*; --steps is 30 .* asked for 7\.", capsys.readouterr().err)


def test_another_text_is_refused(stopped, tmp_path, capsys):
    before = whole_state(stopped)
    (tmp_path / "dogs.txt").write_text("the dog sat on the cat\n" * 100)
    assert resume(stopped, "--corpus", tmp_path / "dogs.txt") == 1
    assert "is another text than the one" in capsys.readouterr().err
    assert whole_state(stopped) == before


def test_another_out_folder_takes_a_copy_that_goes_on(stopped, unbroken, tmp_path, capsys):
    before = whole_state(stopped)
    assert resume(stopped, "--out", tmp_path / "new") == 0
    assert f"It goes on in a copy, {tmp_path / 'new'}" in capsys.readouterr().out
    assert whole_state(stopped) == before
    assert whole_state(tmp_path / "new") == whole_state(unbroken)
    assert resume(stopped, "--out", tmp_path / "new") == 1  # and overwrites nothing
    assert "holds another run" in capsys.readouterr().err


def test_more_steps_at_one_rate_are_those_of_a_longer_run(text, unbroken, tmp_path, capsys):
    folder = shutil.copytree(unbroken, tmp_path / "copy", symlinks=True)
    assert resume(folder, "--steps", "35") == 0  # although all 30 are done
    said = capsys.readouterr().out
    assert "--steps is 35 (it was 30)" in said and "near, but not equal" in said
    assert history(folder)[-1]["step"] == 35
    assert load_checkpoint(folder).config.training.steps == 35
    assert resume(folder) == 0
    assert "is finished: all 35 steps are done" in capsys.readouterr().out


def test_the_command_it_was_started_with_may_be_typed_again(text, stopped, unbroken, capsys):
    assert main([*flags(text, stopped), "--resume", str(stopped)]) == 0
    assert "Other than before" not in capsys.readouterr().out
    assert whole_state(stopped) == whole_state(unbroken)


@pytest.mark.parametrize(
    ("asked", "said", "same"),
    [
        (["--precision", "bfloat16"], "--precision is bfloat16 (it was float32)", False),
        (["--save-every", "2", "--keep", "3"], "--save-every is 2 (it was left open)", True),
        (["--save-every", "2", "--keep", "3"], "--keep is 3 (it was 2)", True),
        (["--strategy", "fsdp"], "--strategy is fsdp (it was ddp)", True),
        (["--accumulation", "2"], "--accumulation is 2 (it was 1)", False),
    ],
)
def test_what_may_change_changes_and_is_said(asked, said, same, stopped, unbroken, capsys):
    assert resume(stopped, *asked) == 0
    out = capsys.readouterr().out
    assert "note    Other than before, as it is asked for now: " in out
    assert said in out
    record = json.loads((stopped / "run.json").read_text())
    name = asked[0].removeprefix("--").replace("-", "_")
    assert name == "accumulation" or str(record["options"][name]) == asked[1]
    assert (whole_state(stopped) == whole_state(unbroken)) is same
    last, reference = history(stopped)[-1], history(unbroken)[-1]
    assert last["loss"] == pytest.approx(reference["loss"], rel=0.05)


def test_what_was_changed_once_holds_from_then_on(stopped, capsys):
    assert resume(stopped, "--keep", "3") == 0
    record = json.loads((stopped / "run.json").read_text())
    del record["ladder"]
    (stopped / "run.json").write_text(json.dumps(record))
    capsys.readouterr()
    assert resume(stopped) == 0
    assert "Other than before" not in capsys.readouterr().out


def test_a_run_of_another_device_says_so(stopped, capsys):
    record = json.loads((stopped / "run.json").read_text())
    (stopped / "run.json").write_text(json.dumps(record | {"device": "cuda", "processes": 8}))
    assert resume(stopped, "--device", "cpu") == 0
    out = capsys.readouterr().out
    assert "the device is cpu (it was cuda)" in out
    assert "the number of processes is 1 (it was 8)" in out


def test_auto_goes_on_falls_back_and_starts(text, unbroken, tmp_path, capsys):
    folder = tmp_path / "run"
    command = [*flags(text, folder), "--resume", "auto", "--save-every", "10", "--keep", "3"]
    assert main(command) == 0  # there is none: it starts
    assert whole_state(folder) == whole_state(unbroken)
    newest = latest_checkpoint(folder)
    (newest / MODEL).write_bytes(b"")
    capsys.readouterr()
    assert main(command) == 0  # the one before is taken
    captured = capsys.readouterr()
    assert "note    step_00000025 is whole: the run goes on from there." in captured.out
    assert str(newest / MODEL) in captured.out  # what is wrong with it is said before
    assert "start   after step 25" in captured.out
    assert whole_state(folder) == whole_state(unbroken)
    for checkpoint in folder.glob("step_*"):
        (checkpoint / MODEL).write_bytes(b"")
    assert main(command) == 1  # nothing is whole: a person must look
    assert "can be used" in capsys.readouterr().err


def test_auto_starts_again_what_never_saved(text, unbroken, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(unbroken / "run.json", folder)
    assert main([*flags(text, folder), "--resume", "auto"]) == 0
    assert "had no checkpoint yet: it starts from the beginning" in capsys.readouterr().out


def test_auto_without_a_folder_takes_the_newest_run_of_the_preset_and_text(
    text, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("BHUSHGPT_RUNS", str(tmp_path))
    assert train(text, tmp_path / "older", steps=2) == 0
    assert train_for_a_few_steps(tmp_path)  # the same preset, another text
    command = ["train", "--preset", "gpt-v1-smoke", "--corpus", str(text), "--resume", "auto"]
    capsys.readouterr()
    assert main(command) == 0
    assert f"The run in {tmp_path / 'older'} is finished" in capsys.readouterr().out


def test_an_older_checkpoint_can_be_named_and_the_later_ones_are_set_aside(unbroken, tmp_path):
    folder = shutil.copytree(unbroken, tmp_path / "copy", symlinks=True)
    record = json.loads((folder / "run.json").read_text())
    del record["ladder"]
    (folder / "run.json").write_text(json.dumps(record))
    assert resume(folder / "step_00000025") == 0
    assert whole_state(folder) == whole_state(unbroken)
    assert [path.name for path in folder.glob("aside_*")] == ["aside_1_step_00000030"]


def test_the_settings_in_the_checkpoint_are_those_it_goes_on_with(stopped):
    assert resume(stopped, "--accumulation", "4") == 0
    before = load_checkpoint(stopped / "step_00000025").config.training
    after = load_checkpoint(stopped).config.training
    assert after == dataclasses.replace(before, accumulation_steps=4)
