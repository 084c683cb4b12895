"""What all tests share: one thread, the smallest scale, a folder of their own for what they write.

Set before torch is imported. `tools/test.py` sets the same for whole runs.
"""

import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("BHUSHGPT_SCALE", "smoke")
# IPython warns where another environment is active than the one that runs the tests.
os.environ.pop("VIRTUAL_ENV", None)
if "BHUSHGPT_RUNS" not in os.environ:
    _runs = tempfile.TemporaryDirectory()  # goes when the tests end
    os.environ["BHUSHGPT_RUNS"] = _runs.name

import numpy as np
import pytest
import torch
from hypothesis import settings

# They hold no examples, and pytest cannot look for some in two files of one name.
collect_ignore_glob = ["conftest.py", "*/conftest.py"]

# A shell lets what runs in its background ignore this signal, but tests send it to themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, so that a failure can be repeated.
settings.register_profile("course", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("course")


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """Let no test depend on the random numbers that another one drew."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_figures_left() -> Iterator[None]:
    """Close what a test has drawn: matplotlib warns of many open figures."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A small text file of a user's own; each test file has its copy."""
    file = tmp_path_factory.mktemp("text") / "cats.txt"
    file.write_text("the cat sat on the mat and the dog sat on the log\n" * 60, encoding="utf-8")
    return file
