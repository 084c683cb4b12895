"""Ranges of a large file: together they give what the whole file gives, wherever the cuts fall."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bhushgpt.data import shards
from bhushgpt.data.archives import UnpackingLimits
from bhushgpt.data.documents import read_shard, text_pieces
from bhushgpt.data.preparation import make_plan, prepare
from bhushgpt.data.prepared import PreparedTokens
from bhushgpt.data.shards import find_shards
from bhushgpt.errors import UserError
from bhushgpt.tokenizers import ByteTokenizer
from tests.pages import make_pages, tar

PAGES = make_pages(60)
many = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read(place: Path, size: int = 2**26, limits: UnpackingLimits | None = None):
    """Return the documents in ranges of a size, what was skipped, and how many shards there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "RANGE", size)
        finds = find_shards([place], limits)
        found = [
            page.text
            for each in finds.shards
            for page in read_shard(each, limits or UnpackingLimits(), finds.skipped)
        ]
    assert not finds.refused
    return found, dict(+finds.skipped), len(finds.shards)


LINES = st.lists(st.sampled_from([b"", b"x" * 300, b"{half", b'{"text": 3}', b" "]), max_size=5)


@many
@given(size=st.integers(1, 9000), odd=LINES, ending=st.sampled_from([b"", b"\n", b"\r\n\n"]))
def test_lines_of_json_in_ranges_of_any_size_are_those_of_the_whole(tmp_path, size, odd, ending):
    lines = [json.dumps({"text": page}).encode() for page in PAGES[:20]]
    lines[3:3], lines[12:12] = odd, odd[::-1]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines) + ending)
    limits = UnpackingLimits(member_bytes=1200)
    whole = read(tmp_path / "a.jsonl", limits=limits)
    parts = read(tmp_path / "a.jsonl", size, limits)
    assert parts[:2] == whole[:2] and whole[2] == 1
    assert size > 2000 or parts[2] > 2


@many
@given(
    size=st.integers(1, 30_000),
    kinds=st.lists(
        st.sampled_from(["page", "repeat", "empty", "jpg", "link", "long"]), max_size=25
    ),
    form=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_members_of_a_tar_in_groups_of_any_size_are_those_of_the_whole(tmp_path, size, kinds, form):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as archive:
        for number, kind in enumerate(["page", *kinds]):
            name = "n" * 120 + f"/{number}.txt" if kind == "long" else f"{number}.txt"
            name = {"repeat": "0.txt", "jpg": f"{number}.jpg"}.get(kind, name)
            member = tarfile.TarInfo(name if form != tarfile.USTAR_FORMAT else name[-90:])
            data = b"" if kind in ("empty", "link") else PAGES[number].encode()
            member.size = len(data)
            if kind == "link":
                member.type, member.linkname = tarfile.SYMTYPE, "0.txt"
            archive.addfile(member, io.BytesIO(data))
    (tmp_path / "a.tar").write_bytes(packed.getvalue())
    whole, parts = read(tmp_path / "a.tar"), read(tmp_path / "a.tar", size)
    assert parts[:2] == whole[:2] and whole[2] == 1


@many
@given(longest=st.integers(2, 400), text=st.text("aé日😀 \n*", max_size=600))
def test_a_text_is_cut_between_letters_and_nothing_is_lost(longest, text):
    pieces = [piece for piece, _ in text_pieces(io.BytesIO(text.encode()), longest + 8, "\n***")]
    assert "".join(piece.decode() for piece in pieces) == text
    assert all(len(piece) <= longest + 8 for piece in pieces)


@many
@given(size=st.integers(600, 20_000))
def test_a_large_text_in_ranges_gives_its_separated_documents(tmp_path, size):
    (tmp_path / "a.txt").write_text("<|endoftext|>\n".join(PAGES[1:]), encoding="utf-8")
    found, skipped, count = read(tmp_path / "a.txt", size)
    # A range that is shorter than two documents may have no separator to be cut at.
    text = "".join(PAGES[1:])
    assert "".join(found) == text
    assert size < 2500 or found == PAGES[1:]
    assert count >= len(text.encode()) // size
    assert sum(skipped.values()) == len(PAGES) - 2


def test_two_workers_share_one_file_and_a_kill_loses_one_range(tmp_path, monkeypatch):
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({"text": page}) + "\n" for page in PAGES))
    tokenizer = ByteTokenizer()

    def plan():
        return make_plan(find_shards([file]), tokenizer, "Pages", held_out=0.3)

    list(prepare(plan(), tokenizer, tmp_path / "whole"))
    monkeypatch.setattr(shards, "RANGE", 3000)
    ranges = plan()
    assert len(ranges.shards) > 5
    steps = prepare(ranges, tokenizer, tmp_path / "ranges", workers=2)
    next(steps)
    next(steps)
    steps.close()
    assert sum(step.before for step in prepare(ranges, tokenizer, tmp_path / "ranges", 2)) >= 2
    for part in ("train.tokens", "held_out.tokens"):
        whole = (tmp_path / "whole" / part).read_bytes()
        assert (tmp_path / "ranges" / part).read_bytes() == whole
    PreparedTokens.open(tmp_path / "ranges").verify()


