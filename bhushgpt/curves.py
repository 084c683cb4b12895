"""The picture of a run: loss against step, with the floors it has to get below.

Lesson: notebook 05.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure


def plot_curve(
    training: Sequence[tuple[int, float]],
    held_out: Sequence[tuple[int, float]] = (),
    floors: Mapping[str, float] | None = None,
    title: str = "Loss while training",
) -> Figure:
    """Draw a loss curve in nats per token.

    Args:
        training: (step, loss of that step's batch) pairs; drawn thin, with their running mean.
        held_out: (step, held-out loss) pairs, drawn as marks.
        floors: Name -> nats of what simpler models reach, drawn as labelled lines.
        title: What the reader is looking at.

    Returns:
        The figure, for `figures.show` or `savefig`.
    """
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    if training:
        steps, losses = zip(*training, strict=True)
        axes.plot(steps, losses, color="tab:blue", alpha=0.25, linewidth=0.8)
        axes.plot(steps, _running_mean(losses), color="tab:blue", label="training, running mean")
    if held_out:
        steps, losses = zip(*held_out, strict=True)
        axes.plot(steps, losses, "o-", color="tab:orange", markersize=4, label="held out")
    for name, nats in (floors or {}).items():
        axes.axhline(nats, color="0.45", linewidth=0.9, linestyle="--")
        axes.annotate(
            f"{name} {nats:.2f}",
            (1.0, nats),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color="0.3",
        )
    axes.set(xlabel="step", ylabel="loss (nats per token)", title=title)
    axes.legend(loc="upper center", frameon=False)
    return figure


def _running_mean(losses: Sequence[float], keep: float = 0.95) -> list[float]:
    """Return an average over about the last 1 / (1 - keep) values, for a line one can follow."""
    means: list[float] = []
    for loss in losses:
        means.append(loss if not means else keep * means[-1] + (1 - keep) * loss)
    return means
