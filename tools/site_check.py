"""The web site as a browser shows it: at two widths, light and dark, each page asked what is wrong.

    python -m tools.site_check                      a page of each kind and every notebook
    python -m tools.site_check notebooks/04_bigram  one page

A page may load nothing from elsewhere and say no error on the console; every picture of a notebook
is described; nothing is wider than the screen; axe-core finds nothing. Pictures of what was seen
lie in site/pages. `make site` comes before.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tools.chromium import chromium
from tools.website import SITE

HTML = SITE / "html"
SHOTS = SITE / "pages"
SCREENS = {"desktop": (1280, 900), "phone": (400, 800)}
THEMES = ("light", "dark")
KINDS = ("index", "README", "CONTRIBUTING", "docs/architecture", "search")
KINDS += ("reference/index", "reference/gpt", "reference/storage")
UNDESCRIBED = """() => [...document.querySelectorAll(".cell_output img")]
    .filter(image => (image.getAttribute("alt") || "").length < 20).length"""


def chosen(names: list[str]) -> list[str]:
    """Return the named pages, or one of each kind and all notebooks."""
    notebooks = sorted((HTML / "notebooks").glob("*.html"))
    return names or [*KINDS, *(f"notebooks/{path.stem}" for path in notebooks)]


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and writes no log."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Yield the address at which this machine serves a folder to itself."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def watch(page: Any, address: str, found: list[str]) -> None:
    """Note in `found` what the page says on the console and what it asks others for."""

    def said(message: Any) -> None:
        if message.type == "error":
            found.append(f"console: {message.text} ({message.location.get('url', '')})")

    def asked(request: Any) -> None:
        if not request.url.startswith((address, "data:", "blob:")):
            found.append(f"loaded from elsewhere: {request.url}")

    page.on("console", said)
    page.on("request", asked)
    page.on("pageerror", lambda error: found.append(f"error: {error}"))
    page.on("requestfailed", lambda failed: found.append(f"not loaded: {failed.url}"))


def look(browser: Any, address: str, name: str) -> list[str]:
    """Open a page in each theme and width, and return what is wrong with it."""
    from axe_playwright_python.sync_playwright import Axe  # pyright: ignore[reportMissingImports]

    found: list[str] = []
    for theme in THEMES:
        context = browser.new_context(color_scheme=theme)
        page = context.new_page()
        watch(page, address, found)
        page.goto(f"{address}/{name}.html", wait_until="load")
        page.wait_for_timeout(500)
        if undescribed := page.evaluate(UNDESCRIBED):
            found.append(f"{undescribed} pictures are not described")
        for screen, (width, height) in SCREENS.items():
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(500)  # the theme makes what scrolls now a stop for the keyboard
            SHOTS.mkdir(parents=True, exist_ok=True)
            shot = f"{name.replace('/', '_')}_{theme}_{screen}.png"
            page.screenshot(path=SHOTS / shot)
            if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
                found.append(f"{screen}: the page is {wide} wide")
            # Else axe fetches the style sheets again, and what they import from the wrong folder.
            seen = Axe().run(page, options={"preload": False}).response
            for violation in seen["violations"]:
                places = [node["target"][0] for node in violation["nodes"]]
                found.append(
                    f"{theme}, {screen}: {violation['id']} ({violation['impact']}) at "
                    f"{len(places)} places, first {places[0]}"
                )
        context.close()
    return list(dict.fromkeys(found))


def main(names: list[str]) -> int:
    """Look at pages, print what is wrong, and return the exit code."""
    if not HTML.is_dir():
        print("There is no site yet: make it with  make site")
        return 1
    count = 0
    with served(HTML) as address, chromium() as browser:
        for name in chosen(names):
            found = look(browser, address, name)
            count += len(found)
            print(f"{name}: {len(found) or 'no'} faults", flush=True)
            for line in found:
                print(f"    {line}")
    return min(count, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
