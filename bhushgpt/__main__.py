"""`python -m bhushgpt`."""

import sys

from bhushgpt.cli import main

if __name__ == "__main__":
    sys.exit(main())
