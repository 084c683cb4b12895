"""Fault 9: a file that runs code when it is unpickled. It is refused, and nothing runs."""

import ast
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from bhushgpt.errors import UserError
from bhushgpt.storage.checkpoints import MODEL, load_checkpoint, load_weights, save_checkpoint
from bhushgpt.storage.run_folder import MANIFEST, write_manifest
from tests.small_runs import TOKENIZER, fresh_state, small_config
from tools.curriculum import ROOT, modules_of

CONFIG = small_config(6)


class Exploit:
    """Touches a file when it is unpickled: harmless, and proof that anything could have run."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


def write_pt(file: Path, canary: Path) -> None:
    torch.save({"model": Exploit(canary)}, file)


def write_old_pt(file: Path, canary: Path) -> None:
    torch.save({"model": Exploit(canary)}, file, _use_new_zipfile_serialization=False)


def write_pkl(file: Path, canary: Path) -> None:
    file.write_bytes(pickle.dumps(Exploit(canary)))


def write_npy(file: Path, canary: Path) -> None:
    array = np.empty(1, dtype=object)
    array[0] = Exploit(canary)
    with file.open("wb") as stream:
        np.save(stream, array, allow_pickle=True)


FILES = {".pt": write_pt, ".pt (old form)": write_old_pt, ".pkl": write_pkl, ".npy": write_npy}


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


@pytest.mark.parametrize("write", FILES.values(), ids=FILES.keys())
def test_the_exploit_works_where_it_is_let(write, canary, tmp_path) -> None:
    """Else its silence would prove nothing."""
    write(tmp_path / "file", canary)
    if write is write_npy:
        np.load(tmp_path / "file", allow_pickle=True)
    elif write is write_pkl:
        pickle.loads((tmp_path / "file").read_bytes())
    else:
        torch.load(tmp_path / "file", weights_only=False)
    assert canary.exists()


@pytest.mark.parametrize("write", FILES.values(), ids=FILES.keys())
def test_it_is_refused_in_every_place_of_a_checkpoint(write, canary, tmp_path) -> None:
    saved = save_checkpoint(tmp_path / "run", fresh_state(CONFIG), CONFIG, TOKENIZER)
    for name in sorted(file.name for file in saved.iterdir() if file.name != MANIFEST):
        good = (saved / name).read_bytes()
        write(saved / name, canary)
        (saved / MANIFEST).unlink()
        write_manifest(saved)  # as a careful forger would
        with pytest.raises(UserError) as raised:
            load_checkpoint(saved)
        assert "weights_only" not in str(raised.value)
        assert not canary.exists()
        (saved / name).write_bytes(good)


@pytest.mark.parametrize("write", FILES.values(), ids=FILES.keys())
def test_it_is_refused_as_weights_and_as_a_run(write, canary, tmp_path) -> None:
    file = tmp_path / "model.pt"
    write(file, canary)
    with pytest.raises(UserError, match=r"looks like a pickle.*It was not opened\. Ask for the"):
        load_weights(torch.nn.Linear(2, 2), file)
    with pytest.raises(UserError, match=r"is not a checkpoint.*can carry code that runs"):
        load_checkpoint(file)
    assert not canary.exists()


def test_the_message_about_a_pickle_in_a_checkpoint_says_what_it_is(canary, tmp_path) -> None:
    saved = save_checkpoint(tmp_path / "run", fresh_state(CONFIG), CONFIG, TOKENIZER)
    write_pt(saved / MODEL, canary)
    (saved / MANIFEST).unlink()
    write_manifest(saved)
    with pytest.raises(UserError, match="a format that runs the code in it when it is loaded"):
        load_checkpoint(saved)


def unsafe_calls(source: str) -> list[str]:
    """Return calls that can run code from a file."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            modules = ("pickle", "shelve", "marshal", "dill", "joblib")
            found += [n for n in names if n.split(".")[0] in modules]
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
        if name == "torch.load" and keywords.get("weights_only") != "True":
            found.append(ast.unparse(node))
        if keywords.get("allow_pickle", "False") != "False":
            found.append(ast.unparse(node))
        if name in ("eval", "exec", "yaml.load", "torch.hub.load"):
            found.append(ast.unparse(node))
    return found


LESSONS = [n for n in modules_of(ROOT / "bhushgpt") if not n.startswith("exercises.")]
# Live shape comments compile the reader's own source code, and nothing that comes from a file.
OWN_CODE = {"shapes.claims", "shapes.tracing"}


@pytest.mark.parametrize("name", LESSONS)
def test_no_module_reads_what_can_carry_code(name) -> None:
    source = (ROOT / "bhushgpt" / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8")
    found = unsafe_calls(source)
    if name in OWN_CODE:
        found = [call for call in found if not call.startswith(("exec(", "eval("))]
    assert found == []


def test_the_search_for_unsafe_calls_finds_them() -> None:
    source = (
        "import pickle\nfrom marshal import loads\ntorch.load(f)\ntorch.load(f, weights_only=True)"
        "\nnp.load(f, allow_pickle=True)\nnp.load(f)\neval(text)\n"
    )
    assert unsafe_calls(source) == [
        "pickle",
        "marshal",
        "torch.load(f)",
        "np.load(f, allow_pickle=True)",
        "eval(text)",
    ]
