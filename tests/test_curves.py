"""The picture of a run holds what it was given."""

from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.lines import Line2D

from bhushgpt.figures import lines, plot_curve, reading, running_mean, spread

FLOORS = {"uniform": 4.37, "bigram": 2.37, "5-gram": 1.403, "6-gram": 1.392}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def points(line: Line2D) -> list[list[float]]:
    return np.asarray(line.get_xydata()).tolist()


def test_the_lines_are_the_data():
    training, held_out = [(1, 4.0), (2, 3.0), (3, 2.0)], [(1, 3.9), (3, 2.2)]
    axes = plot_curve(training, held_out, title="My run").axes[0]
    thin, mean, marks = axes.lines
    assert points(thin) == [[1, 4], [2, 3], [3, 2]]
    assert [loss for _, loss in points(mean)] == running_mean([4.0, 3.0, 2.0])
    assert points(marks) == [[1, 3.9], [3, 2.2]]
    assert axes.get_title(loc="left") + axes.get_title() == "My run"
    assert axes.get_xlabel() == "step" and "nats" in axes.get_ylabel()


def test_every_floor_is_a_line_with_its_name_and_number():
    axes = plot_curve([(1, 4.0), (2, 3.0)], floors=FLOORS).axes[0]
    levels = [points(line)[0][1] for line in axes.lines[2:]]
    assert levels == list(FLOORS.values())
    assert [text.get_text() for text in axes.texts] == [
        "uniform 4.37",
        "bigram 2.37",
        "5-gram 1.40",
        "6-gram 1.39",
    ]


def test_labels_of_neighbouring_floors_do_not_overlap():
    figure = plot_curve([(1, 4.0), (2, 3.0)], floors=FLOORS)
    figure.canvas.draw()
    boxes = sorted((text.get_window_extent() for text in figure.axes[0].texts), key=lambda b: b.y0)
    assert all(low.y1 <= high.y0 for low, high in pairwise(boxes))


@pytest.mark.filterwarnings("error")
def test_nothing_to_draw_yet_is_no_error():
    assert plot_curve([]).axes[0].get_legend() is None


def test_the_running_mean_is_by_hand():
    # each loss weighs half of the next one: 2; (0.5 * 2 + 0) / 1.5; (0.25 * 2 + 4) / 1.75
    assert running_mean([2.0, 0.0, 4.0], keep=0.5) == pytest.approx([2.0, 1 / 1.5, 4.5 / 1.75])
    assert running_mean([]) == []


def test_lines_are_the_data_and_reading_says_where_they_go():
    fig = lines(
        {"falls": [4.0, 3.0, 2.0], "turns": {1: 3.0, 2: 1.0, 4: 2.0}},
        xlabel="step",
        ylabel="loss",
        title="Two runs",
        levels={"counted": 2.4},
        marker="o",
    )
    falls, turns, level = fig.axes[0].lines
    assert points(falls) == [[1, 4], [2, 3], [3, 2]]
    assert points(turns) == [[1, 3], [2, 1], [4, 2]]
    assert points(level)[0][1] == 2.4
    words = "Line chart, Two runs. step 1 to 4, loss. falls: 4 to 2; turns: 3 to 2, lowest 1 at 2; "
    assert reading(fig, "One turns.") == f"{words}dashed: counted. One turns."


@given(st.lists(st.floats(0, 5), max_size=8))
def test_spread_keeps_the_order_and_the_gap(values):
    places = spread(values, gap=0.2)
    order = sorted(range(len(values)), key=lambda i: values[i])
    gaps = [places[b] - places[a] for a, b in pairwise(order)]
    assert all(gap >= 0.2 - 1e-9 for gap in gaps)


def test_values_far_apart_stay_where_they_are():
    assert spread([3.0, 1.0, 2.0], gap=0.5) == [3.0, 1.0, 2.0]
