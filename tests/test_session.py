"""Runs, their folders, and the parts between the command line and the training loop."""

import json
import signal
import threading

import numpy as np
import pytest
import torch

from bhushgpt.completion import complete_text, prompt_ids
from bhushgpt.corpus import load_text
from bhushgpt.errors import UserError
from bhushgpt.generation import Sampling
from bhushgpt.interruption import Interruption
from bhushgpt.presets import build_model, preset
from bhushgpt.runs import HISTORY, RECORD, RunFolder
from bhushgpt.session_setup import start_session
from bhushgpt.texts import tokenize
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer
from bhushgpt.training import Report


def report(step: int, loss: float = 1.0) -> Report:
    return Report(step=step, loss=loss, learning_rate=0.1, grad_norm=1.0, tokens=10)


def test_the_first_control_c_asks_and_the_second_stops():
    before = signal.getsignal(signal.SIGINT)
    with Interruption() as interruption:
        assert not interruption.requested
        signal.raise_signal(signal.SIGINT)
        assert interruption.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


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
    with pytest.raises(UserError, match=r"holds another run.*--resume"):
        RunFolder.create(tmp_path, {})
    (tmp_path / RECORD).unlink()
    (tmp_path / "curve.png").write_text("")
    with pytest.raises(UserError, match=r"not empty: it holds 'curve\.png'"):
        RunFolder.create(tmp_path, {})


def test_a_run_that_cannot_be_saved_at_first_leaves_no_run_behind(tmp_path, monkeypatch):
    def fail(*arguments):
        raise UserError("disk full")

    (tmp_path / "text.txt").write_text("some words " * 100)
    text, out = str(tmp_path / "text.txt"), tmp_path / "run"
    monkeypatch.setattr("bhushgpt.session.save_checkpoint", fail)
    with pytest.raises(UserError, match="disk full"):
        start_session("gpt-v1-smoke", text, torch.device("cpu"), out)
    monkeypatch.undo()
    assert start_session("gpt-v1-smoke", text, torch.device("cpu"), out).state.step == 0


def test_a_file_named_like_a_corpus_does_not_take_its_place(tmp_path, monkeypatch):
    (tmp_path / "sherlock").write_text("not the book")
    monkeypatch.chdir(tmp_path)
    session = start_session("gpt-v1-smoke", "sherlock", torch.device("cpu"), tmp_path / "run")
    assert session.run.record["corpus"] == "sherlock"
    assert session.text.corpus.title == "The Adventures of Sherlock Holmes"


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


def test_a_tokenized_text_is_its_characters_in_two_parts(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("höher als hoch\n" * 50, encoding="utf-8")
    corpus = load_text(file)
    tokenizer = CharTokenizer.from_text(corpus.text)
    text = tokenize(corpus, tokenizer, 0.1, context_length=8)
    assert tokenizer.decode(np.concatenate([text.train, text.held_out])) == corpus.text
    assert text.train.dtype == np.uint16
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
