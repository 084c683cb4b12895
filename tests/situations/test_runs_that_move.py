"""Runs and texts that are linked, moved, copied, read-only, doubled, or read while made."""

import errno
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from bhushgpt import files
from bhushgpt.commands import train as train_command
from bhushgpt.errors import UserError
from bhushgpt.files import NoRoom
from bhushgpt.runs import folder as run_folder
from bhushgpt.speed import World
from bhushgpt.storage import checkpoints, list_checkpoints, load_checkpoint, save_checkpoint
from tests.small_runs import TOKENIZER, fresh_state, small_config


def unfinished(run: Path) -> Path:
    """Make a finished run one that stopped after its step 2."""
    shutil.rmtree(run / "step_00000004")
    record = json.loads((run / "run.json").read_text())
    record.pop("ladder")
    (run / "run.json").write_text(json.dumps(record | {"steps_done": 2}))
    return run


def test_a_link_to_a_run_is_the_run(run, tmp_path, said):
    (tmp_path / "latest").symlink_to(run)
    for words in (
        ("complete", "--prompt", "The", "--tokens", 2),
        ("evaluate",),
        ("train", "--resume"),
    ):
        name, *more = words
        flag = [] if more == ["--resume"] else ["--run"]
        code, text = said(name, *more, *flag, tmp_path / "latest")
        assert code == 0, text


def test_a_moved_text_is_known_by_its_content(run, book, tmp_path, said):
    unfinished(run)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"corpus": "/gone/book.txt"}))
    moved = shutil.copy(book, tmp_path / "moved.txt")
    code, text = said("train", "--resume", run)
    assert code == 1 and "say where: --corpus FILE" in text
    assert "To go on" not in text  # with the very command that was refused
    code, text = said("evaluate", "--run", run)
    assert code == 1 and "say where: --corpus FILE" in text
    assert said("evaluate", "--run", run, "--corpus", moved)[0] == 0
    other = tmp_path / "other.txt"
    other.write_text(book.read_text(encoding="utf-8").replace("dog", "fox"))
    code, text = said("train", "--resume", run, "--corpus", other)
    assert code == 1 and "is another text than the one" in text
    assert said("train", "--resume", run, "--corpus", moved)[0] == 0
    assert json.loads((run / "run.json").read_text())["corpus"] == str(moved)
    assert said("evaluate", "--run", run)[0] == 0  # from now on it knows


def test_the_newest_run_is_found_by_its_text_wherever_that_lies(run, book, tmp_path):
    moved = shutil.copy(book, tmp_path / "moved.txt")
    assert run_folder.newest_run(run.parent, "bigram", str(moved)) == run
    Path(moved).write_text(book.read_text(encoding="utf-8").replace("dog", "fox"))
    assert run_folder.newest_run(run.parent, "bigram", str(moved)) is None
    assert run_folder.newest_run(run.parent, "bigram", "/no/such/text.txt") is None


def test_of_a_run_on_a_read_only_disk_a_copy_goes_on(run, tmp_path, monkeypatch, said):
    unfinished(run)
    real = os.open

    def refusing(path, flags, *more, **others):
        if str(path).startswith(str(run)) and flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, flags, *more, **others)

    monkeypatch.setattr(files.os, "open", refusing)
    code, text = said("train", "--resume", run)
    assert code == 1 and "Read-only file system" in text
    assert re.search(rf"go on in a copy of it:\n  .*--resume {run} --out DIR", text)
    code, text = said("train", "--resume", run, "--out", tmp_path / "new")
    assert code == 0 and f"It goes on in a copy, {tmp_path / 'new'}" in text
    assert [path.name for path in list_checkpoints(run)] == ["step_00000002"]
    assert load_checkpoint(tmp_path / "new").state.step == 4


def test_a_copy_that_does_not_fit_leaves_nothing_that_looks_like_a_run(run, tmp_path, monkeypatch):
    def full(*_):
        raise NoRoom("The copy of the run needs more.")

    monkeypatch.setattr(run_folder, "check_room", full)
    with pytest.raises(UserError, match="needs more"):
        run_folder.copy_run(run_folder.RunFolder.open(run), tmp_path / "new")
    assert not (tmp_path / "new" / "run.json").exists()


def test_runs_that_begin_in_one_second_have_a_folder_each(tmp_path, monkeypatch):
    monkeypatch.setenv("BHUSHGPT_RUNS", str(tmp_path))

    class Clock(run_folder.datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2025, 1, 31, 12, 0, 0)

    monkeypatch.setattr(run_folder.datetime, "datetime", Clock)
    here = World(device=train_command.pick_device("cpu"))
    places = [run_folder.find_place(None, None, "bigram", "x", here) for _ in range(3)]
    assert [place.folder.name for place in places] == [
        "bigram-20250131-120000",
        "bigram-20250131-120000-2",
        "bigram-20250131-120000-3",
    ]
    assert all(place.made and place.folder.is_dir() for place in places)


