"""Pictures that everybody can read: one style, alt text on every figure, numbers in cells.

`show` is for notebooks, `own_style` and `png_bytes` for files; `grid` draws a small tensor, `lines`
a few curves, which `reading` puts into words, and `plot_curve` a run: loss against step, with the
floors it has to get below. `drawn` says in text what a figure holds, for the tests.

Lesson: notebook 00.
"""

import base64
import io
import itertools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from bhushgpt.environment import in_notebook
from bhushgpt.errors import UserError

# Six colours that stay as far apart as they can for readers with and without red-green blindness,
# each with a contrast of at least 3:1 to white paper; tests/test_figures.py measures both.
COLORS: dict[str, str] = {
    "blue": "#1556a3",
    "orange": "#bb4205",
    "green": "#0b7c63",
    "pink": "#d26db1",
    "amber": "#c38606",
    "grey": "#444444",
}
# What a line that differs from its neighbours only in colour is drawn with.
LINE_STYLES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))

# Pixels are drawn at twice the size they are shown at, so that text is sharp on dense screens.
DOTS_PER_INCH = 176
EYE = np.array([0.299, 0.587, 0.114])  # how bright red, green and blue look to us (BT.601)
WIDEST = 10.0  # inches: on a narrow screen a wider picture has letters too small to read
SMALLEST = 8.0  # points
LONGEST_TITLE = 72  # characters; more would make the picture as wide as they are
NO_NUMBER = "#e3e3e3"  # background of cells that hold -inf or nan

STYLE: Any = {
    "figure.figsize": (7.0, 3.6),
    "figure.constrained_layout.use": True,
    "axes.prop_cycle": cycler(color=list(COLORS.values())),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "grid.color": "#e6e6e6",
    "lines.linewidth": 2.0,
    "font.size": 10.5,
    "ytick.alignment": "center",
    "legend.frameon": False,
}


def apply_style() -> None:
    """Give all figures drawn from now on the course's look; call it once, at the top.

    >>> apply_style()
    >>> plt.rcParams["axes.prop_cycle"].by_key()["color"][0]
    '#1556a3'
    """
    plt.rcParams.update(STYLE)


@contextmanager
def own_style() -> Iterator[None]:
    """Inside the `with`, figures have the course's look, whatever matplotlib was told before.

    For pictures that go to a file, from being made to `png_bytes`: no setting of the user's, and no
    warning of letters that the font lacks. Make them without pyplot, which would load the backend
    that the environment names.
    """
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        apply_style()
        yield


