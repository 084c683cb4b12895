"""Fault 36: archives that lead out, lie, blow up, are cut off or are none."""

import io
import lzma
import tarfile

import pytest

from bhushgpt.data.archives import UnpackingLimits
from bhushgpt.data.preparation import make_plan, prepare
from bhushgpt.data.prepared import PreparedTokens
from bhushgpt.data.shards import find_shards
from bhushgpt.errors import UserError
from bhushgpt.tokenizers import ByteTokenizer
from tests.pages import make_pages, shard, tar

PAGES = make_pages(60)
KINDS = {
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
}


def with_member(kind: str) -> bytes:
    """Return a page and one bad member, packed."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as archive:
        page = tarfile.TarInfo("page.txt")
        page.size = len(b"a good page")
        archive.addfile(page, io.BytesIO(b"a good page"))
        names = {"../": "../../evil.txt", "absolute": "/tmp/evil.txt", "duplicate": "page.txt"}
        bad = tarfile.TarInfo(names.get(kind, "evil.txt"))
        if kind in KINDS:
            bad.type, bad.linkname = KINDS[kind], "/etc/passwd"
        else:
            bad.size = 4
        archive.addfile(bad, io.BytesIO(b"evil"))
    return packed.getvalue()


def prepared(tmp_path, bad: bytes, limits: UnpackingLimits | None = None) -> dict:
    """Prepare good pages and a bad archive; return the manifest."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.xz").write_bytes(shard(PAGES))
    (folder / "bad.xz").write_bytes(bad)
    before = {path.name for path in tmp_path.iterdir()} | {"out"}
    plan = make_plan(
        find_shards([folder], limits), ByteTokenizer(), "Pages", held_out=0.2, limits=limits
    )
    list(prepare(plan, ByteTokenizer(), tmp_path / "out"))
    assert {path.name for path in tmp_path.iterdir()} == before  # nothing outside
    tokens = PreparedTokens.open(tmp_path / "out")
    text = ByteTokenizer().decode([*tokens.train, *tokens.held_out])
    assert "evil" not in text and "root:" not in text
    assert all(page in text for page in PAGES)
    return dict(tokens.manifest)


@pytest.mark.parametrize("kind", ["../", "absolute", "duplicate", *KINDS])
def test_a_bad_member_is_skipped_and_counted(tmp_path, kind) -> None:
    manifest = prepared(tmp_path, with_member(kind))
    assert sum(manifest["skipped"].values()) == 1
    assert sum(manifest["documents"].values()) == len(PAGES) + 1
    assert manifest["refused"] == {}


BOMB = lzma.compress(tar([("bomb.txt", bytes(2**25))]))
BAD = {
    "ratio": (BOMB, UnpackingLimits(free_bytes=2**20, member_bytes=2**26), "it is a bomb"),
    "total": (
        shard(PAGES * 3),
        UnpackingLimits(total_bytes=20_000),
        "unpacks to more than 20,000 bytes",
    ),
    "members": (shard(["x"] * 99), UnpackingLimits(members=70), "it has more than 70 members"),
    "truncated": (shard(PAGES)[:-100], None, "it ends in the middle: the download or the copy"),
    "no archive": (b"<html>not found</html>", None, "it is not a .xz file"),
    "empty": (b"", None, "it is empty"),
    "xz of a text": (lzma.compress(b"just a text\n" * 99), None, "it is not a tar archive"),
    "flipped": (shard(PAGES)[:200] + b"\xff\xff" + shard(PAGES)[202:], None, "xz data is damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_dangerous_or_damaged_archive_is_refused_as_a_whole_and_named(tmp_path, name) -> None:
    data, limits, reason = BAD[name]
    if name == "total":  # the good archive has to stay below the same limit
        limits = UnpackingLimits(total_bytes=len(lzma.decompress(shard(PAGES))) + 1000)
        reason = "unpacks to more than"
    manifest = prepared(tmp_path, data, limits)
    assert list(manifest["refused"]) == ["bad.xz"]
    assert reason in manifest["refused"]["bad.xz"]
    assert sum(manifest["documents"].values()) == len(PAGES)


def test_a_member_above_the_limit_is_skipped_and_counted(tmp_path) -> None:
    large = tar([("large.txt", b"evil " * 2000), ("small.txt", b"small")])
    manifest = prepared(tmp_path, lzma.compress(large), UnpackingLimits(member_bytes=5000))
    assert sum(manifest["skipped"].values()) == 1
    assert sum(manifest["documents"].values()) == len(PAGES) + 1


def test_trailing_junk_is_counted_and_the_pages_stay(tmp_path) -> None:
    manifest = prepared(tmp_path, shard(["one more"]) + b"junk behind it")
    assert manifest["skipped"] == {"is followed by bytes that belong to no archive": 1}
    assert sum(manifest["documents"].values()) == len(PAGES) + 1


def test_when_nothing_else_is_there_the_reason_is_the_answer(tmp_path) -> None:
    (tmp_path / "bad.xz").write_bytes(b"<html>not found</html>")
    plan = make_plan(find_shards([tmp_path / "bad.xz"]), ByteTokenizer(), "Pages")
    with pytest.raises(UserError, match=r"No document of Pages can be used: it is not a \.xz file"):
        list(prepare(plan, ByteTokenizer(), tmp_path / "out"))
