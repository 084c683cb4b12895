"""The recorded ladder: its order, its bands, and the table that README has of it."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def ladder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ladder", ROOT / "benchmarks" / "ladder.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def record(ladder):
    return json.loads(ladder.RECORD.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def nats(record):
    return {name: rung["nats_per_character"] for name, rung in record["rungs"].items()}


def test_every_rung_was_measured(ladder, nats):
    assert list(nats) == list(ladder.LADDER)


@pytest.mark.parametrize(
    "climb",
    [
        ("uniform", "unigram", "bigram", "n-gram", "PPMd", "counters, adaptive", "mixed, adaptive"),
        ("bigram learned", "four heads", "+ residuals", "+ norms", "GPT-v1", "modern GPT"),
        ("n-gram", "GPT-v2", "GPT-v1", "modern GPT", "mixed, adaptive"),
        ("four heads", "MLP", "+ norms"),
    ],
    ids=lambda climb: climb[0],
)
def test_each_idea_is_worth_something(climb, nats):
    losses = [nats[name] for name in climb]
    assert losses == sorted(losses, reverse=True)


# The width is several times what three seeds differ by; an MLP without a stream is the widest.
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("uniform", 4.369, 4.370),
        ("unigram", 3.063, 3.064),
        ("bigram", 2.370, 2.371),
        ("bigram learned", 2.365, 2.385),
        ("one head", 2.33, 2.40),
        ("four heads", 2.28, 2.36),
        ("MLP", 1.47, 1.52),
        ("+ MLP", 2.20, 2.50),
        ("+ residuals", 1.49, 1.58),
        ("+ norms", 1.40, 1.45),
        ("n-gram", 1.391, 1.393),
        ("GPT-v1", 1.345, 1.380),
        ("GPT-v2", 1.36, 1.40),
        ("modern GPT", 1.26, 1.30),
        ("PPMd", 1.219, 1.223),
        ("counters, adaptive", 1.190, 1.200),
        ("mixed, adaptive", 1.13, 1.165),
    ],
)
def test_a_rung_lies_where_it_should(name, low, high, nats):
    assert low <= nats[name] <= high


def test_bits_are_nats_over_the_logarithm_of_two(record):
    for rung in record["rungs"].values():
        assert rung["bits_per_character"] == pytest.approx(
            rung["nats_per_character"] / 0.693147, 1e-3
        )
        assert rung["bits_per_byte"] <= rung["bits_per_character"]


def test_those_that_learn_say_their_size_and_speed_and_write(record, ladder):
    for rung in record["rungs"].values():
        if "parameters" in rung:
            assert rung["tokens_per_second"] > 0 and rung["seconds"] > 0
            assert len(rung["sample"]) >= ladder.SHOWN // 2


def test_the_table_of_readme_is_the_record(record, ladder):
    text = ladder.README.read_text(encoding="utf-8")
    assert ladder.filled(text, record) == text
