"""The doctor names each planted fault with the next command, and no person, host or folder."""

import getpass
import json
import platform
import random
import shutil
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bhushgpt import devices
from bhushgpt.commands import doctor
from bhushgpt.commands.line import main
from bhushgpt.commands.run_checks import check_run
from bhushgpt.diagnosis import findings, machine
from bhushgpt.diagnosis.findings import Finding
from bhushgpt.diagnosis.machine import self_check
from bhushgpt.environment import command, python_command
from bhushgpt.files import LOCK
from bhushgpt.runs.folder import HISTORY, RECORD
from bhushgpt.storage.checkpoints import MODEL
from bhushgpt.storage.run_folder import list_checkpoints, write_manifest

WORDS = (
    "the cat sat on the mat and a dog lay by an old log or ran to it at noon with two hens".split()
)
TEXT = "".join(choice + " " for choice in random.Random(0).choices(WORDS, k=800))


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doctor")
    (folder / "cats.txt").write_text(TEXT)
    flags = ["--preset", "gpt-v1-smoke", "--steps", "60", "--corpus", str(folder / "cats.txt")]
    assert main(["train", *flags, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def run(finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "run", symlinks=True)
    return tmp_path / "run"


def looked(run, part):
    """Return what the doctor says of a part of a run, as mark and text."""
    return [(one.mark, one.text) for one in check_run(run) if one.part == part]


# The machine


def test_the_whole_machine_is_looked_at_and_nobody_is_named(monkeypatch, capsys):
    slow = machine.check_compiler  # shown below; compiling takes its time
    quick = [check for check in doctor.MACHINE if check is not slow]
    assert len(quick) == len(doctor.MACHINE) - 1
    monkeypatch.setattr(doctor, "MACHINE", quick)
    status = main(["doctor"])
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line[:1].strip()]
    parts = [line.split()[1] for line in lines[:-1]]
    assert parts == [
        *("python", "torch", "libraries", "processor", "memory", "card", "results"),
        *("jupyter", "disk", "cache", "book", "archives", "settings", "names"),
    ]
    assert lines[-1].endswith(" OK.")
    assert status == int(any(line.startswith("broken") for line in lines[:-1]))
    names = {str(Path.home()), platform.node(), str(Path.cwd()), getpass.getuser()}
    assert not [name for name in names if len(name) > 4 and name in out]


def test_old_python_and_torch_are_broken_with_the_minimum(monkeypatch):
    old = namedtuple("Version", "major minor micro")(3, 9, 1)
    monkeypatch.setattr(machine, "python_trouble", lambda: "needs Python 3.11")
    assert machine.check_python() == Finding("broken", "python", "needs Python 3.11")
    assert old.minor == 9
    monkeypatch.setattr(metadata, "version", lambda name: "2.9.0")
    found = machine.check_torch()
    assert found.mark == "broken" and '-m pip install "torch>=2.10"' in found.text


def test_a_python_outside_an_environment_is_worth_a_look(monkeypatch):
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert machine.check_python().mark == "look"


def test_missing_and_old_libraries_are_named(monkeypatch):
    wanted = [
        "numpy>=99",
        "nosuchthing>=1,<2",
        'ours>=1; extra == "x"',
        'tyro>=1.0; python_version > "3"',
    ]
    monkeypatch.setattr(metadata, "requires", lambda name: wanted)
    found = machine.check_libraries()
    assert found.mark == "broken"
    assert "numpy is " in found.text and "99 or newer is needed" in found.text
    assert "nosuchthing is not installed" in found.text
    assert "ours" not in found.text and "tyro" not in found.text


def test_a_busy_processor_and_full_memory_are_worth_a_look(monkeypatch):
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (99.0, 0, 0), raising=False)
    assert "99 programs want to run" in machine.check_processor().text
    monkeypatch.setattr(devices, "free_memory", lambda device: 10**8)
    assert machine.check_free_memory().mark == "look"


