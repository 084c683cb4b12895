"""Compressed streams: what comes out is what went in, and damage and bombs are refused."""

import bz2
import gzip
import io
import lzma
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhushgpt.data import archives
from bhushgpt.data.archives import Damaged, Unpacked, UnpackingLimits, unpacked

PACK = {
    "xz": lzma.compress,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": archives.zstd.compress,
}
DATA = random.Random(0).randbytes(3000) + b"To Sherlock Holmes she is always the woman. " * 5000
packings = pytest.mark.parametrize("packing", PACK)


def read(data: bytes, packing: str, limits: UnpackingLimits | None = None) -> bytes:
    return Unpacked(io.BytesIO(data), packing, limits).readall()


@packings
def test_unpacked_equals_what_was_packed(packing):
    assert read(PACK[packing](DATA), packing) == DATA
    assert read(PACK[packing](b""), packing) == b""


@packings
def test_several_streams_in_a_row_are_one(packing):
    packed = PACK[packing](DATA)
    assert read(packed + packed, packing) == DATA + DATA


@given(data=st.binary(max_size=2000), cut=st.integers(1, 400))
def test_pieces_of_any_length_give_the_same_bytes(data, cut):
    stream = unpacked(io.BytesIO(lzma.compress(data)), "xz", UnpackingLimits())
    assert b"".join(iter(lambda: stream.read(cut), b"")) == data


@packings
def test_a_truncated_stream_is_refused_at_every_length(packing):
    packed = PACK[packing](DATA)
    for length in [*range(8, len(packed), 97), len(packed) - 1]:
        with pytest.raises(Damaged, match=r"ends in the middle|it is not a|is damaged"):
            read(packed[:length], packing)


@packings
def test_empty_and_foreign_files_are_named(packing):
    with pytest.raises(Damaged, match="it is empty"):
        read(b"", packing)
    with pytest.raises(Damaged, match=rf"it is not a \.{packing} file \(it begins with b'<html"):
        read(b"<html>no archive</html>", packing)


@pytest.mark.parametrize("packing", ["xz", "gz", "bz2"])  # zst has no check sum unless asked for
def test_a_flipped_bit_is_noticed(packing):
    packed = bytearray(PACK[packing](DATA))
    packed[1500] ^= 1
    with pytest.raises(Damaged, match=rf"its {packing} data is damaged|ends in the middle"):
        read(bytes(packed), packing)


@packings
def test_trailing_zeros_are_padding_and_trailing_junk_is_noted(packing):
    for tail, junk in ((b"", False), (b"\0" * 8, False), (b"junk", True), (b"\0\0\0\0junk", True)):
        stream = Unpacked(io.BytesIO(PACK[packing](DATA) + tail), packing)
        assert stream.readall() == DATA
        assert stream.junk == junk


@packings
def test_a_bomb_is_refused_before_it_is_unpacked(packing):
    packed = PACK[packing](bytes(2**26))
    stream = Unpacked(io.BytesIO(packed), packing, UnpackingLimits(free_bytes=2**20))
    with pytest.raises(Damaged, match=r"it is a bomb: [\d,]+ bytes have unpacked to"):
        stream.readall()
    assert stream.unpacked_bytes < 2**25


def test_the_total_is_limited():
    noise = random.Random(1).randbytes(5000)
    with pytest.raises(Damaged, match="it unpacks to more than 4,000 bytes"):
        read(lzma.compress(noise), "xz", UnpackingLimits(total_bytes=4000))
    assert read(lzma.compress(noise), "xz", UnpackingLimits(total_bytes=5000)) == noise


def test_an_archive_that_needs_much_memory_is_refused():
    wide = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**23}]
    packed = lzma.compress(b"Holmes", filters=wide)
    with pytest.raises(Damaged, match="it needs more than 1 MiB to be unpacked"):
        read(packed, "xz", UnpackingLimits(memory_bytes=2**20))
    options: Any = {archives.zstd.CompressionParameter.window_log: 24}
    compressor = archives.zstd.ZstdCompressor(options=options)
    packed = compressor.compress(b"a") + compressor.flush()
    with pytest.raises(Damaged, match=r"needs more than 1 MiB|too much memory"):
        read(packed, "zst", UnpackingLimits(memory_bytes=2**20))


def test_without_a_packing_the_stream_is_given_back():
    stream = io.BytesIO(b"plain")
    assert unpacked(stream, "", UnpackingLimits()) is stream


def test_after_zero_padding_another_stream_goes_on():
    packed = lzma.compress(DATA)
    for zeros in (4, 8, 2**16, 2**17 + 4):  # also more than is read at once
        assert read(packed + bytes(zeros) + packed, "xz") == DATA + DATA


@pytest.mark.parametrize("packing", ["xz", "gz", "bz2"])
def test_the_ratio_is_the_limit_and_not_more(packing):
    data = random.Random(2).randbytes(3000) + bytes(300_000)
    ratio = len(data) / len(PACK[packing](data))
    assert read(PACK[packing](data), packing, UnpackingLimits(free_bytes=0, ratio=int(ratio) + 1))
    for limit in (ratio / 1.5, ratio / 1.05):
        with pytest.raises(Damaged, match="it is a bomb"):
            read(PACK[packing](data), packing, UnpackingLimits(free_bytes=0, ratio=int(limit)))
