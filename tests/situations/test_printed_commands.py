"""Each command that the package prints can be pasted where the reader is, and is understood there.

Commands are not run to their end here: that the shell hands on the words, and the flags are those
of the command, is what a printed command can get wrong.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import bhushgpt
from bhushgpt import environment, files, versions
from bhushgpt.commands import COMMANDS
from bhushgpt.commands.line import EXAMPLES, main
from bhushgpt.corpus import load_text
from bhushgpt.data.prepared import read_tokens_manifest
from bhushgpt.diagnosis.findings import Finding, without_names
from bhushgpt.environment import command, python_command, quoted
from bhushgpt.errors import UserError
from bhushgpt.files import read_file
from bhushgpt.runs import RunFolder, run_of
from bhushgpt.storage import load_checkpoint

LONG = "".join(f"The old man number {n} had a red hat.\n" for n in range(2500))
PACKAGE = Path(bhushgpt.__file__).parent
POSIX = pytest.mark.skipif(os.name == "nt", reason="A shell of Unix pastes them.")
PYTHON = r"(?:'[^'\n]*python[^'\n]*'|\S*python\S*)"  # quoted where the course's folder has a space
COMMAND = re.compile(rf"^\s*(?:type: )?({PYTHON} -m bhushgpt .*?)$", re.M)


def words_of(line: str, place: Path) -> list[str]:
    """Return the words of a pasted line as a shell in a folder hands them on."""
    show = "import sys; print(*sys.argv[1:], sep=chr(0), end='')"
    program, rest = line.split(" -m bhushgpt", 1)
    python = shlex.split(program)[0]
    assert (place / python).exists() or os.path.isabs(python) or "/" not in python
    pasted = f"{program} -c {shlex.quote(show)}{rest}"
    done = subprocess.run(["bash", "-c", pasted], cwd=place, capture_output=True, check=True)
    return done.stdout.decode("utf-8", "surrogateescape").split("\0")


def understood(words: list[str]) -> bool:
    """Return whether the command takes these flags; nothing is run."""
    import tyro

    module, kind = COMMANDS[words[0]][0].split(":")
    made = __import__(f"bhushgpt.commands.{module}", fromlist=[kind])
    return bool(tyro.cli(getattr(made, kind), args=words[1:]))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in a folder that is neither the checkout nor above the environment."""
    place = tmp_path / "some where else"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def printed(text: str) -> list[str]:
    found = COMMAND.findall(text)
    assert found, text
    return found


@POSIX
def test_what_training_prints_at_its_end_and_at_a_stop_can_be_pasted(trained, here, said):
    _, text = said("train", "--resume", trained)
    (line,) = printed(text)
    words = words_of(line, here)
    assert words[:3] == ["complete", "--run", str(trained)] and understood(words)
    _, text = said("train", "--preset", "bigram", "--corpus", "sherlock", "--out", trained)
    assert "holds another run" in text
    for line in printed(text):
        words = words_of(line, here)
        assert words == ["train", "--resume", str(trained)] and understood(words)


@POSIX
def test_what_prepare_and_a_folder_of_texts_lead_to_can_be_pasted(here, said):
    texts = here / "my texts"
    texts.mkdir()
    (texts / "a.txt").write_text(LONG)
    with pytest.raises(UserError) as error:
        load_text(texts)
    lines = printed(str(error.value))
    first, second = (words_of(line, here) for line in lines)
    assert first == ["prepare", str(texts), "--tokenizer", "bytes", "--out", "tokens"]
    assert main(first) == 0  # done as told
    assert second == ["train", "--preset", "gpt-v2", "--corpus", "tokens"] and understood(second)
    _, text = said(*first)
    (line,) = re.findall(r"Train on it: (.*)", text)
    assert Path(words_of(line, here)[-1]).samefile(here / "tokens")


