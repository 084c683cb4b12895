"""Every kind of shard gives the same documents; what is no clean text is counted."""

import bz2
import gzip
import io
import json
import lzma
import sys
import tarfile
from collections import Counter
from pathlib import Path

import py7zr
import pyarrow as arrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from bhushgpt.data import archives
from bhushgpt.data.archives import Damaged, UnpackingLimits
from bhushgpt.data.documents import document, read_shard
from bhushgpt.data.shards import find_shards
from bhushgpt.errors import UserError
from tests.pages import make_pages, openwebtext, shard, tar

PAGES = make_pages(45)
PACK = {
    "": bytes,
    ".xz": lzma.compress,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": archives.zstd.compress,
}


def texts(place, limits=None):
    """Return the documents in a place, and what was skipped."""
    finds = find_shards([place], limits)
    skipped = finds.skipped
    found = [
        page.text
        for each in finds.shards
        for page in read_shard(each, limits or UnpackingLimits(), skipped)
    ]
    return found, dict(+skipped)


def write_json_lines(file, pages, ending=""):
    lines = "".join(json.dumps({"text": page, "url": "x"}) + "\n" for page in pages)
    file.write_bytes(PACK[ending](lines.encode()))
    return file


def write_parquet(file, pages, rows=10, **options):
    table = arrow.table({"url": ["x"] * len(pages), "text": pages})
    parquet.write_table(table, file, row_group_size=rows, **options)
    return file


def write_7z(file, pages, **options):
    with py7zr.SevenZipFile(file, "w", **options) as archive:
        for number, page in enumerate(pages):
            archive.writestr(page, f"{number:04}.txt")
    return file


def test_all_kinds_give_the_same_documents(tmp_path):
    places = [openwebtext(tmp_path / "a.tar", PAGES), write_7z(tmp_path / "a.7z", PAGES)]
    members = [(f"{n}.txt", page.encode()) for n, page in enumerate(PAGES)]
    for ending, pack in PACK.items():
        places.append(write_json_lines(tmp_path / f"a.jsonl{ending}", PAGES, ending))
        (tmp_path / f"plain.tar{ending}").write_bytes(pack(tar(members)))
        places.append(tmp_path / f"plain.tar{ending}")
    for compression in ("none", "snappy", "zstd"):
        file = tmp_path / f"{compression}.parquet"
        places.append(write_parquet(file, PAGES, compression=compression))
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    for number, page in enumerate(PAGES):
        (folder / "deep" / f"page{number}.txt").write_bytes(page.encode())
    for place in [*places, folder]:
        assert texts(place) == (PAGES, {}), place


def test_one_shard_for_each_inner_archive_row_group_and_500_files(tmp_path):
    assert len(find_shards([openwebtext(tmp_path / "a.tar", PAGES)]).shards) == 3
    assert len(find_shards([write_parquet(tmp_path / "a.parquet", PAGES)]).shards) == 5
    for number in range(501):
        (tmp_path / f"{number}.txt").write_text("x")
    (tmp_path / "a.tar").unlink()
    (tmp_path / "a.parquet").unlink()
    assert [len(s.members) for s in find_shards([tmp_path]).shards] == [500, 1]


def test_the_old_layout_of_one_packed_tar_of_archives_works_too(tmp_path):
    inner = [(f"openwebtext/{n}.xz", shard(PAGES[n * 15 : n * 15 + 15])) for n in range(3)]
    (tmp_path / "openwebtext.tar.xz").write_bytes(lzma.compress(tar(inner)))
    assert texts(tmp_path / "openwebtext.tar.xz") == (PAGES, {})


def test_numbers_in_names_are_sorted_as_numbers(tmp_path):
    for number in (10, 9, 1):
        (tmp_path / f"subset-{number}_data.xz").write_bytes(shard([f"page {number}"]))
    assert [s.name for s in find_shards([tmp_path]).shards] == [
        f"subset-{number}_data.xz" for number in (1, 9, 10)
    ]


def test_byte_order_marks_and_windows_line_ends_go_and_nothing_else():
    found = document("\ufeffone\r\ntwo\rthree \t\n\n".encode(), Counter())
    assert found and found.text == "one\ntwo\nthree \t\n\n"
    assert found.data == found.text.encode()


@given(st.text())
def test_a_document_is_its_text_or_is_counted(text):
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return
    skipped = Counter()
    found = document(data, skipped)
    assert (found is None) == bool(skipped) == ("\0" in text or not text.strip())
    if found and not text.startswith("\ufeff"):
        assert found.text == text.replace("\r\n", "\n").replace("\r", "\n")


