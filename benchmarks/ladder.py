"""Draw the loss ladder of the recorded demo: `python benchmarks/ladder.py` writes ladder.png."""

import json
from pathlib import Path

from matplotlib.figure import Figure

from bhushgpt.figures import COLORS, own_style, png_bytes

HERE = Path(__file__).parent
NAMES = {
    "uniform": "knowing nothing",
    "unigram": "how frequent characters are",
    "bigram": "the last character",
    "n-gram": "the best table of {n} characters",
    "gpt-v1": "the GPT of the demo",
}


def draw(record: dict) -> Figure:
    """Return the ladder as bars, from the worst guesser at the top to the best one."""
    rungs = {
        NAMES[name].format(n=record["n_gram_order"]): v for name, v in record["ladder"].items()
    }
    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    ax = figure.subplots()
    colors = [COLORS["grey"]] * (len(rungs) - 1) + [COLORS["blue"]]
    ax.barh(list(rungs), list(rungs.values()), color=colors)
    for place, nats in enumerate(rungs.values()):
        ax.text(nats, place, f" {nats:.2f}", va="center")
    ax.set(xlim=(0, 4.9), xlabel="held-out loss (nats per character), less is better")
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    return figure


def main() -> None:
    """Write the picture."""
    record = json.loads((HERE / "gpt_v1_sherlock.json").read_text(encoding="utf-8"))
    with own_style():
        (HERE / "ladder.png").write_bytes(png_bytes(draw(record)))


if __name__ == "__main__":
    main()
