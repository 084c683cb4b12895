"""A benchmark as a picture: tokens per second of every candidate, model by model.

Lesson: notebook 16.
"""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from bhushgpt.bench_plan import OURS
from bhushgpt.bench_record import BenchRecord, speed
from bhushgpt.bench_workers import Measured
from bhushgpt.figures import COLORS


def bench_figure(record: BenchRecord) -> tuple[Figure, str]:
    """Return a bar chart of the training rows, and its alt text.

    Lesson: notebook 16.
    """
    models = sorted({row.job.model for row in _training(record)})
    rows = {name: [r for r in _training(record) if r.job.model == name] for name in models}
    heights = [0.6 + 0.28 * len(group) for group in rows.values()] or [1.0]
    fig, axes = plt.subplots(
        len(heights),
        1,
        figsize=(9, sum(heights) + 0.6),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    alt = [f"Bar charts of training speed on {record.label} ({record.device}), tokens per second."]
    for ax, (name, group) in zip(axes[:, 0], rows.items(), strict=False):
        group = sorted(group, key=speed)
        labels = [f"{row.job.who}, {row.job.settings}" for row in group]
        colours = [COLORS["blue"] if r.job.who == OURS else COLORS["grey"] for r in group]
        bars = ax.barh(labels, [speed(row) for row in group], color=colours)
        ax.bar_label(bars, [f" {speed(row):,.0f}" for row in group], fontsize=8)
        ax.set_title(f"model {name}", loc="left")
        ax.tick_params(axis="y", labelsize=8)
        ax.margins(x=0.12)
        best = group[-1]
        alt.append(
            f"Model {name}: from {speed(group[0]):,.0f} ({labels[0]}) to {speed(best):,.0f} "
            f"({labels[-1]})."
        )
    axes[-1, 0].set_xlabel("training tokens per second")
    return fig, " ".join(alt)


def _training(record: BenchRecord) -> list[Measured]:
    # One row for the memory, at another batch, is no bar beside the others.
    rows = [row for row in record.rows if row.job.kind == "training" and row.seconds]
    # Ours is measured anew beside each peer: one bar stands for all, the first one measured.
    first = {row.job: row for row in reversed(rows)}.values()
    return [row for row in first if not (row.job.model == "C" and row.job.tokens_per_call == 4096)]