@POSIX
def test_what_a_text_with_marks_inside_its_lines_leads_to_can_be_pasted(here):
    (here / "it's.txt").write_text("One.<|endoftext|>" + LONG.replace(".", ".<|endoftext|>"))
    (line,) = printed(load_text(here / "it's.txt").notice)
    words = words_of(line, here)
    assert words[:4] == ["prepare", str(here / "it's.txt"), "--separator", "<|endoftext|>"]
    assert main(words) == 0


@POSIX
def test_what_a_large_text_leads_to_can_be_pasted(here, monkeypatch):
    book = here / "large book.txt"
    book.write_text(LONG)
    monkeypatch.setattr(files, "LARGEST", 100)
    with pytest.raises(UserError) as error:
        read_file(book)
    (line,) = printed(str(error.value))
    words = words_of(line, here)
    assert words[1] == str(book) and main(words) == 0


@POSIX
def test_what_a_missing_run_leads_to_can_be_pasted(here):
    for call in (
        lambda: RunFolder.open(here / "no run"),
        lambda: run_of(here / "no run"),
        lambda: load_checkpoint(here / "no run"),
        lambda: read_tokens_manifest(here),
    ):
        with pytest.raises(UserError) as error:
            call()
        text = str(error.value)
        lines = re.findall(rf"(?:^  |: )({PYTHON} -m bhushgpt [^()\n]*)", text, re.M)
        assert lines
        for line in lines:
            words = words_of(line, here)
            assert words[0] in COMMANDS and understood(words)
        assert "-m bhushgpt" in text


@POSIX
@pytest.mark.parametrize("words", [("doctor", "--run"), ("doctor",)])
def test_what_the_doctor_prints_can_be_pasted(trained, here, said, words, monkeypatch, tmp_path):
    home = tmp_path / "home of me"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    run = home / "my run"
    run.symlink_to(trained)
    from bhushgpt.commands import doctor

    monkeypatch.setattr(doctor, "MACHINE", (doctor.check_torch, doctor.check_book))
    monkeypatch.setenv("BHUSHGPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BHUSHGPT_DATA", raising=False)
    _, text = said(*words, *([run] if len(words) > 1 else []))
    assert str(home) not in text
    for line in re.findall(r"type: (.*)", text):
        found = words_of(line, here)
        assert understood(found)
        if "--run" in found:
            assert Path(found[2]).samefile(trained)


NAMES = ["mine", "my run", "it's", '"a"', "$HOME", "`a`", "a;b", "*", "~", "-x", "é", "two\nlines"]
NAMES += ["back\\slash", "(1)", "!x", "tab\tin", "\x1b[31m", os.fsdecode(b"caf\xe9"), "山🙂", ""]


@POSIX
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_comes_back_from_the_shell(name, encoding, here, monkeypatch):
    monkeypatch.setattr(environment.sys, "stdout", type("Terminal", (), {"encoding": encoding})())
    word = quoted(name)
    shown = word.encode(encoding, "strict").decode(encoding)  # as the terminal shows it
    assert "\n" not in shown and "\x1b" not in shown
    assert words_of(f"python -m bhushgpt {shown}", here) == [name]


@pytest.mark.parametrize(
    ("place", "python", "on_path", "expected"),
    [
        ("course", "course/.venv/bin/python", None, ".venv/bin/python"),
        ("course/notebooks", "course/.venv/bin/python", None, "{root}/course/.venv/bin/python"),
        ("else", "course/.venv/bin/python", "course/.venv/bin/python", "python"),
        ("else", "course/.venv/bin/python", "other/bin/python", "{root}/course/.venv/bin/python"),
        ("course/.venv/bin", "course/.venv/bin/python", None, "./python"),
    ],
)
@POSIX
def test_the_python_is_named_as_it_is_reached_from_here(
    tmp_path, monkeypatch, place, python, on_path, expected
):
    for name in ("course/notebooks", "course/.venv/bin", "else", "other/bin"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / place)
    monkeypatch.setattr(environment.sys, "executable", str(tmp_path / python))
    answer = str(tmp_path / on_path) if on_path else None
    monkeypatch.setattr(environment.shutil, "which", lambda name: answer)
    assert command("doctor") == f"{expected.format(root=tmp_path)} -m bhushgpt doctor"
    assert python_command("-m", "pip").endswith("-m pip")


