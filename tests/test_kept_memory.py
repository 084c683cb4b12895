"""What helps on a CPU: freed memory is kept, threads that wait do not spin, little work has one."""

import os
import platform
import subprocess
import sys

import pytest
import torch

from bhushgpt import cpu_settings
from bhushgpt.cpu_settings import keep_freed_memory
from tools import lab

# A process of its own: what is kept is kept for good.
COUNT = """
import resource, sys, torch
from bhushgpt.cpu_settings import keep_freed_memory
from tools.stored_form import ROOT
if sys.argv[1] == "kept":
    assert keep_freed_memory()
wide, x = torch.nn.Linear(64, 2560), torch.randn(4096, 64)
def step(): torch.nn.functional.gelu(wide(x)).sum().backward()
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(2): step()
counts = []
for _ in range(5):  # in a few of them the heap still grows
    start = faults()
    step()
    counts.append(faults() - start)
print(min(counts))
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this setting")
def test_kept_memory_is_not_asked_for_again():
    # A step makes several tensors of 40 MiB: 10,240 pages of 4 KiB each.
    assert faults("kept") < faults("as shipped") / 5


def test_other_devices_and_libraries_are_left_alone(monkeypatch):
    keep_freed_memory.cache_clear()
    assert keep_freed_memory("meta") is False
    monkeypatch.setattr(cpu_settings.platform, "libc_ver", lambda: ("", ""))
    assert keep_freed_memory("cpu") is False
    keep_freed_memory.cache_clear()


@pytest.mark.parametrize(("own", "found"), [(None, "3000"), ("7", "7")])
def test_threads_do_not_spin_for_long_once_the_package_is_imported(own, found):
    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    if own:
        environment["GOMP_SPINCOUNT"] = own
    show = "import bhushgpt, os, sys; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", show], env=environment, capture_output=True)
    assert done.stdout.decode().split() == [found, "False"]


def test_notebooks_started_by_make_lab_do_not_spin_either(monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(lab, "ROOT", tmp_path)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setattr(lab, "bring", lambda course, own: [])

    def started(command, env, **others):
        seen.update(env)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(lab.subprocess, "run", started)
    assert lab.main([]) == 0
    assert seen["GOMP_SPINCOUNT"] == "3000"


@pytest.mark.parametrize(("operations", "number"), [(45e6, 1), (1e9, 2)])
def test_little_work_is_done_by_one_thread_and_the_others_are_back_afterwards(operations, number):
    with cpu_settings.threads(2):
        with pytest.raises(ZeroDivisionError), cpu_settings.threads_for(operations):
            assert torch.get_num_threads() == number
            1 / 0  # noqa: B018
        assert torch.get_num_threads() == 2
