"""Evaluation: every token once, the same number each time, and nobody notices."""

import math
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import bhushgpt.evaluation
from bhushgpt.bigram import Bigram, BigramConfig, CountedBigram
from bhushgpt.errors import UserError
from bhushgpt.evaluation import Evaluation, evaluate
from bhushgpt.language_model import LanguageModel

V = 6


class Averager(LanguageModel):
    """Its logits depend on the whole past of the window, so that a wrong window shows."""

    def __init__(self, context_length: int = 8, dropout: float = 0.5) -> None:
        super().__init__()
        self.context_length = context_length
        self.embed = nn.Embedding(V, V)
        nn.init.normal_(self.embed.weight, generator=torch.Generator().manual_seed(0))
        self.dropout = nn.Dropout(dropout)
        self.double()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        assert ids.shape[1] <= self.context_length
        counts = torch.arange(1, ids.shape[1] + 1)[:, None]
        return self.dropout(self.embed(ids).cumsum(1) / counts)


MODEL = Averager()


def text(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(0, V, length)


@torch.no_grad()
def brute_force(model: LanguageModel, tokens: np.ndarray, length: int, stride: int) -> float:
    """Predict token after token; each is counted in the first window that reaches it."""
    last = len(tokens) - 1 - length
    starts = [*range(0, max(last, 0), stride), max(last, 0)]
    total = 0.0
    for target in range(1, len(tokens)):
        start = next(s for s in starts if s < target <= s + length)
        past = torch.from_numpy(tokens[start:target])[None]
        total -= model.eval()(past)[0, -1].float().log_softmax(0)[tokens[target]].item()
    return total / (len(tokens) - 1)


@settings(max_examples=150, deadline=None)
@given(
    size=st.integers(2, 60),
    length=st.integers(1, 8),
    stride=st.integers(1, 8),
    batch_size=st.integers(1, 9),
)
def test_every_token_is_counted_once_for_any_length_stride_and_context(
    size, length, stride, batch_size
):
    tokens, stride = text(size), min(stride, length)
    result = evaluate(MODEL, tokens, context_length=length, stride=stride, batch_size=batch_size)
    assert result.tokens == size - 1
    used = min(length, size - 1)
    expected = brute_force(MODEL, tokens, used, min(stride, used))
    assert result.nats_per_token == pytest.approx(expected, abs=1e-6)


def test_counting_the_overlap_twice_would_be_noticed():
    tokens = text(50)
    honest = evaluate(MODEL, tokens, stride=3)
    with mock.patch.object(
        bhushgpt.evaluation, "_sum_new", lambda losses, skip: losses.double().sum().item()
    ):
        twice = evaluate(MODEL, tokens, stride=3)
    assert abs(twice.nats_per_token - honest.nats_per_token) > 0.1


def test_twice_the_same_to_the_last_digit():
    tokens = text(500)
    assert evaluate(MODEL, tokens) == evaluate(MODEL, tokens)


def test_the_batch_size_does_not_matter():
    tokens = text(300)
    results = [evaluate(MODEL, tokens, batch_size=n).nats_per_token for n in (1, 2, 7, 64, 1000)]
    assert max(results) - min(results) < 1e-9


def test_any_stride_gives_the_bigram_the_same_loss_as_counting_it_directly():
    tokens = text(400)
    counted = CountedBigram(tokens, V)
    model = Bigram(BigramConfig(vocab_size=V, context_length=16))
    model.table.weight.data = counted.probabilities.log().float()
    for stride in (1, 5, 16):
        result = evaluate(model, tokens, stride=stride)
        assert result.nats_per_token == pytest.approx(counted.loss(tokens), abs=1e-6)


def test_stride_1_gives_every_token_its_full_past():
    tokens = text(40)
    full = 0.0
    with torch.no_grad():
        for target in range(1, 40):
            past = torch.from_numpy(tokens[max(0, target - 8) : target])[None]
            full -= MODEL.eval()(past)[0, -1].float().log_softmax(0)[tokens[target]].item()
    assert evaluate(MODEL, tokens, stride=1).nats_per_token == pytest.approx(full / 39, abs=1e-6)


def test_left_out_settings_are_the_models_context_and_half_of_it():
    tokens = text(100)
    assert evaluate(MODEL, tokens) == evaluate(MODEL, tokens, context_length=8, stride=4)
    assert evaluate(MODEL, tokens) != evaluate(MODEL, tokens, context_length=8, stride=8)


@pytest.mark.parametrize("training", [True, False])
def test_the_models_mode_and_the_random_state_are_left_alone(training):
    model = Averager().train(training)
    state, numpy_state = torch.get_rng_state(), repr(np.random.get_state())
    evaluate(model, text(100))
    assert model.training is model.dropout.training is training
    assert torch.equal(torch.get_rng_state(), state)
    assert repr(np.random.get_state()) == numpy_state
    assert model.embed.weight.grad is None


def test_dropout_is_off():
    tokens = text(60)
    noisy, calm = Averager(dropout=0.9).train(), Averager(dropout=0.0)
    assert evaluate(noisy, tokens) == evaluate(calm, tokens)


@pytest.mark.parametrize("kind", [np.uint16, np.uint32, np.int64])
def test_any_integer_type_gives_the_same(kind):
    assert evaluate(MODEL, text(50).astype(kind)) == evaluate(MODEL, text(50))


def test_the_units():
    result = evaluate(MODEL, text(101), text_bytes=150)
    nats = result.nats_per_token
    assert result.perplexity == pytest.approx(math.exp(nats))
    assert result.bits_per_token == pytest.approx(nats / math.log(2))
    assert result.bits_per_byte == pytest.approx(nats / math.log(2) * 100 / 150)
    assert Evaluation(nats_per_token=1.0, tokens=5).bits_per_byte is None


@pytest.mark.parametrize("size", [0, 1])
def test_a_text_without_a_token_to_predict_is_refused(size):
    with pytest.raises(UserError, match=f"has {size} tokens; it needs at least 2"):
        evaluate(MODEL, text(size))


@pytest.mark.parametrize("stride", [0, -1, 9])
def test_a_stride_outside_1_to_the_context_is_refused(stride):
    with pytest.raises(UserError, match=f"stride is {stride}: it must be from 1 to the context"):
        evaluate(MODEL, text(50), stride=stride)


def test_a_context_below_1_is_refused():
    with pytest.raises(UserError, match="context_length is 0: it must be at least 1"):
        evaluate(MODEL, text(50), context_length=0)


def test_whoever_watches_sees_every_batch_and_changes_nothing():
    tokens, seen = text(100), []

    def watch(batches):
        for batch in batches:
            seen.append(batch)
            yield batch

    plain = evaluate(MODEL, tokens, batch_size=5)
    assert evaluate(MODEL, tokens, batch_size=5, watch=watch) == plain
    assert seen == list(range(0, 24, 5))  # 24 windows of 8, 4 apart