def png_bytes(fig: Figure) -> bytes:
    """Return the figure as a small PNG; the same drawing gives the same bytes.

    Lines of a legend that differ in colour alone get line styles.

    Raises:
        UserError: If bars that start at zero are cut off above it, words in boxes cover each
            other, or a narrow screen could not show the figure's letters.

    >>> fig, _ = plt.subplots()
    >>> png_bytes(fig)[1:4]
    b'PNG'
    >>> plt.close(fig)
    """
    from PIL import Image  # comes with matplotlib

    _check_readable(fig)
    _tell_lines_apart(fig)
    full, out = io.BytesIO(), io.BytesIO()
    fig.savefig(full, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight", pad_inches=0.08)
    picture = Image.open(full).convert("RGB")
    # A palette without dithering: a third of the bytes, and flat areas stay flat.
    small = picture.quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(out, format="png", optimize=True)
    return out.getvalue()


def _check_readable(fig: Figure) -> None:
    """Refuse what misleads or cannot be read on a phone."""
    if (width := fig.get_figwidth()) > WIDEST:
        raise UserError(
            f"The figure is {width:g} inches wide, at most {WIDEST:g} can be read on a narrow "
            "screen. Make it narrower, or put its parts below each other."
        )
    for text in fig.findobj(Text):
        assert isinstance(text, Text)
        points = float(text.get_fontsize())
        if text.get_visible() and text.get_text().strip() and points < SMALLEST:
            raise UserError(
                f"The text {text.get_text()!r} has {points:g} points: fewer than "
                f"{SMALLEST:g} cannot be read on a narrow screen."
            )
    _check_boxes(fig)
    for axes in fig.axes:
        for bars in axes.containers:
            if not isinstance(bars, BarContainer) or not bars.patches:
                continue
            upright = bars.orientation == "vertical"
            axis, name = (axes.yaxis, "ylim") if upright else (axes.xaxis, "xlim")
            starts = [bar.get_y() if upright else bar.get_x() for bar in bars.patches]
            low, high = sorted(axis.get_view_interval())
            if axis.get_scale() == "linear" and not any(starts) and not low <= 0 <= high:
                raise UserError(
                    f"The bars start at zero, but the axis goes from {low:g} to {high:g}, so that "
                    f"their lengths mislead. Set {name} to begin at 0, or draw points."
                )


def _check_boxes(fig: Figure) -> None:
    """Refuse words in boxes that cover each other."""
    boxes = [
        (text.get_text(), box)
        for text in fig.findobj(Text)
        if isinstance(text, Text) and text.get_visible() and (box := text.get_bbox_patch())
    ]
    if len(boxes) > 1:
        fig.draw_without_rendering()  # only then they lie where they will
    for (one, box), (other, next_box) in itertools.combinations(boxes, 2):
        if box.get_window_extent().overlaps(next_box.get_window_extent()):
            raise UserError(
                f"The box of {one!r} covers that of {other!r}. Put them farther apart, or break "
                "the longer one into lines."
            )


def _tell_lines_apart(fig: Figure) -> None:
    """Give lines that a legend names, and only their colour tells apart, styles of their own.

    Beside axes with a legend those without one keep to it: one colour, one style.
    """
    styles: dict[Any, Any] = {}
    for axes in fig.axes:
        styles |= _styles_of_legend(axes)
    for axes in fig.axes:
        if axes.get_legend() is None:
            for line in filter(_is_plain, axes.lines):
                line.set_linestyle(styles.get(to_rgba(line.get_color()), "-"))


def _is_plain(line: Line2D) -> bool:
    return line.get_linestyle() == "-" and line.get_marker() in (None, "None", "", " ")


def _styles_of_legend(axes: Axes) -> dict[Any, Any]:
    """Set the styles of one legend's lines; return colour -> style."""
    if (legend := axes.get_legend()) is None:
        return {}
    named = {line.get_label(): line for line in axes.lines}
    pairs = [
        (entry, named[entry.get_label()])
        for entry in legend.legend_handles
        if isinstance(entry, Line2D) and entry.get_label() in named
    ]
    plain = [pair for pair in pairs if _is_plain(pair[1])]
    taken = {line.get_linestyle() for _, line in pairs if line.get_linestyle() != "-"}
    free = [style for style in LINE_STYLES if style not in taken]
    # More lines than styles belong to an ordered family, whose shades say which is which.
    if len(plain) > len(free):
        return {}
    for pair, style in zip(plain, free, strict=False):
        for line in pair:
            line.set_linestyle(style)
    return {to_rgba(line.get_color()): style for (_, line), style in zip(plain, free, strict=False)}


def show(fig: Figure, alt: str) -> None:
    """Display the figure with its description, and close it.

    In a notebook the picture is a PNG whose output metadata holds `alt`, the text that is read out
    to those who do not see it. Beside it stands what is `drawn`, as the text that no page shows:
    so the tests that compare a cell's texts with the stored ones compare its pictures too.
    Elsewhere the description is printed in the picture's place.

    Args:
        fig: The figure.
        alt: Kind of plot, axes, ranges and message.

    Raises:
        UserError: If the text is empty, or `png_bytes` refuses the figure.

    >>> fig, ax = plt.subplots()
    >>> show(fig, alt="An empty plot, both axes from 0 to 1.")
    Figure: An empty plot, both axes from 0 to 1.
    """
    if not (text := " ".join(alt.split())):
        raise UserError(
            "The figure has no description. Give show(fig, alt=...) a sentence: what kind of plot "
            "it is, what the axes are, and what one should see in it."
        )
    if in_notebook():
        from IPython.display import Image, display

        # `retina` shows the picture at half its pixels.
        picture = Image(png := png_bytes(fig), format="png", alt=text, retina=True)
        size = {"alt": text, "width": picture.width, "height": picture.height}
        both = {"image/png": base64.b64encode(png).decode(), "text/plain": drawn(fig)}
        display(both, metadata={"image/png": size}, raw=True)
    else:
        _check_readable(fig)
        print(f"Figure: {text}")
    # An open figure would be shown a second time at the end of the cell.
    plt.close(fig)


def drawn(fig: Figure) -> str:
    """Return what a figure holds, axes by axes: words, lines, bars and tables of numbers.

    Numbers are rounded to a thousandth of the largest one beside them, so that two machines whose
    sums differ in the last digits say the same.

    >>> fig, ax = plt.subplots()
    >>> _ = ax.plot([1, 2, 4], label="squares"), ax.set(xlabel="n", title="Powers")
    >>> print(drawn(fig))
    axes 'Powers', x 'n', y ''
      line 'squares': x 3 numbers 0 ... 2, lowest 0, highest 2, mean 1
      line 'squares': y 3 numbers 1 ... 4, lowest 1, highest 4, mean 2.33
    >>> plt.close(fig)
    """
    said = []
    for ax in fig.axes:
        title = ax.get_title() or ax.get_title("left")
        said.append(f"axes {title!r}, x {ax.get_xlabel()!r}, y {ax.get_ylabel()!r}")
        for line in ax.lines:
            name = str(line.get_label())
            name = "" if name.startswith("_") else f" {name!r}"  # matplotlib's own names
            for side, values in zip("xy", (line.get_xdata(), line.get_ydata()), strict=True):
                said.append(f"  line{name}: {side} {_numbers(values)}")
        if bars := [patch for patch in ax.patches if isinstance(patch, Rectangle)]:
            sizes = [bar.get_width() * bar.get_height() for bar in bars]
            said.append(f"  bars: areas {_numbers(sizes)}")
        for table in (*ax.collections, *ax.images):
            if (values := table.get_array()) is not None:
                said.append(f"  {type(table).__name__}: {_numbers(values)}")
        if words := [text.get_text() for text in ax.texts]:
            said.append(f"  words: {' | '.join(words)}")
    return "\n".join(said)


def _numbers(values: Any) -> str:
    """Return a sentence about numbers: how many, the first and last, the ends and the mean."""
    if np.asarray(values).dtype.kind not in "biuf":
        return f"{len(values)} words {values[0]} ... {values[-1]}"
    table = np.ma.masked_invalid(np.ma.asarray(values, dtype=float)).ravel()
    known = table.compressed()
    if not len(known):
        return f"{len(table)} that are no numbers"
    largest = float(np.abs(known).max())
    digits = 2 - math.floor(math.log10(largest)) if largest else 0
    ends = (known[0], known[-1], known.min(), known.max(), known.mean())
    first, last, low, high, mean = (f"{round(float(end), digits) + 0.0:g}" for end in ends)
    return f"{len(table)} numbers {first} ... {last}, lowest {low}, highest {high}, mean {mean}"


def grid(
    ax: Axes,
    values: Any,
    *,
    title: str = "",
    fmt: str | None = None,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    cmap: str = "Blues",
    limits: tuple[float | None, float | None] = (None, None),
) -> None:
    """Draw a small tensor as a table of coloured cells with its numbers in them.

    Args:
        ax: Where to draw.
        values: One row or a table: tensor, array or nested lists. Cells of -inf or nan are grey.
        title: Text above the table.
        fmt: How to write a number, such as ".2f" (the default for fractions); "" writes none.
        row_labels: One word for each row, such as the tokens that ask.
        column_labels: One word for each column, such as the tokens that are looked at.
        cmap: Name of a matplotlib colour map.
        limits: The values of the first and the last colour; None: the smallest, the largest.

    Raises:
        UserError: If the values have more than two axes, or a list of labels has another length.

    >>> fig, ax = plt.subplots()
    >>> grid(ax, [[1.0, 0.0], [0.5, 0.5]], row_labels=["I", "am"], column_labels=["I", "am"])
    >>> [text.get_text() for text in ax.texts]
    ['1.00', '0.00', '0.50', '0.50']
    >>> plt.close(fig)
    """
    table = _as_table(values)
    rows, columns = table.shape
    whole = table.dtype.kind in "biu"
    finite = np.ma.masked_invalid(table.astype(float))
    colours = plt.get_cmap(cmap).with_extremes(bad=NO_NUMBER)
    mesh = ax.pcolormesh(finite, cmap=colours, vmin=limits[0], vmax=limits[1], edgecolors="white")
    pattern = fmt if fmt is not None else ("d" if whole else ".2f")
    for row, column in np.ndindex(rows, columns):
        if pattern:
            brightness = mesh.to_rgba(finite[row, column : column + 1])[0, :3] @ EYE
            ink = "white" if brightness < 0.5 else "black"
            word = format((int if whole else float)(table[row, column]), pattern)
            ax.text(column + 0.5, row + 0.5, word, ha="center", va="center", color=ink)
    ax.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal", title=title)
    ax.set_yticks(*_ticks("rows", rows, row_labels))
    ax.set_xticks(*_ticks("columns", columns, column_labels))
    ax.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    ax.grid(False)
    ax.spines[:].set_visible(False)


def _as_table(values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        # numpy has no bfloat16, so floating tensors go through float32.
        values = values.float() if values.is_floating_point() else values
    table = np.asarray(values)
    if table.ndim > 2:
        raise UserError(
            f"A grid shows one row or a table, but these values have the shape {table.shape}. "
            "Pick one table, for example values[0]."
        )
    return np.atleast_2d(table)


def _ticks(side: str, count: int, labels: Sequence[str] | None) -> tuple[list[float], list[str]]:
    """Return the places and words of the labels: one at the middle of each cell, or none."""
    if labels is None:
        return [], []
    if len(labels) != count:
        raise UserError(f"The grid has {count} {side}, but {len(labels)} labels came for them.")
    return [index + 0.5 for index in range(count)], list(labels)


def plot_curve(
    training: Sequence[tuple[int, float]],
    held_out: Sequence[tuple[int, float]] = (),
    floors: Mapping[str, float] | None = None,
    title: str = "Loss while training",
) -> Figure:
    """Draw a loss curve in nats per token (notebook 04 explains the unit).

    Args:
        training: (step, loss of that step's batch) pairs; drawn thin, with their running mean.
        held_out: (step, held-out loss) pairs, drawn as marks.
        floors: Name -> nats of what simpler models reach, drawn as labelled lines.
        title: What the reader is looking at, written as it stands: it may be a file's name, in
            which `$` begins no formula.

    Returns:
        The figure, for `show` or `png_bytes`.

    >>> figure = plot_curve([(1, 2.5), (2, 2.4)], floors={"uniform": 2.6})
    >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
    ('step', 'loss (nats per token)')
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
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
    axes.set(xlabel="step", ylabel="loss (nats per token)", ylim=(low, high))
    axes.set_title(_drawable(title), parse_math=False)
    if training or held_out:
        # Below the uniform floor, which the curve leaves at once.
        axes.legend(loc="upper right", bbox_to_anchor=(0.98, 0.92), frameon=False)
    return figure


def _drawable(title: str) -> str:
    """Return a title without bytes that are no text, as file names of other systems have them."""
    text = title.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= LONGEST_TITLE else f"{text[: LONGEST_TITLE - 1]}…"


def running_mean(losses: Sequence[float], keep: float = 0.95) -> list[float]:
    """Return an average over about the last 1 / (1 - keep) values, for a line one can follow.

    It starts from nothing and is corrected for that as Adam's means are (notebook 05): early
    values are averages of what there is, not of the first loss.

    >>> running_mean([2.0, 0.0, 0.0], keep=0.5)  # 2; (1 * 0 + 0.5 * 2) / 1.5; ...
    [2.0, 0.6666666666666666, 0.2857142857142857]
    """
    means: list[float] = []
    mean = 0.0
    for n, loss in enumerate(losses, start=1):
        mean = keep * mean + (1 - keep) * loss
        means.append(mean / (1 - keep**n))
    return means


def lines(
    series: Mapping[str, Sequence[float] | Mapping[float, float]],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    levels: Mapping[str, float] | None = None,
    log_x: bool = False,
    marker: str = "",
    ylim: tuple[float | None, float | None] | None = None,
) -> Figure:
    """Draw lines with a legend, and dashed levels with their names.

    Args:
        series: Name -> values, drawn against 1, 2, 3, ..., or name -> {x: y}.
        xlabel: What the horizontal axis counts.
        ylabel: What the vertical axis measures, with its unit.
        title: What the reader is looking at.
        levels: Name -> height of a dashed line.
        log_x: Whether equal distances on the horizontal axis are equal factors.
        marker: How each point is drawn, such as "o"; left out, only the line is.
        ylim: The lowest and the highest height shown.

    Returns:
        The figure; `show(fig, reading(fig))` displays it with a description made from it.

    >>> fig = lines({"loss": [4.0, 2.5]}, xlabel="step", ylabel="nats")
    >>> reading(fig)
    'Line chart. step 1 to 2, nats. loss: 4 to 2.5.'
    >>> plt.close(fig)
    """
    fig, ax = plt.subplots(figsize=(7, 3))
    for name, values in series.items():
        if not isinstance(values, Mapping):
            values = dict(enumerate(values, start=1))
        ax.plot(list(values), list(values.values()), marker=marker, markersize=4, label=name)
    for name, height in (levels or {}).items():
        ax.axhline(height, color=COLORS["grey"], linestyle="--", linewidth=1)
        ax.annotate(name, (0.01, height), (0, 3), ("axes fraction", "data"), "offset points")
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title, xscale="log" if log_x else "linear")
    if ylim:
        ax.set_ylim(*ylim)
    if len(series) > 1:
        ax.legend()
    return fig


def reading(fig: Figure, sentence: str = "") -> str:
    """Return a line chart in words: title, axes, where each line starts, turns and ends.

    Args:
        fig: A figure of one plot, such as `lines` draws.
        sentence: What it shows, added at the end.
    """
    ax = fig.axes[0]
    said, span = [], [np.inf, -np.inf]
    for line in ax.get_lines():
        x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
        name = str(line.get_label())
        if name.startswith("_"):  # a level: its name is written beside it
            continue
        span = [min(span[0], x.min()), max(span[1], x.max())]
        inner = y[1:-1]
        turns = (
            [
                f", {word} {inner[at]:.3g} at {x[at + 1]:.3g}"
                for word, at in (("lowest", inner.argmin()), ("highest", inner.argmax()))
                if (word == "lowest" and inner[at] < min(y[0], y[-1]))
                or (word == "highest" and inner[at] > max(y[0], y[-1]))
            ]
            if len(inner)
            else []
        )
        said.append(f"{name}: {y[0]:.3g} to {y[-1]:.3g}{''.join(turns)}")
    named = [f"dashed: {text.get_text()}" for text in ax.texts]
    title = ax.get_title(loc="left") or ax.get_title()
    head = f"Line chart{', ' + title if title else ''}. {ax.get_xlabel()} {span[0]:.3g} to "
    whole = f"{head}{span[1]:.3g}, {ax.get_ylabel()}. {'; '.join([*said, *named])}. {sentence}"
    return whole.strip()


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Return the values, moved apart so that no two are closer than `gap`, order kept.

    Values that crowd are spaced evenly around their common middle; others stay where they are.

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
