"""`python -m bhushgpt`.

Lesson: notebook 17.
"""

from __future__ import annotations

import os
import sys

from bhushgpt.versions import python_trouble, torch_trouble


def start() -> int:
    """Run the command line; Ctrl-C while the libraries are still loading ends it quietly, too.

    What is too old, or not installed at all, is said in one sentence before anything fails.
    """
    # Read by GNU OpenMP when torch is loaded. Its threads wait by spinning; on a machine that is
    # busy with something else the default makes a training step several times slower.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    trouble = python_trouble() or _library_trouble()
    if trouble:
        print(trouble, file=sys.stderr)
        return 1
    try:
        from bhushgpt.commands.line import main

        return main()
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def _library_trouble() -> str | None:
    from importlib import metadata

    try:
        return torch_trouble(metadata.version("torch"))
    except metadata.PackageNotFoundError:
        return (
            "PyTorch is not installed for this Python. Set the course up: python tools/install.py"
        )


if __name__ == "__main__":
    sys.exit(start())
