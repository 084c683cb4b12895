"""Encoding is inverted by decoding, nothing is special unless asked, files hold the same."""

import json
import pickle
import re
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bhushgpt import bpe
from bhushgpt.bpe import END_OF_TEXT, BPETokenizer
from bhushgpt.bpe_by_hand import encode_naively, pieces
from bhushgpt.corpus import load_text
from bhushgpt.errors import UserError
from bhushgpt.presets import build_model, preset
from bhushgpt.storage.checkpoints import save_checkpoint
from bhushgpt.tokenizers import load_tokenizer, tokenizer_from_dict
from bhushgpt.training import TrainState

TEXT = load_text().text[:100_000]
BOOK = BPETokenizer.train([TEXT], vocab_size=600)
FEW = BPETokenizer.train(["aaabdaaabac abab baab aaaa", "ba dab aab"], vocab_size=275)
GPT2 = BPETokenizer.from_gpt2()
SPECIALS = BPETokenizer(BOOK.merges, ("<|endoftext|>", "<|user|>", "<|user|>!"))
ANY = st.text() | st.text(st.sampled_from("ab1,' \n\tstrevé中🙂<|endoftext|>user!"), max_size=60)


@given(ANY)
def test_decoding_inverts_encoding(text: str) -> None:
    for tokenizer in (BOOK, FEW, GPT2):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert tokenizer.decode_bytes(ids) == text.encode()
        assert all(0 <= i < 256 + len(tokenizer.merges) for i in ids)  # never a special one


@given(st.text(st.sampled_from("aaabbcd "), max_size=40))
def test_tiktoken_with_our_merges_equals_the_merges_one_by_one(text: str) -> None:
    assert FEW.encode(text) == encode_naively(text, FEW.merges)


def test_tiktoken_with_our_merges_equals_the_merges_on_text_never_seen() -> None:
    text = load_text().text[300_000:303_000]
    assert BOOK.encode(text) == encode_naively(text, BOOK.merges)


@given(ANY, st.lists(st.integers(0, 60)))
def test_ids_of_a_text_in_parts_are_those_of_the_whole(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(text)]
    parts = [text[a:b] for a, b in pairwise(places)]
    for tokenizer in (BOOK, FEW):
        assert list(tokenizer.encode_iterable(parts)) == tokenizer.encode(text)


def test_what_a_stream_keeps_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = 0
    real = bpe.FastEncoder.ids

    def watched(self, text):
        nonlocal longest
        longest = max(longest, len(text))
        return real(self, text)

    monkeypatch.setattr(bpe.FastEncoder, "ids", watched)
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield "好，Watson said. " * 50

    ids = BOOK.encode_iterable(endless())
    for _ in range(100_000):
        next(ids)
    assert longest < 1700  # two chunks, of hundreds read
    assert read > 100


def test_a_special_token_in_a_text_stays_text() -> None:
    text = f"one{END_OF_TEXT}two"
    ids = SPECIALS.encode(text)
    assert SPECIALS.eot_id not in ids
    assert ids == SPECIALS.encode_ordinary(text) == list(SPECIALS.encode_to_numpy(text))
    assert list(SPECIALS.encode_iterable(text)) == ids
    assert SPECIALS.decode(ids) == text


def test_a_special_token_that_is_allowed_becomes_its_id() -> None:
    one, two = SPECIALS.encode("one"), SPECIALS.encode("two")
    text = f"one{END_OF_TEXT}two"
    for allowed in ("all", [END_OF_TEXT], {END_OF_TEXT, "<|user|>"}):
        assert SPECIALS.encode(text, allowed_special=allowed) == [*one, SPECIALS.eot_id, *two]
    assert SPECIALS.encode(text, allowed_special=["<|user|>"]) == SPECIALS.encode(text)
    assert SPECIALS.decode([SPECIALS.eot_id]) == END_OF_TEXT


def test_the_longest_special_name_wins() -> None:
    user, loud = SPECIALS.special_ids["<|user|>"], SPECIALS.special_ids["<|user|>!"]
    assert SPECIALS.encode("<|user|>!<|user|>", allowed_special="all") == [loud, user]
    assert SPECIALS.encode("<|user|>!", allowed_special=["<|user|>"])[0] == user


def test_a_special_name_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match=r"'<\|usr\|>' is no special token. Did you mean '<\|user"):
        SPECIALS.encode("x", allowed_special=["<|usr|>"])
    with pytest.raises(UserError, match=r"has no <\|endoftext\|>"):
        _ = BPETokenizer([], ()).eot_id


HALF = "a\ud83d b\ude00"


def test_half_a_surrogate_pair_is_refused_with_its_place_and_the_choices() -> None:
    for encode in (BOOK.encode, BOOK.encode_ordinary, BOOK.encode_to_numpy):
        with pytest.raises(UserError, match=r"'\\ud83d' at position 1.*unknown='skip'"):
            encode(HALF)
    with pytest.raises(UserError, match="half of a surrogate pair"):
        list(BOOK.encode_iterable(HALF))
    with pytest.raises(UserError, match="half of a surrogate pair"):
        BPETokenizer.train([HALF], 300)


def test_half_a_surrogate_pair_is_dropped_or_replaced_when_asked() -> None:
    assert BOOK.decode(BOOK.encode(HALF, unknown="skip")) == "a b"
    assert BOOK.decode(BOOK.encode(HALF, unknown="replace")) == "a\ufffd b\ufffd"
    # Two halves side by side are one character after all.
    assert BOOK.decode(BOOK.encode("\ud83d\ude00", unknown="skip")) == "\U0001f600"
    with pytest.raises(UserError, match=r"unknown is 'skp'\. Did you mean 'skip'"):
        BOOK.encode("a", unknown="skp")  # type: ignore


