"""`python -m bhushgpt`.

Lesson: notebook 17.
"""

from __future__ import annotations

import os
import sys

from bhushgpt.versions import python_trouble


def start() -> int:
    """Run the command line; Ctrl-C while the libraries are still loading ends it quietly, too.

    A Python that is too old is told in one sentence before anything fails.
    """
    # Commands draw into files. `!python -m bhushgpt ...` in a notebook hands on the notebook's own
    # backend; where that is unknown, matplotlib would not even load.
    os.environ.pop("MPLBACKEND", None)
    _look_here_last()
    trouble = python_trouble()
    if trouble:
        print(trouble, file=sys.stderr)
        return 1
    try:
        from bhushgpt.commands.line import main

        return main()
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def _look_here_last() -> None:
    """Look for modules in the current folder after all other places.

    `python -m` puts it first, where a learner's own token.py or random.py hides Python's. Last, it
    can still hold the package itself.
    """
    try:
        here = os.getcwd()
    except OSError:  # somebody removed it
        return
    if sys.path and sys.path[0] == here:
        sys.path.append(sys.path.pop(0))


if __name__ == "__main__":
    sys.exit(start())
