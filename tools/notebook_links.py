"""Links and pictures of a notebook: they exist, are local, and are described in words.

Each function returns complaints, none when all is well.
"""

import re
from pathlib import Path
from urllib.parse import unquote

from tools.stored_form import ROOT
from tools.stored_notebook import FENCE, StoredNotebook

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(<?([^)\s>]+)>?[^)]*\)|<a\s[^>]*href=[\"']([^\"']+)", re.I)
IMAGE = re.compile(r"!\[([^\]]*)\]\(<?([^)\s>]+)>?[^)]*\)")
IMAGE_TAG = re.compile(r"<img\s[^>]*>", re.IGNORECASE)
ELSEWHERE = re.compile(r"(?:[a-z]+:)?//|mailto:", re.IGNORECASE)
DESCRIPTION = 20  # characters; "a plot" describes nothing


def anchors(notebook: StoredNotebook) -> set[str]:
    """Return the names by which links can reach the headings, in JupyterLab's way and GitHub's."""
    found = set()
    for _, _, text in notebook.headings():
        shown = re.sub(r"[`*]", "", text)
        found.add(jupyter_anchor(shown))
        found.add(re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-"))
    return found


def jupyter_anchor(heading: str) -> str:
    """Return the name by which JupyterLab, and the web site, reach a heading.

    >>> jupyter_anchor("Is it ready?")
    'Is-it-ready?'
    """
    return heading.replace(" ", "-")


def links(notebook: StoredNotebook) -> list[str]:
    """Return the links to files and headings that do not exist. Other sites are not visited."""
    complaints = []
    for index, cell in notebook.markdown:
        for found in LINK.findall(FENCE.sub("", cell.source)):
            target = found[0] or found[1]
            if not ELSEWHERE.match(target) and not _exists(notebook, target):
                complaints.append(f"Cell {index} links to {target}, which does not exist.")
    return complaints


def _exists(notebook: StoredNotebook, target: str) -> bool:
    file, _, anchor = unquote(target).partition("#")
    path = notebook.folder / file
    if file and not path.exists():
        return False
    if not anchor:
        return True
    other = StoredNotebook.read(path) if file.endswith(".ipynb") else notebook
    return anchor in anchors(other) if file.endswith(".ipynb") or not file else True


def onward(notebook: StoredNotebook) -> list[str]:
    """A lesson's end, before an appendix if it has one, links to the next lesson."""
    following = [path.name for path in (ROOT / "notebooks").glob(f"{_number(notebook) + 1:02}_*")]
    appendix = (i for i, _, text in notebook.headings() if text.startswith("Appendix"))
    end = next(appendix, len(notebook.cells))
    last, cell = [each for each in notebook.markdown if each[0] < end][-1]
    linked = {Path(target or other).name for target, other in LINK.findall(cell.source)}
    if linked.issuperset(following):
        return []
    return [f"The lesson ends in cell {last}, without a link to {following[0]}."]


def _number(notebook: StoredNotebook) -> int:
    return int(notebook.name.partition("_")[0])


def described(notebook: StoredNotebook) -> list[str]:
    """Return the pictures among the outputs that have no description; there is at least one."""
    complaints = []
    pictures = 0
    for index, cell in notebook.code:
        for output in cell.outputs:
            for kind in output.get("data", {}):
                if not kind.startswith("image/"):
                    continue
                pictures += 1
                alt = output.metadata.get(kind, {}).get("alt", "")
                if len(alt) < DESCRIPTION:
                    complaints.append(f"The picture of cell {index} is described as {alt!r}.")
    return complaints if pictures else ["There is no picture among the outputs."]


def local_images(notebook: StoredNotebook) -> list[str]:
    """Return the images in the text that come from elsewhere, are missing, or are not described."""
    complaints = []
    for index, cell in notebook.markdown:
        text = FENCE.sub("", cell.source)
        found = [(address, alt) for alt, address in IMAGE.findall(text)]
        found += [(_value(tag, "src"), _value(tag, "alt")) for tag in IMAGE_TAG.findall(text)]
        for address, alt in found:
            if ELSEWHERE.match(address):
                complaints.append(f"Cell {index} shows a picture from elsewhere: {address}.")
            elif not Path(notebook.folder, unquote(address)).is_file():
                complaints.append(f"Cell {index} shows {address}, which does not exist.")
            if len(alt) < DESCRIPTION:
                complaints.append(f"Cell {index} describes {address} as {alt!r}.")
    complaints += [
        f"The output of cell {index} loads something from elsewhere."
        for index, cell in notebook.code
        for output in cell.outputs
        if re.search(r"(?:src|href)=[\"']?(?:https?:)?//", str(output.get("data", {})), re.I)
    ]
    return complaints


def _value(tag: str, attribute: str) -> str:
    found = re.search(rf"\b{attribute}=[\"']([^\"']*)", tag, re.IGNORECASE)
    return found[1] if found else ""
