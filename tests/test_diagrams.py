"""The drawings of a block and of a GPT: what they name, and that nothing covers anything else."""

import itertools

import pytest
from matplotlib.patches import FancyBboxPatch

from bhushgpt.diagrams import draw_block, draw_gpt


def words(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()]


def boxes(figure):
    return [
        patch.get_bbox()
        for patch in figure.axes[0].patches
        if isinstance(patch, FancyBboxPatch) and patch.get_linestyle() != ":"
    ]


@pytest.mark.parametrize(
    ("norm", "mlp", "attention"),
    [("LayerNorm", "MLP", "attention"), ("RMSNorm", "SwiGLU", "grouped\nattention")],
)
def test_every_part_is_named_where_it_stands(norm, mlp, attention):
    said = words(draw_gpt(n_layer=12, norm=norm, mlp=mlp, attention=attention))
    assert said.count(norm) == 3 and said.count(mlp) == said.count(attention) == 1
    assert {"12 blocks, one after the other", "ids (B, T)", "logits (B, T, V)"} <= set(said)
    assert words(draw_block(norm, mlp, attention)).count(norm) == 2


def test_only_a_tied_head_is_drawn_with_the_table():
    tied, untied = draw_gpt(), draw_gpt(tied=False)
    assert "tied: one table, used twice" in words(tied)
    assert "tied: one table, used twice" not in words(untied)
    dashed = [line.get_linestyle() for line in tied.axes[0].lines].count("--")
    assert dashed == 1 + [line.get_linestyle() for line in untied.axes[0].lines].count("--")


@pytest.mark.parametrize("figure", [draw_gpt(positions="+ position vectors"), draw_block()])
def test_no_box_covers_another_and_no_word_leaves_the_picture(figure):
    for one, other in itertools.combinations(boxes(figure), 2):
        assert not one.overlaps(other)
    figure.canvas.draw()
    for text in figure.axes[0].texts:
        inside = text.get_window_extent()
        assert figure.bbox.contains(inside.x0, inside.y0)
        assert figure.bbox.contains(inside.x1, inside.y1)
