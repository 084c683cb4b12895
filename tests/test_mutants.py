"""Mistakes are planted one at a time in a copy; what survives is said, and what is amiss."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.curriculum import ROOT
from tools.mutants import misplaced, read_lists

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="The tool needs a fork.")
MODULE = """
def largest(numbers):
    found = numbers[0]
    for number in numbers[1:]:
        if number > found:
            found = number
    return found
"""
TEST = """
from toy import largest

def test_the_last_one_may_be_the_largest():
    assert largest([1, 2, 3]) == 3
"""
LIST = """
[[module]]
file = "toy.py"
tests = ["tests/test_toy.py"]
mutants = [
  { operator = "swapped comparison", old = "number > found", new = "number < found" },
  { operator = "off by one", old = "numbers[0]", new = "numbers[1]" },
  { operator = "hangs", old = "return found", new = "while True: pass" },
  { operator = "swapped comparison", old = " > found", new = " >= found", equivalent = "a tie" },
  { operator = "axis", old = "numbers[1:]", new = "numbers[:1]", equivalent = "so they say" },
]
"""


@pytest.fixture
def toy(tmp_path):
    (tmp_path / "tests" / "mutants").mkdir(parents=True)
    (tmp_path / "toy.py").write_text(MODULE)
    (tmp_path / "tests" / "test_toy.py").write_text(TEST)
    (tmp_path / "tests" / "mutants" / "toys.toml").write_text(LIST)
    return tmp_path


def plant(root: Path) -> subprocess.CompletedProcess[str]:
    quick = "mutants.PRELOADED, mutants.SECONDS = ('_hypothesis_pytestplugin', 'pytest'), 2"
    code = f"from pathlib import Path; from tools import mutants; {quick}; "
    code += f"raise SystemExit(mutants.main(['--jobs', '1'], Path({str(root)!r})))"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_what_is_noticed_and_what_survives_is_said(toy):
    done = plant(toy)
    assert done.returncode == 1, done.stderr  # two of three are too few
    assert done.stdout.count("noticed  toy.py") == 3
    assert "Survived: toy.py, off by one: 'numbers[0]' became 'numbers[1]'" in done.stdout
    assert "| toys | 5 | 2 | 2 | 1 | 66.7% |" in done.stdout
    assert "Said to change nothing (so they say), yet noticed: toy.py, axis" in done.stdout
    assert "a tie" not in done.stdout
    assert (toy / "toy.py").read_text() == MODULE  # all of it happened in a copy


def test_tests_that_fail_already_prove_nothing(toy):
    (toy / "toy.py").write_text(MODULE.replace("return found", "return found + 1"))
    done = plant(toy)
    assert done.returncode == 2
    assert "These fail without any mistake: tests/test_toy.py" in done.stdout


def test_a_text_that_is_gone_or_stands_twice_is_named(toy):
    (toy / "toy.py").write_text(MODULE.replace("numbers[0]", "min(numbers)") * 2)
    done = plant(toy)
    assert done.returncode == 2
    assert "toy.py holds 'numbers[0]' 0 times, not once." in done.stdout
    assert "toy.py holds 'number > found' 2 times, not once." in done.stdout


def test_the_lists_of_the_project_fit_its_code_and_name_tests_that_are_there():
    mutants = list(read_lists(ROOT, []))
    assert misplaced(ROOT, mutants) == []
    assert len([mutant for mutant in mutants if not mutant.equivalent]) >= 200
    for mutant in mutants:
        assert mutant.old != mutant.new
        places = [word.partition("::")[0] for word in mutant.tests if word.startswith("tests/")]
        assert places and all((ROOT / place).is_file() for place in places), mutant
