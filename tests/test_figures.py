import base64
import io
import itertools
import os
import subprocess
import sys
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from PIL import Image

from bhushgpt.errors import UserError
from bhushgpt.figures import (
    COLORS,
    DOTS_PER_INCH,
    NO_NUMBER,
    apply_style,
    drawn,
    grid,
    own_style,
    plot_curve,
    png_bytes,
    show,
)


@pytest.fixture
def ax():
    with plt.rc_context():
        fig, axes = plt.subplots()
        yield axes
        plt.close(fig)


def words(ax):
    return [text.get_text() for text in ax.texts]


def test_show_in_a_notebook_stores_the_alt_text_once_with_one_picture():
    source = (
        "import matplotlib.pyplot as plt\n"
        "from bhushgpt.figures import apply_style, show\n"
        "apply_style()\n"
        "fig, ax = plt.subplots()\n"
        "ax.plot([1, 2])\n"
        'show(fig, alt="A line from 1\\n   to 2.")'
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = notebook.cells[0].outputs
    pictures = [out for out in outputs if "image/png" in out.get("data", {})]
    assert len(pictures) == 1  # an unclosed figure would appear a second time
    assert pictures[0].metadata["image/png"]["alt"] == "A line from 1 to 2."
    assert outputs == pictures  # and no copy of the description below it
    assert "y 2 numbers 1 ... 2" in pictures[0].data["text/plain"]  # what nbval compares
    size = Image.open(io.BytesIO(base64.b64decode(pictures[0].data["image/png"]))).size
    assert pictures[0].metadata["image/png"]["width"] == size[0] // 2  # sharp on dense screens
    page, _ = HTMLExporter(template_name="classic").from_notebook_node(notebook)
    assert 'alt="A line from 1 to 2."' in page


def test_show_outside_a_notebook_prints_the_description_and_closes(capsys):
    fig, _ = plt.subplots()
    show(fig, alt="Nothing to see.")
    assert capsys.readouterr().out == "Figure: Nothing to see.\n"
    assert not plt.fignum_exists(fig.number)


@pytest.mark.parametrize("alt", ["", "  \n "])
def test_a_figure_without_a_description_is_refused(alt):
    fig, _ = plt.subplots()
    with pytest.raises(UserError, match=r"no description.*sentence"):
        show(fig, alt=alt)
    plt.close(fig)


def test_the_same_drawing_gives_the_same_small_png():
    def drawn():
        with plt.rc_context():
            apply_style()
            fig, ax = plt.subplots()
            for index, name in enumerate(COLORS):
                ax.plot(np.sin(np.arange(200) * (index + 1)), label=name)
            ax.legend()
            data = png_bytes(fig)
            plt.close(fig)
            return data

    first = drawn()
    assert first == drawn()
    picture = Image.open(io.BytesIO(first))
    assert picture.mode == "P" and picture.getpixel((0, 0)) == picture.getpixel((1, 1))
    assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)  # white in dark themes too
    assert picture.width < 8 * DOTS_PER_INCH


