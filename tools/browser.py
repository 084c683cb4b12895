"""Notebooks in JupyterLab in a headless Chromium, as a learner runs them: opened, then Run All.

    python -m tools.browser               six notebooks, at the scale `smoke`
    python -m tools.browser 05_training   one of them

A notebook must not count as changed when it has only been opened; every cell runs, without an error
and without a pink box (standard error); where a lesson trains, its progress bar is seen moving; a
widget that is moved shows something else. Screenshots, before and after, lie in site/browser.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.chromium import chromium
from tools.lab import bring
from tools.website import ROOT, SITE

SHOTS = SITE / "browser"
COMMAND_LINE, INSIDE = "17_command_line", "21_inside_the_model"
NOTEBOOKS = (
    "00_start_here",
    "03_text_and_tokens",
    "05_training",
    "07_attention",
    COMMAND_LINE,
    INSIDE,
)
WITH_BARS = ("05_training", INSIDE)
SECONDS = 600  # for a notebook
OUTPUTS = """() => jupyterapp.shell.currentWidget.content.widgets
    .filter(cell => cell.model.type === "code").map(cell => cell.model.outputs.toJSON())"""
DIRTY = "() => jupyterapp.shell.currentWidget.context.model.dirty"
READY = """() => window.jupyterapp?.shell?.currentWidget?.context?.isReady
    && jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.status === "idle" """
# Cells that are not on the screen have no elements.
SHOW_WIDGET = """() => {
    const notebook = jupyterapp.shell.currentWidget.content;
    const made = notebook.widgets.findIndex(cell => cell.model.type === "code"
        && cell.model.sharedModel.getSource().includes("ipywidgets"));
    notebook.activeCellIndex = made;
    return notebook.scrollToItem(made);
}"""
RUN = "() => { window.ended = false; jupyterapp.commands.execute('notebook:run-all-cells')"
RUN += ".finally(() => { window.ended = true }) }"


@contextmanager
def lab(folder: Path) -> Iterator[str]:
    """Yield the address of a JupyterLab on a folder, stopped at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BHUSHGPT_SCALE": "smoke",
        "BHUSHGPT_RUNS": str(folder / "runs"),
        "OMP_NUM_THREADS": "1",
        # JupyterLab keeps open tabs in it: one's own settings are not used here, nor changed.
        "JUPYTER_CONFIG_DIR": str(folder / "jupyter"),
    }
    options = [f"--port={port}", "--no-browser", "--expose-app-in-browser", "--allow-root"]
    options += ["--IdentityProvider.token=", f"--ServerApp.root_dir={folder}"]
    command = [sys.executable, "-m", "jupyter", "lab", *options]
    with (folder / "lab.log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(SECONDS):
                try:
                    urllib.request.urlopen(f"{address}/api", timeout=5).close()
                    break
                except OSError:
                    time.sleep(1)
            yield address
        finally:
            server.terminate()
            server.wait(60)


def walk(browser: Any, address: str, name: str) -> list[str]:
    """Open a notebook, run it, and return what a learner would stumble over."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(f"error of the page: {error}"))
    page.goto(f"{address}/lab/tree/{name}.ipynb?reset")
    page.wait_for_function(READY, timeout=1000 * SECONDS)
    page.wait_for_timeout(2000)  # what JupyterLab changes, it changes once the kernel answers
    if page.evaluate(DIRTY):
        found.append("counts as changed when it has only been opened")
    page.screenshot(path=SHOTS / f"{name}_opened.png")
    page.evaluate(RUN)
    bars: set[str] = set()
    end = time.monotonic() + SECONDS
    while not page.evaluate("() => window.ended") and time.monotonic() < end:
        bars |= {text for text in texts(page.evaluate(OUTPUTS)) if "%|" in text}
        time.sleep(0.2)
    if not page.evaluate("() => window.ended"):
        found.append(f"did not end within {SECONDS} seconds")
    page.screenshot(path=SHOTS / f"{name}_ran.png")
    found += stumbles(page.evaluate(OUTPUTS))
    if name in MOVES:
        page.evaluate(SHOW_WIDGET)
        before, after = MOVES[name](page)
        page.screenshot(path=SHOTS / f"{name}_moved.png")
        if not after or before == after:
            found.append("shows the same after its widget was moved")
    if name in WITH_BARS and len(bars) < 2:
        found.append(f"showed {len(bars)} states of a progress bar")
    page.close()
    return found


def type_a_text(page: Any) -> tuple[str, str]:
    """Type another text into the widget of attention, and return its picture before and after."""
    picture = page.locator("img.widget-image").first
    before = picture.get_attribute("src", timeout=60_000)
    box = page.locator(".widget-text input").first
    box.fill("FEEDFEEDFEED")
    box.press("Enter")
    page.wait_for_timeout(5000)
    return before, picture.get_attribute("src")


def write_colder(page: Any) -> tuple[str, str]:
    """Let the widget write, move its temperature to 0, and return both texts."""
    written = page.locator(".widget-interact .jp-OutputArea-output").last
    texts = []
    for _ in range(2):
        page.get_by_role("button", name="Write").click(timeout=60_000)
        page.wait_for_timeout(5000)
        texts.append(written.inner_text(timeout=60_000))
        page.locator(".widget-slider .noUi-handle").first.press("Home")
    return texts[0], texts[1]


MOVES = {COMMAND_LINE: write_colder, INSIDE: type_a_text}
"""What is done to a notebook's widget; each returns what it showed before and after."""


def texts(cells: list[list[dict]]) -> list[str]:
    """Return all that the cells have printed."""
    said = [output.get("text", "") for outputs in cells for output in outputs]
    return ["".join(text) for text in said]


def stumbles(cells: list[list[dict]]) -> list[str]:
    """Return errors and pink boxes among the outputs of code cells.

    >>> stumbles([[{"output_type": "stream", "name": "stderr", "text": "careful"}], []])
    ["code cell 1 has a pink box: 'careful'"]
    >>> stumbles([[], [{"output_type": "error", "ename": "KeyError", "evalue": "'x'"}]])
    ["code cell 2 fails: KeyError: 'x'"]
    """
    found = []
    for number, outputs in enumerate(cells, start=1):
        for output in outputs:
            if output.get("name") == "stderr":
                text = "".join(output["text"]).strip()[:80]
                found.append(f"code cell {number} has a pink box: {text!r}")
            if output["output_type"] == "error":
                found.append(f"code cell {number} fails: {output['ename']}: {output['evalue']}")
    return found


def main(names: list[str]) -> int:
    """Walk through notebooks, print what was found, and return the exit code."""
    for name in names:
        if not (ROOT / "notebooks" / f"{name}.ipynb").is_file():
            print(f"There is no notebook {name}.")
            return 1
    SHOTS.mkdir(parents=True, exist_ok=True)
    count = 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        bring(ROOT / "notebooks", folder)
        with lab(folder) as address, chromium() as browser:
            for name in names or NOTEBOOKS:
                found = walk(browser, address, name)
                count += len(found)
                print(f"{name}: {len(found) or 'no'} faults", flush=True)
                for line in found:
                    print(f"    {line}")
    return min(count, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
