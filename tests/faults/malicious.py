"""Files that try to run code, to write elsewhere, or to fill the memory; and every loader there is.

    python -m tests.faults.malicious FOLDER     throws what lies in FOLDER/bad; prints JSON

The exploits are harmless: the most that any could do is make the file `canary`.
"""

import contextlib
import io
import json
import lzma
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bhushgpt.bpe import BPETokenizer
from bhushgpt.commands.run_checks import check_run
from bhushgpt.corpus import load_text
from bhushgpt.data.preparation import make_plan, prepare
from bhushgpt.data.prepared import PreparedTokens
from bhushgpt.data.shards import find_shards
from bhushgpt.data.token_files import TokenFile
from bhushgpt.errors import UserError
from bhushgpt.interop.gpt2 import from_hf, to_hf
from bhushgpt.roofline import load_records
from bhushgpt.speed.distributed import World
from bhushgpt.storage.checkpoints import load_checkpoint, load_weights, save_checkpoint
from bhushgpt.storage.distributed import load_distributed
from bhushgpt.storage.run_folder import MANIFEST, write_manifest
from bhushgpt.storage.tensors import load_tensors
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer, load_tokenizer
from tests.small_runs import TOKENIZER, fresh_state, small_config

MIB = 2**20
MEMORY = 1500 * MIB  # more than the process has when it starts, far less than any bomb
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Call:
    """Calls a function when it is unpickled, by the way that the subclass takes."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.given = function, arguments

    def __reduce__(self) -> Any:
        return self.given


def pickles(canary: Path) -> Iterator[tuple[str, bytes]]:
    """Yield exploits in every protocol, each by another way to a function that makes the canary."""
    code = f"open({str(canary)!r}, 'w').close()"
    ways = {
        "touch": Call(Path.touch, canary),
        "system": Call(os.system, f"touch {canary}"),
        "exec": Call(exec, code),
        "eval": Call(eval, code),
        "getattr": Call(getattr(os, "open"), str(canary), os.O_CREAT),  # noqa: B009
        "copy": Call(shutil.copyfile, __file__, str(canary)),
    }
    for protocol in PROTOCOLS:
        for name, way in ways.items():
            yield f"{name}_{protocol}", pickle.dumps({"model": way}, protocol)
    # By hand, names given as text: GLOBAL, and STACK_GLOBAL with a dotted path.
    quoted = repr(str(canary)).encode()
    yield "global", b"cos\nsystem\n(S'touch " + str(canary).encode() + b"'\ntR."
    yield "inst", b"(S" + quoted + b"\nios\nmkdir\n."
    yield "obj", b"(cbuiltins\nexec\nS" + repr(code).encode() + b"\no."
    short = b"\x8c\x02os\x8c\x06system\x93"
    argument = b"\x8c" + bytes([len(f"touch {canary}")]) + f"touch {canary}".encode()
    if len(f"touch {canary}") < 256:
        yield "stack_global", b"\x80\x04" + short + argument + b"\x85R."
    yield "memory", b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"x."


def tensor_files(canary: Path) -> Iterator[tuple[str, bytes]]:
    """Yield safetensors with headers that lie."""

    def made(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return (len(text) if length is None else length).to_bytes(8, "little") + text + data

    def one(shape: Any, begin: Any, end: Any, kind: str = "F32") -> dict[str, Any]:
        return {"w": {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}}

    yield "exabytes", made(b"{}", length=2**63)
    yield "long_header", made(b" " * (30 * MIB) + b"{}")
    yield "many", made({f"t{n}": one([0], 0, 0)["w"] for n in range(100_000)})
    yield "deep", made(b'{"w":' + b"[" * 200_000)
    yield "overlap", made(one([2], 0, 8) | {"v": one([2], 4, 12)["w"]}, bytes(12))
    yield "hole", made(one([1], 0, 4) | {"v": one([1], 8, 12)["w"]}, bytes(12))
    for name, shape in {
        "huge": [2**62],
        "product": [2**32, 2**32],
        "negative": [-1, -4],
        "float": [1.5],
        "text": ["9"],
        "big": [10**30],
        "axes": [1] * 10**5,
    }.items():
        yield name, made(one(shape, 0, 4), bytes(4))
    yield "backwards", made(one([1], 4, 0), bytes(4))
    yield "dtype", made(one([1], 0, 4, "PICKLE"), bytes(4))
    yield "names", made({"../../canary": one([1], 0, 4)["w"], "__metadata__": {"x": 1}}, bytes(4))


@cache
def bomb() -> bytes:
    """Return a few kilobytes that unpack to 300 MiB."""
    return lzma.compress(bytes(300 * MIB), preset=0)


def archives(canary: Path) -> Iterator[tuple[str, bytes]]:
    """Yield tars and xz files that lead out, lie, or blow up."""
    names = {
        "up": "../../../canary",
        "absolute": str(canary),
        "windows": "..\\..\\canary",
        "drive": "C:\\canary",
        "nul": "a\0canary",
        "surrogate": "\udcff.txt",
    }
    for name, member in names.items():
        yield f"tar_{name}", _tar(tarfile.TarInfo(member))
    kinds = {
        "symlink": tarfile.SYMTYPE,
        "hardlink": tarfile.LNKTYPE,
        "fifo": tarfile.FIFOTYPE,
        "char": tarfile.CHRTYPE,
        "block": tarfile.BLKTYPE,
        "unknown": b"Z",
    }
    for name, kind in kinds.items():
        info = tarfile.TarInfo("canary.txt")
        info.type, info.linkname = kind, str(canary)
        yield f"tar_{name}", _tar(info)
    info = tarfile.TarInfo("long.txt")
    info.size = 2**50
    yield "tar_size", info.tobuf() + bytes(1024)
    yield "xz_bomb", bomb()
    yield "xz_twice", lzma.compress(bomb())
    filters = [
        {"id": lzma.FILTER_LZMA2, "dict_size": 2**28, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3}
    ]
    yield "xz_dictionary", lzma.compress(b"a text", filters=filters)
    whole = lzma.compress(_tar(tarfile.TarInfo("page.txt")))
    yield "xz_cut", whole[:-9]
    yield "xz_junk", whole + b"junk"


def _tar(member: tarfile.TarInfo) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", errors="surrogateescape") as archive:
        member.size = 4 if member.type == tarfile.REGTYPE else 0
        archive.addfile(member, io.BytesIO(b"evil"))
    return packed.getvalue()


def others(canary: Path) -> Iterator[tuple[str, bytes]]:
    """Yield arrays of objects, zips around a pickle, JSON without end, notebooks, and garbage."""
    array = np.empty(1, dtype=object)
    array[0] = Call(Path.touch, canary)
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    yield "objects.npy", stream.getvalue()
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }"
    yield "shape.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    for name, new in (("new.pt", True), ("old.pt", False)):
        stream = io.BytesIO()
        torch.save({"model": Call(Path.touch, canary)}, stream, _use_new_zipfile_serialization=new)
        yield name, stream.getvalue()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../canary", bytes(100 * MIB))
    yield "bomb.zip", stream.getvalue()
    yield "deep.json", b"[" * 500_000
    yield "number.json", b'{"step": ' + b"9" * 10_000 + b"}"
    yield "nan.json", b'{"format": NaN, "files": Infinity}'
    call = {"__reduce__": ["os.system", f"touch {canary}"], "kind": "bpe", "py/object": "os.system"}
    yield "object.json", json.dumps(call).encode()
    script = f"<script>fetch('/canary')</script><img src=x onerror=\"open('{canary}')\">"
    cell = {
        "cell_type": "code",
        "metadata": {},
        "execution_count": 1,
        "id": "a",
        "source": f"open({str(canary)!r}, 'w')",
        "outputs": [
            {
                "output_type": "display_data",
                "metadata": {},
                "data": {"text/html": script, "application/javascript": script},
            }
        ],
    }
    yield (
        "scripts.ipynb",
        json.dumps({"cells": [cell], "nbformat": 4, "nbformat_minor": 5}).encode(),
    )
    yield "zeros.bin", bytes(64)
    yield "ones.bin", b"\xff" * 4096
    yield "empty.bin", b""


def corpus(canary: Path) -> dict[str, bytes]:
    """Return name -> content of every malicious file."""
    found: dict[str, bytes] = {}
    for make, suffix in (
        (pickles, ".pkl"),
        (tensor_files, ".safetensors"),
        (archives, ".xz"),
        (others, ""),
    ):
        found |= {f"{name}{suffix}": data for name, data in make(canary)}
    return found


def seven_zips() -> dict[str, bytes]:
    """Return a damaged .7z or two; the library that reads them cannot write them."""
    start = b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(4)
    sizes = (2**60).to_bytes(8, "little") + (2**60).to_bytes(8, "little")
    return {"lying.7z": start + sizes + bytes(4), "garbage.7z": start + b"\xff" * 200}


class Place:
    """Sound things of every kind, in which one file is then replaced by a malicious one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        config = small_config(6)
        self.saved = save_checkpoint(folder / "run", fresh_state(config), config, TOKENIZER)
        self.parts = sorted(f.name for f in self.saved.iterdir() if f.name != MANIFEST)
        model = fresh_state(small_config(6, dropout=0.0)).model
        self.hf = to_hf(model, CharTokenizer(TOKENIZER.characters), folder / "hf")
        self.scratch = folder / "scratch"

    def loaders(self, file: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Yield every way in which the package would read a file, and the place it would lie at."""
        model = fresh_state(small_config(6)).model
        for name in (*self.parts, MANIFEST):
            yield f"checkpoint {name}", lambda name=name: self._in_checkpoint(name, file)
        yield "checkpoint file", lambda: load_checkpoint(file)
        yield "weights", lambda: load_weights(model, file)
        yield "tensors", lambda: load_tensors(file)
        yield "tokenizer", lambda: load_tokenizer(file)
        yield "char tokenizer", lambda: CharTokenizer.load(file)
        yield "bpe", lambda: BPETokenizer.load(file)
        yield "text", lambda: load_text(file)
        yield "token file", lambda: TokenFile(file)
        for name in ("config.json", "model.safetensors", "model.safetensors.index.json"):
            yield f"hf {name}", lambda name=name: self._in_hf(name, file)
        yield "hf pickle", lambda: self._hf_pickle(file)
        yield "records", lambda: load_records(self._put("matmul_x.json", file))
        yield "prepared", lambda: PreparedTokens.open(self._put("manifest.json", file))
        for suffix in (".tar", ".xz", ".tar.xz", ".jsonl", ".jsonl.xz", ".parquet", ".7z", ".txt"):
            yield f"prepare {suffix}", lambda suffix=suffix: self._prepare(suffix, file)

    def _in_checkpoint(self, name: str, file: Path) -> None:
        run = self.scratch / "run"
        shutil.copytree(self.saved, run / self.saved.name)
        target = run / self.saved.name / name
        shutil.copy(file, target)
        if name != MANIFEST:
            (target.parent / MANIFEST).unlink()
            write_manifest(target.parent)  # as a careful forger would
        refused = 0
        world = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
        for load in (lambda: load_checkpoint(run), lambda: load_distributed(run, world)):
            try:
                load()
            except UserError:
                refused += 1
        check_run(run)
        if refused == 2:
            raise UserError("refused by both")

    def _in_hf(self, name: str, file: Path) -> None:
        shutil.copytree(self.hf, self.scratch / "hf")
        if name.endswith("index.json"):
            (self.scratch / "hf" / "model.safetensors").unlink()
        shutil.copy(file, self.scratch / "hf" / name)
        from_hf(self.scratch / "hf")

    def _hf_pickle(self, file: Path) -> None:
        shutil.copytree(self.hf, self.scratch / "hf")
        (self.scratch / "hf" / "model.safetensors").unlink()
        shutil.copy(file, self.scratch / "hf" / "pytorch_model.bin")
        from_hf(self.scratch / "hf")

    def _put(self, name: str, file: Path) -> Path:
        self.scratch.mkdir(exist_ok=True)
        shutil.copy(file, self.scratch / name)
        return self.scratch

    def _prepare(self, suffix: str, file: Path) -> None:
        source = self._put(f"shard{suffix}", file) / f"shard{suffix}"
        plan = make_plan(find_shards([source]), ByteTokenizer(), "x", held_out=0.5)
        list(prepare(plan, ByteTokenizer(), self.scratch / "out"))


def attack(folder: Path) -> dict[str, Any]:
    """Throw every file of folder/bad at every loader, and return what was seen."""
    canary = folder / "canary"
    place = Place(folder)
    before = _outside(folder)
    seen: dict[str, Any] = {"files": 0, "throws": 0, "refused": 0, "crashes": [], "executed": []}
    seen["read"] = []
    for file in sorted((folder / "bad").iterdir()):
        seen["files"] += 1
        for loader, load in place.loaders(file):
            seen["throws"] += 1
            try:
                load()
                seen["read"].append(f"{file.name} at {loader}")
            except UserError:
                seen["refused"] += 1
            except BaseException as error:
                said = f"{file.name} at {loader}: {type(error).__name__}: {error}"
                seen["crashes"].append(said[:300])
            if os.path.lexists(canary):
                seen["executed"].append(f"{file.name} at {loader}")
                with contextlib.suppress(OSError):
                    canary.rmdir() if canary.is_dir() else canary.unlink()
            shutil.rmtree(place.scratch, ignore_errors=True)
    seen["outside"] = sorted(str(path) for path in _outside(folder) - before)
    return seen


def _outside(folder: Path) -> set[Path]:
    """Return what lies around: nothing of it may be new afterwards."""
    near = {path for place in (folder, folder.parent, Path.cwd()) for path in place.iterdir()}
    return near | {path for path in (folder / "run").rglob("*")}


def make_files(folder: Path, names: Sequence[str] = ()) -> int:
    """Write the malicious files, or some of them, into folder/bad; return how many."""
    (folder / "bad").mkdir()
    files = corpus(folder / "canary") | seven_zips()
    for name in names or files:
        (folder / "bad" / name).write_bytes(files[name])
    return len(names or files)


def thrown(folder: Path, names: Sequence[str] = ()) -> dict[str, Any]:
    """Make the files, and throw them in a process with bounded memory; return what it saw."""
    make_files(folder, names)
    (folder / "work").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.malicious", str(folder)],
        cwd=folder / "work",
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    """Throw what lies in FOLDER/bad within bounded memory; print what was seen as JSON."""
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1]).resolve()
    if sys.platform != "linux":  # elsewhere nothing limits a process so
        print(json.dumps(attack(folder)))
        return 0
    import resource

    import psutil

    limit = psutil.Process().memory_info().vms + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen = attack(folder)
    seen["grown_mib"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) // 1024
    print(json.dumps(seen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
