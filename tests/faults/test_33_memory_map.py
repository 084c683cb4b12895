"""Fault 33: memory does not grow with the data that is read from a token file."""

import subprocess
import sys

import pytest

from bhushgpt.data.token_files import TokenWriter
from bhushgpt.tokenizers import ByteTokenizer

# Reads every id of a file of 64 MiB in a process that may only take 24 MiB more memory of its own.
READER = """
import resource, sys
import numpy as np
from bhushgpt.batches import Batches
from bhushgpt.data.token_files import TokenFile

def kilobytes(name):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])

path, how = sys.argv[1:]
Batches(np.arange(500), 2, 64)[0]  # what is loaded at the first call is loaded now
data = kilobytes("VmData") * 1024
resource.setrlimit(resource.RLIMIT_DATA, (data + 24 * 2**20, data + 24 * 2**20))
before = kilobytes("RssAnon")
if how == "loaded":
    tokens = np.fromfile(path, "<u2", offset=64)
    print(int(tokens.sum(dtype=np.int64)))
else:
    tokens = TokenFile(path)
    batches = Batches(tokens, 32, 1024)
    for step in range(1200):
        batches[step]
    print(sum(int(tokens[i : i + 2**20].sum(dtype=np.int64)) for i in range(0, len(tokens), 2**20)))
    lent = kilobytes("RssFile")
    tokens.release()
    assert kilobytes("RssAnon") - before < 8 * 1024, "memory of its own grew"
    assert lent - kilobytes("RssFile") > 32 * 1024, "release gave nothing back"
    batches[0]  # and goes on
"""
LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="Whose memory it is can only be asked on Linux."
)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "train.tokens"
    row = list(range(256)) * 4096
    with TokenWriter(path, ByteTokenizer()) as writer:
        for _ in range(32):
            writer.write(row)
    return path


def read(path, how) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", READER, str(path), how]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@LINUX
def test_a_file_larger_than_the_memory_allowed_is_read_whole(large) -> None:
    done = read(large, "mapped")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 32 * 4096 * sum(range(256))


@LINUX
def test_loading_the_same_file_does_not_fit(large) -> None:
    done = read(large, "loaded")
    assert done.returncode == 1
    assert "MemoryError" in done.stderr
