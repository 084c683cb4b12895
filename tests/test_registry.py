"""The registry is complete and its rules cut out what they promise."""

import re
from pathlib import Path

import msgspec
import pytest

from bhushgpt.errors import UserError
from bhushgpt.sources.downloads import DownloadError
from bhushgpt.sources.registry import Source, _entry, corpora

NAMES = sorted(corpora())


def test_the_five_texts_are_registered_with_the_course_book_first():
    assert next(iter(corpora())) == "sherlock"
    assert {"sherlock", "shakespeare", "oz", "war-and-peace", "tinystories"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_says_what_it_is_and_how_to_check_it(name):
    entry = corpora()[name]
    assert entry.name == name
    assert all([entry.title, entry.author, entry.licence, entry.about, entry.sources])
    assert re.fullmatch("[0-9a-f]{64}", entry.sha256)
    assert entry.characters > 100_000 and 50 < entry.distinct < 100
    for source in entry.sources:
        assert source.files and source.address
        assert bool(source.requirement) != bool(source.url)
        if source.requirement:
            assert re.fullmatch(r"[\w-]+==[\d.]+", source.requirement)
            assert len(source.wheel_sha256) == len(source.member_sha256) == 64
            assert source.files[0].endswith(".whl") and Path(source.member).name in source.files
        else:
            least, most = source.between
            assert source.url.startswith("https://") and least < entry.characters < most


def test_only_the_lines_between_the_markers_are_the_text():
    source = Source(files=["b"], rule="between", start="* A *", end="* B *")
    assert source.text(b"head\n* A *\n\none\n\n* B *\ntail\n", "b") == "\none\n\n"
    with pytest.raises(DownloadError, match=r"big\.txt lacks the lines that mark"):
        source.text(b"head\n* A *\none\n", "big.txt")


def test_the_marks_between_stories_become_blank_lines():
    source = Source(files=["s"], rule="stories")
    assert source.text(b"One.<|endoftext|>Two.\n<|endoftext|>\n", "s") == "One.\n\nTwo.\n"


def test_another_edition_is_known_by_its_title_and_length():
    source = Source(files=["pg55.txt"], says="The Wizard of Oz", between=[10, 20])
    source.check_other_edition(b"Title: THE WIZARD of Oz", "x" * 15)
    with pytest.raises(DownloadError, match="nowhere does it say 'The Wizard of Oz'"):
        source.check_other_edition(b"Title: Dorothy and the Wizard in Oz", "x" * 15)
    with pytest.raises(DownloadError, match=r"it has 21 characters; an edition .* 10 and 20"):
        source.check_other_edition(b"Title: The Wizard of Oz", "x" * 21)
    with pytest.raises(DownloadError, match="its sha256 is not the registered one"):
        Source(files=["a"]).check_other_edition(b"", "")


def test_a_misspelt_field_or_rule_of_an_entry_is_named():
    good = msgspec.to_builtins(corpora()["oz"])
    for bad in (
        good | {"licences": "x"},
        good | {"characters": "many"},
        good | {"sources": [good["sources"][0] | {"rule": "guess"}]},
        {key: value for key, value in good.items() if key != "title"},
        "oz",
    ):
        with pytest.raises(UserError, match=r"entry 'oz' of corpora\.toml cannot be read"):
            _entry("oz", bad)
