"""Two roads to one table: counting, and descending the gradient."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bhushgpt.bigram import Bigram, BigramConfig, CountedBigram
from bhushgpt.errors import UserError
from bhushgpt.evaluation import evaluate
from bhushgpt.language_model import next_token_loss

V = 5
TEXTS = st.lists(st.integers(0, V - 1), min_size=2, max_size=60)


@given(text=TEXTS, alpha=st.sampled_from([0.01, 0.5, 1.0]))
def test_probabilities_equal_counting_by_hand(text, alpha):
    counts = [[alpha] * V for _ in range(V)]
    for last, following in itertools.pairwise(text):
        counts[last][following] += 1
    by_hand = [[count / sum(row) for count in row] for row in counts]
    model = CountedBigram(np.array(text), V, alpha)
    assert np.allclose(model.probabilities.numpy(), by_hand, atol=1e-12)


@given(text=TEXTS, other=TEXTS)
def test_loss_equals_the_mean_of_minus_log_by_hand(text, other):
    model = CountedBigram(np.array(text), V)
    table = model.probabilities.tolist()
    losses = [-math.log(table[a][b]) for a, b in itertools.pairwise(other)]
    assert model.loss(np.array(other)) == pytest.approx(sum(losses) / len(losses), abs=1e-10)


def test_a_new_pair_costs_infinity_without_smoothing_and_a_number_with_it():
    text, new = np.array([0, 1, 0, 1]), np.array([0, 0])
    assert CountedBigram(text, V, alpha=0).loss(new) == math.inf
    assert CountedBigram(text, V, alpha=0.01).loss(new) == pytest.approx(
        -math.log(0.01 / (2 + 0.01 * V))
    )


def test_a_row_without_counts_is_even():
    table = CountedBigram(np.array([0, 1, 0]), V, alpha=0).probabilities
    assert table[4].tolist() == [1 / V] * V
    assert torch.allclose(table.sum(1), torch.ones(V, dtype=torch.double))


def test_counts_from_the_text_are_the_lowest_loss_on_it():
    text = np.random.default_rng(0).integers(0, V, 500) ** 2 % V
    best = CountedBigram(text, V, alpha=0).loss(text)
    assert best < CountedBigram(text, V, alpha=1).loss(text)


def test_log_counts_as_weights_give_the_counted_loss():
    text = np.random.default_rng(0).integers(0, V, 400)
    counted = CountedBigram(text, V)
    model = Bigram(BigramConfig(vocab_size=V))
    model.table.weight.data = counted.probabilities.log().float()
    result = evaluate(model, text)
    assert result.nats_per_token == pytest.approx(counted.loss(text), abs=1e-6)


def test_gradient_descent_on_all_pairs_reaches_the_counted_loss():
    text = np.random.default_rng(0).integers(0, V, 400) ** 2 % V
    ids = torch.from_numpy(text)[None]
    model = Bigram(BigramConfig(vocab_size=V))
    for _ in range(500):
        loss = next_token_loss(model(ids[:, :-1]), ids[:, 1:])
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            model.table.weight -= 6.0 * model.table.weight.grad  # type: ignore[operator]
    floor = CountedBigram(text, V, alpha=0).loss(text)
    assert floor <= loss.item() < floor + 2e-3


def test_an_untrained_table_bets_evenly():
    model = Bigram(BigramConfig(vocab_size=V))
    assert evaluate(model, np.arange(30) % V).nats_per_token == pytest.approx(math.log(V))


def test_logits_are_the_row_of_the_last_token_alone():
    model = Bigram(BigramConfig(vocab_size=V))
    torch.nn.init.normal_(model.table.weight)
    ids = torch.tensor([[0, 3, 1], [4, 3, 2]])
    logits = model(ids)
    assert logits.shape == (2, 3, V)
    assert torch.equal(logits[0, 1], logits[1, 1])
    assert torch.equal(logits[1, 2], model.table.weight[2])


@pytest.mark.parametrize(("vocab_size", "context_length"), [(0, 8), (5, 0)])
def test_sizes_below_1_are_refused(vocab_size, context_length):
    message = f"vocab_size is {vocab_size} and context_length {context_length}: both must be at"
    with pytest.raises(UserError, match=message):
        BigramConfig(vocab_size=vocab_size, context_length=context_length)


def test_bad_input_to_the_counting_model_is_refused():
    with pytest.raises(UserError, match="alpha is -1: it is added to counts, so it must be 0"):
        CountedBigram(np.array([0, 1]), V, alpha=-1)
    with pytest.raises(UserError, match="token id 5, but a vocabulary of 5"):
        CountedBigram(np.array([0, 5]), V)
    model = CountedBigram(np.array([0, 1]), V)
    with pytest.raises(UserError, match="has 1 tokens; it needs at least 2 to predict one"):
        model.loss(np.array([0]))
    with pytest.raises(UserError, match="token id 9"):
        model.loss(np.array([0, 9]))
