"""Token files: what was written comes back, also through batches, and lies are refused."""

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bhushgpt.batches import Batches
from bhushgpt.data.token_files import (
    HEADER,
    TokenFile,
    TokenWriter,
    header_bytes,
    is_held_out,
    token_type,
)
from bhushgpt.errors import UserError
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer

BYTES = ByteTokenizer()


class Large:
    """A tokenizer with more ids than 16 bits hold."""

    vocab_size, digest = 70_001, "ab" * 32


def write(path, ids, tokenizer: Any = BYTES):
    with TokenWriter(path, tokenizer) as writer:
        writer.write(ids)
    return path


@given(st.lists(st.lists(st.integers(0, 255), max_size=20), max_size=5))
def test_what_is_written_comes_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("tokens") / "a.tokens"
    with TokenWriter(path, BYTES) as writer:
        for row in rows:
            writer.write(row)
    ids = [number for row in rows for number in row]
    tokens = TokenFile(path, BYTES)
    assert (len(tokens), tokens.tolist(), list(tokens)) == (len(ids), ids, ids)
    assert tokens.fingerprint() == writer.sha256
    assert path.stat().st_size == HEADER.size + 2 * len(ids)


def test_it_is_a_sequence_and_an_array_without_a_copy(tmp_path):
    tokens = TokenFile(write(tmp_path / "a.tokens", np.arange(200) % 256))
    assert (tokens[5], tokens[-1], 7 in tokens, tokens.index(9)) == (5, 199, True, 9)
    assert tokens[3:6].tolist() == tokens[[3, 4, 5]].tolist() == [3, 4, 5]
    view = np.asarray(tokens)
    assert view.dtype == np.uint16 and not view.flags.writeable
    assert np.shares_memory(view, np.asarray(tokens))
    tokens.release()
    assert view.tolist() == list(range(200))


def test_batches_of_a_token_file_equal_batches_of_the_array(tmp_path):
    ids = np.random.default_rng(0).integers(0, 256, 5000)
    tokens = TokenFile(write(tmp_path / "a.tokens", ids))
    for step in range(3):
        for one, other in zip(Batches(tokens, 4, 16)[step], Batches(ids, 4, 16)[step], strict=True):
            assert torch.equal(one, other)


def test_ids_above_16_bits_get_32(tmp_path):
    tokens = TokenFile(write(tmp_path / "a.tokens", [70_000, 0, 65_536], Large))
    assert tokens.dtype == np.uint32 and tokens.tolist() == [70_000, 0, 65_536]


@pytest.mark.parametrize(
    "ids", [[1.5], [[1, 2]], np.array(["a"])], ids=["float", "two rows", "text"]
)
def test_what_is_no_row_of_whole_numbers_is_refused(tmp_path, ids):
    with pytest.raises(UserError, match="takes one row of whole numbers"):
        write(tmp_path / "a.tokens", ids)
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_writing_leaves_nothing_behind(tmp_path):
    write(tmp_path / "a.tokens", [1, 2, 3])
    with pytest.raises(RuntimeError), TokenWriter(tmp_path / "a.tokens", BYTES) as writer:
        writer.write([9] * 100)
        raise RuntimeError
    assert TokenFile(tmp_path / "a.tokens").tolist() == [1, 2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["a.tokens"]


def test_a_file_of_another_version_or_with_a_damaged_header_is_refused(tmp_path):
    path = write(tmp_path / "a.tokens", [1, 2, 3])
    data = path.read_bytes()
    path.write_bytes(data[:8] + b"\x02" + data[9:])
    with pytest.raises(
        UserError, match=r"has token file version 2; this version .* reads version 1"
    ):
        TokenFile(path)
    path.write_bytes(header_bytes(3, 256, 2, BYTES.digest) + data[64:])
    with pytest.raises(UserError, match=r"The header of a\.tokens is damaged"):
        TokenFile(path)
    path.write_bytes(header_bytes(4, 256, 1, BYTES.digest) + bytes(4))
    with pytest.raises(UserError, match=r"header of a\.tokens is damaged"):
        TokenFile(path)


def test_a_missing_file_and_a_folder_are_said_in_words(tmp_path):
    for path in (tmp_path / "gone.tokens", tmp_path):
        with pytest.raises(UserError, match="cannot be read: "):
            TokenFile(path)


def test_the_same_size_of_vocabulary_is_not_the_same_tokenizer(tmp_path):
    path = write(tmp_path / "a.tokens", [0, 1], CharTokenizer("ab"))
    with pytest.raises(UserError, match="holds the ids of another tokenizer"):
        TokenFile(path, CharTokenizer("ba"))


def test_no_type_for_a_vocabulary_without_bounds():
    for size in (0, 2**32 + 1):
        with pytest.raises(UserError, match=r"A vocabulary has 1 to 4,294,967,296 tokens"):
            token_type(size)


def test_which_documents_are_held_out_never_changes():
    """By the first bytes of their sha256, the first byte first, as anybody can look it up."""
    pages = [f"page {number}".encode() for number in range(20)]
    assert [n for n, page in enumerate(pages) if is_held_out(page, 0.3)] == [1, 3, 5, 6, 10, 18]
    for page in pages:
        assert is_held_out(page, 0.5) == (hashlib.sha256(page).digest()[0] < 128)


@pytest.mark.parametrize(("size", "dtype"), [(2**16, "<u2"), (2**16 + 1, "<u4")])
def test_ids_take_two_bytes_as_long_as_all_of_them_fit(size, dtype):
    assert token_type(size) == np.dtype(dtype)