def test_what_is_no_clean_text_is_counted_by_reason(tmp_path):
    members = [
        ("a.txt", b"good"),
        ("b.txt", b"caf\xe9"),
        ("c.txt", b"nul\0"),
        ("d.txt", b" \n"),
        ("e.txt", b"x" * 3000),
        ("f.jpg", b"\xff\xd8"),
        ("g.txt", "utf-16".encode("utf-16")),
    ]
    (tmp_path / "a.tar.xz").write_bytes(lzma.compress(tar(members)))
    limits = UnpackingLimits(member_bytes=2048)
    assert texts(tmp_path / "a.tar.xz", limits) == (
        ["good"],
        {
            "is not UTF-8 text": 2,
            "holds NUL bytes": 1,
            "is empty": 1,
            "is longer than 0.1 MB": 1,
            "is of another kind than .txt": 1,
        },
    )


def test_lines_that_are_no_documents_are_counted(tmp_path):
    lines = [
        b'{"text": "good"}',
        b'{"text": 3}',
        b'{"title": "x"}',
        b"[1]",
        b"{half",
        b"[" * 5000,
        b'{"text": "\\ud800"}',
        b'{"text": "' + b"x" * 9000 + b'"}',
        b"",
        b'{"text": "last"}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    found, skipped = texts(tmp_path / "a.jsonl", UnpackingLimits(member_bytes=4096))
    assert found == ["good", "last"]
    assert skipped == {
        'has no field "text"': 3,
        "is not a line of JSON": 2,
        "is not UTF-8 text": 1,
        "is longer than 0.1 MB": 1,
    }


def test_a_half_downloaded_parquet_file_is_refused(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", PAGES)
    file.write_bytes(file.read_bytes()[:-40])
    finds = find_shards([file])
    assert not finds.shards
    assert "it is not a whole parquet file" in finds.refused["a.parquet"]
    arrow_file = tmp_path / "b.parquet"
    parquet.write_table(arrow.table({"words": ["x"]}), arrow_file)
    assert find_shards([arrow_file]).refused == {
        "b.parquet": 'the column "text" is not in it; take one of its columns of text with '
        "--text-field: words"
    }


def test_damage_inside_a_parquet_file_is_refused(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", PAGES, compression="zstd")
    data = bytearray(file.read_bytes())
    data[100:400] = bytes(300)
    file.write_bytes(bytes(data))
    with pytest.raises(Damaged, match="its parquet data is damaged"):
        texts(file)


def test_links_and_pipes_in_a_folder_are_not_followed(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("not for you")
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "a.txt").write_text("good")
    (folder / "b.jpg").write_bytes(b"\xff")
    (folder / "link.txt").symlink_to(secret)
    (folder / "loop").symlink_to(folder)
    if hasattr(__import__("os"), "mkfifo"):
        __import__("os").mkfifo(folder / "pipe.txt")
    found, skipped = texts(folder)
    assert found == ["good"]
    assert skipped["is of a kind that is not read (.jpg)"] == 1
    assert skipped["is a link or a device, not a file"] >= 1


def test_places_that_cannot_be_read_are_refused_in_words(tmp_path):
    with pytest.raises(UserError, match="There is no file or folder"):
        find_shards([tmp_path / "gone"])
    (tmp_path / "a.docx").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"a\.docx is of no kind that can be read\. These can: "):
        find_shards([tmp_path / "a.docx"])


def test_a_cut_outer_archive_keeps_its_whole_shards(tmp_path):
    file = openwebtext(tmp_path / "a.tar", PAGES)
    whole = find_shards([file])
    file.write_bytes(file.read_bytes()[: whole.shards[2].start + 100])
    finds = find_shards([file])
    assert finds.shards == whole.shards[:2]
    assert "cut off" in finds.refused["the rest of a.tar"]
    file.write_bytes(b"<html>" * 1000)
    assert find_shards([file]).refused == {"a.tar": "it is not a tar archive"}


def test_junk_behind_an_archive_is_counted_and_the_pages_stay(tmp_path):
    (tmp_path / "a.xz").write_bytes(shard(PAGES) + b"junk")
    assert texts(tmp_path / "a.xz") == (
        PAGES,
        {"is followed by bytes that belong to no archive": 1},
    )


def test_the_check_sum_behind_the_tar_is_read_too(tmp_path):
    packed = bytearray(shard(PAGES))
    packed[-40] ^= 1  # in the check sum, behind the last page
    (tmp_path / "a.xz").write_bytes(bytes(packed))
    with pytest.raises(Damaged, match="xz data is damaged"):
        texts(tmp_path / "a.xz")


FILTERS = {
    "lzma2": [{"id": py7zr.FILTER_LZMA2, "preset": 1}],
    "lzma": [{"id": py7zr.FILTER_LZMA}],
    "bzip2": [{"id": py7zr.FILTER_BZIP2}],
    "deflate": [{"id": py7zr.FILTER_DEFLATE}],
    "ppmd": [{"id": py7zr.FILTER_PPMD, "order": 6, "mem": 24}],
    "copy": [{"id": py7zr.FILTER_COPY}],
    "x86": [{"id": py7zr.FILTER_X86}, {"id": py7zr.FILTER_LZMA2, "preset": 1}],
}


@pytest.mark.parametrize("method", FILTERS)
def test_7z_of_every_usual_method_is_read(tmp_path, method):
    pytest.importorskip("py7zlib", reason="pylzma is not installed: it has to be compiled.")
    file = write_7z(tmp_path / "a.7z", PAGES, filters=FILTERS[method])
    assert texts(file) == (PAGES, {})


def test_odd_7z_members_and_damage_are_noticed(tmp_path):
    pytest.importorskip("py7zlib", reason="pylzma is not installed: it has to be compiled.")
    file = tmp_path / "a.7z"
    with py7zr.SevenZipFile(file, "w") as archive:
        archive.writestr("good", "a.txt")
        archive.writestr("x" * 3000, "b.txt")
        archive.writestr("x", "c.md")
    data = file.read_bytes()
    found, skipped = texts(file, UnpackingLimits(member_bytes=2048))
    assert (found, sum(skipped.values())) == (["good"], 2)
    for bad in (data[:40], data[:-3], b"", b"zzzz" * 20):
        file.write_bytes(bad)
        with pytest.raises(Damaged, match=r"it is not a \.7z archive, or it is damaged"):
            texts(file)
    flipped = bytearray(data)
    flipped[40] ^= 0xFF
    file.write_bytes(bytes(flipped))
    with pytest.raises(Damaged, match=r"a member of it|check sum"):
        texts(file, UnpackingLimits(member_bytes=4096))
    file.write_bytes(data + b"junk")
    assert texts(file)[1]["is followed by bytes that belong to no archive"] == 1
    write_7z(file, ["x" * 100_000])
    with pytest.raises(Damaged, match="it is a bomb"):
        texts(file, UnpackingLimits(free_bytes=1000, ratio=20))


def test_without_pylzma_one_sentence_says_so_and_all_else_works(tmp_path, monkeypatch):
    seven = write_7z(tmp_path / "a.7z", PAGES)
    other = openwebtext(tmp_path / "a.tar", PAGES)
    monkeypatch.setitem(sys.modules, "py7zlib", None)
    with pytest.raises(
        UserError, match=r"needs pylzma, which is not installed[^$]*-m pip install pylzma"
    ):
        find_shards([seven])
    assert texts(other) == (PAGES, {})


def test_a_word_of_a_million_letters_is_no_text():
    skipped = Counter()
    assert document(b"a " + b"x" * 1_000_000, skipped) is None
    assert skipped == {"has a word of a million letters": 1}
    assert document(b"a " * 1_000_000, skipped)
    assert document(b"a " + b"x" * 999_999 + b" a", skipped)  # and that in no time


def test_one_damaged_text_file_costs_only_itself(tmp_path):
    (tmp_path / "a.txt").write_text("good")
    (tmp_path / "b.txt.xz").write_bytes(lzma.compress(b"cut" * 99)[:-20])
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"packed"))
    assert texts(tmp_path) == (["good", "packed"], {"is damaged or cannot be read": 1})


