"""The set-up does nothing twice, keeps what serves, and says in words what is missing."""

import ast
import importlib.util
import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tools import install
from tools.install import INPUTS, ROOT, PipFailed, SetupFailed

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins(file: str) -> list[Requirement]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


PINS = pins("requirements.txt")
SITE_PINS = [
    pin for path in sorted(ROOT.glob("docs/requirements*.txt")) for pin in pins(f"docs/{path.name}")
]

# Ours; what is there wherever a notebook runs; a peer that its user installs as the bench says.
# Extras are imported where they are needed only.
OPTIONAL = {"bhushgpt", "ipython", "litgpt"}


def name_of(requirement: Requirement) -> str:
    return re.sub(r"[-_.]+", "-", requirement.name).lower()


def extras() -> set[str]:
    lists = PROJECT["optional-dependencies"].values()
    return {name_of(Requirement(line)) for lines in lists for line in lines}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder that is set up as far as the stamp tells."""
    for name in INPUTS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    python = install.environment_python(tmp_path / ".venv")
    python.parent.mkdir(parents=True)
    python.write_text("")
    (tmp_path / ".venv" / ".installed").write_text(install.fingerprint(tmp_path) + "\n")
    return tmp_path


def test_a_finished_set_up_is_recognised(checkout: Path) -> None:
    assert install.is_complete(checkout)


@pytest.mark.parametrize("name", INPUTS)
def test_a_changed_input_is_set_up_anew(checkout: Path, name: str) -> None:
    (checkout / name).write_text("changed")
    assert not install.is_complete(checkout)


def test_without_stamp_or_python_it_is_set_up_anew(checkout: Path) -> None:
    install.environment_python(checkout / ".venv").unlink()
    assert not install.is_complete(checkout)
    assert not install.is_complete(checkout / "elsewhere")


def test_a_moved_checkout_is_set_up_anew(checkout: Path, tmp_path: Path) -> None:
    moved = checkout.rename(tmp_path.parent / f"{tmp_path.name} moved")
    assert not install.is_complete(moved)


@pytest.mark.parametrize(
    ("version", "kept"),
    [
        ("2.10.0", True),
        ("2.13.0+cu130", True),
        ("2.13.1", True),
        ("2.9.1", False),
        ("2.15.0+cu132", True),
        ("2.16.0", False),
        ("3.0.0", False),
        ("", False),
    ],
)
def test_a_torch_in_the_range_is_kept(version: str, kept: bool) -> None:
    assert install.torch_is_kept(version) is kept
    (torch,) = [Requirement(each) for each in PROJECT["dependencies"] if each.startswith("torch")]
    if version:
        assert torch.specifier.contains(Version(version)) is kept


def test_the_front_page_names_the_range_that_is_kept() -> None:
    (lowest, (major, below)) = install.TORCH_RANGE
    said = f"a PyTorch from {lowest[0]}.{lowest[1]} to {major}.{below - 1} that"
    assert said in (install.ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize(("there", "asked_for"), [("2.11.0+cu130", False), ("", True)])
def test_pip_is_asked_for_torch_only_where_none_serves(
    monkeypatch: pytest.MonkeyPatch, checkout: Path, there: str, asked_for: bool
) -> None:
    monkeypatch.setattr(install, "installed_torch", lambda python: there)
    monkeypatch.setattr(install, "pip_install", lambda python, arguments: None)
    install.install_libraries(install.environment_python(checkout / ".venv"))
    written = (checkout / ".venv" / "requirements.txt").read_text()
    assert ("torch==" in written) is asked_for
    assert "numpy==" in written and written.rstrip().endswith("-e .")


SAID = {
    "no network": (
        "WARNING: Retrying ... NewConnectionError ...\nERROR: No matching distribution found for x",
        "pip reached no package index",
    ),
    "no such version": ("ERROR: No matching distribution found for torch==2.13.0", "torch==2.13.0"),
    "a full disk": ("ERROR: [Errno 28] No space left on device", "disk is full"),
    "anything else": ("Collecting x\nERROR: it broke", "ERROR: it broke"),
    "nothing": ("", "nothing"),
}


@pytest.mark.parametrize(("said", "words"), SAID.values(), ids=SAID.keys())
def test_what_pip_said_becomes_a_sentence(said: str, words: str) -> None:
    assert words in install.why(said)


PYLZMA = {
    "error: command '/usr/bin/gcc' failed": "needs a C compiler",
    "Temporary failure in name resolution": "could not be had",
}


@pytest.mark.parametrize(("said", "words"), PYLZMA.items())
def test_pylzma_may_fail_and_says_so_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, said: str, words: str
) -> None:
    def refuse(python: Path, arguments: list[str]) -> None:
        assert arguments == ["pylzma==0.6.1"]
        raise PipFailed(said)

    monkeypatch.setattr(install, "pip_install", refuse)
    sentence = install.install_pylzma(install.environment_python(ROOT / ".venv"))
    assert words in sentence
    assert sentence.endswith("-m pip install pylzma==0.6.1")
    assert "\n" not in sentence


def test_a_python_without_venv_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = importlib.util.find_spec
    hidden = {"ensurepip"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in hidden else found(name)
    )
    with pytest.raises(SetupFailed, match=r"sudo apt install python3\.\d+-venv"):
        install.make_environment(tmp_path / ".venv")


def test_a_failure_is_one_sentence_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise SetupFailed("The disk is full.")

    monkeypatch.setattr(install, "set_up", fail)
    assert install.main(["--again"]) == 1
    assert capsys.readouterr().err == "The disk is full.\n"


def test_an_old_python_can_read_the_file_up_to_its_own_refusal() -> None:
    source = (ROOT / "tools" / "install.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 7))
    before = source[: source.index("def ")]
    assert "sys.version_info < OLDEST" in before


def test_the_pins_satisfy_what_the_package_asks_for() -> None:
    known = {name_of(pin): next(iter(pin.specifier)).version for pin in PINS}
    for line in PROJECT["dependencies"]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(known[name_of(wanted)]), line


def test_requirements_name_no_local_build_and_no_index() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "-e ."
    assert [line for line in lines if "+cpu" in line or "index-url" in line] == []
    assert all(str(pin.specifier).startswith("==") for pin in PINS)


@pytest.mark.parametrize(
    ("folder", "declared"),
    [
        ("bhushgpt", {name_of(Requirement(line)) for line in PROJECT["dependencies"]}),
        ("tools", {name_of(pin) for pin in [*PINS, *SITE_PINS]}),
        ("tests", {name_of(pin) for pin in PINS}),
    ],
)
def test_every_library_that_is_imported_is_declared(folder: str, declared: set[str]) -> None:
    distributions = packages_distributions()
    missing = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            for name in names:
                owners = distributions.get(name.split(".")[0], [])
                known = {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners}
                if known and not known & {*declared, *OPTIONAL, *extras()}:
                    missing.add(f"{path.name} imports {name}")
    assert not missing, "\n".join(sorted(missing))
