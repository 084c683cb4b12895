"""A headless Chromium for the checks that need a browser: `make site-check` and `make browser`.

It is the machine's own; the library that steers it comes from the package index.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.website import install

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")


def executable() -> Path:
    """Return the browser: the one that the environment variable CHROMIUM names, or the first found.

    Exits with a sentence that says what to do if there is none.
    """
    named = os.environ.get("CHROMIUM")
    found = named or next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None or not Path(found).is_file():
        sys.exit(
            "There is no Chromium here. Install one (on Debian or Ubuntu: sudo apt install "
            "chromium), or set CHROMIUM to the path of yours, and run this again."
        )
    return Path(found)


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield a browser, closed at the end; Playwright is installed first if need be."""
    program = executable()
    install("docs/requirements-browser.txt")
    from playwright.sync_api import sync_playwright  # pyright: ignore[reportMissingImports]

    # Chromium's sandbox refuses to run for the user root, as whom containers run.
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as steering:
        browser = steering.chromium.launch(
            executable_path=program, args=["--no-sandbox"] if root else []
        )
        try:
            yield browser
        finally:
            browser.close()
