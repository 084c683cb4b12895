"""The course as a web site: stored notebooks, the reference, and a model that writes in front.

    python tools/website.py                  into site/html, with the run of `make demo` in front
    python tools/website.py --run runs/mine  with another model

What the site is made of is laid out below `site/source`, as in the repository; docs/conf.py says
how Sphinx reads it. The build asks no other server for anything, and neither do its pages. Broken
links end it with an error.
"""

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bhushgpt.errors import UserError
from bhushgpt.interop import write_page
from bhushgpt.runs import RunFolder, plain_model
from bhushgpt.sources import corpora
from bhushgpt.storage import load_checkpoint
from tools.curriculum import ROOT, Curriculum, read_curriculum

SITE = ROOT / "site"
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE",
    "benchmarks/*.md",
    "benchmarks/*.png",
    "benchmarks/*.json",
    "datasets/README.md",
    "docs/architecture.*",
    "docs/tutor.md",
    "bhushgpt/without_torch.py",
    "notebooks/*.ipynb",
)
MATHJAX = ("tex-chtml.js", "output/chtml/fonts/woff-v2/*.woff")
FRAME = """This page holds a whole language model. It learned to write from {text}, and it runs in
your browser: nothing is sent anywhere. Begin a text, press *Write*, and look at what it weighs
before it chooses.

<iframe class="model" src="model.html" title="The model, writing"></iframe>"""
NO_MODEL = """```{note}
There is no model on this page yet: `make demo` trains one, and `make site` puts it here.
```"""
PROMPT = "The "
PAGE_BYTES = 300_000
FRONT_BYTES = 1_800_000  # the front page, with the model in it


def lay_out(source: Path, curriculum: Curriculum) -> None:
    """Put everything that the site is made of into a folder."""
    shutil.rmtree(source, ignore_errors=True)
    for pattern in PAGES:
        for path in sorted(ROOT.glob(pattern)):
            copied = source / path.relative_to(ROOT)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copied)  # with its time, so that Sphinx rebuilds what has changed
    shutil.copy2(ROOT / "docs/conf.py", source)
    shutil.copytree(ROOT / "docs/_static", source / "_static")
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    assert spec is not None and spec.origin is not None
    mathjax = Path(spec.origin).parent / "static/mathjax"
    for pattern in MATHJAX:
        for path in sorted(mathjax.glob(pattern)):
            copied = source / "_static/mathjax" / path.relative_to(mathjax)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copied)
    for name, text in reference(curriculum).items():
        page = source / "reference" / name
        page.parent.mkdir(exist_ok=True)
        page.write_text(text, encoding="utf-8")


def reference(curriculum: Curriculum) -> dict[str, str]:
    """Return the pages of the reference by file name: a core module each, a room each, a list."""
    core = [
        module
        for lesson in curriculum.lessons
        for module in lesson.finishes
        if not module.startswith("exercises.")
    ]
    rooms = [room.name for room in curriculum.rooms]
    pages = {}
    for name in [*core, *rooms]:
        options = ["   :imported-members:"] if name in rooms else []
        lines = [f"bhushgpt.{name}", "=" * 40, "", f".. automodule:: bhushgpt.{name}", *options]
        pages[f"{name}.rst"] = "\n".join([*lines, ""])
    trees = [
        f"## {title}\n\n```{{toctree}}\n:maxdepth: 1\n\n" + "\n".join(names) + "\n```\n"
        for title, names in (("The core, in the order of the course", core), ("The rooms", rooms))
    ]
    pages["index.md"] = "\n".join(
        ["# Reference", "", "What the notebooks finish, and the rooms that they open.", "", *trees]
    )
    return pages


def read_by(run: Path) -> str:
    """Return, for a sentence, what the model of a run learned from."""
    corpus = str(RunFolder.open(run).record["corpus"])
    known = corpora().get(corpus)
    return f"*{known.title}*" if known else "one text"


