"""Runs, their folders, and the parts between the command line and the training loop."""

import dataclasses
import json
import random
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bhushgpt.corpus import load_text
from bhushgpt.cpu_settings import threads
from bhushgpt.errors import UserError
from bhushgpt.generation import Sampling, complete_text, prompt_ids
from bhushgpt.presets import build_model, preset
from bhushgpt.runs.folder import HISTORY, RECORD, RunFolder
from bhushgpt.runs.interruption import Interruption, Stopped
from bhushgpt.runs.start import resume_session, start_session
from bhushgpt.runs.training_text import open_text
from bhushgpt.speed.distributed import World
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer
from bhushgpt.training import Report


def report(step: int, loss: float = 1.0) -> dict[str, Any]:
    made = Report(step=step, loss=loss, learning_rate=0.1, grad_norm=1.0, tokens=10)
    return dataclasses.asdict(made)


def start(text, out, **more):
    return start_session("gpt-v1-smoke", str(text), WORLD, out, **more)


WORLD = World(device=torch.device("cpu"))


@pytest.mark.parametrize(("batch_size", "number"), [(8, 1), (32, 2)])
def test_a_small_step_has_one_thread_and_a_larger_one_all(batch_size, number, tmp_path):
    seen = set()
    with threads(2), Interruption() as interruption:
        session = start("sherlock", tmp_path / "run", steps=2, changes={"batch_size": batch_size})
        session.model.register_forward_hook(lambda *_: seen.add(torch.get_num_threads()))
        session.train(interruption)
        assert seen == {number} and torch.get_num_threads() == 2


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_first_signal_waits_and_a_control_c_after_it_stops(name, capfd):
    number = getattr(signal, name)
    # Under nohup it is ignored from the start.
    usual = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with Interruption() as interruption, interruption.deferred():
        assert not interruption.requested
        signal.raise_signal(number)
        assert interruption.requested
        signal.raise_signal(signal.SIGTERM)  # torchrun may repeat it
        with pytest.raises(Stopped) as stopped:
            signal.raise_signal(signal.SIGINT)
    assert stopped.value.status == 130
    assert "finishing this step and saving" in capfd.readouterr().err
    after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    signal.signal(signal.SIGHUP, usual)
    assert after == before


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_where_nothing_can_be_lost_a_signal_stops_at_once(name, status):
    with Interruption() as interruption:
        with pytest.raises(Stopped) as stopped:
            signal.raise_signal(getattr(signal, name))
        with interruption.deferred(), pytest.raises(Stopped), interruption.at_once():
            raise AssertionError("a signal that came before is not forgotten")
    assert stopped.value.status == status


def test_a_glance_ends_at_once_and_the_step_after_it_waits_again():
    with Interruption() as interruption, interruption.deferred():
        with pytest.raises(Stopped), interruption.at_once():
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert interruption.requested


def test_a_run_under_nohup_outlives_its_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGHUP)
            assert not interruption.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_nothing_is_handled_and_nothing_breaks():
    seen = []

    def work():
        with Interruption() as interruption:
            seen.append(interruption.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_a_step_logged_twice_counts_once_and_the_last_time(tmp_path):
    run = RunFolder.create(tmp_path / "run", {})
    for step, loss in ((1, 3.0), (2, 2.0), (2, 2.5), (3, 1.0)):
        run.log(report(step, loss))
    assert [(line["step"], line["loss"]) for line in run.history()] == [(1, 3), (2, 2.5), (3, 1)]


def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path):
    run = RunFolder.create(tmp_path / "run", {})
    run.log(report(1))
    with (run.path / HISTORY).open("a") as stream:
        stream.write('[1]\n"x"\n{"step": "a", "loss": 1}\n\x00\n{"step": 2, "lo')
    assert [line["step"] for line in run.history()] == [1]


def test_a_run_that_goes_on_forgets_the_steps_after_its_checkpoint(tmp_path):
    run = RunFolder.create(tmp_path / "run", {})
    for step in (1, 2, 3):
        run.log(report(step))
    whole = (run.path / HISTORY).read_text().splitlines()
    with (run.path / HISTORY).open("a") as stream:
        stream.write('{"step": 4, "lo')
    run.rewind(2)
    assert (run.path / HISTORY).read_text().splitlines() == whole[:2]
    run.log(report(3))
    assert (run.path / HISTORY).read_text().splitlines() == whole


def test_a_folder_that_holds_anything_visible_is_refused(tmp_path):
    (tmp_path / ".hidden").write_text("")
    RunFolder.create(tmp_path, {})
    with pytest.raises(UserError, match=r"holds another run[^$]*--resume"):
        RunFolder.create(tmp_path, {})
    (tmp_path / RECORD).unlink()
    (tmp_path / "curve.png").write_text("")
    with pytest.raises(UserError, match=r"not empty: it holds 'curve\.png'"):
        RunFolder.create(tmp_path, {})


def test_a_run_that_cannot_be_saved_at_first_leaves_no_run_behind(tmp_path, monkeypatch):
    def fail(*arguments, **more):
        raise UserError("disk full")

    (tmp_path / "text.txt").write_text("some words " * 100)
    text, out = str(tmp_path / "text.txt"), tmp_path / "run"
    monkeypatch.setattr("bhushgpt.runs.session.save_checkpoint", fail)
    with pytest.raises(UserError, match="disk full"):
        start(text, out)
    monkeypatch.undo()
    assert start(text, out).state.step == 0


