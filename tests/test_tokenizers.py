"""Round trips, unknown characters, and files that are not what they should be."""

import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bhushgpt import tokenizers
from bhushgpt.corpus import load_text
from bhushgpt.errors import UserError
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer, load_tokenizer, tokenizer_from_dict


@settings(deadline=None)
@given(st.text(min_size=1))
def test_decode_undoes_encode(text):
    for tokenizer in (CharTokenizer.from_text(text), ByteTokenizer()):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert all(0 <= i < tokenizer.vocab_size for i in ids)


@settings(deadline=None)
@given(st.text(min_size=1), st.text())
def test_skip_and_replace_never_fail_and_keep_the_known(alphabet, text):
    tokenizer = CharTokenizer.from_text(alphabet)
    known = [c for c in text if c in alphabet]
    assert tokenizer.decode(tokenizer.encode(text, unknown="skip")) == "".join(known)
    replaced = tokenizer.decode(tokenizer.encode(text, unknown="replace"))
    assert replaced == "".join(c if c in alphabet else tokenizer.stand_in for c in text)


@settings(deadline=None)
@given(st.text(min_size=1))
def test_a_saved_tokenizer_is_the_same_tokenizer(text):
    for tokenizer in (CharTokenizer.from_text(text), ByteTokenizer()):
        data = json.loads(json.dumps(tokenizer.to_dict()))
        again = tokenizer_from_dict(data)
        assert type(again) is type(tokenizer)
        assert again.digest == tokenizer.digest
        assert again.encode(text) == tokenizer.encode(text)


def test_the_book_goes_through_and_back():
    text = load_text().text
    tokenizer = CharTokenizer.from_text(text)
    assert tokenizer.vocab_size == 79
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(np.array(ids, dtype=np.uint16)) == text
    assert tokenizer.decode(torch.tensor(ids)) == text
    # ASCII: a character is a byte.
    assert ByteTokenizer().encode(text) == list(text.encode())


def test_ids_follow_the_code_points():
    tokenizer = CharTokenizer.from_text("hello, world\n")
    assert tokenizer.characters == "\n ,dehlorw"
    assert tokenizer.encode("\nh") == [0, 5]


def test_an_unknown_character_is_named_with_its_place_and_the_choices():
    with pytest.raises(UserError) as refused:
        CharTokenizer.from_text("a cup of tea?").encode("a café, a tea")
    assert str(refused.value) == (
        "The character 'é' at position 5 (in 'a café, a tea') is not among the 10 characters of "
        "this tokenizer (unknown too: ','). Leave it out, or pass unknown='skip' to drop such "
        "characters or unknown='replace' to write '?' instead."
    )
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)  # from a process


def test_the_message_survives_a_character_that_cannot_be_printed():
    with pytest.raises(UserError, match=r"character '\\udcff' at position 1"):
        CharTokenizer("ab").encode("a\udcff")


def test_an_unknown_way_with_unknown_characters_is_refused():
    with pytest.raises(UserError, match=r"unknown is 'skp'\. Did you mean 'skip'"):
        CharTokenizer("ab").encode("a", unknown="skp")  # type: ignore


@pytest.mark.parametrize(
    ("alphabet", "stand_in"), [("ab ?", "?"), ("ab ", " "), ("ab", "a"), ("?", "?")]
)
def test_the_stand_in_is_in_the_alphabet(alphabet, stand_in):
    assert CharTokenizer(alphabet).stand_in == stand_in


@pytest.mark.parametrize("ids", [[0, 3], [-1], np.array([0, 3]), torch.tensor([3])])
def test_an_id_outside_is_named(ids):
    with pytest.raises(UserError, match=r"The id (3|-1) at position \d is outside .* 0 to 2"):
        CharTokenizer("abc").decode(ids)
    with pytest.raises(UserError, match=r"The id 256 at position 1 .* 0 to 255"):
        ByteTokenizer().decode([0, 256])


@pytest.mark.parametrize("ids", [torch.tensor([[0, 1], [1, 2]]), torch.tensor(1)])
def test_decode_takes_one_row(ids):
    with pytest.raises(UserError, match="one row of ids"):
        CharTokenizer("abc").decode(ids)


