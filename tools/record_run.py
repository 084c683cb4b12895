"""Keep a run for the notebooks: `python tools/record_run.py runs/demo benchmarks/NAME.json`."""

import json
import sys
from pathlib import Path

from bhushgpt.runs import RunFolder


def main() -> None:
    folder, target = (Path(argument) for argument in sys.argv[1:3])
    run = RunFolder.open(folder)
    history = run.history()
    # A point every ten steps is all that a plot can show.
    kept = [line for line in history if line["step"] % 10 == 0 or "held_out" in line]
    record = {
        "what": f"python -m bhushgpt demo: {run.record['preset']} on {run.record['corpus']}",
        "machine": run.record["machine"],
        "device": run.record["device"],
        "steps": run.record["steps_done"],
        "seconds": round(run.record["seconds"], 1),
        "tokens_per_second": round(run.record["tokens_per_second"]),
        "n_gram_order": run.record["n_gram_order"],
        "ladder": {name: round(nats, 4) for name, nats in run.record["ladder"].items()},
        "history": [
            {
                name: round(line[name], 4)
                for name in ("step", "loss", "learning_rate", "grad_norm", "held_out")
                if name in line
            }
            for line in kept
        ],
    }
    target.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