def test_an_nvidia_card_that_torch_cannot_use_is_explained(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    assert machine.check_card().mark == "OK"
    monkeypatch.setattr(machine.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "built without CUDA" in machine.check_card().text
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    found = machine.check_card()
    assert "its driver is too old for CUDA 13.0" in found.text and found.command == "nvidia-smi"


def test_without_a_compiler_the_line_says_what_would_help():
    found = machine.check_compiler(lambda kind: "not compiled; a C++ compiler would help")
    assert (found.mark, found.part) == ("look", "compiler")
    assert machine.check_compiler(lambda kind: None).mark == "OK"


def test_a_device_that_computes_something_else_is_found():
    def near(model, ids, device):
        return {name: value + 1e-5 for name, value in right(model, ids, device).items()}

    def wrong(model, ids, device):
        return {name: value * 1.01 + 0.01 for name, value in right(model, ids, device).items()}

    def spoilt(model, ids, device):
        found = right(model, ids, device)
        found["the scores"][0, 0, 0] = torch.nan
        return found

    def failing(model, ids, device):
        raise RuntimeError("no kernel\nfor this")

    from bhushgpt.diagnosis.machine import _computed as right

    assert self_check("cpu", near) is None
    assert "differs from the CPU by 0.0" in (self_check("cpu", wrong) or "")
    assert "gives NaN or infinity for the scores" in (self_check("cpu", spoilt) or "")
    assert "fails at a small model (no kernel)" in (self_check("cpu", failing) or "")


# The place


def test_jupyter_missing_or_starting_another_python_is_noticed(monkeypatch):
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    assert machine.check_kernel().mark == "OK"
    spec = namedtuple("Spec", "argv")(["/somewhere/else/python"])
    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", lambda self, name: spec)
    assert "starts another Python" in machine.check_kernel().text

    def none(self, name):
        raise NoSuchKernel(name)

    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", none)
    assert machine.check_kernel().mark == "broken"
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: None)
    found = machine.check_kernel()
    install = python_command("-m", "pip", "install", "jupyterlab", "ipykernel")
    assert (found.mark, found.command) == ("look", install)


def test_a_full_disk_and_a_folder_that_cannot_be_written_are_noticed(monkeypatch, tmp_path):
    for free, mark in ((10**12, "OK"), (10**9, "look"), (10**6, "broken")):
        monkeypatch.setattr(machine, "free_bytes", lambda folder, free=free: free)
        assert machine.check_free_disk().mark == mark
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BHUSHGPT_RUNS", str(tmp_path / "file"))
    found = machine.check_free_disk()
    assert found.mark == "broken" and "BHUSHGPT_RUNS" in found.text


def test_cache_and_book_are_looked_at_without_a_network(monkeypatch, tmp_path):
    monkeypatch.delenv("BHUSHGPT_DATA", raising=False)
    monkeypatch.setenv("BHUSHGPT_CACHE", str(tmp_path / "cache"))
    found = machine.check_book()
    assert (found.mark, found.command) == ("look", command("corpora", "--fetch", "sherlock"))
    assert "texts: none yet" in machine.check_cache().text
    (tmp_path / "cache" / "sherlock.txt").write_text("another")
    assert "not the text it should be" in machine.check_book().text
    assert "texts: sherlock" in machine.check_cache().text
    monkeypatch.setenv("BHUSHGPT_CACHE", str(tmp_path / "cache" / "sherlock.txt"))
    assert machine.check_cache().mark == "broken"


def test_settings_are_given_by_name_only_and_a_wrong_scale_is_broken(monkeypatch):
    monkeypatch.setenv("BHUSHGPT_DATA", "/secret/person")
    assert "secret" not in machine.check_settings().text
    assert "BHUSHGPT_DATA" in machine.check_settings().text
    monkeypatch.setenv("BHUSHGPT_SCALE", "huge")
    assert machine.check_settings().mark == "broken"


def test_a_home_folder_is_never_shown(monkeypatch, tmp_path):
    monkeypatch.setattr(findings.Path, "home", classmethod(lambda cls: Path("/home/ada")))
    assert findings.without_names("/home/ada/runs is full") == "~/runs is full"


# A run


def test_a_sound_run_has_nothing_broken(run, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "MACHINE", ())
    assert main(["doctor", "--run", str(run)]) == 0
    out = capsys.readouterr().out
    assert "step_00000060 is whole" in out and "broken  " not in out
    assert "60 of 60 steps done" in out and "-m bhushgpt complete --run" in out
    assert main(["doctor", "--run", str(run / "last")]) == 0


def test_a_damaged_checkpoint_is_broken_and_the_one_before_is_named(run):
    newest = list_checkpoints(run)[-1]
    data = bytearray((newest / MODEL).read_bytes())
    data[-1] ^= 1
    (newest / MODEL).write_bytes(bytes(data))
    (_, text), *_ = [one for one in looked(run, "checkpoint") if one[0] == "broken"]
    assert MODEL in text and "damaged" in text
    assert looked(run, "run")[0][1].startswith("gpt-v1-smoke")  # the one before is looked into


@pytest.mark.parametrize(
    ("spoil", "part", "mark", "words"),
    [
        (lambda run: (run / RECORD).unlink(), "run", "broken", "no run in"),
        (lambda run: (run / RECORD).write_text("{"), "run", "broken", "cannot be read"),
        (lambda run: (run / "step_00000070").mkdir(), "checkpoint", "look", "never finished"),
        (
            lambda run: (run / ".step_00000070.12.new.tmp").mkdir(),
            "leftovers",
            "look",
            "left by a save that was stopped",
        ),
        (
            lambda run: (run / "best").unlink(missing_ok=True) or (run / "best").symlink_to(".."),
            "links",
            "broken",
            "best does not name",
        ),
        (lambda run: (run / HISTORY).write_text(""), "curve", "look", "0 steps are too few"),
        (
            lambda run: (run / HISTORY).write_text(
                "".join(
                    json.dumps({"step": n, "loss": float("nan") if n > 30 else 3.0}) + "\n"
                    for n in range(1, 60)
                )
            ),
            "curve",
            "broken",
            "step 31 is no finite number",
        ),
    ],
)
def test_each_fault_of_a_run_is_found(run, spoil, part, mark, words):
    spoil(run)
    found = looked(run, part)
    assert (mark, True) in [(one_mark, words in text) for one_mark, text in found], found


def test_a_run_that_lost_all_checkpoints_or_its_text_says_so(run, tmp_path):
    record = json.loads((run / RECORD).read_text())
    (run / RECORD).write_text(json.dumps(record | {"corpus": str(tmp_path / "gone.txt")}))
    assert looked(run, "text")[0][0] == "look"
    for path in list_checkpoints(run):
        shutil.rmtree(path)
    assert "none is complete" in looked(run, "checkpoint")[-1][1]


def test_weights_that_are_no_numbers_are_found_though_every_file_is_whole(run):
    for path in list_checkpoints(run):
        weights = load_file(path / MODEL)
        next(iter(weights.values())).view(-1)[0] = torch.nan
        save_file(weights, path / MODEL)
        (path / "manifest.json").unlink()
        write_manifest(path)
    assert looked(run, "weights")[0][0] == "broken"


def test_a_run_that_another_program_writes_is_told_from_a_free_one(run):
    pytest.importorskip("fcntl", reason="Windows locks files in another way")
    import fcntl

    (run / LOCK).write_text("{}")
    assert looked(run, "lock") == []
    (run / LOCK).write_text("{}")
    with (run / LOCK).open("r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert looked(run, "lock")[0][0] == "look"
