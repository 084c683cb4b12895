"""The counters equal a slow reference that is the formula word for word."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bhushgpt.bigram import CountedBigram
from bhushgpt.errors import UserError
from bhushgpt.ngrams import HIGHEST_ORDER, NGramCounter, count_floors, token_ids

V = 4
TEXTS = st.lists(st.integers(0, V - 1), min_size=8, max_size=40)


def slow_probability(text: list[int], past: list[int], token: int, order: int) -> float:
    """Return Witten and Bell's p(token | past), by looking through the whole text each time."""
    if order == 0:
        return 1 / V
    shorter = slow_probability(text, past, token, order - 1)
    length = order - 1
    if len(past) < length:
        return shorter
    context = past[len(past) - length :]
    followers = [
        text[i + length] for i in range(len(text) - length) if text[i : i + length] == context
    ]
    if not followers:
        return shorter
    kinds = len(set(followers))
    return (followers.count(token) + kinds * shorter) / (len(followers) + kinds)


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, other=st.lists(st.integers(0, V - 1), min_size=2, max_size=15))
@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_loss_equals_the_slow_reference(order, text, other):
    counter = NGramCounter(order, V).fit(np.array(text))
    slow = [slow_probability(text, other[:i], other[i], order) for i in range(1, len(other))]
    expected = -sum(math.log(p) for p in slow) / len(slow)
    assert counter.loss(np.array(other)) == pytest.approx(expected, abs=1e-10)


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, past=st.lists(st.integers(0, V - 1), max_size=6))
@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_distribution_equals_the_slow_reference_and_sums_to_1(order, text, past):
    p = NGramCounter(order, V).fit(np.array(text)).probabilities(past)
    assert p.shape == (V,)
    assert (p > 0).all()
    assert p.sum() == pytest.approx(1, abs=1e-12)
    slow = [slow_probability(text, past, token, order) for token in range(V)]
    assert p.tolist() == pytest.approx(slow, abs=1e-12)


def test_worked_example_by_eye():
    # 0 was followed by 1, 1 and 2: three times, by two kinds.
    text = np.array([0, 1, 0, 1, 0, 2])
    unigram = NGramCounter(1, V).fit(text).probabilities([])
    assert unigram.tolist() == pytest.approx([(n + 3 / 4) / (6 + 3) for n in (3, 2, 1, 0)])
    bigram = NGramCounter(2, V).fit(text).probabilities([0])
    assert bigram[1] == pytest.approx((2 + 2 * unigram[1]) / (3 + 2))
    assert bigram[3] == pytest.approx((0 + 2 * unigram[3]) / (3 + 2))


def test_probabilities_and_loss_agree():
    rng = np.random.default_rng(0)
    text, other = rng.integers(0, V, 200), rng.integers(0, V, 30)
    counter = NGramCounter(3, V).fit(text)
    each = [counter.probabilities(other[:i].tolist())[other[i]] for i in range(1, 30)]
    assert counter.loss(other) == pytest.approx(-np.log(each).mean(), abs=1e-12)


def test_only_the_last_order_minus_1_tokens_matter():
    text = np.random.default_rng(0).integers(0, V, 300)
    counter = NGramCounter(3, V).fit(text)
    assert (counter.probabilities([0, 0, 1, 2]) == counter.probabilities([3, 3, 1, 2])).all()
    assert (counter.probabilities([0, 1, 2]) != counter.probabilities([0, 3, 2])).any()


def test_a_context_never_seen_gives_the_shorter_contexts_answer():
    text = np.array([0, 1, 0, 1, 2, 0])
    pair, triple = NGramCounter(2, V).fit(text), NGramCounter(3, V).fit(text)
    assert (triple.probabilities([2, 1]) == pair.probabilities([1])).all()
    assert (pair.probabilities([3]) == NGramCounter(1, V).fit(text).probabilities([])).all()


def test_fitting_again_forgets_the_first_text():
    counter = NGramCounter(2, V).fit(np.array([0, 1, 0, 1]))
    again = counter.fit(np.array([2, 3, 2, 3]))
    fresh = NGramCounter(2, V).fit(np.array([2, 3, 2, 3]))
    assert (again.probabilities([2]) == fresh.probabilities([2])).all()


def test_a_long_text_makes_witten_bell_and_plain_counting_alike():
    text = np.random.default_rng(0).integers(0, V, 100_000)
    smooth = NGramCounter(2, V).fit(text).loss(text)
    assert smooth == pytest.approx(CountedBigram(text, V, alpha=0).loss(text), abs=1e-4)


def test_long_contexts_of_a_large_vocabulary_do_not_overflow():
    rng = np.random.default_rng(0)
    text = rng.integers(0, 50_000, 3000)
    counter = NGramCounter(9, 50_000).fit(text)
    # Seen before, so nearly certain; were codes to overflow, contexts would be mixed up.
    assert counter.loss(text) < 1.6 < 7 < counter.loss(rng.permutation(text))


@pytest.mark.parametrize("order", [0, -1])
def test_an_order_below_1_is_refused(order):
    with pytest.raises(UserError, match=f"order is {order}: it starts at 1, the unigram. Take 2"):
        NGramCounter(order, V)


def test_asking_before_counting_is_refused():
    with pytest.raises(UserError, match=r"not counted anything yet. Call fit\(tokens\) first"):
        NGramCounter(2, V).loss(np.array([0, 1]))
    with pytest.raises(UserError, match="not counted anything"):
        NGramCounter(2, V).probabilities([0])


def test_texts_that_are_too_short_are_refused():
    with pytest.raises(UserError, match=r"has 2 tokens, too few to count runs of 3.*lower order"):
        NGramCounter(3, V).fit(np.array([0, 1]))
    counter = NGramCounter(3, V).fit(np.array([0, 1, 2]))
    with pytest.raises(UserError, match=r"has 1 tokens; it needs at least 2 to predict one"):
        counter.loss(np.array([0]))


@pytest.mark.parametrize("bad", [-1, V])
def test_an_id_outside_the_vocabulary_is_refused(bad):
    message = f"holds the token id {bad}, but a vocabulary of 4 has the ids 0 to 3"
    with pytest.raises(UserError, match=message):
        token_ids([0, bad], V)
    with pytest.raises(UserError, match=message):
        NGramCounter(2, V).fit(np.array([0, 1, bad]))
    with pytest.raises(UserError, match=message):
        NGramCounter(2, V).fit(np.array([0, 1, 2])).loss(np.array([0, bad]))


def test_the_floors_are_the_losses_of_their_orders_and_the_best_may_be_the_longest():
    # Only with six tokens of past can the next one be told from a verse of two kinds.
    verse = np.array([0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 1, 1, 1])
    text = np.tile(verse, 40)
    floors, by_order = (
        count_floors(text, text[:200], 2),
        [
            NGramCounter(order, 2).fit(text).loss(text[:200])
            for order in range(1, HIGHEST_ORDER + 1)
        ],
    )
    assert floors.best_order == HIGHEST_ORDER
    assert (floors.unigram, floors.bigram) == pytest.approx(by_order[:2])
    assert floors.ngram == pytest.approx(by_order[-1]) and floors.uniform == math.log(2)
    assert floors.unigram > floors.bigram > floors.ngram
