"""Fault 26: an empty text, one character, or less than one window: the length that is needed."""

import numpy as np
import pytest

from bhushgpt.batches import Batches, split_tokens
from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.commands.line import main
from bhushgpt.corpus import check_length
from bhushgpt.errors import UserError
from bhushgpt.evaluation import evaluate

T = 32  # the context of gpt-v1-smoke


def train(text, tmp_path, capsys):
    (tmp_path / "short.txt").write_bytes(text)
    flags = ["--preset", "gpt-v1-smoke", "--steps", "2", "--device", "cpu"]
    status = main(
        ["train", *flags, "--corpus", str(tmp_path / "short.txt"), "--out", str(tmp_path / "run")]
    )
    return status, capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "short.txt is empty: 0 bytes"),
        (b" \n\t\n", "short.txt is empty: 4 bytes and no text in them"),
        (b"\xef\xbb\xbf", "short.txt is empty"),
        (b"a", "The text has 1 tokens; one example needs 33"),
        (b"ab" * 16, "The text has 32 tokens; one example needs 33"),
        (b"ab" * 100, "The held-out part has 20 tokens; one example needs 33"),
    ],
)
def test_the_command_says_what_is_needed_and_leaves_no_run_behind(
    text, words, tmp_path, capsys
) -> None:
    status, err = train(text, tmp_path, capsys)
    assert status == 1
    assert words in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()
    if b"a" in text:
        assert "(a context of 32 and the token after it)" in err
        assert "tokens or more (this one has" in err


def test_the_length_that_is_named_is_enough_and_one_less_is_not(tmp_path, capsys) -> None:
    with pytest.raises(UserError, match=r"about 330 tokens or more \(this one has 320\)"):
        check_length(320, T)
    assert train(b"ab" * 165, tmp_path, capsys)[0] == 0
    with pytest.raises(UserError):
        split_tokens(np.zeros(329, dtype=np.int64), context_length=T)


def test_one_kind_of_character_can_be_trained_on(tmp_path, capsys) -> None:
    assert train(b"a" * 400, tmp_path, capsys)[0] == 0


@pytest.mark.parametrize("length", [0, 1, T])
def test_batches_name_what_they_have_and_what_they_need(length) -> None:
    with pytest.raises(UserError, match=rf"The text has {length} tokens.*needs 33.*longer text"):
        Batches(np.zeros(length, dtype=np.int64), 2, T)
    assert len(Batches(np.zeros(T + 1, dtype=np.int64), 2, T)[0][0]) == 2


@pytest.mark.parametrize("length", [0, 1])
def test_evaluation_needs_two_tokens(length) -> None:
    with pytest.raises(UserError, match=rf"has {length} tokens; it needs at least 2"):
        evaluate(Bigram(BigramConfig(vocab_size=3)), np.zeros(length, dtype=np.int64))
