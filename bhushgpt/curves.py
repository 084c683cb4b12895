"""The picture of a run: loss against step, with the floors it has to get below.

Lesson: notebook 05.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from bhushgpt.figures import COLORS


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

    Lesson: notebook 05.

    >>> figure = plot_curve([(1, 2.5), (2, 2.4)], floors={"uniform": 2.6})
    >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
    ('step', 'loss (nats per token)')
    >>> plt.close(figure)
    """
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    if training:
        steps, losses = zip(*training, strict=True)
        axes.plot(steps, losses, color=COLORS["blue"], alpha=0.25, linewidth=0.8)
        axes.plot(steps, running_mean(losses), color=COLORS["blue"], label="training, running mean")
    if held_out:
        steps, losses = zip(*held_out, strict=True)
        axes.plot(steps, losses, "o-", color=COLORS["orange"], markersize=4, label="held out")
    levels = dict(floors or {})
    for nats in levels.values():
        axes.axhline(nats, color=COLORS["grey"], linewidth=0.9, linestyle="--")
    low, high = axes.get_ylim()
    # Labels of neighbouring floors must not cover each other; a label is about 1/18 of the height.
    places = spread(list(levels.values()), gap=(high - low) / 18)
    for (name, nats), place in zip(levels.items(), places, strict=True):
        axes.annotate(
            f"{name} {nats:.2f}",
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=COLORS["grey"],
        )
    axes.set(xlabel="step", ylabel="loss (nats per token)", title=title, ylim=(low, high))
    if training or held_out:
        # Below the uniform floor, which the curve leaves at once.
        axes.legend(loc="upper right", bbox_to_anchor=(0.98, 0.92), frameon=False)
    return figure


def running_mean(losses: Sequence[float], keep: float = 0.95) -> list[float]:
    """Return an average over about the last 1 / (1 - keep) values, for a line one can follow.

    Lesson: notebook 05.

    >>> running_mean([2.0, 0.0, 0.0], keep=0.5)
    [2.0, 1.0, 0.5]
    """
    means: list[float] = []
    for loss in losses:
        means.append(loss if not means else keep * means[-1] + (1 - keep) * loss)
    return means


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Return the values, moved apart so that no two are closer than `gap`, order kept.

    Values that crowd are spaced evenly around their common middle; others stay where they are.

    Lesson: notebook 05.

    >>> spread([1.0, 5.0, 1.0], gap=1.0)
    [0.5, 5.0, 1.5]
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    groups: list[list[int]] = []
    for index in order:
        groups.append([index])
        while len(groups) > 1 and _top(groups[-2], values, gap) + gap > _bottom(
            groups[-1], values, gap
        ):
            last = groups.pop()
            groups[-1] += last
    places = [0.0] * len(values)
    for group in groups:
        for number, index in enumerate(group):
            places[index] = _bottom(group, values, gap) + number * gap
    return places


def _bottom(group: list[int], values: Sequence[float], gap: float) -> float:
    """Return the lowest place of a group of labels that is centred on its values."""
    return sum(values[i] for i in group) / len(group) - gap * (len(group) - 1) / 2


def _top(group: list[int], values: Sequence[float], gap: float) -> float:
    return _bottom(group, values, gap) + gap * (len(group) - 1)