def put_model(source: Path, run: Path) -> None:
    """Write the front page, with the model of a run in it if there is one."""
    (source / "_extra").mkdir(exist_ok=True)
    try:
        checkpoint = load_checkpoint(run, "cpu")
        model = plain_model(checkpoint.state.model)
        page = source / "_extra/model.html"
        write_page(model, checkpoint.tokenizer, page, title="A small GPT", prompt=PROMPT)
    except UserError as error:
        print(f"The front page has no model: {error}")
        shown = NO_MODEL
    else:
        shown = FRAME.format(text=read_by(run))
    front = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    (source / "index.md").write_text(front.replace("{{model}}", shown), encoding="utf-8")


class _Links(HTMLParser):
    """What a page links to and loads, and the places in it that links can reach."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.places: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name in ("href", "src"):
                self.targets.add(value)
            elif value and name in ("id", "name"):
                self.places.add(value)


def faults(site: Path) -> list[str]:
    """Return the links to files and places that do not exist, and the pages that are too large."""
    files = sorted(site.rglob("*.html"))
    pages = {page: _Links(page) for page in files if "_static" not in page.parts}
    complaints = []
    for page, links in pages.items():
        name = page.relative_to(site).as_posix()
        size = page.stat().st_size
        limit = PAGE_BYTES
        if name == "model.html":
            limit = FRONT_BYTES - (site / "index.html").stat().st_size
        if size > limit:
            complaints.append(f"{name} has {size} bytes, more than {limit}.")
        for target in sorted(links.targets):
            url = urlsplit(target)
            if url.scheme or url.netloc:
                continue
            file = (page.parent / unquote(url.path)).resolve() if url.path else page
            place = unquote(url.fragment)
            known = pages[file].places if file in pages else {place}
            if not file.is_file() or (place and place not in known):
                complaints.append(f"{name} links to {target}, which does not exist.")
    return complaints


def install(requirements: str) -> None:
    """Install what a file lists into this environment, if it is not there."""
    wanted = (ROOT / requirements).read_text(encoding="utf-8")
    names = re.findall(r"^([\w-]+)==(\S+)", wanted, re.MULTILINE)
    if all(_has(name, version) for name, version in names):
        return
    print("Installing", ", ".join(name for name, _ in names))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, "constraints.txt")
        kept.write_text(constraints(), encoding="utf-8")
        subprocess.run([*pip, "-r", requirements, "-c", str(kept)], cwd=ROOT, check=True)


def constraints() -> str:
    """Return what the course was tested with as pip keeps to it: names and versions alone."""
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    parts = re.findall(r"^([\w.-]+)(?:\[.*?\])?(==.*\n)", pinned, re.MULTILINE)
    return "".join(name + version for name, version in parts)


def _has(name: str, version: str) -> bool:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed(name) == version
    except PackageNotFoundError:
        return False


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="tools/website.py", description="Make the web site.")
    parser.add_argument("--run", type=Path, default=ROOT / "runs/demo", metavar="DIR")
    options = parser.parse_args(arguments)
    install("docs/requirements.txt")
    source = SITE / "source"
    lay_out(source, read_curriculum())
    put_model(source, options.run)
    read = SITE / "doctrees/environment.pickle"
    if read.exists() and read.stat().st_mtime < (ROOT / "docs/conf.py").stat().st_mtime:
        shutil.rmtree(read.parent)  # Sphinx sees changed settings, and not changed transforms
    sphinx = [sys.executable, "-m", "sphinx", "-b", "html"]
    sphinx += ["-d", str(SITE / "doctrees"), "--fail-on-warning", "--quiet"]
    done = subprocess.run([*sphinx, str(source), str(SITE / "html")], cwd=ROOT, check=False)
    found = ["Sphinx found faults."] if done.returncode else faults(SITE / "html")
    for line in found:
        print(line)
    if not found:
        print("The site is in site/html: open site/html/index.html.")
    return min(len(found), 1)


if __name__ == "__main__":
    sys.exit(main())
