"""How Sphinx makes the site. `make site` (tools/site.py) lays out the sources and starts it."""

import json
import re
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

project = "BhushGPT"
copyright = "the authors of BhushGPT, MIT licence"
language = "en"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon"]
extensions += ["sphinx_copybutton"]
exclude_patterns = ["_*"]

# Notebooks are shown as they are stored.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
# JupyterLab's anchors of headings, which the notebooks use: `#A-section`.
myst_heading_slug_func = "tools.notebook_links.jupyter_anchor"

mathjax_path = "mathjax/tex-chtml.js"

# In the package's docstrings `name` is code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "sphinx_book_theme"
html_title = "BhushGPT"
html_static_path = ["_static"]
html_favicon = "_static/icon.svg"
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_extra_path = ["_extra"]
html_copy_source = False
html_show_sourcelink = False
html_context = {"default_mode": "auto"}
html_show_sphinx = False
html_theme_options = {
    "navbar_persistent": [],
    "navigation_with_keys": False,
    "search_as_you_type": False,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copybutton_exclude = ".linenos, .gp, .go"


def describe_pictures(app: Sphinx, doctree: nodes.document) -> None:
    """Give the pictures of a notebook their descriptions and sizes.

    They are in the metadata of its outputs, which no exporter reads. A picture's file is named
    after the hash of its content.
    """
    source = Path(app.env.doc2path(app.env.docname))
    if source.suffix != ".ipynb":
        return
    notebook = json.loads(source.read_text(encoding="utf-8"))
    shown: dict[str, dict[str, Any]] = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            for kind, content in output.get("data", {}).items():
                if kind.startswith("image/"):
                    name = sha256(b64decode("".join(content))).hexdigest()
                    shown[name] = output["metadata"].get(kind, {})
    for picture in doctree.findall(nodes.image):
        if about := shown.get(Path(picture["uri"]).stem):
            picture["alt"] = about["alt"]
            picture["width"] = f"{about['width']}px"


SENTENCES: dict[str, list[str]] = {}


def before_napoleon(
    app: Sphinx, what: str, name: str, it: object, options: object, lines: list[str]
) -> None:
    """Remember what an attribute's docstring says."""
    SENTENCES[name] = list(lines)


def after_napoleon(
    app: Sphinx, what: str, name: str, it: object, options: object, lines: list[str]
) -> None:
    """Put it back: napoleon takes what stands before the colon of its first sentence for a type."""
    if what in ("attribute", "property"):
        lines[:] = SENTENCES[name]


def lead_to_pages(app: Sphinx, doctree: nodes.document) -> None:
    """Let links in outputs, which nobody resolves, lead to the page of a notebook."""
    for link in doctree.findall(nodes.reference):
        if re.fullmatch(r"\d\d_\w+\.ipynb", link.get("refuri", "")):
            link["refuri"] = link["refuri"].removesuffix(".ipynb") + ".html"


def setup(app: Sphinx) -> None:
    """Hook the transforms in."""
    app.connect("autodoc-process-docstring", before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", after_napoleon, priority=600)
    app.connect("doctree-read", describe_pictures)
    app.connect("doctree-read", lead_to_pages)
