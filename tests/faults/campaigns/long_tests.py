"""The tests with the mark `long`: each promises what a shorter one in `make test` promises.

python -m tests.faults.campaigns.long_tests
"""

import subprocess
import sys

from tools.curriculum import ROOT


def main() -> int:
    """Run them, one process of pytest for all; return its exit status."""
    command = [sys.executable, "-m", "pytest", "-m", "long", "-p", "no:cacheprovider", "tests"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
