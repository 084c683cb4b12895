"""The MLP over the last N tokens: explicit = vectorised = library, and never a look ahead."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bhushgpt.batches import Batches
from bhushgpt.errors import UserError
from bhushgpt.evaluation import evaluate
from bhushgpt.generation import Sampling, generate
from bhushgpt.language_model import next_token_loss, sample
from bhushgpt.mlp_model import MLPConfig, MLPModel, last_vectors
from bhushgpt.training import TrainState, train
from bhushgpt.training_config import TrainingConfig

SMALL = MLPConfig(vocab_size=11, context_length=3, n_embd=5, n_hidden=13)


def small_model(seed: int = 0, **changes) -> MLPModel:
    """Return a model whose head is not zero, so that a mistake shows in the logits."""
    torch.manual_seed(seed)
    model = dataclasses.replace(SMALL, **changes).build()
    nn.init.normal_(model.head.weight)
    nn.init.normal_(model.head.bias)
    return model


def one_place_at_a_time(model: MLPModel, ids: torch.Tensor) -> torch.Tensor:
    """The definition in loops: for each place, the vectors of its last N tokens side by side."""
    n, width = model.config.context_length, model.config.n_embd
    logits = torch.zeros(*ids.shape, model.config.vocab_size)
    for b, row in enumerate(ids.tolist()):
        for t in range(len(row)):
            parts = [
                model.tokens.weight[row[place]] if place >= 0 else torch.zeros(width)
                for place in range(t - n + 1, t + 1)
            ]
            hidden = (model.hidden.weight @ torch.cat(parts) + model.hidden.bias).tanh()
            logits[b, t] = model.head.weight @ hidden + model.head.bias
    return logits


# The forms


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 6),
    length=st.integers(1, 9),
    batch=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_explicit_equals_vectorised(n, length, batch, seed):
    model = small_model(seed, context_length=n)
    ids = torch.randint(11, (batch, length))
    with torch.no_grad():
        torch.testing.assert_close(
            model(ids), one_place_at_a_time(model, ids), atol=1e-5, rtol=1e-5
        )


def test_full_windows_equal_the_library_put_together():
    model = small_model()
    library = nn.Sequential(
        nn.Embedding(11, 5), nn.Flatten(), nn.Linear(3 * 5, 13), nn.Tanh(), nn.Linear(13, 11)
    )
    library.load_state_dict(
        dict(zip(library.state_dict(), model.state_dict().values(), strict=True))
    )
    windows = torch.randint(11, (20, 3))
    with torch.no_grad():
        torch.testing.assert_close(model(windows)[:, -1], library(windows))


def test_every_place_equals_a_convolution_over_time():
    model = small_model()
    # A Conv1d weight is (out, in, places); ours lays the places side by side, oldest first.
    kernel = model.hidden.weight.view(13, 3, 5).transpose(1, 2)
    ids = torch.randint(11, (2, 7))
    with torch.no_grad():
        vectors = F.embedding(ids, model.tokens.weight).transpose(1, 2)
        hidden = F.conv1d(F.pad(vectors, (2, 0)), kernel, model.hidden.bias).tanh()
        logits = F.linear(hidden.transpose(1, 2), model.head.weight, model.head.bias)
        torch.testing.assert_close(model(ids), logits, atol=1e-5, rtol=1e-5)


def test_the_gradients_equal_those_of_the_loops():
    model = small_model().double()
    ids, targets = torch.randint(11, (2, 7)), torch.randint(11, (2, 7))
    weights = list(model.parameters())
    fast = torch.autograd.grad(next_token_loss(model(ids), targets), weights)
    torch.set_default_dtype(torch.float64)
    try:
        slow = torch.autograd.grad(
            next_token_loss(one_place_at_a_time(model, ids), targets), weights
        )
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_last_vectors_by_eye():
    rows = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]]])
    assert last_vectors(rows, 3)[0].tolist() == [
        [0, 0, 0, 0, 1, 10],
        [0, 0, 1, 10, 2, 20],
        [1, 10, 2, 20, 3, 30],
        [2, 20, 3, 30, 4, 40],
    ]
    assert torch.equal(last_vectors(rows, 1), rows)


# What a place sees


def test_a_future_token_never_changes_a_past_logit():
    model = small_model()
    ids = torch.randint(11, (3, 9))
    with torch.no_grad():
        before = model(ids)
        for t in range(9):
            changed = ids.clone()
            changed[:, t] = (ids[:, t] + 1) % 11
            differs = (model(changed) - before).abs().amax(dim=(0, 2)) > 1e-6
            # Exactly the N places that read it hear of it: no earlier one, and no later one.
            assert differs.tolist() == [t <= place < t + 3 for place in range(9)]


def test_the_last_n_tokens_decide_alone_and_their_order_matters():
    model = small_model()
    long = torch.randint(11, (2, 9))
    with torch.no_grad():
        torch.testing.assert_close(model(long)[:, -1], model(long[:, -3:])[:, -1])
        first, second = model(torch.tensor([[1, 2, 3], [2, 1, 3]]))[:, -1]
    assert (first - second).abs().max() > 1e-3


# With the course's other parts


def test_the_first_loss_is_ln_v():
    model = SMALL.build()
    ids = torch.randint(11, (4, 9))
    loss = next_token_loss(model(ids[:, :-1]), ids[:, 1:]).item()
    assert loss == pytest.approx(math.log(11), abs=1e-6)


def test_parameters_are_those_of_the_formula():
    N, C, M, V = 3, 5, 13, 11
    assert SMALL.build().parameter_count() == V * C + (N * C * M + M) + (M * V + V)


def test_it_learns_a_rule_that_needs_three_tokens_of_past():
    # Four tokens of five are the sum of those one and three places back, the others are random:
    # who knows three can get near 0.77 nats, who knows two stays at ln 7 = 1.95.
    rng = np.random.default_rng(0)
    text = [1, 2, 3]
    while len(text) < 20_000:
        lucky = rng.random() < 0.8
        text.append((text[-1] + text[-3]) % 7 if lucky else int(rng.integers(7)))
    tokens = np.array(text)
    config = TrainingConfig(steps=120, batch_size=16, learning_rate=1e-2, schedule="linear")
    losses = {}
    for n in (2, 3):
        torch.manual_seed(1)
        model = MLPConfig(vocab_size=7, context_length=n, n_embd=8, n_hidden=64).build()
        state = TrainState.fresh(model, config)
        for _ in train(state, Batches(tokens[:-2000], 16, 32), config):
            pass
        result = evaluate(model, tokens[-2000:], context_length=32, stride=32 - n + 1)
        losses[n] = result.nats_per_token
    assert losses[3] < 1.0 and losses[2] > 1.8


def test_long_windows_measure_what_stride_1_measures():
    model, tokens = small_model(), np.random.default_rng(0).integers(0, 11, 200)
    long = evaluate(model, tokens, context_length=40, stride=38).nats_per_token
    exact = evaluate(model, tokens, context_length=3, stride=1).nats_per_token
    assert long == pytest.approx(exact, abs=1e-6)


def test_both_generators_of_the_course_write_the_same_text():
    model = small_model()
    prompt = torch.tensor([[4, 2, 7, 1, 9]])
    drawn = torch.cat([prompt, *generate(model, prompt, 20, Sampling(seed=3))], dim=1)
    assert torch.equal(drawn, sample(model, prompt, 20, seed=3))


# What a person can get wrong


@pytest.mark.parametrize("bad", [0, -1, 2.0, None])
@pytest.mark.parametrize("name", ["vocab_size", "context_length", "n_embd", "n_hidden"])
def test_a_size_that_cannot_be_built_is_refused(name, bad):
    with pytest.raises(UserError, match=f"cannot be built: {name} is {bad}; each must be a whole"):
        dataclasses.replace(SMALL, **{name: bad})


def test_all_wrong_sizes_are_named_at_once():
    with pytest.raises(UserError, match="vocab_size is 0, n_hidden is -3;"):
        MLPConfig(vocab_size=0, n_hidden=-3)


def test_ids_of_another_vocabulary_are_refused():
    with pytest.raises(UserError, match="The ids hold 11, but the model knows 11 tokens"):
        SMALL.build()(torch.tensor([[0, 11]]))