def test_gaps_of_a_million_characters_are_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    # tiktoken alone ends the program at such a text; here on a smaller scale, against the pieces.
    monkeypatch.setattr(bpe, "LONGEST_GAP", 5)
    monkeypatch.setattr(bpe, "_LONG", re.compile(r"\s{5}"))
    for text in ("a" + " " * 9 + "b" + "\n" * 7 + "c", " \n" * 6 + "x", "x" + " " * 20, " " * 5):
        parts = list(bpe._parts(text))
        assert "".join(parts) == text
        assert [piece for part in parts for piece in pieces(part)] == pieces(text)
        assert BOOK.decode(BOOK.encode_to_numpy(text)) == text
        assert BOOK.encode(text) == encode_naively(text, BOOK.merges)


def test_a_gap_that_tiktoken_cannot_take() -> None:
    text = "a" + "\n" * 1_200_000 + "b"
    assert BOOK.decode(BOOK.encode(text)) == text


@pytest.mark.parametrize("ids", [[0, 600], [-1], np.array([600]), torch.tensor([600])])
def test_an_id_outside_is_named(ids: object) -> None:
    with pytest.raises(UserError, match=r"The id (600|-1) at position \d is outside .* 0 to 599"):
        BOOK.decode(ids)  # type: ignore


def test_bytes_that_are_no_text_become_the_replacement_sign() -> None:
    ids = BOOK.encode("é")
    assert BOOK.decode(ids[:1]) == "\ufffd"
    assert BOOK.decode(torch.tensor(ids)) == BOOK.decode(np.array(ids, dtype=np.uint16)) == "é"


def test_a_larger_vocabulary_makes_fewer_ids_of_the_same_text() -> None:
    smaller = BPETokenizer(BOOK.merges[:100])
    assert len(BOOK.encode(TEXT)) < len(smaller.encode(TEXT)) < len(TEXT.encode())


def test_a_vocabulary_that_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match=r"vocab_size is 256; .* need 257 already"):
        BPETokenizer.train([TEXT], 256)
    with pytest.raises(UserError, match=r"vocab_size is 1,000, but after 259 ids"):
        BPETokenizer.train(["ab ab"], 1000)
    with pytest.raises(UserError, match=r"Merge 0 is of the ids 0 and 256"):
        BPETokenizer([(0, 256)])
    with pytest.raises(UserError, match="Two merges make the same token"):
        BPETokenizer([(0, 0), (0, 0)])
    for names in (["", "a"], ["a", "a"]):
        with pytest.raises(UserError, match="each needs a name of its own"):
            BPETokenizer([], names)


@given(st.text(min_size=1), st.integers(0, 30))
def test_a_stored_tokenizer_is_the_same_tokenizer(text: str, size: int) -> None:
    tokenizer = BPETokenizer(FEW.merges[:size], ("<|endoftext|>", text))
    again = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert type(again) is BPETokenizer
    assert (again.digest, again.tokens) == (tokenizer.digest, tokenizer.tokens)
    assert again.encode(text) == tokenizer.encode(text)


def test_the_digest_tells_tokenizers_apart() -> None:
    others = [BPETokenizer(BOOK.merges[:-1]), BPETokenizer(BOOK.merges, ()), SPECIALS, FEW]
    digests = {BOOK.digest, *(other.digest for other in others)}
    assert len(digests) == 5
    swapped = [BOOK.merges[1], BOOK.merges[0], *BOOK.merges[2:]]
    assert BPETokenizer(swapped).digest != BOOK.digest


def test_save_load_and_pickle(tmp_path) -> None:
    file = tmp_path / "tokenizer.json"
    BOOK.save(file)
    for again in (BPETokenizer.load(file), load_tokenizer(file), pickle.loads(pickle.dumps(BOOK))):
        assert again.digest == BOOK.digest
        assert again.encode(TEXT) == BOOK.encode(TEXT)
    assert file.stat().st_size < 6000


def test_gpt2_in_a_checkpoint_takes_less_than_half_a_megabyte() -> None:
    described = GPT2.to_dict()
    text = json.dumps(described, indent=2)
    assert len(text) < 500_000
    assert text.count("\n") < 10


@pytest.mark.parametrize(
    "change",
    [
        {"merges": "64 64 1"},
        {"merges": "64 64"},
        {"merges": "64 x"},
        {"merges": [64, 64]},
        {"merges": "999 0"},
        {"special_tokens": None},
        {"special_tokens": ["other"]},
        {"digest": "0"},
    ],
)
def test_a_damaged_description_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match="do not fit its fingerprint: it is damaged"):
        BPETokenizer.from_dict(BOOK.to_dict() | change)


def test_a_description_is_read_by_a_program_that_never_imported_bpe(tmp_path) -> None:
    file = tmp_path / "tokenizer.json"
    BOOK.save(file)
    program = (
        "import sys; from bhushgpt.tokenizers import load_tokenizer; "
        "assert 'bhushgpt.bpe' not in sys.modules; "
        f"tokenizer = load_tokenizer({str(file)!r}); "
        "assert 'torch' not in sys.modules; print(tokenizer.vocab_size)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "600", done.stderr


def test_a_checkpoint_with_this_tokenizer_is_loaded_without_importing_bpe(tmp_path) -> None:
    config = preset("gpt-v1-smoke", BOOK.vocab_size, steps=3)
    state = TrainState.fresh(build_model(config), config.training)
    saved = save_checkpoint(tmp_path, state, config, BOOK)
    program = (
        "import sys; from pathlib import Path; from bhushgpt.storage import load_checkpoint; "
        "assert 'bhushgpt.bpe' not in sys.modules; "
        f"print(load_checkpoint(Path({str(saved)!r})).tokenizer.digest)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == BOOK.digest, done.stderr