def test_a_cut_off_or_damaged_tar_is_refused_as_a_whole_also_in_ranges(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "RANGE", 3000)
    data = tar([(f"{n}.txt", page.encode()) for n, page in enumerate(PAGES)])
    (tmp_path / "a.tar").write_bytes(data)
    assert len(find_shards([tmp_path / "a.tar"]).shards) > 5
    for bad in (data[: len(data) // 2], data[:9216] + b"\1" + data[9217:]):
        (tmp_path / "a.tar").write_bytes(bad)
        finds = find_shards([tmp_path / "a.tar"])
        assert not finds.shards and list(finds.refused) == ["a.tar"]


MEASURED = """
import sys
from bhushgpt.commands.line import main
code = main(["prepare", sys.argv[1], "--tokenizer", "bytes", "--out", sys.argv[2], *sys.argv[3:]])
# Not ru_maxrss: it begins with what the process had that started this one.
peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0]
print(code, peak)
"""


def measured(place: Path, out: Path) -> tuple[str, int]:
    """Prepare in a process of its own; return what was said, and the MiB of its peak memory."""
    words = [sys.executable, "-c", MEASURED, str(place), str(out), "--workers", "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    *said, last = done.stdout.splitlines()
    return "\n".join(said) + done.stderr, int(last.split()[1]) // 1024


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Peak memory is not told here.")
def test_a_line_of_many_megabytes_takes_bounded_memory_as_text_and_as_json(tmp_path):
    numbers = b"".join(b"%d " % number for number in range(10**6, 2 * 10**6))

    def write(file):  # a line of numbers without any end
        for _ in range(5):
            file.write(numbers)

    with (tmp_path / "line.jsonl").open("wb") as file:
        file.write(b"".join(b'{"text": "good %d"}\n' % number for number in range(99)))
        file.write(b'{"text": "')
        for _ in range(5):
            write(file)
        assert file.tell() > 2 * 10**8
    said, peak = measured(tmp_path / "line.jsonl", tmp_path / "1")
    assert "line.jsonl: 99 documents" in said and "1 times: it is longer than 8.4 MB" in said
    assert peak < 150
    with (tmp_path / "line.txt").open("wb") as file:
        write(file)  # 40 MB; 200 take as much memory, and a minute
    said, peak = measured(tmp_path / "line.txt", tmp_path / "2")
    assert "line.txt: 1,00" in said and "left out" not in said
    assert peak < 150


def test_very_many_empty_files_get_a_sentence(tmp_path):
    for number in range(2000):  # a hundred thousand take half a minute, in the same memory
        (tmp_path / f"{number}.txt").touch()
    plan = make_plan(find_shards([tmp_path]), ByteTokenizer(), "Pages")
    assert len(plan.shards) == 4
    with pytest.raises(UserError, match=r"can be used: 2,000 times: it is empty"):
        list(prepare(plan, ByteTokenizer(), tmp_path / "out"))


def test_very_many_headers_without_members_get_a_sentence(tmp_path):
    header = tar([("0.txt", b"")])[:512]
    assert len(header) == 512
    with (tmp_path / "a.tar").open("wb") as file:
        for number in range(20_000):  # a million take as long for each
            member = tarfile.TarInfo(f"{number}.txt")
            file.write(member.tobuf(tarfile.USTAR_FORMAT))
        file.write(bytes(1024))
    skipped = Counter()
    for each in find_shards([tmp_path / "a.tar"]).shards:
        assert not list(read_shard(each, UnpackingLimits(), skipped))
    assert skipped == {"is empty": 20_000}
    limits = UnpackingLimits(members=10_000)
    refused = find_shards([tmp_path / "a.tar"], limits).refused
    assert refused == {"a.tar": "it has more than 10,000 members"}
    assert os.path.getsize(tmp_path / "a.tar") > 10**7