def test_a_run_that_cannot_begin_leaves_no_folder(tmp_path, monkeypatch, said):
    monkeypatch.setenv("BHUSHGPT_RUNS", str(tmp_path))
    code, _ = said("train", "--preset", "bigram", "--corpus", tmp_path / "none.txt")
    assert code == 1 and not list(tmp_path.glob("bigram-*"))


@pytest.mark.parametrize(
    "moment", ["verify_manifest", "Settings.read", "read_state", "load_tensors"]
)
@pytest.mark.parametrize("named", ["run", "last"])
def test_a_run_that_saves_while_it_is_read_gives_the_next_checkpoint(
    tmp_path, monkeypatch, moment, named
):
    config = small_config(steps=9)
    state = fresh_state(config)

    def save(step):
        state.step = step
        save_checkpoint(tmp_path, state, config, TOKENIZER, keep=1)

    save(1)
    left = [4, 3, 2]  # three more are saved, each time in the middle of reading
    owner, name = (checkpoints.Settings, "read") if "." in moment else (checkpoints, moment)
    real = getattr(owner, name)

    def meanwhile(*words, **more):
        if left:
            save(left.pop())
        return real(*words, **more)

    monkeypatch.setattr(owner, name, meanwhile)
    found = load_checkpoint(tmp_path if named == "run" else tmp_path / "last")
    assert found.state.step == 4 and found.folder.name == "step_00000004"


def test_a_checkpoint_that_was_named_and_is_gone_is_not_taken_for_another(tmp_path):
    config = small_config(steps=9)
    state = fresh_state(config)
    for step in (1, 2):
        state.step = step
        save_checkpoint(tmp_path, state, config, TOKENIZER, keep=1)
    with pytest.raises(
        UserError, match=r"no folder .*step_00000001\. Did you mean .*step_00000002"
    ):
        load_checkpoint(tmp_path / "step_00000001")


def test_damage_is_still_called_damage(run):
    for checkpoint in list_checkpoints(run):
        (checkpoint / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"step_00000004.*is empty"):
        load_checkpoint(run)


@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9"), "two\nlines", "-x", "é 山 $a^b$"])
def test_a_folder_may_have_any_name(trained, tmp_path, said, name):
    try:
        run = shutil.copytree(trained, tmp_path / name)
    except OSError:
        pytest.skip("This disk takes other names only.")
    code, text = said("complete", "--run", run, "--prompt", "The", "--tokens", 2)
    assert code == 0, text
    unfinished(run)
    code, text = said("train", "--resume", run)
    assert code == 0, text
    assert load_checkpoint(run).state.step == 4


def test_what_lies_in_new_folders_is_in_nobodys_way(trained, tmp_path, said):
    out = tmp_path / "page folder"
    (out / "lost+found").mkdir(parents=True)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (out / name).touch()
    from bhushgpt.gpt import GPT, GPTConfig
    from bhushgpt.interop import from_hf, to_hf
    from bhushgpt.tokenizers import ByteTokenizer

    sizes = GPTConfig(vocab_size=256, context_length=8, n_layer=1, n_head=2, n_embd=8)
    to_hf(GPT(sizes), ByteTokenizer(), out)
    assert from_hf(out).config.n_embd == 8 and (out / "lost+found").is_dir()


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 20, b"\xff\xfe", b"step_00000099\n", b"step_00000004\r\n", b"../step_00000004"],
    ids=["empty", "zeros", "no text", "gone", "Windows", "elsewhere"],
)
def test_the_best_checkpoint_is_known_whatever_a_copy_made_of_its_name(tmp_path, content):
    config = small_config(steps=9)
    state = fresh_state(config)
    for step, best in ((2, False), (4, True), (6, False), (8, False)):
        state.step = step
        save_checkpoint(tmp_path, state, config, TOKENIZER, keep=1, best=best)
    assert load_checkpoint(tmp_path / "best").state.step == 4
    (tmp_path / "best").write_bytes(content)  # what a copy, a full disk or a sync has left
    assert load_checkpoint(tmp_path / "best").state.step == 4
    state.step = 9
    save_checkpoint(tmp_path, state, config, TOKENIZER, keep=1)  # and it never goes
    assert load_checkpoint(tmp_path / "best").state.step == 4


def test_what_is_in_the_place_of_an_ornament_costs_no_result(run, said):
    unfinished(run)
    for name in ("ladder.json", "curve.png"):
        (run / name).unlink(missing_ok=True)
        (run / name).mkdir()
    code, text = said("train", "--resume", run)
    assert code == 0 and "bigram, trained" in text
    assert "ladder.json could not be written" in text and "curve.png could not be drawn" in text
    assert json.loads((run / "run.json").read_text())["ladder"]
