"""Prepared tokens are those of a plain loop over the pages, however the work was done."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from typing import Any

import numpy as np
import pytest

from bhushgpt.bpe import BPETokenizer
from bhushgpt.data.preparation import make_plan, prepare
from bhushgpt.data.prepared import PreparedTokens
from bhushgpt.data.shards import find_shards
from bhushgpt.data.token_files import is_held_out, pieces_to_encode
from bhushgpt.errors import UserError
from bhushgpt.files import sha256
from bhushgpt.tokenizers import ByteTokenizer, Tokenizer
from tests.pages import make_pages, openwebtext, real_pages, shard

PAGES = make_pages(150)
SHARE = 0.2
BPE = BPETokenizer.train(PAGES, 400)
BYTES = ByteTokenizer()


@pytest.fixture
def archive(tmp_path):
    return openwebtext(tmp_path / "in" / "urlsf_subset00.tar", PAGES)


def plan_of(place, tokenizer: Tokenizer = BPE, held_out=SHARE, **options):
    return make_plan(find_shards([place]), tokenizer, "Pages", held_out=held_out, **options)


def run(place, out, tokenizer: Tokenizer = BPE, workers=1, **options):
    done = list(prepare(plan_of(place, tokenizer, **options), tokenizer, out, workers))
    return done, PreparedTokens.open(out)


def contents(folder):
    return {path.name: sha256(path.read_bytes()) for path in folder.iterdir()}


def test_the_tokens_are_those_of_a_plain_loop(archive, tmp_path):
    done, tokens = run(archive, tmp_path / "out")
    expected = {False: [], True: []}
    for page in PAGES:
        ids = [*BPE.encode_ordinary(page), BPE.eot_id]
        expected[is_held_out(page.encode(), SHARE)] += ids
    assert tokens.train.tolist() == expected[False]
    assert tokens.held_out.tolist() == expected[True]
    assert sum(step.documents for step in done) == len(PAGES)
    held = [page for page in PAGES if is_held_out(page.encode(), SHARE)]
    assert tokens.held_out_bytes == sum(len(page.encode()) for page in held)
    assert tokens.manifest["documents"] == {"train": len(PAGES) - len(held), "held_out": len(held)}
    assert tokens.tokenizer.digest == BPE.digest
    tokens.verify()


def test_the_special_tokens_id_stands_only_between_documents(archive, tmp_path):
    _, tokens = run(archive, tmp_path / "out")
    for part, name in ((tokens.train, "train"), (tokens.held_out, "held_out")):
        assert part.tolist().count(BPE.eot_id) == tokens.manifest["documents"][name]
    assert "<|endoftext|>" in PAGES[0]


def test_the_result_is_the_same_for_any_number_of_workers(archive, tmp_path):
    wanted = None
    for workers in (1, 2, 3):
        run(archive, tmp_path / f"out{workers}", workers=workers)
        found = contents(tmp_path / f"out{workers}")
        assert found == (wanted := wanted or found)
    assert sorted(wanted) == [
        "held_out.tokens", "manifest.json", "tokenizer.json", "train.tokens"
    ]  # fmt: skip


def test_left_anywhere_and_gone_on_with_is_the_same_to_the_byte(archive, tmp_path):
    run(archive, tmp_path / "straight")
    out = tmp_path / "out"
    for stop, workers in ((1, 1), (2, 1), (1, 2)):
        steps = prepare(plan_of(archive), BPE, out, workers)
        fresh = (step for step in steps if not step.before)
        for _ in range(stop):
            next(fresh)
        steps.close()
        with pytest.raises(UserError, match="its preparation is not finished: run the same"):
            PreparedTokens.open(out)
    done, _ = run(archive, out)
    assert sum(step.before for step in done) >= 3
    assert contents(out) == contents(tmp_path / "straight")
    assert run(archive, out)[0] == []  # done already


def test_a_second_run_at_the_same_time_is_refused(archive, tmp_path):
    steps = prepare(plan_of(archive), BPE, tmp_path / "out")
    next(steps)
    code = (
        "import sys; from tests.test_preparation import *\n"
        "try: run(sys.argv[1], sys.argv[2])\nexcept UserError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(archive), str(tmp_path / "out")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    steps.close()
    assert "Another run is writing to" in said


def test_another_plan_is_refused_and_says_what_differs(archive, tmp_path):
    out = tmp_path / "out"
    steps = prepare(plan_of(archive), BPE, out)
    next(steps)
    steps.close()
    changes: tuple[tuple[dict[str, Any], str], ...] = (
        ({"tokenizer": BYTES}, "tokenizer .* there, .* now"),
        ({"held_out": 0.3}, r"held-out share 0\.2 there, 0\.3 now"),
        ({"shards": 2}, "shards 8 there, 2 now"),
    )
    for options, said in changes:
        with pytest.raises(UserError, match=rf"unfinished preparation of another kind \({said}"):
            run(archive, out, **options)
    openwebtext(archive, [*PAGES[:-1], "another page"])
    with pytest.raises(UserError, match="other files, or files of another size"):
        run(archive, out)
    openwebtext(archive, PAGES)
    run(archive, out)
    with pytest.raises(UserError, match=r"holds other prepared tokens \(Pages; another input"):
        run(archive, out, held_out=0.3)


def test_the_archive_may_be_moved_between_two_runs(archive, tmp_path):
    steps = prepare(plan_of(archive), BPE, tmp_path / "out")
    next(steps)
    steps.close()
    moved = archive.rename(tmp_path / archive.name)
    assert run(moved, tmp_path / "out", workers=2)[0][0].before


def test_what_a_killed_run_left_behind_is_swept(archive, tmp_path):
    out = tmp_path / "out"
    run(archive, tmp_path / "straight")
    steps = prepare(plan_of(archive), BPE, out)
    next(steps)
    steps.close()
    for name in (
        ".plan.json.x1",
        ".tokenizer.json.x2",
        ".lock",
        "parts/.000003.train.tokens.7.part",
    ):
        (out / name).write_text("half")
    run(archive, out)
    assert contents(out) == contents(tmp_path / "straight")
    for name in (".manifest.json.x3", ".lock", "plan.json"):  # killed at the very end
        (out / name).write_text("half")
    assert run(archive, out)[0] == []
    assert contents(out) == contents(tmp_path / "straight")


def test_a_folder_with_other_things_in_it_is_left_alone(archive, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty and holds no preparation .*thesis\.txt"):
        run(archive, out)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    with pytest.raises(UserError, match="is a file"):
        run(archive, out / "thesis.txt")


def test_a_shard_that_was_changed_after_it_was_written_is_made_again(archive, tmp_path):
    run(archive, tmp_path / "straight")
    steps = prepare(plan_of(archive), BPE, tmp_path / "out")
    for _ in range(4):
        next(steps)
    steps.close()
    part = tmp_path / "out" / "parts" / "000001.train.tokens"
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"000001\.train\.tokens was changed or damaged after it"):
        run(archive, tmp_path / "out")
    part.write_bytes(bytes(data[:-2]))  # and truncated
    run(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "straight")


def test_a_damaged_shard_gives_nothing_and_is_named(archive, tmp_path):
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "a.xz").write_bytes(shard(PAGES[:30]))
    (folder / "b.xz").write_bytes(shard(PAGES[30:60])[:-300])
    (folder / "c.xz").write_bytes(b"<html>not found</html>")
    (folder / "d.xz").write_bytes(shard([*PAGES[60:90], PAGES[0] + "\0"]))
    _, tokens = run(folder, tmp_path / "out")
    assert sum(tokens.manifest["documents"].values()) == 60
    refused = tokens.manifest["refused"]
    assert list(refused) == ["b.xz", "c.xz"]
    assert "cut off" in refused["b.xz"] and "not a .xz file" in refused["c.xz"]
    assert tokens.manifest["skipped"] == {"holds NUL bytes": 1}


def test_nothing_usable_says_why(tmp_path):
    (tmp_path / "c.xz").write_bytes(b"<html>not found</html>")
    with pytest.raises(UserError, match=r"No document of Pages can be used: it is not a \.xz file"):
        run(tmp_path / "c.xz", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="There is nothing to prepare in Pages"):
        plan_of(tmp_path / "empty")
    (tmp_path / "one.txt").write_text("a single page")
    with pytest.raises(UserError, match=r"Of the 1 documents of Pages none is held out at a share"):
        run(tmp_path / "one.txt", tmp_path / "out2")


def test_a_copy_of_a_page_is_on_the_same_side(tmp_path):
    doubled = [page for page in PAGES for _ in range(2)]
    _, tokens = run(openwebtext(tmp_path / "a.tar", doubled), tmp_path / "out", BYTES)
    train, held = (BYTES.decode(part[:]) for part in (tokens.train, tokens.held_out))
    for page in PAGES:
        assert sorted((train.count(page), held.count(page))) == [0, 2]


def test_the_share_is_about_what_was_asked_for():
    pages = make_pages(2000, seed=5)
    for share in (0.01, 0.1, 0.5):
        found = sum(is_held_out(page.encode(), share) for page in pages) / len(pages)
        assert abs(found - share) < 4 * (share * (1 - share) / len(pages)) ** 0.5
    # A document that is held out at a share is held out at every larger one.
    assert all(is_held_out(p.encode(), 0.5) for p in pages if is_held_out(p.encode(), 0.1))


@pytest.mark.parametrize("share", [0, 1, -0.1, 2])
def test_a_share_without_sense_is_refused(archive, share):
    with pytest.raises(UserError, match="it is a share between 0 and 1"):
        plan_of(archive, held_out=share)


def test_pieces_of_a_long_text_give_the_ids_of_the_whole():
    text = "".join(make_pages(80, seed=3)).replace(".", "'s\n") + "a\n\n\nb \n c\n'd\n  end\n\n"
    for longest in (20, 100, 1000):
        parts = list(pieces_to_encode(text, longest))
        assert "".join(parts) == text and len(parts) > 10
        ids = np.concatenate([BPE.encode_to_numpy(part) for part in parts])
        assert ids.tolist() == BPE.encode_ordinary(text)


def test_too_little_room_is_said_before_the_work(archive, tmp_path, monkeypatch):
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
    with pytest.raises(
        UserError, match=r"Preparing Pages needs 16\.\d MB, and the disk of .* 1\.0"
    ):
        run(archive, tmp_path / "out")
    assert not list((tmp_path / "out" / "parts").iterdir())


def test_a_worker_that_dies_is_said_in_words(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'loky.backend.popen_loky_posix' in sys.orig_argv: os._exit(3)"
    )
    with pytest.raises(UserError, match=r"A process that worked on a shard was ended from outside"):
        run(archive, tmp_path / "out", workers=2)


def test_a_system_without_semaphores_works_in_one_process(archive, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("loky.ProcessPoolExecutor", refuse)
    run(archive, tmp_path / "one", workers=1)
    run(archive, tmp_path / "two", workers=2)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_what_a_worker_cannot_do_is_said_with_the_shards_name(archive, tmp_path):
    steps = prepare(plan_of(archive), BPE, tmp_path / "out", workers=2)
    shutil.rmtree(archive.parent)
    with pytest.raises(
        UserError, match=r"No document of Pages can be used: it cannot be read \(No"
    ):
        list(steps)


def test_a_damaged_manifest_or_foreign_files_are_refused(archive, tmp_path):
    out = tmp_path / "out"
    run(archive, out)
    whole = {name: (out / name).read_bytes() for name in os.listdir(out)}

    def restore():
        for name, data in whole.items():
            (out / name).write_bytes(data)

    (out / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="is no manifest of prepared tokens, or it is damaged"):
        PreparedTokens.open(out)
    manifest = json.loads(whole["manifest.json"])
    (out / "manifest.json").write_text(json.dumps(manifest | {"format": 9}))
    with pytest.raises(UserError, match=r"format 9; this version .* reads .* format 1"):
        PreparedTokens.open(out)
    restore()
    BYTES.save(out / "tokenizer.json")
    with pytest.raises(
        UserError, match="is not the tokenizer that these tokens were prepared with"
    ):
        PreparedTokens.open(out)
    restore()
    (out / "train.tokens").write_bytes(whole["held_out.tokens"])
    with pytest.raises(UserError, match=r"train\.tokens has [\d,]+ tokens; the manifest beside it"):
        PreparedTokens.open(out)
    (out / "train.tokens").write_bytes(whole["train.tokens"][:-2] + b"\0\0")
    with pytest.raises(UserError, match=r"train\.tokens is damaged: its ids are not"):
        PreparedTokens.open(out).verify()
    restore()
    PreparedTokens.open(out).verify()
    with pytest.raises(UserError, match="is not a folder of prepared tokens"):
        PreparedTokens.open(tmp_path)


def test_the_real_pages_give_1904_documents_without_nul_or_tar_header(tmp_path):
    _, tokens = run(real_pages(), tmp_path / "out", BYTES, held_out=0.05)
    assert sum(tokens.manifest["documents"].values()) == 1904
    assert tokens.manifest["skipped"] == tokens.manifest["refused"] == {}
    pages = {}
    for name, part in (("train", tokens.train), ("held_out", tokens.held_out)):
        data = np.asarray(part).astype(np.uint8).tobytes()
        assert b"\0" not in data
        assert not re.search(rb"\d{7}-[0-9a-f]{32}\.txt|ustar\0|ustar  ", data)
        pages[name] = data
    assert len(pages["train"]) + len(pages["held_out"]) == 9_419_110 + 2 * 1904
    assert (
        len(pages["held_out"])
        == tokens.held_out_bytes + 2 * tokens.manifest["documents"]["held_out"]
    )


def test_no_held_out_page_of_the_real_ones_is_in_the_training_file(tmp_path):
    import lzma
    import tarfile

    archive = real_pages()
    _, tokens = run(archive, tmp_path / "out", BYTES, held_out=0.05)
    train = np.asarray(tokens.train).astype(np.uint8).tobytes()
    held = 0
    with tarfile.open(archive) as outer:
        for member in outer:
            inner = tarfile.open(fileobj=lzma.open(outer.extractfile(member)))  # type: ignore
            for page in inner:
                data = inner.extractfile(page).read()  # type: ignore
                number = int(hashlib.sha256(data).hexdigest()[:16], 16)
                if number < 0.05 * 2**64:
                    held += 1
                    assert data not in train
    assert held == tokens.manifest["documents"]["held_out"] > 50


def half_done(archive, tmp_path, joining=b""):
    """Prepare whole, and again without joining; return both folders and where the parts lie."""
    run(archive, tmp_path / "straight")
    plan, out = plan_of(archive, BPE), tmp_path / "out"
    steps = prepare(plan, BPE, out)
    for _ in plan.shards:
        next(steps)
    steps.close()
    (out / ".train.tokens.joining").write_bytes(joining)
    return tmp_path / "straight", out, sorted((out / "parts").glob("*.train.tokens"))


def test_what_lies_behind_the_end_of_a_file_in_the_making_is_cut_off(archive, tmp_path):
    straight, out, _ = half_done(archive, tmp_path, joining=bytes(10**6))
    run(archive, out)
    assert contents(out) == contents(straight)


def test_a_part_that_is_gone_before_it_was_joined_is_said(archive, tmp_path):
    _, out, parts = half_done(archive, tmp_path)
    parts[0].unlink()
    with pytest.raises(UserError, match=r"train\.tokens is gone\. Remove the folder"):
        run(archive, out)


def test_a_part_of_another_size_is_made_again(archive, tmp_path):
    straight, out, parts = half_done(archive, tmp_path)
    (out / ".train.tokens.joining").unlink()
    parts[0].write_bytes(parts[0].read_bytes()[:-2])
    run(archive, out)
    assert contents(out) == contents(straight)
