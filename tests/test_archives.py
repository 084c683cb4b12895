"""The tar reader: the same members as Python's own, and nothing that is odd gets through."""

import io
import random
import tarfile
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhushgpt.data.archives import Damaged, TarReader, UnpackingLimits, is_safe_name, plain_files
from tests.pages import tar

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
ODD = {
    tarfile.SYMTYPE: "symbolic link",
    tarfile.LNKTYPE: "hard link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "fifo",
    tarfile.DIRTYPE: "folder",
}


def archive(names, form=tarfile.PAX_FORMAT, odd=()):
    packed, chance = io.BytesIO(), random.Random(0)
    with tarfile.open(fileobj=packed, mode="w", format=form) as writer:
        for name in names:
            member = tarfile.TarInfo(name)
            data = chance.randbytes(chance.randrange(2000))
            member.size = len(data)
            writer.addfile(member, io.BytesIO(data))
        for kind in odd:
            member = tarfile.TarInfo("odd" + kind.decode())
            member.type, member.linkname = kind, "../../etc/passwd"
            writer.addfile(member)
    return packed.getvalue()


def members(data, limits=None):
    reader = TarReader(io.BytesIO(data), limits)
    return [(entry.name, entry.kind, reader.read()) for entry in reader]


def oracle(data):
    reader = tarfile.open(fileobj=io.BytesIO(data))
    files = ((member.name, reader.extractfile(member)) for member in reader)
    return [(name, file.read()) for name, file in files if file]


@pytest.mark.parametrize("form", FORMATS)
def test_the_members_equal_those_of_pythons_tarfile(form):
    names = ["a.txt", "d/é.txt", "x" * 99, "d/" + "y" * 90 + "/" + "z" * 90, "b"]
    if form != "ustar":
        names += ["w" * 300, "ü" * 120 + "/é"]
    data = archive(names, FORMATS[form])
    assert [(name, content) for name, _, content in members(data)] == oracle(data)


@given(st.lists(st.text("aé/. _", min_size=1, max_size=150), max_size=6, unique=True))
def test_any_names_equal_those_of_pythons_tarfile(names):
    names = [name.strip("/") or "x" for name in names]
    data = archive(names)
    assert [(name, content) for name, _, content in members(data)] == oracle(data)


@pytest.mark.parametrize("form", FORMATS)
def test_links_devices_and_pipes_are_skipped_and_counted(form):
    data = archive(["a.txt"], FORMATS[form], ODD)
    kinds = [kind for _, kind, _ in members(data)]
    assert kinds == ["file", *ODD.values()]
    skipped = Counter()
    names = [entry.name for entry in plain_files(TarReader(io.BytesIO(data)), skipped)]
    assert names == ["a.txt"]
    assert sum(skipped.values()) == 5  # a folder is nothing odd
    assert skipped["is a symbolic link, not a file"] == 1
    assert skipped["is a device, not a file"] == 2


@pytest.mark.parametrize(
    "name",
    ["../a.txt", "a/../../b", "/etc/passwd", "\\windows\\a", "C:\\a.txt", "c:a", "a\0b", "", ".."],
)
def test_names_that_lead_out_are_unsafe(name):
    assert not is_safe_name(name)


def test_harmless_names_are_safe():
    assert all(map(is_safe_name, ("a", "a/b.txt", "./a", "..a", "a..b/c", "日本/é.txt")))


def test_unsafe_and_repeated_names_are_skipped_and_counted():
    data = tar([("../a.txt", b"1"), ("b.txt", b"2"), ("b.txt", b"3"), ("/c.txt", b"4")])
    skipped = Counter()
    reader = TarReader(io.BytesIO(data))
    assert [reader.read() for _ in plain_files(reader, skipped)] == [b"2"]
    assert skipped == {
        "has a name that leads out of the archive": 2,
        "has the name of an earlier one": 1,
    }


