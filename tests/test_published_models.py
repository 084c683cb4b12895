"""The table of published facts is whole, sourced, and agrees with what can be counted."""

import tomllib
from pathlib import Path

import pytest
import torch

from bhushgpt.gpt import GPTConfig
from tools.curriculum import read_curriculum

ROOT = Path(__file__).resolve().parent.parent
TABLE = tomllib.loads((ROOT / "benchmarks" / "published_models.toml").read_text(encoding="utf-8"))
ASPECTS = (
    "model type, architecture, parameters, training data, objective, tokenization, context, "
    "activation, optimizer, schedule, batch, precision, fine-tuning, inference time, hardware, "
    "parallelism, pre-training time, metrics, regularization, scalability, languages, "
    "bias and fairness"
).split(", ")
MODELS = ("gpt1", "gpt2", "gpt3", "gpt4")


def test_all_22_aspects_are_there_in_their_order():
    assert [row["name"] for row in TABLE["aspect"]] == ASPECTS
    assert len(ASPECTS) == 22


@pytest.mark.parametrize("row", TABLE["aspect"], ids=ASPECTS)
def test_an_aspect_says_something_of_each_model_and_where_it_is_taught(row):
    assert set(row) == {"name", *MODELS, "source", "notebook", "beware"}
    assert all(row.values())
    lessons = {lesson.name[:2] for lesson in read_curriculum().lessons}
    assert row["notebook"] in lessons
    for number, model in enumerate(MODELS, start=1):
        # Whose paper is not named has nothing in it, or the cell says where else it stands.
        elsewhere = (
            "announcement" in row[model] or "code" in row["source"] or "as GPT" in row[model]
        )
        silent = any(word in row[model] for word in ("not published", "not in", "one size"))
        silent |= any(word in row[model] for word in ("not discussed", "report", "counted later"))
        assert f"P{number}" in row["source"] or elsewhere or silent, model


@pytest.mark.parametrize(
    ("model", "shape", "vocabulary", "context", "said"),
    [
        ("gpt1", (12, 12, 768), 40478, 512, "117 million"),
        ("gpt2", (12, 12, 768), 50257, 1024, "124 million"),
        ("gpt3", (96, 96, 12288), 50257, 2048, "175 billion"),
    ],
)
def test_parameters_are_what_can_be_counted(model, shape, vocabulary, context, said):
    n_layer, n_head, n_embd = shape
    sizes = {"n_layer": n_layer, "n_head": n_head, "n_embd": n_embd}
    with torch.device("meta"):
        config = GPTConfig(vocab_size=vocabulary, context_length=context, **sizes)
        count = config.build().parameter_count()
    assert said == (f"{count / 1e6:.0f} million" if count < 1e9 else f"{count / 1e9:.0f} billion")
    assert said in next(row for row in TABLE["aspect"] if row["name"] == "parameters")[model]