@pytest.mark.parametrize(
    "title",
    [
        "gpt-v1 on cash_$a^b^c$_book.txt",  # to matplotlib a formula, and a wrong one
        "gpt-v1 on caf\udce9.txt",  # a byte of another encoding, as Python hands it over
        "gpt-v1 on 红楼梦.txt",  # letters that the font lacks
        "gpt-v1 on " + "x" * 300,
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_file_name_is_a_title_as_it_stands_whatever_matplotlib_was_told(title):
    told: Any = {"text.usetex": True, "font.family": "nosuchfont", "savefig.facecolor": "red"}
    with plt.rc_context(told), own_style():
        picture = Image.open(io.BytesIO(png_bytes(plot_curve([(1, 2.0), (2, 1.0)], title=title))))
    assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert picture.width < 9 * DOTS_PER_INCH
    assert not plt.get_fignums()


def test_a_picture_for_a_file_loads_no_backend():
    code = (
        "from bhushgpt.figures import own_style, plot_curve, png_bytes\n"
        "with own_style():\n"
        "    print(png_bytes(plot_curve([(1, 2.0)]))[1:4])"
    )
    environment = os.environ | {"MPLBACKEND": "module://nobackend_inline.backend"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert run.stdout == "b'PNG'\n", run.stderr


def test_colours_differ_in_brightness_or_hue_and_stand_out_on_white():
    # Contrast against white of at least 2 : 1 (relative luminance as in WCAG 2).
    for colour in COLORS.values():
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) > 2
    assert len(set(COLORS.values())) == len(COLORS)


def said_of(draw):
    """Return what is said of a figure with one pair of axes, drawn by a function."""
    with plt.rc_context():
        fig, axes = plt.subplots()
        draw(axes)
        said = drawn(fig)
        plt.close(fig)
    return said


LINE = np.sin(np.arange(20.0))
OTHER_DRAWINGS = {
    "a line fewer": lambda ax: ax.plot(LINE, label="a"),
    "another name": lambda ax: (ax.plot(LINE, label="a"), ax.plot(-LINE, label="c")),
    "one point moved": lambda ax: (
        ax.plot(LINE, label="a"),
        ax.plot(np.where(np.arange(20) == 7, 0.5, -LINE), label="b"),
    ),
    "an axis named": lambda ax: (two_lines(ax), ax.set_xlabel("step")),
    "a title": lambda ax: (two_lines(ax), ax.set_title("Two waves")),
    "a word": lambda ax: (two_lines(ax), ax.text(0, 0, "here")),
    "bars": lambda ax: (two_lines(ax), ax.bar(["a"], [1])),
    "a table": lambda ax: (two_lines(ax), grid(ax, [[1.0, 2.0]], fmt="")),
}


def two_lines(ax):
    ax.plot(LINE, label="a")
    ax.plot(-LINE, label="b")


@pytest.mark.parametrize("draw", OTHER_DRAWINGS.values(), ids=OTHER_DRAWINGS.keys())
def test_another_drawing_says_something_else(draw):
    assert said_of(draw) != said_of(two_lines)


def test_the_last_digits_of_a_sum_say_nothing_of_a_drawing():
    noise = 1e-7 * np.cos(np.arange(20.0))  # what another order of adding does in float32
    for size in (1e-6, 1.0, 1e6):
        apart = said_of(lambda ax, size=size: ax.plot(size * (LINE + noise)))
        assert apart == said_of(lambda ax, size=size: ax.plot(size * LINE))
    words = said_of(lambda ax: (ax.bar(["x", "y"], [0.25, 1]), ax.plot([np.nan], [np.nan])))
    assert "bars: areas 2 numbers" in words and "1 that are no numbers" in words


def test_grid_writes_whole_numbers_as_they_are_and_fractions_with_two_decimals(ax):
    grid(ax, torch.arange(4).view(2, 2))
    grid(ax, [0.25, 1])
    grid(ax, torch.tensor([True, False]))
    assert words(ax) == ["0", "1", "2", "3", "0.25", "1.00", "1", "0"]


def test_grid_takes_bfloat16_and_parameters(ax):
    grid(ax, torch.nn.Parameter(torch.ones(1, 2, dtype=torch.bfloat16)), fmt=".1f")
    assert words(ax) == ["1.0", "1.0"]


def test_grid_shows_the_first_row_on_top_and_the_masked_cells_grey(ax):
    grid(ax, [[1.0, float("-inf")], [2.0, 3.0]], row_labels=["a", "b"], column_labels=["x", "y"])
    assert words(ax) == ["1.00", "-inf", "2.00", "3.00"]
    bottom, top = ax.get_ylim()
    assert bottom > top  # y grows downwards, as the rows of a tensor do
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["x", "y"]
    ax.figure.canvas.draw()
    assert np.allclose(ax.collections[0].get_facecolor()[1], to_rgba(NO_NUMBER))


def test_grid_writes_in_white_on_dark_cells(ax):
    grid(ax, [[0.0, 1.0]])
    assert [text.get_color() for text in ax.texts] == ["black", "white"]


def test_grid_without_numbers_keeps_the_colours(ax):
    grid(ax, torch.rand(3, 3), fmt="")
    assert words(ax) == [] and len(ax.collections) == 1


def test_grid_of_equal_or_masked_values_does_not_fail(ax):
    grid(ax, [[1, 1]])
    grid(ax, [[float("-inf")]])
    ax.figure.canvas.draw()
    assert words(ax) == ["1", "1", "-inf"]


def test_grid_names_what_does_not_fit(ax):
    with pytest.raises(UserError, match=r"shape \(2, 3, 4\).*values\[0\]"):
        grid(ax, torch.zeros(2, 3, 4))
    with pytest.raises(UserError, match="2 rows, but 1 labels"):
        grid(ax, torch.zeros(2, 3), row_labels=["a"])
    with pytest.raises(UserError, match="3 columns, but 1 labels"):
        grid(ax, torch.zeros(2, 3), column_labels=["a"])


# ------------------------------------------------------------------ what everybody can read


def linear(colour):
    """Return red, green and blue as amounts of light."""
    c = np.array(to_rgba(colour)[:3])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(colour):
    """Return the contrast to white paper, as WCAG 2 defines it."""
    return 1.05 / (linear(colour) @ [0.2126, 0.7152, 0.0722] + 0.05)


# How the cones of a reader see light (Machado, Oliveira and Fernandes 2009, severity 1).
SEEN = {
    "all cones": np.eye(3),
    "deuteranopia": np.array(
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]
    ),
    "protanopia": np.array(
        [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]
    ),
}
# Oklab (Ottosson 2020): equal distances look about equally large.
TO_CONES = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]])
TO_LAB = np.array([[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]])