@POSIX
def test_where_another_python_is_used_the_courses_own_is_named(tmp_path, monkeypatch):
    own = tmp_path / "my course" / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.touch()
    monkeypatch.setattr(versions, "_checkout", lambda: str(tmp_path / "my course"))
    assert versions.set_up("torch").endswith(f"{shlex.quote(str(own))} -m bhushgpt")
    program = Path(versions.__file__).with_name("__main__.py")
    monkeypatch.setattr(sys, "argv", [str(program), "complete", "--prompt", "it's"])
    typed = versions.set_up("torch").partition(" -m bhushgpt ")[2]
    assert shlex.split(typed) == ["complete", "--prompt", "it's"]
    monkeypatch.setattr(sys, "prefix", str(own.parent.parent))
    assert versions.course_python() is None  # this is it
    assert versions.set_up("torch").endswith("-m pip install --upgrade torch")
    script = tmp_path / "my course" / "tools" / "install.py"
    script.parent.mkdir()
    script.touch()
    assert versions.set_up("torch").endswith(shlex.quote(str(script)))


def test_a_command_in_a_finding_is_one_line_and_names_no_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone with a long name")
    monkeypatch.setenv("USERPROFILE", "/home/someone with a long name")
    line = command("train", "--resume", "/home/someone with a long name/" + "long " * 30)
    text = str(Finding("look", "run", without_names(f"Go on with it:\n  {line}"), ""))
    assert "someone" not in text and text.count("\n") == 1
    assert "~/'" in text


def test_no_command_is_written_into_a_message_by_hand():
    written = []
    for file in PACKAGE.rglob("*.py"):
        if file.name == "versions.py":  # it writes its own: an old Python has to read it
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr):  # a docstring
                node.value = ast.Constant(None)
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if re.search(r"python3? (-m|tools/)|\bpip install", node.value):
                    written.append(f"{file.name}: {node.value[:60]}")
    assert not written


def filled(word: ast.expr) -> str:
    """Return a word of a command as it stands in the code, or what could be filled in there."""
    if isinstance(word, ast.Constant) and word.value != "N":
        return str(word.value)
    return "enter" if isinstance(word, ast.Attribute) and word.attr == "action" else "7"


def printed_by_the_package() -> dict[str, list[str]]:
    """Return place -> words of each command that the package makes; what it fills in is a 7."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "command":
                words = [filled(word) for word in node.args]
                if words[0] in COMMANDS:
                    found[f"{file.relative_to(PACKAGE).as_posix()}:{node.lineno}"] = words
    return found


MADE = printed_by_the_package()


@pytest.mark.parametrize("place", MADE)
def test_each_command_that_the_package_makes_is_understood(place):
    assert len(MADE) > 20  # they are found at all
    assert understood(MADE[place])


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_a_help_page_is_understood(name, here):
    line = command(name, *shlex.split(EXAMPLES[name]))
    assert EXAMPLES.keys() == COMMANDS.keys()
    words = words_of(line, here) if os.name == "posix" else [name, *shlex.split(EXAMPLES[name])]
    assert words[0] == name and understood(words)


README = Path(__file__).parents[2] / "README.md"
SHOWN = re.findall(r"^\.venv/bin/python (-m bhushgpt .*)$", README.read_text("utf-8"), re.M)


@POSIX
@pytest.mark.parametrize("line", SHOWN)
def test_each_command_of_the_readme_is_understood(line, here):
    assert len(SHOWN) > 10
    assert understood(words_of(f"python {line}", here))


def test_the_help_begins_with_the_command_as_it_is_typed_here(said):
    for words in (("--help",), ()):
        code, text = said(*words)
        assert code == 0 and text.startswith(f"usage: {command('COMMAND')}")
    code, text = said("trian")
    assert code == 2 and "Did you mean 'train'" in text and command("--help") in text
