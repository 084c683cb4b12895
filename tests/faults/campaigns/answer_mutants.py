"""Campaign: every reference of the exercises with one thing changed, and who calls it right?

    python -m tests.faults.campaigns.answer_mutants

`tests/exercises/mutants.py` makes some thousands of them. Whatever a checker calls right must stand
in `tests/exercises/equivalent_mutants.toml`, with the reason.
"""

import sys

from tools.stored_form import ROOT

sys.path.insert(0, str(ROOT / "tests" / "exercises"))

from kill_table import (  # pyright: ignore[reportMissingImports]
    MUSEUM,
    complaints,
    set_all_loose,
    summary,
)


def main() -> int:
    """Run the campaign and print what came of it."""
    set_all_loose()
    wrong = complaints(MUSEUM)
    print(*wrong, summary(MUSEUM), sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
