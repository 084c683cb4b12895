"""The whole model as a drawing: the residual stream runs upwards, and everything else reads it.

Letters: B batch, T time, C channels, V vocabulary, L blocks.

Lesson: notebook 08. The whole model: notebooks 09 and 22.
"""

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from bhushgpt.figures import COLORS

STREAM, READS = 0.0, 1.55  # where the stream runs, and where the parts beside it stand
LINE = 1.8


def draw_block(norm: str = "LayerNorm", mlp: str = "MLP", attention: str = "attention") -> Figure:
    """Draw one block: two parts, each of which reads the stream through a norm and adds to it.

    Args:
        norm: What the norms are called.
        mlp: What the second part is called.
        attention: What the first part is called.

    >>> figure = draw_block()
    >>> [text.get_text() for text in figure.axes[0].texts].count("LayerNorm")
    2
    """
    figure, ax = _paper(height=4.0, top=4.35)
    _arrow(ax, (STREAM, -0.55), (STREAM, 4.2))
    _block(ax, 0.2, norm, mlp, attention)
    _shape(ax, -0.35, "(B, T, C)")
    _shape(ax, 4.05, "(B, T, C)")
    return figure


def draw_gpt(
    *,
    n_layer: str | int = "L",
    positions: str | None = None,
    norm: str = "LayerNorm",
    mlp: str = "MLP",
    attention: str = "attention",
    tied: bool = True,
) -> Figure:
    """Draw a GPT from ids at the bottom to a score for every token at the top.

    Args:
        n_layer: How many blocks there are.
        positions: What is added to the token vectors, such as "+ position vectors"; None where
            positions come in elsewhere.
        norm: What the norms are called.
        mlp: What the second part of a block is called.
        attention: What the first part of a block is called.
        tied: Whether the head uses the token table.

    >>> figure = draw_gpt(n_layer=4)
    >>> "4 blocks, one after the other" in [text.get_text() for text in figure.axes[0].texts]
    True
    """
    figure, ax = _paper(height=6.4, top=7.25)
    table = "token table" if positions is None else f"token table\n{positions}"
    _arrow(ax, (STREAM, 0.35), (STREAM, 6.0))
    _box(ax, STREAM, 0.15, table, "blue", width=1.5)
    _shape(ax, 0.58, "(B, T, C)")
    _block(ax, 1.05, norm, mlp, attention, f"{n_layer} blocks, one after the other")
    _box(ax, STREAM, 5.45, norm, "grey")
    _box(ax, STREAM, 6.2, "head", "blue", width=1.5)
    _arrow(ax, (STREAM, 6.44), (STREAM, 6.85))
    _arrow(ax, (STREAM, -0.42), (STREAM, -0.09))
    _shape(ax, -0.55, "ids (B, T)", at=STREAM)
    _shape(ax, 5.0, "(B, T, C)")
    _shape(ax, 7.0, "logits (B, T, V)", at=STREAM)
    if tied:
        left = -1.3
        ax.plot(
            [-0.82, left, left, -0.82], [0.15, 0.15, 6.2, 6.2], "--", color=COLORS["blue"], lw=1.5
        )
        for y in (0.15, 6.2):
            ax.plot(-0.84, y, marker=">", color=COLORS["blue"], markersize=6)
        ax.text(
            left - 0.15,
            3.2,
            "tied: one table, used twice",
            rotation=90,
            fontsize=9,
            va="center",
            ha="center",
        )
    return figure


def _paper(*, height: float, top: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, height), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    ax.set(xlim=(-1.7, 3.0), ylim=(-0.75, top))
    ax.axis("off")
    return figure, ax


def _block(
    ax: Axes, bottom: float, norm: str, mlp: str, attention: str, label: str = "one block"
) -> None:
    """Draw the two branches of a block beside the stream, from `bottom` upwards."""
    frame = FancyBboxPatch(
        (-0.3, bottom - 0.22),
        3.2,
        3.82,
        boxstyle="round,pad=0.05",
        fill=False,
        edgecolor=COLORS["grey"],
        linestyle=":",
    )
    ax.add_patch(frame)
    ax.text(0.1, bottom + 3.3, "residual stream", fontsize=9, va="center")
    ax.text(2.8, bottom + 3.52, label, ha="right", va="top", fontsize=9, color=COLORS["grey"])
    for start, name, color in ((0.15, attention, "orange"), (1.75, mlp, "green")):
        low = bottom + start
        _arrow(ax, (STREAM, low), (READS - 0.66, low))
        _box(ax, READS, low, norm, "grey")
        _arrow(ax, (READS, low + 0.26), (READS, low + 0.48))
        _box(ax, READS, low + 0.72, name, color)
        plus = low + 1.2
        ax.plot([READS, READS], [low + 0.95, plus], color="black", lw=1.2)
        _arrow(ax, (READS, plus), (STREAM + 0.14, plus))
        ax.text(
            STREAM,
            plus,
            "+",
            ha="center",
            va="center",
            fontsize=12,
            bbox={"boxstyle": "circle,pad=0.12", "fc": "white", "ec": "black", "lw": 1.2},
        )


def _box(ax: Axes, x: float, y: float, name: str, color: str, *, width: float = 1.2) -> None:
    height = 0.4 if "\n" not in name else 0.55
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0.04",
            facecolor="white",
            edgecolor=COLORS[color],
            linewidth=LINE,
            zorder=3,
        )
    )
    ax.text(x, y, name, ha="center", va="center", fontsize=9.5, zorder=4)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    thick = start[0] == end[0] == STREAM
    style = {"arrowstyle": "->", "lw": 2.6 if thick else 1.2, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=style)


def _shape(ax: Axes, y: float, text: str, *, at: float = -0.12) -> None:
    side = "center" if at == STREAM else "right"
    ax.text(at, y, text, ha=side, va="center", fontsize=9, color=COLORS["grey"])
