"""`python -m bhushgpt`.

Lesson: notebook 17.
"""

from __future__ import annotations

import os
import sys

from bhushgpt.versions import missing_library, python_trouble


def start() -> int:
    """Run the command line; Ctrl-C while the libraries are still loading ends it quietly, too.

    A Python that is too old is told in one sentence before anything fails.
    """
    # Commands draw into files. `!python -m bhushgpt ...` in a notebook hands on the notebook's own
    # backend; where that is unknown, matplotlib would not even load.
    os.environ.pop("MPLBACKEND", None)
    _look_here_last()
    _name_a_temporary_folder()
    _say_warnings()
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
    except ImportError as error:
        trouble = missing_library(error)
        if trouble is None:
            raise
        print(trouble, file=sys.stderr)
        return 1


def _name_a_temporary_folder() -> None:
    """Let libraries that only ask for its name, as torch does, load where nothing can be written.

    What then tries to write there fails, and says so.
    """
    import tempfile  # here, since it wants Python's own random.py

    try:
        tempfile.gettempdir()
    except OSError:
        tempfile.tempdir = os.sep


def _say_warnings() -> None:
    """Let warnings be sentences, without the place in a library that they come from."""
    import logging  # here, as in the function above
    import re

    class Sentence(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            text = record.getMessage().rstrip()  # file, line, kind, message, and a line of code
            found = re.search(r": \w*Warning: (.*?)(?:\n  [^\n]*)?\Z", text, re.S)
            return f"Note: {found[1] if found else text}"

    handler = logging.StreamHandler()
    handler.setFormatter(Sentence())
    logging.getLogger("py.warnings").addHandler(handler)
    logging.captureWarnings(True)


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
