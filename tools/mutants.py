"""Plant mistakes in the package, one at a time, and see whether a test turns red.

    python -m tools.mutants                    all lists of tests/mutants
    python -m tools.mutants storage gpt.py     some of them, or some modules
    python -m tools.mutants --jobs 2           so many at a time

A list names modules, the tests that guard each, and mistakes: a text that occurs once, what stands
in its place, and what kind of mistake that is. One that changes nothing says why (`equivalent`);
it is planted too, and must pass. All happens in a copy. What tests need is loaded once, and every
mistake is tried in a process that branches off from there: so it takes a second and not five.
"""

import argparse
import importlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "node_modules")
PRELOADED = ("pytest", "_hypothesis_pytestplugin", "hypothesis.strategies", "numpy.random")
PRELOADED += ("safetensors.torch", "msgspec", "tyro", "tqdm", "filelock", "psutil", "regex")
PRELOADED += ("torch._dynamo", "torch.testing", "torch.distributed.checkpoint.state_dict")
BROKEN = 99  # the status of a process whose tests did not even begin
SECONDS, MEMORY = 120, 12 * 2**30  # of the processor, for one mistake: one that hangs is noticed
TARGET = 0.95


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One mistake."""

    room: str
    file: str
    tests: tuple[str, ...]
    operator: str
    old: str
    new: str
    equivalent: str = ""

    def __str__(self) -> str:
        return f"{self.file}, {self.operator}: {self.old!r} became {self.new!r}"


def read_lists(root: Path, names: Sequence[str]) -> Iterator[Mutant]:
    """Yield the mistakes of the lists or modules of these names; of all, if there are none."""
    for path in sorted((root / "tests" / "mutants").glob("*.toml")):
        for module in tomllib.loads(path.read_text(encoding="utf-8"))["module"]:
            if not names or path.stem in names or Path(module["file"]).name in names:
                for one in module["mutants"]:
                    where = {"room": path.stem, "file": module["file"]}
                    yield Mutant(**where, tests=tuple(module["tests"]), **one)


def misplaced(root: Path, mutants: Sequence[Mutant]) -> list[str]:
    """Return a sentence for each mistake that cannot be planted as it stands."""
    found = [(m, (root / m.file).read_text(encoding="utf-8").count(m.old)) for m in mutants]
    return [f"{m.file} holds {m.old!r} {n} times, not once." for m, n in found if n != 1]


def passes(tree: Path, tests: Sequence[str]) -> bool:
    """Return whether the tests pass in a tree; they run in a process that branches off here."""
    child = os.fork()
    if child == 0:
        status = BROKEN
        try:
            status = int(_branch(tree, tests))
        finally:  # nothing of the process that it branched off from is run here, not even its end
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == BROKEN:
        raise RuntimeError(f"The tests could not be started in {tree}.")
    return status == 0


def _branch(tree: Path, tests: Sequence[str]) -> int:
    """Run the tests in a tree and return pytest's status."""
    import resource

    import pytest

    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.alarm(20 * SECONDS)  # and if it sleeps
    for stream in (1, 2):
        os.dup2(os.open(tree.parent / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tools", "bhushgpt")]:
        del sys.modules[name]  # those of the copy shall be taken
    os.environ["PYTHONPATH"] = str(tree)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # they take longer than most tests
    usual = "-x -q -p no:cacheprovider -p _hypothesis_pytestplugin".split()
    loaded = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # before pytest began
    return pytest.main([*usual, *loaded, "-m", "not long", *tests])


def survives(tree: Path, mutant: Mutant) -> bool:
    """Plant a mistake in a tree, run its tests, and take it out again."""
    file = tree / mutant.file
    sound = file.read_text(encoding="utf-8")
    _write(file, sound.replace(mutant.old, mutant.new))
    try:
        return passes(tree, mutant.tests)
    finally:
        _write(file, sound)


def _write(file: Path, text: str) -> None:
    """Write a module so that Python notices: it looks at size and second, which may be the same."""
    later = file.stat().st_mtime + 1
    file.write_text(text, encoding="utf-8")
    os.utime(file, (later, later))


def _work(root: Path, work: Sequence[Any], numbers: Any, results: Any) -> None:
    """Do the work of the numbers that come, in a copy of one's own."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = shutil.copytree(root, Path(scratch, "tree"), ignore=LEFT_OUT)
        (tree / "datasets").mkdir(exist_ok=True)
        while (number := numbers.get()) is not None:
            one = work[number]
            try:
                passed = survives(tree, one) if isinstance(one, Mutant) else passes(tree, one)
                results.put((number, passed))
            except Exception as error:
                results.put((number, error))


def tried(root: Path, work: Sequence[Any], jobs: int) -> list[bool]:
    """Return for each mistake whether it survived, and for each row of tests whether it passed."""
    fork = multiprocessing.get_context("fork")
    numbers, results = fork.SimpleQueue(), fork.SimpleQueue()
    for number in [*range(len(work)), *[None] * jobs]:
        numbers.put(number)
    parts = (root, work, numbers, results)
    workers = [fork.Process(target=_work, args=parts) for _ in range(jobs)]
    for worker in workers:
        worker.start()
    found = {}
    for _ in work:
        number, passed = results.get()
        if isinstance(passed, Exception):
            for worker in workers:
                worker.terminate()
            raise passed
        found[number] = passed
        if isinstance(work[number], Mutant):
            print("survived" if passed else "noticed ", work[number], flush=True)
        elif not passed:
            print("These fail without any mistake:", *work[number], flush=True)
    return [found[number] for number in range(len(work))]


def table(mutants: Sequence[Mutant], survived: Sequence[bool]) -> tuple[str, float]:
    """Return the counts of each room as a table in Markdown, and the share noticed of all."""
    rows = [
        "| list | planted | change nothing | noticed | survived | share noticed |",
        6 * "| --- ",
    ]
    share = 1.0
    for room in [*dict.fromkeys(mutant.room for mutant in mutants), "all"]:
        ours = [(m, s) for m, s in zip(mutants, survived, strict=True) if room in (m.room, "all")]
        lived = [s for m, s in ours if not m.equivalent]
        share = 1 - sum(lived) / max(1, len(lived))
        numbers = (len(ours), len(ours) - len(lived), len(lived) - sum(lived), sum(lived))
        rows.append(f"| {room} | {' | '.join(map(str, numbers))} | {share:.1%} |")
    return "\n".join(rows), share


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line; return 0 if enough was noticed, 1 if not, 2 if a list is wrong."""
    parser = argparse.ArgumentParser(prog="tools/mutants.py", description="Plant mistakes.")
    parser.add_argument("names", nargs="*", help="lists or modules; all if left out")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    options = parser.parse_args(arguments)
    if not hasattr(os, "fork"):
        print("This needs an operating system that can fork: Linux, macOS, or WSL on Windows.")
        return 2
    mutants = list(read_lists(root, options.names))
    if wrong := misplaced(root, mutants) or ["There is no such list."][len(mutants) :]:
        print("\n".join(wrong))
        return 2
    # Read when torch is loaded: two threads a process wait for each other by spinning.
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    for name in PRELOADED:
        importlib.import_module(name)
    rows = list(dict.fromkeys(mutant.tests for mutant in mutants))
    passed = tried(root, [*rows, *mutants], options.jobs)
    if not all(passed[: len(rows)]):
        print("Tests that fail already notice nothing. Mend them first.")
        return 2
    survived = passed[len(rows) :]
    text, share = table(mutants, survived)
    print(f"\n{text}\n")
    for mutant, alive in zip(mutants, survived, strict=True):
        if alive and not mutant.equivalent:
            print(f"Survived: {mutant}")
        if mutant.equivalent and not alive:
            print(f"Said to change nothing ({mutant.equivalent}), yet noticed: {mutant}")
    return 0 if share >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
