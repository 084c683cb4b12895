"""The floors on a text whose answers can be worked out by hand."""

import math

import numpy as np
import pytest

from bhushgpt.batches import split_tokens
from bhushgpt.corpus import load_text
from bhushgpt.ngrams import NGramCounter, count_floors, ladder_table
from bhushgpt.tokenizers import CharTokenizer


def test_each_rung_is_the_counter_of_its_order():
    tokens = np.random.default_rng(0).integers(0, 5, 4000) * np.tile([1, 0], 2000)
    train, test = tokens[:3600], tokens[3600:]
    floors = count_floors(train, test, vocab_size=5)
    losses = {n: NGramCounter(n, 5).fit(train).loss(test) for n in range(1, 8)}
    assert floors.uniform == math.log(5)
    assert (floors.unigram, floors.bigram) == (losses[1], losses[2])
    assert floors.ngram == min(losses[n] for n in range(3, 8))
    assert losses[floors.best_order] == floors.ngram


def test_a_text_with_memory_rewards_longer_contexts_in_order():
    text = np.tile([0, 0, 1, 0, 1, 1, 2], 300)
    rungs = list(count_floors(text[:1800], text[1800:], vocab_size=3).rungs().values())
    assert rungs == sorted(rungs, reverse=True)
    assert rungs[-1] < 0.05


def test_the_table_shows_nats_and_bits_in_line():
    lines = ladder_table({"uniform": 1.0, "a-very-long-name": 0.5}).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split() == ["uniform", "1.0000", "1.4427"]


@pytest.mark.parametrize("rungs", [{"uniform": 1.0}, {"uniform": 1.0, "b": 0.1, "c": 0.2}])
def test_the_table_has_one_line_a_rung(rungs):
    assert len(ladder_table(rungs).splitlines()) == 1 + len(rungs)


def test_a_loss_of_zero_has_no_sign():
    assert "-" not in ladder_table({"unigram": -1e-9})


def test_the_best_counter_of_the_default_book_is_the_published_number():
    ids = np.array(CharTokenizer.from_text(text := load_text("sherlock").text).encode(text))
    train, test = split_tokens(ids, 0.1)
    assert NGramCounter(6, 79).fit(train).loss(test) == pytest.approx(1.392, abs=0.001)
