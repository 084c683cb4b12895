"""Fault 38: worker processes on Windows and macOS, where the caller's script is run once more."""

import os
import subprocess
import sys

from bhushgpt.data.prepared import PreparedTokens
from tests.pages import make_pages, openwebtext

PAGES = make_pages(80)
# No `if __name__ == "__main__":`, as in a notebook or a first script.
UNGUARDED = """
import multiprocessing
import sys

multiprocessing.set_start_method("spawn")
with open("started", "a") as file:
    file.write("x")

from bhushgpt.data.preparation import prepare
from bhushgpt.data.preparation import make_plan
from bhushgpt.data.shards import find_shards
from bhushgpt.tokenizers import ByteTokenizer

tokenizer = ByteTokenizer()
plan = make_plan(find_shards(["pages.tar"]), tokenizer, "Pages", held_out=0.2)
print(sum(done.documents for done in prepare(plan, tokenizer, "out", workers=2)))
"""
# Run by a worker as it starts: writes down all that it loads from then on.
SPY = """
import os, sys

class Spy:
    def find_spec(self, name, path=None, target=None):
        with open({log!r} + str(os.getpid()), "a") as file:
            print(name, file=file)

if "loky.backend.popen_loky_posix" in sys.orig_argv:
    sys.meta_path.insert(0, Spy())
"""
# The same handed to multiprocessing: what the workers of our own protect from.
PROCESS = """
import multiprocessing

worker = multiprocessing.get_context("spawn").Process(target=print, args=("done",))
worker.start()
worker.join()
"""


def run(code, folder, seconds=60.0) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(code)
    return subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def test_a_script_without_a_guard_prepares_with_two_workers(tmp_path) -> None:
    openwebtext(tmp_path / "pages.tar", PAGES)
    done = run(UNGUARDED, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["80"]
    assert (tmp_path / "started").read_text() == "x"  # the script ran once
    PreparedTokens.open(tmp_path / "out").verify()


def test_multiprocessing_itself_refuses_such_a_script(tmp_path) -> None:
    done = run(PROCESS, tmp_path)
    assert "done" not in done.stdout
    assert "__name__ == '__main__'" in done.stderr


def test_the_workers_load_neither_torch_nor_the_callers_script(tmp_path, monkeypatch) -> None:
    openwebtext(tmp_path / "pages.tar", PAGES)
    (tmp_path / "sitecustomize.py").write_text(SPY.format(log=str(tmp_path / "log")))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    done = run(UNGUARDED, tmp_path)
    assert done.returncode == 0, done.stderr
    logs = [file.read_text().split() for file in tmp_path.glob("log*")]
    assert any("bhushgpt.data.preparation" in modules for modules in logs)  # one did work
    for modules in logs:
        assert not {"torch", "script", "__mp_main__"} & {*modules}