def test_half_a_character_in_bytes_becomes_the_replacement_sign():
    ids = ByteTokenizer().encode("é")
    assert ByteTokenizer().decode(ids[:1]) == "\ufffd"


def test_an_alphabet_is_not_empty_and_has_no_doubles():
    with pytest.raises(UserError, match="at least one character"):
        CharTokenizer.from_text("")
    with pytest.raises(UserError, match=r"twice: \['a'\]"):
        CharTokenizer("aba")


def test_the_digest_tells_alphabets_of_one_size_apart():
    assert CharTokenizer("abc").digest != CharTokenizer("abd").digest
    assert CharTokenizer("abc").digest == CharTokenizer.from_text("cbaabc").digest
    assert CharTokenizer("abc").digest != ByteTokenizer().digest


def test_save_and_load_through_a_file(tmp_path):
    file = tmp_path / "tokenizer.json"
    tokenizer = CharTokenizer.from_text("Grüße, “Holmes” – 福尔摩斯 🙂\n")
    tokenizer.save(file)
    assert "福" in file.read_bytes().decode("utf-8")
    assert CharTokenizer.load(file).characters == tokenizer.characters
    assert load_tokenizer(file).digest == tokenizer.digest
    ByteTokenizer().save(file)
    assert isinstance(load_tokenizer(file), ByteTokenizer)
    assert isinstance(ByteTokenizer.load(str(file)), ByteTokenizer)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not a tokenizer's JSON file"),
        (b'{"kind": "characters", "chara', "is not a tokenizer's JSON file"),
        (b"\xff\xfe{", "is not a tokenizer's JSON file"),
        (b"[1, 2]", "describes no tokenizer; expected is one of: characters"),
        (b'{"steps": 3}', "describes no tokenizer"),
        (b'{"kind": "bpe"}', "describes a tokenizer of kind 'bpe'"),
        (b'{"kind": "bytes"}', "a tokenizer of kind 'bytes'; expected is one of: characters."),
        (b'{"kind": "characters"}', "does not fit its fingerprint: it is damaged"),
        (b'{"kind": "characters", "characters": "abc", "digest": "0"}', "it is damaged"),
        (b'{"kind": "characters", "characters": [1], "digest": "0"}', "it is damaged"),
    ],
)
def test_another_or_a_damaged_file_is_refused(tmp_path, content, sentence):
    file = tmp_path / "tokenizer.json"
    file.write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        CharTokenizer.load(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"There is no tokenizer file 'none\.json'"):
        load_tokenizer(tmp_path / "none.json")
    with pytest.raises(UserError, match="kind 'words'; expected is one of: bpe, bytes, characters"):
        tokenizer_from_dict({"kind": "words"})


@settings(deadline=None)
@given(st.text(st.characters(), min_size=1), st.text(st.characters()))
def test_arrays_hold_the_ids_of_the_lists(alphabet, text):
    small = CharTokenizer.from_text(alphabet)
    for tokenizer in (CharTokenizer.from_text(alphabet + text), ByteTokenizer()):
        ids = tokenizer.encode_to_numpy(text)
        assert ids.tolist() == tokenizer.encode(text)
        assert ids.dtype == np.min_scalar_type(tokenizer.vocab_size - 1)
    try:
        expected = small.encode(text)
    except UserError as error:
        with pytest.raises(UserError) as caught:
            small.encode_to_numpy(text)
        assert str(caught.value) == str(error)
    else:
        assert small.encode_to_numpy(text).tolist() == expected
    for unknown in ("skip", "replace"):
        assert small.encode_to_numpy(text, unknown).tolist() == small.encode(text, unknown)


def test_a_text_of_many_pieces_is_looked_up_whole(monkeypatch):
    monkeypatch.setattr(tokenizers, "PIECE", 7)
    text = "".join(map(chr, range(32, 700)))
    tokenizer = CharTokenizer.from_text(text)
    assert tokenizer.encode_to_numpy(text[::-1]).tolist() == tokenizer.encode(text[::-1])
    assert tokenizer.encode_to_numpy("").tolist() == []
    with pytest.raises(UserError, match="at position 20"):
        tokenizer.encode_to_numpy("a" * 20 + "山")
