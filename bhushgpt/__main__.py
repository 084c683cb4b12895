"""`python -m bhushgpt`.

Lesson: notebook 16.
"""

import sys


def start() -> int:
    """Run the command line; Ctrl-C while the libraries are still loading ends it quietly, too.

    Lesson: notebook 16.
    """
    try:
        from bhushgpt.cli import main

        return main()
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(start())
