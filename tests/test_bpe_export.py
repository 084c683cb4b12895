"""Hugging Face reads the exported tokenizer.json and gives the same ids and texts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from bhushgpt.bpe import BPETokenizer
from bhushgpt.corpus import load_text
from bhushgpt.errors import UserError
from bhushgpt.interop.tokenizer_json import write_tokenizer

OURS = BPETokenizer.train([load_text().text[:100_000]], 1000, ("<|endoftext|>", "<|user|>"))
ANY = st.text() | st.text(st.sampled_from("ab1,' \n\tstrevé中🙂"), max_size=60)


def exported(tokenizer: BPETokenizer, folder) -> Tokenizer:
    write_tokenizer(tokenizer, folder, context_length=64)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory) -> Tokenizer:
    return exported(OURS, tmp_path_factory.mktemp("exported"))


def test_the_tokenizers_library_agrees_on_any_text(theirs: Tokenizer) -> None:
    @given(ANY)
    def agrees(text: str) -> None:
        ids = theirs.encode(text).ids
        assert ids == OURS.encode(text)
        assert theirs.decode(ids) == text

    agrees()
    book = load_text().text
    assert theirs.encode(book).ids == OURS.encode(book)
    assert theirs.get_vocab_size() == OURS.vocab_size


def test_gpt2_agrees_too(tmp_path) -> None:
    ours = BPETokenizer.from_gpt2()
    theirs = exported(ours, tmp_path)
    for text in (load_text().text[:50_000], "中文 🙂👩‍👩‍👧 naïve\r\n\t I'll '", ""):
        assert theirs.encode(text).ids == ours.encode(text)


def test_special_tokens_are_special_there_unless_told_otherwise(theirs: Tokenizer) -> None:
    text = "one<|endoftext|> two<|user|>"
    assert theirs.encode(text).ids == OURS.encode(text, allowed_special="all")
    theirs.encode_special_tokens = True
    assert theirs.encode(text).ids == OURS.encode(text)
    theirs.encode_special_tokens = False
    assert theirs.decode([OURS.eot_id], skip_special_tokens=False) == "<|endoftext|>"


def test_transformers_opens_it(tmp_path) -> None:
    write_tokenizer(OURS, tmp_path, context_length=64)
    opened = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert opened.encode("The woman, Watson") == OURS.encode("The woman, Watson")


def test_a_special_token_with_the_name_of_an_ordinary_one_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match=r"special tokens \['a'\] have the names of ordinary"):
        write_tokenizer(BPETokenizer([], ("a",)), tmp_path, context_length=64)
    assert not (tmp_path / "tokenizer.json").exists()


def test_a_wrong_export_would_be_noticed(tmp_path) -> None:
    """The comparison can fail: with two merges exchanged the library gives other ids."""
    write_tokenizer(OURS, tmp_path, context_length=64)
    described = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    merges = described["model"]["merges"]
    merges[1], merges[40] = merges[40], merges[1]
    wrong = Tokenizer.from_str(json.dumps(described))
    text = load_text().text[:20_000]
    assert wrong.encode(text).ids != OURS.encode(text)
