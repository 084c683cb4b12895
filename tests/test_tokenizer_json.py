"""Our tokenizers give the same ids in transformers, for every text."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bhushgpt.bpe import BPETokenizer
from bhushgpt.errors import UserError
from bhushgpt.interop.tokenizer_json import TOKENIZER_CONFIG, write_tokenizer
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer, end_of_text

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own

TEXT = "The cat's 12 hats; the cat sat.\n\n  “Ah,” said é 猫!\t\r\n" * 8
ALPHABET = "".join(sorted(set(TEXT)))
TOKENIZERS = {
    "characters": CharTokenizer(ALPHABET),
    "bytes": ByteTokenizer(),
    "pairs": BPETokenizer.train([TEXT], vocab_size=285),
    "pairs without end": BPETokenizer.train([TEXT], vocab_size=280, special_tokens=()),
}
texts = st.text(st.sampled_from(ALPHABET), max_size=40) | st.text(
    st.characters(codec="utf-8"), max_size=40
)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Each tokenizer as AutoTokenizer finds it in an exported folder."""
    transformers = pytest.importorskip("transformers")
    found = {}
    for name, tokenizer in TOKENIZERS.items():
        folder = tmp_path_factory.mktemp("tokenizer")
        write_tokenizer(tokenizer, folder, context_length=64)
        (folder / "config.json").write_text('{"model_type": "gpt2"}')
        found[name] = transformers.AutoTokenizer.from_pretrained(folder)
    return found


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(text=texts)
def test_every_text_gets_the_same_ids_and_comes_back_the_same(theirs, name, text):
    ours, other = TOKENIZERS[name], theirs[name]
    ids = ours.encode(text, unknown="replace")
    assert other(text)["input_ids"] == ids
    assert other.decode(ids) == ours.decode(ids)


@pytest.mark.parametrize("name", ["bytes", "pairs"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.lists(st.integers(0, 255), max_size=20))
def test_ids_that_are_no_text_decode_to_the_same(theirs, name, ids):
    assert theirs[name].decode(ids) == TOKENIZERS[name].decode(ids)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_they_have_as_many_tokens_and_the_same_end_of_text(theirs, name):
    ours, other = TOKENIZERS[name], theirs[name]
    assert len(other) == ours.vocab_size
    assert other.eos_token_id == other.bos_token_id == end_of_text(ours)
    assert other.model_max_length == 64
    assert end_of_text(ours) == (284 if name == "pairs" else None)


def test_letters_that_spell_the_end_of_text_are_text_when_asked_for(theirs):
    ours, spelled = TOKENIZERS["pairs"], "a <|endoftext|> b"
    assert theirs["pairs"](spelled)["input_ids"] != ours.encode(spelled)
    ids = theirs["pairs"](spelled, split_special_tokens=True)["input_ids"]
    assert ids == ours.encode(spelled)


def test_an_unknown_character_becomes_the_stand_in(theirs):
    assert (
        TOKENIZERS["characters"].encode("Z?", unknown="replace") == [ALPHABET.index(" ")] * 2
    )  # no question mark in this alphabet
    assert theirs["characters"]("Z")["input_ids"] == [ALPHABET.index(" ")]


def test_the_class_of_gpt_2s_own_tokenizer_would_not_do(tmp_path):
    """Why tokenizer_config.json names the plain class: the other one loses spaces and letters."""
    transformers = pytest.importorskip("transformers")
    write_tokenizer(TOKENIZERS["characters"], tmp_path, context_length=64)
    described = json.loads((tmp_path / TOKENIZER_CONFIG).read_text())
    (tmp_path / TOKENIZER_CONFIG).write_text(
        json.dumps(described | {"tokenizer_class": "GPT2Tokenizer"})
    )
    other = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert other("The cat")["input_ids"] != TOKENIZERS["characters"].encode("The cat")


def test_a_tokenizer_without_such_a_form_is_refused_by_name(tmp_path):
    class WordTokenizer:
        vocab_size = 3

    with pytest.raises(UserError, match=r"no tokenizer\.json for a WordTokenizer"):
        write_tokenizer(WordTokenizer(), tmp_path, 8)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
