"""A review deck for Anki: a card for each exercise, its back computed when the deck is made.

    python -m tools.review_deck                 into site/bhushgpt.apkg
    python -m tools.review_deck --out my.apkg

The front is the exercise's question, the back what `solution()` prints, so a deck is as new as the
exercises. Cards keep their identity: a deck that is imported again updates them.
"""

import argparse
import contextlib
import hashlib
import html
import io
import pkgutil
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from bhushgpt import exercises
from bhushgpt.exercises.exercise import Question
from bhushgpt.exercises.passport import PLACES
from tools.website import SITE, install

STYLE = """.card { font-family: sans-serif; font-size: 18px; text-align: left; }
pre { font-size: 14px; white-space: pre-wrap; }"""


@dataclass(frozen=True)
class Card:
    """A question and its answer, with the place in the course that both come from."""

    place: str
    question: str
    answer: str


def cards() -> list[Card]:
    """Return a card for each exercise, in the order of the course."""
    modules = [
        import_module(f"bhushgpt.exercises.{module.name}")
        for module in pkgutil.iter_modules(exercises.__path__)
        if module.name.startswith("nb")
    ]
    found = []
    for place in PLACES:
        prefix = f"bhushgpt.exercises.nb{place.notebook[:2]}_"
        here = [module for module in modules if module.__name__.startswith(prefix)]
        exercise = next(vars(module)[place.name] for module in here if place.name in vars(module))
        assert isinstance(exercise, Question)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exercise.solution()
        found.append(Card(str(place), exercise.question, said.getvalue().strip()))
    return found


def identity(text: str) -> int:
    """Return a number that Anki knows a deck or a kind of card by, the same every time."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") | 1 << 30


def write_deck(path: Path) -> int:
    """Write the deck, and return how many cards it has."""
    import genanki  # pyright: ignore[reportMissingImports]

    kind = genanki.Model(
        identity("bhushgpt exercise"),
        "BhushGPT exercise",
        fields=[{"name": "Place"}, {"name": "Question"}, {"name": "Answer"}],
        templates=[
            {
                "name": "Recall",
                "qfmt": "<p>{{Place}}</p><p>{{Question}}</p>",
                "afmt": "{{FrontSide}}<hr id=answer><pre>{{Answer}}</pre>",
            }
        ],
        css=STYLE,
    )
    deck = genanki.Deck(identity("bhushgpt"), "BhushGPT")
    made = cards()
    for card in made:
        fields = [html.escape(text) for text in (card.place, card.question, card.answer)]
        deck.add_note(genanki.Note(kind, fields, guid=genanki.guid_for("bhushgpt", card.place)))
    path.parent.mkdir(parents=True, exist_ok=True)
    genanki.Package(deck).write_to_file(str(path))
    return len(made)


def main(arguments: list[str] | None = None) -> int:
    """Write the deck and say where it is."""
    parser = argparse.ArgumentParser(prog="tools/review_deck.py", description="Make the deck.")
    parser.add_argument("--out", type=Path, default=SITE / "bhushgpt.apkg", metavar="FILE")
    options = parser.parse_args(arguments)
    install("docs/requirements-deck.txt")
    print(f"{write_deck(options.out)} cards are in {options.out}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
