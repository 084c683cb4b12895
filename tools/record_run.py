"""Keep a run for the notebooks: `python tools/record_run.py runs/demo benchmarks/NAME.json`."""

import json
import sys
from pathlib import Path

from bhushgpt.runs import RunFolder


def main() -> None:
    folder, target = (Path(argument) for argument in sys.argv[1:3])
    run = RunFolder.open(folder)
    record = {
        "what": f"python -m bhushgpt demo: {run.record['preset']} on {run.record['corpus']}",
        "machine": run.record["machine"],
        "device": run.record["device"],
        "steps": run.record["steps_done"],
        "seconds": round(run.record["seconds"], 1),
        "tokens_per_second": round(run.record["tokens_per_second"]),
        "n_gram_order": run.record["n_gram_order"],
        "ladder": {name: round(nats, 4) for name, nats in run.record["ladder"].items()},
        "held_out": [[step, round(nats, 4)] for step, nats in run.record["glances"]],
        "losses": [round(line["loss"], 4) for line in run.history()],
    }
    target.write_text(json.dumps(record) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
