"""Fault 24: a character that is not in the vocabulary: which, where, and what to do about it."""

import re

import pytest

from bhushgpt.errors import UserError
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer
from tests.faults.trained import RUN_ALPHABET, complete

TOKENIZER = CharTokenizer("abc ?")


def test_character_place_surroundings_alphabet_and_ways_out_are_said() -> None:
    with pytest.raises(UserError) as raised:
        TOKENIZER.encode("a cab € and z")
    message = str(raised.value)
    assert "The character '€' at position 6" in message
    assert "'a cab € and z'" in message
    assert "among the 5 characters of this tokenizer" in message
    assert "(unknown too: 'd', 'n', 'z')" in message
    assert "unknown='skip'" in message and "unknown='replace'" in message and "'?'" in message


@pytest.mark.parametrize("text", ["\u0000", "\ud800", "\U0001f600", "\u202e", "é", "e\u0301", "\n"])
def test_odd_characters_are_named_so_that_they_can_be_seen(text) -> None:
    with pytest.raises(UserError, match=re.escape(repr(text[0]) if text != "e\u0301" else "'e'")):
        TOKENIZER.encode(text)


def test_what_is_advised_works() -> None:
    assert TOKENIZER.decode(TOKENIZER.encode("a€b", unknown="skip")) == "ab"
    assert TOKENIZER.decode(TOKENIZER.encode("a€b", unknown="replace")) == "a?b"
    assert ByteTokenizer().decode(ByteTokenizer().encode("a€b")) == "a€b"


def test_on_the_command_line_the_flag_is_named_and_nothing_is_printed(trained_run, capsys) -> None:
    status, out, err = complete(trained_run, capsys, "--prompt", "the €")
    assert (status, out) == (1, "")
    assert "'€' at position 4" in err and f"the {len(RUN_ALPHABET)} characters" in err
    assert "--unknown skip or --unknown replace" in err
    assert "Traceback" not in err
    for choice in ("skip", "replace"):
        assert complete(trained_run, capsys, "--prompt", "the €", "--unknown", choice)[0] == 0