def test_a_file_named_like_a_corpus_does_not_take_its_place(tmp_path, monkeypatch):
    (tmp_path / "sherlock").write_text("not the book")
    monkeypatch.chdir(tmp_path)
    session = start("sherlock", tmp_path / "run")
    assert session.run.record["corpus"] == "sherlock"
    assert session.text.title == "The Adventures of Sherlock Holmes, Arthur Conan Doyle"


def test_a_run_in_a_relative_folder_survives_a_change_of_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = RunFolder.create(Path("run"), {})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run.log(report(1))
    run.update(steps_done=1)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [HISTORY, RECORD]


def test_a_record_is_read_back_and_added_to(tmp_path):
    run = RunFolder.create(tmp_path / "run", {"preset": "bigram"})
    run.update(steps_done=3)
    assert RunFolder.open(tmp_path / "run").record == {"preset": "bigram", "steps_done": 3}


@pytest.mark.parametrize("text", ["", "[1]", "not json", "\x00", "[" * 100_000])
def test_an_unreadable_record_is_refused(text, tmp_path):
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(UserError, match="not a run's record"):
        RunFolder.open(tmp_path)


def test_a_run_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        RunFolder.create(tmp_path / "run", {})


def test_a_text_is_its_characters_in_two_parts(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("höher als hoch\n" * 50, encoding="utf-8")
    corpus = load_text(file)
    text = open_text(str(file), held_out=0.1, context_length=8)
    assert text.tokenizer.decode(np.concatenate([text.train, text.held_out])) == corpus.text
    assert np.asarray(text.train).dtype == np.uint8
    # Bytes, not characters: the umlaut counts twice.
    assert text.held_out_bytes == len(corpus.text[-75 + 1 :].encode())


def test_an_empty_prompt_is_a_newline_or_the_first_token():
    assert prompt_ids(CharTokenizer("a\n"), "") == [1]
    assert prompt_ids(CharTokenizer("ab"), "") == [0]
    assert prompt_ids(ByteTokenizer(), "") == [10]


def test_a_completion_comes_piece_by_piece():
    tokenizer = CharTokenizer("\nabcde")
    model = build_model(preset("gpt-v1-smoke", tokenizer.vocab_size))
    pieces = list(complete_text(model, tokenizer, "abc", 50, Sampling(seed=3)))
    assert len(pieces) == 50
    assert set("".join(pieces)) <= set(tokenizer.characters)
    assert json.dumps(pieces) == json.dumps(
        list(complete_text(model, tokenizer, "abc", 50, Sampling(seed=3)))
    )


@pytest.fixture
def begun(tmp_path):
    """A run on a text of the user's own, at its first step, and that text."""
    (tmp_path / "text.txt").write_text("some words and others " * 100)
    start(tmp_path / "text.txt", tmp_path / "run")
    return tmp_path / "run", tmp_path / "text.txt"


def test_a_second_batch_that_is_left_out_keeps_the_first_one_out(begun):
    folder, _ = begun
    for number in (4, 2, 4):
        resume_session(folder, WORLD, skip_batch=number)
    session = resume_session(folder, WORLD)
    assert session.run.record["skipped_batches"] == [2, 4]
    plain = start(begun[1], folder.with_name("plain")).batches
    # Each of them is made of the next batch, and so are all after it.
    assert [torch.equal(session.batches[n][0], plain[n][0]) for n in (0, 1)] == [True, True]
    others = session.batches[2][0], session.batches[4][0]
    assert not torch.equal(others[0], plain[2][0]) and not torch.equal(others[1], plain[4][0])


def test_fewer_steps_than_are_done_are_refused_and_the_checkpoint_stays_good(tmp_path):
    with Interruption() as interruption:
        start("sherlock", tmp_path / "run", steps=3).train(interruption)
    with pytest.raises(UserError, match="2 steps were asked for, and 3 are done"):
        resume_session(tmp_path / "run", WORLD, steps=2)
    assert resume_session(tmp_path / "run", WORLD, steps=3).finished


def test_the_same_text_by_a_relative_path_is_found_from_everywhere(begun, monkeypatch):
    folder, text = begun
    moved = text.rename(text.with_name("moved.txt"))
    monkeypatch.chdir(moved.parent)
    resume_session(folder, WORLD, corpus="moved.txt")
    monkeypatch.chdir("/")
    session = resume_session(folder, WORLD)
    assert session.run.record["corpus"] == str(moved.resolve())


def test_random_numbers_go_on_as_if_the_run_had_not_stopped(tmp_path):
    (tmp_path / "text.txt").write_text("some words and others " * 100)

    def drawn():
        return torch.rand(3).tolist(), random.random(), np.random.rand(3).tolist()

    start(tmp_path / "text.txt", tmp_path / "run")
    expected = drawn()
    torch.manual_seed(99)  # another process begins
    random.seed(99)
    np.random.seed(99)
    resume_session(tmp_path / "run", WORLD)
    assert drawn() == expected


def test_a_signal_that_came_before_is_the_one_that_stops_a_glance():
    with Interruption() as interruption, interruption.deferred():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped) as stopped, interruption.at_once():
            raise AssertionError("it goes on")
    assert stopped.value.status == 143
