"""Freed memory is kept, which is seen in the pages that the system had to clear."""

import platform
import subprocess
import sys

import pytest

from bhushgpt import cpu_settings
from bhushgpt.cpu_settings import keep_freed_memory

# A process of its own: what is kept is kept for good.
COUNT = """
import resource, sys, torch
from bhushgpt.cpu_settings import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
wide, x = torch.nn.Linear(64, 2560), torch.randn(4096, 64)
def step(): torch.nn.functional.gelu(wide(x)).sum().backward()
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4): step()
start = faults()
for _ in range(3): step()
print(faults() - start)
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
