"""What is saved survives a power cut: what goes to the disk, and in which order.

A file's bytes must be there before anything names them, a folder before it gets its name, and a
name before anything relies on it.
"""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from bhushgpt.data import preparation
from bhushgpt.data.preparation import make_plan, prepare
from bhushgpt.data.shards import find_shards
from bhushgpt.data.token_files import TokenWriter
from bhushgpt.files import write_atomically
from bhushgpt.storage.checkpoints import save_checkpoint, save_weights
from bhushgpt.storage.run_folder import sweep, write_manifest
from bhushgpt.tokenizers import ByteTokenizer
from tests.pages import make_pages, openwebtext
from tests.small_runs import TOKENIZER, fresh_state, small_config

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows flushes its folders itself.")
FILES = [
    "config.json",
    "model.safetensors",
    "optimizer.safetensors",
    "random.safetensors",
    "tokenizer.json",
]


@pytest.fixture
def watch(monkeypatch):
    """Return a function that begins to write down what is done to the disk below a folder.

    A name on its way, which begins with a dot, is called `new`.
    """

    def begin(place: Path, *, removals: bool = False) -> list[str]:
        seen: list[str] = []

        def called(path) -> str:
            name = Path(path).name
            return "new" if name.startswith(".") else name

        def note(function: str, words) -> None:
            real = getattr(os, function)

            def noted(*given, **more):
                result = real(*given, **more)
                seen.append(words(*given))
                return result

            monkeypatch.setattr(os, function, noted)

        def flushed(handle) -> str:
            there = os.fstat(handle)
            (path,) = (p for p in (place, *place.rglob("*")) if os.path.samestat(p.lstat(), there))
            return f"flush {called(path)}"

        note("fsync", flushed)
        for function in ("replace", "rename"):
            note(function, lambda old, new: f"{called(old)} becomes {called(new)}")
        note("mkdir", lambda path, *more: f"make {called(path)}")
        if removals:
            note("unlink", lambda path, *more: f"remove {called(path)}")
        return seen

    return begin


def test_a_checkpoint_goes_to_the_disk_before_its_name_and_its_name_before_the_link(
    tmp_path, watch
):
    config = small_config(6)
    state = fresh_state(config)
    run = tmp_path / "run"
    run.mkdir()
    seen = watch(run)
    save_checkpoint(run, state, config, TOKENIZER)
    whole = ["make new", *(f"flush {name}" for name in FILES), "flush manifest.json", "flush new"]
    named = ["new becomes step_00000000", "flush run"]
    linked = ["flush new", "new becomes last", "flush run"]
    assert seen == [*whole, *named, *linked]
    # The same step again: the old one has no name for as short as can be, and is not lost.
    seen.clear()
    save_checkpoint(run, state, config, TOKENIZER)
    assert seen == [*whole, "step_00000000 becomes new", *named, *linked]


def test_folders_in_a_checkpoint_are_flushed_too(tmp_path, watch):
    (tmp_path / "new" / "parts").mkdir(parents=True)
    (tmp_path / "new" / "parts" / "a").write_text("a")
    seen = watch(tmp_path / "new")
    write_manifest(tmp_path / "new")
    assert seen == ["flush a", "flush manifest.json", "flush parts", "flush new"]


def test_a_save_that_lacked_only_its_name_has_it_on_the_disk(tmp_path, watch):
    config = small_config(6)
    saved = save_checkpoint(tmp_path / "run", fresh_state(config), config, TOKENIZER)
    saved.rename(saved.with_name(".step_00000000.99999.new.tmp"))
    seen = watch(tmp_path / "run")
    sweep(tmp_path / "run")
    assert seen == ["new becomes step_00000000", "flush run"]


def test_a_file_written_in_one_step_is_whole_on_the_disk(tmp_path, watch):
    seen = watch(tmp_path)
    write_atomically(tmp_path / "a.json", b"{}")
    assert seen == ["flush new", "new becomes a.json", f"flush {tmp_path.name}"]
    seen.clear()
    save_weights(fresh_state(small_config(6)).model, tmp_path / "a.safetensors")
    assert seen == ["flush new", "new becomes a.safetensors", f"flush {tmp_path.name}"]


def test_tokens_are_on_the_disk_before_they_have_a_name(tmp_path, watch):
    seen = watch(tmp_path)
    with TokenWriter(tmp_path / "a.tokens", ByteTokenizer()) as writer:
        writer.write(np.arange(9))
    assert seen == ["flush new", "new becomes a.tokens"]


def test_joined_tokens_are_on_the_disk_before_what_they_were_made_of_goes(
    tmp_path, watch, monkeypatch
):
    archive = openwebtext(tmp_path / "a.tar", make_pages(40), a_shard=5)
    plan = make_plan(find_shards([archive]), ByteTokenizer(), "Pages", held_out=0.2)
    monkeypatch.setattr(preparation, "SYNCED", 20_000)  # more than once on the way
    seen = watch(tmp_path, removals=True)
    copied = preparation._copy

    def copy(file, whole):
        result = copied(file, whole)
        seen.append("copy")
        return result

    monkeypatch.setattr(preparation, "_copy", copy)
    list(prepare(plan, ByteTokenizer(), tmp_path / "out"))
    parts = [n for n, what in enumerate(seen) if re.fullmatch(r"remove \d+\.\w+\.tokens", what)]
    before = [next(w for w in reversed(seen[:n]) if not w.startswith("remove")) for n in parts]
    assert len(parts) == 2 * 8 and set(before) == {"flush new"}
    assert sum(one.startswith("flush") for one in seen) > 8
