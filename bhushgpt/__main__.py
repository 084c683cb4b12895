"""`python -m bhushgpt`.

Lesson: notebook 16.
"""

import os
import sys


def start() -> int:
    """Run the command line; Ctrl-C while the libraries are still loading ends it quietly, too.

    Lesson: notebook 16.
    """
    # Read by GNU OpenMP when torch is loaded. Its threads wait by spinning; on a machine that is
    # busy with something else the default makes a training step several times slower.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    try:
        from bhushgpt.cli import main

        return main()
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(start())
