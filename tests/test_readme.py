"""What README.md shows is true: its examples run, its commands and files exist."""

import contextlib
import io
import re

import pytest

from tools.curriculum import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def promised(code: str) -> list[str]:
    """Return the lines that an example says it prints: the comments after its prints."""
    found = []
    for line in code.splitlines():
        if "print(" in line:
            found += [part.strip() for part in line.split("  # ")[1:]]
    return found


@pytest.mark.parametrize("code", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_prints_what_it_says(code: str) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "README.md", "exec"), {"__name__": "example"})
    assert said.getvalue().splitlines() == promised(code)


def test_there_are_examples_and_each_promises_something() -> None:
    assert len(EXAMPLES) >= 2
    assert all(promised(code) for code in EXAMPLES)


def test_every_make_target_that_is_named_exists_and_the_other_way_round() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE)) - {"help"}
    assert set(re.findall(r"make (\w+)", README)) == targets


def test_links_point_to_files_that_exist() -> None:
    missing = [
        target for target in re.findall(r"\]\(([^)#:]+)\)", README) if not (ROOT / target).exists()
    ]
    assert not missing


def test_it_can_be_read_in_one_sitting() -> None:
    assert len(README.splitlines()) < 210
