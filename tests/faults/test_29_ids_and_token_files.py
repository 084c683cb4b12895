"""Fault 29: ids that do not fit, odd, truncated and foreign token files."""

import numpy as np
import pytest

from bhushgpt.data.token_files import TokenFile, TokenWriter
from bhushgpt.errors import UserError
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer

BYTES = ByteTokenizer()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "train.tokens"
    with TokenWriter(path, BYTES) as writer:
        writer.write(np.arange(1000) % 256)
    return path


@pytest.mark.parametrize("wrong", [256, 70_000, -1, 2**40])
def test_an_id_that_does_not_fit_is_an_error_not_another_id(tmp_path, wrong) -> None:
    path = tmp_path / "train.tokens"
    with (
        pytest.raises(
            UserError,
            match=rf"The id {wrong:,}|The id {wrong} is not one of this tokenizer's, 0 to 255",
        ),
        TokenWriter(path, BYTES) as writer,
    ):
        writer.write([1, 2, wrong, 3])
    assert list(tmp_path.iterdir()) == []


def test_numpy_alone_would_have_written_another_id() -> None:
    assert np.array([70_000]).astype(np.uint16)[0] == 4464


@pytest.mark.parametrize("cut", [1, 2, 999, 2000])
def test_a_truncated_or_odd_sized_file_is_refused(file, cut) -> None:
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(UserError, match=r"train\.tokens is truncated: [\d,]+ bytes, but 1,000 ids"):
        TokenFile(file)


def test_a_file_with_something_behind_it_is_refused(file) -> None:
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"train\.tokens is longer than it should be: 2,065 bytes"):
        TokenFile(file)


def test_a_bare_row_of_numbers_is_refused(tmp_path) -> None:
    path = tmp_path / "train.bin"
    np.arange(100, dtype=np.uint16).tofile(path)
    with pytest.raises(UserError, match=r"train\.bin is not a token file .* does not say which"):
        TokenFile(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"train\.bin is not a token file \(0 bytes"):
        TokenFile(path)


def test_the_ids_of_another_tokenizer_are_refused(file) -> None:
    other = CharTokenizer("".join(map(chr, range(256))))
    assert other.vocab_size == BYTES.vocab_size
    with pytest.raises(UserError, match=r"holds the ids of another tokenizer .* other text: take"):
        TokenFile(file, other)
    assert len(TokenFile(file, BYTES)) == 1000
