"""Starting several processes the way people do, for tests: torchrun, gloo, this machine only."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("launched.py")


def launch(processes: int, task: str, folder: Path, *rest: str, restarts: int = 0) -> Any:
    """Run a task of `launched.py` in several processes and return what the first one saw."""
    result = folder / f"{task}_{processes}_{'_'.join(rest)}.json"
    finished = torchrun(processes, task, folder, result, *rest, restarts=restarts)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return json.loads(result.read_text())


def torchrun(
    processes: int, task: str, folder: Path, result: Path, *rest: str, restarts: int = 0
) -> subprocess.CompletedProcess[str]:
    """Start torchrun and wait; `--standalone` finds a free port."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", str(processes), "--max-restarts", str(restarts)),
        *(str(SCRIPT), task, str(folder), str(result), *rest),
    ]
    root = str(SCRIPT.parent.parent)
    path = os.pathsep.join(
        [root, os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else [root]
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=environment, check=False
    )