def test_the_folder_of_the_tokens_is_not_searched(tmp_path):
    (tmp_path / "out").mkdir()
    for name in ("a.txt", "out/b.txt", "out/manifest.json"):
        (tmp_path / name).write_text("page")
    finds = find_shards([tmp_path], without=tmp_path / "out")
    assert [each.members for each in finds.shards] == [("a.txt",)]
    assert not finds.skipped


def test_a_tar_with_odd_members_counts_them(tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, kind in (("a.txt", tarfile.SYMTYPE), ("b.txt", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type = kind
            archive.addfile(member)
        for name in ("../c.txt", "d.txt", "d.txt"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"page"))
    Path(tmp_path / "a.tar").write_bytes(packed.getvalue())
    found, skipped = texts(tmp_path / "a.tar")
    assert (found, sum(skipped.values())) == (["page"], 4)


@pytest.mark.parametrize(("limit", "kept"), [(100, 1), (99, 0)])
def test_a_text_may_be_as_long_as_the_limit(limit, kept, tmp_path):
    write_json_lines(tmp_path / "a.jsonl", ["a" * 100])
    found, skipped = texts(tmp_path / "a.jsonl", UnpackingLimits(member_bytes=limit))
    assert (len(found), sum(skipped.values())) == (kept, 1 - kept)


def test_a_member_of_7z_that_does_not_fit_its_check_sum_is_noticed(tmp_path):
    pytest.importorskip("pylzma")
    copied = [{"id": py7zr.FILTER_COPY}]  # an unpacker would stumble over the damage first
    with py7zr.SevenZipFile(tmp_path / "a.7z", "w", filters=copied) as archive:
        archive.writestr("a page of text", "a.txt")
    data = (tmp_path / "a.7z").read_bytes()
    assert texts(tmp_path / "a.7z")[0] == ["a page of text"]
    (tmp_path / "a.7z").write_bytes(data.replace(b"a page", b"A page"))
    with pytest.raises(Damaged, match="a member of it does not fit its check sum"):
        texts(tmp_path / "a.7z")