def nearest_pair(colours):
    """Return the smallest distance of two colours for any of the three readers."""
    places = [
        [TO_LAB @ np.cbrt(TO_CONES @ np.clip(seen @ linear(c), 0, 1)) for c in colours]
        for seen in SEEN.values()
    ]
    pairs = (pair for each in places for pair in itertools.combinations(each, 2))
    return min(float(np.linalg.norm(a - b)) for a, b in pairs)


def test_every_colour_stands_out_from_the_paper():
    assert min(map(contrast, COLORS.values())) >= 3
    assert contrast("#e69f00") == pytest.approx(2.25, abs=0.01)  # amber of Okabe and Ito does not


def test_colours_stay_apart_for_the_colour_blind():
    assert nearest_pair(COLORS.values()) > 0.1
    darker_amber = {**COLORS, "amber": "#a85c00"}  # enough contrast, and near orange for them
    assert nearest_pair(darker_amber.values()) < 0.1


def test_bars_that_are_cut_off_are_refused(ax):
    ax.bar(["a", "b"], [10.0, 11.0])
    png_bytes(ax.figure)
    ax.set_ylim(9, 12)
    with pytest.raises(UserError, match="from 9 to 12, so that their lengths mislead"):
        png_bytes(ax.figure)
    ax.set_yscale("log")  # has no zero
    png_bytes(ax.figure)


def test_lying_bars_that_are_cut_off_are_refused(ax):
    ax.barh(["a", "b"], [-3.0, -4.0])
    ax.set_xlim(-5, -2)
    with pytest.raises(UserError, match="Set xlim"):
        show(ax.figure, alt="Two bars to the left.")


def test_bars_that_start_elsewhere_may_lie_anywhere(ax):
    ax.barh(["a", "b"], [1.0, 2.0], left=[100.0, 101.0])
    ax.set_xlim(99, 104)
    png_bytes(ax.figure)


def test_a_picture_that_is_too_wide_is_refused(ax):
    ax.figure.set_figwidth(10.5)
    with pytest.raises(UserError, match="wide, at most 10 can"):
        png_bytes(ax.figure)


def test_letters_that_are_too_small_are_refused(ax):
    ax.set_title("tiny", fontsize=7)
    with pytest.raises(UserError, match="'tiny' has 7 points"):
        png_bytes(ax.figure)


def test_boxes_that_cover_each_other_are_refused(ax):
    ax.set(xlim=(0, 4), ylim=(0, 1))
    box = {"boxstyle": "round"}
    ax.text(1, 0.5, "12\nwhen training goes wrong", bbox=box, ha="center")
    ax.text(3, 0.5, "13\nbyte pair encoding", bbox=box, ha="center")
    ax.text(2, 0.5, "words without a box may")
    png_bytes(ax.figure)
    ax.texts[1].set_position((2, 0.5))
    with pytest.raises(UserError, match=r"goes wrong' covers that of '13\\nbyte pair"):
        png_bytes(ax.figure)


def drawn_styles(ax):
    assert ax.get_legend() is not None
    entries = [entry.get_linestyle() for entry in ax.get_legend().legend_handles]
    assert entries == [line.get_linestyle() for line in ax.lines]
    return entries


def test_lines_that_differ_in_colour_alone_get_styles(ax):
    for name in ("a", "b", "c"):
        ax.plot([0, 1], label=name)
    ax.legend()
    assert drawn_styles(ax) == ["-", "-", "-"]
    png_bytes(ax.figure)
    assert drawn_styles(ax) == ["-", "--", ":"]


def test_lines_with_a_style_or_marks_of_their_own_keep_them(ax):
    ax.plot([0, 1], label="a")
    ax.plot([0, 1], "--", label="b")
    ax.plot([0, 1], "o-", label="c")
    ax.plot([0, 1], label="d")
    ax.legend()
    png_bytes(ax.figure)
    assert drawn_styles(ax) == ["-", "--", "-", ":"]


def test_a_family_of_many_lines_keeps_its_shades(ax):
    for number in range(7):
        ax.plot([0, number], label=str(number))
    ax.legend()
    png_bytes(ax.figure)
    assert set(drawn_styles(ax)) == {"-"}


def test_axes_without_a_legend_draw_a_colour_as_their_neighbours_do():
    fig, (left, right) = plt.subplots(1, 2)
    for name, color in (("a", COLORS["blue"]), ("b", np.array([0.6, 0.2, 0.1]))):
        left.plot([0, 1], label=name, color=color)
        right.plot([1, 0], color=color)
    right.plot([0, 1], "o-", color=left.lines[1].get_color())  # told apart by its marks
    left.legend()
    png_bytes(fig)
    assert drawn_styles(left) == ["-", "--"]
    assert [line.get_linestyle() for line in right.lines] == ["-", "--", "-"]
    plt.close(fig)