def test_a_member_that_is_not_read_is_passed_over():
    data = tar([("a", b"1" * 3000), ("b", b"2"), ("c", b"3" * 512)])
    reader = TarReader(io.BytesIO(data))
    assert [reader.read() for entry in reader if entry.name != "a"] == [b"2", b"3" * 512]
    reader = TarReader(io.BytesIO(data))
    read = [reader.open().read(2) for _ in reader]
    assert read == [b"11", b"2", b"33"]


def test_truncation_is_noticed_at_every_length():
    data = tar([("a.txt", b"1" * 700), ("b.txt", b"2" * 100)])
    ended = 512 + 1024 + 512 + 512 + 512  # two members, and the first block of zeros
    for length in range(0, ended, 128):
        with pytest.raises(Damaged, match=r"cut off|it is empty|it is not a tar"):
            members(data[:length])
    assert len(members(data[:ended])) == 2


def test_what_is_no_tar_is_refused():
    for data in (b"<html>" * 200, bytes(range(256)) * 4, b"short"):
        with pytest.raises(Damaged, match="it is not a tar archive"):
            members(data)


def test_a_damaged_header_is_refused_where_tarfile_ends_silently():
    data = bytearray(tar([("a.txt", b"1"), ("b.txt", b"2"), ("c.txt", b"3")]))
    data[1024] ^= 1  # the first byte of the second header
    assert len(oracle(bytes(data))) == 1  # Python's own stops there without a word
    with pytest.raises(Damaged, match="a header is damaged"):
        members(bytes(data))


def test_a_lie_about_the_size_is_refused():
    data = bytearray(tar([("a.txt", b"1")]))
    data[124:136] = b"77777777777\0"
    data[148:156] = f"{sum(data[:148]) + 256 + sum(data[156:512]):06o}\0 ".encode()
    with pytest.raises(Damaged, match="ends in the middle of a member"):
        members(bytes(data))
    data[124:136] = b"\xff" * 12  # minus one
    data[148:156] = f"{sum(data[:148]) + 256 + sum(data[156:512]):06o}\0 ".encode()
    with pytest.raises(Damaged, match="negative size"):
        members(bytes(data))


def test_numbers_of_members_and_lengths_of_names_are_limited():
    with pytest.raises(Damaged, match="it has more than 3 members"):
        members(tar([(f"{n}.txt", b"") for n in range(4)]), UnpackingLimits(members=3))
    with pytest.raises(Damaged, match="it has a name of 70,0"):
        members(archive(["n" * 70_000]))


def test_sparse_members_are_not_taken_for_plain_ones():
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as writer:
        member = tarfile.TarInfo("sparse.txt")
        member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
        writer.addfile(member)
    assert [kind for _, kind, _ in members(packed.getvalue())] == ["unknown"]


def with_header(data: bytes, place: slice, field: bytes) -> bytes:
    """Return an archive whose first header has a field changed, its check sum with it."""
    changed = bytearray(data)
    changed[place] = field
    total = sum(changed[:148]) + 8 * 32 + sum(changed[156:512])
    changed[148:156] = f"{total:06o}\0 ".encode()
    return bytes(changed)


def test_gnus_sparse_members_are_refused():
    data = tar([("a.txt", b"1" * 600)])
    with pytest.raises(Damaged, match="it has a sparse member, which is not read"):
        members(with_header(data, slice(156, 157), b"S"))


def pax(records: bytes) -> bytes:
    """Return an archive of one member with these records before it."""
    extra = tar([("x", records)])[: 512 + -(-len(records) // 512) * 512]
    return with_header(extra, slice(156, 157), b"x") + tar([("a.txt", b"text")])


def test_a_number_of_thousands_of_digits_is_no_size_and_no_length():
    """Python refuses to turn more than 4,300 digits into a number."""
    record = b"size=" + b"9" * 5000 + b"\n"
    whole = f"{len(record) + 5} ".encode() + record
    assert members(pax(whole)) == [("a.txt", "file", b"text")]
    with pytest.raises(Damaged, match="a header is damaged"):
        members(pax(b"9" * 5000 + b" size=4\n"))
