"""Wishes that had no flag: other sizes and rates, more steps, the version, help without a word."""

import json

import pytest

from bhushgpt.commands.line import main
from bhushgpt.presets import preset, with_changes
from bhushgpt.storage import load_checkpoint


def test_sizes_rate_seed_and_share_can_be_asked_for(book, tmp_path, said):
    asked = {"batch-size": 3, "context-length": 5, "learning-rate": 0.02, "seed": 7}
    flags = [word for name, value in asked.items() for word in (f"--{name}", value)]
    run = tmp_path / "run"
    words = ("train", "--preset", "gpt-v1-smoke", "--corpus", book, "--steps", 2, "--out", run)
    code, text = said(*words, *flags, "--held-out", 0.25, "--precision", "float32")
    assert code == 0, text
    config = load_checkpoint(run).config
    assert (config.training.batch_size, config.model.context_length) == (3, 5)
    assert (config.training.learning_rate, config.training.seed, config.held_out) == (0.02, 7, 0.25)
    code, text = said("train", "--resume", run, "--batch-size", 4, "--steps", 3)
    assert code == 1 and "--batch-size is 3 in the run, and you asked for 4" in text
    assert said("train", "--resume", run, *flags, "--steps", 3)[0] == 0  # the same once more
    assert json.loads((run / "run.json").read_text())["steps_done"] == 3


def test_the_lowest_rate_keeps_its_share():
    usual = preset("gpt-v1", 79).training
    halved = with_changes(preset("gpt-v1", 79), {"learning_rate": usual.learning_rate / 2}).training
    assert halved.min_learning_rate == pytest.approx(usual.min_learning_rate / 2)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--batch-size", "0"), "batch_size is 0"),
        (("--held-out", "1"), "held_out is 1.0"),
        (("--learning-rate", "inf"), "learning_rate is infinite"),
        (("--context-length", "-1"), "context_length is -1"),
        (("--seed", "-1"), "seed is -1"),
    ],
)
def test_what_cannot_be_had_is_a_sentence_and_nothing_is_written(book, tmp_path, said, words, part):
    code, text = said("train", "--corpus", book, "--out", tmp_path / "run", *words)
    assert code == 1 and part in text and not (tmp_path / "run").exists()


def test_the_version_and_the_help_need_no_more_than_the_word(capsys):
    assert main(["--version"]) == 0 and capsys.readouterr().out.startswith("bhushgpt 0.")
    assert main([]) == 0 and "usage: " in capsys.readouterr().out
