"""Fault 30: temperature 0 and below, top-k above the vocabulary, top-p 0 and 1, no tokens, NaN."""

import pytest
import torch

from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.errors import UserError
from bhushgpt.generation import Sampling, generate, next_ids
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.kv_cache import Cached
from tests.faults.trained import complete

V = 7
SCORES = torch.tensor([[0.1, 3.0, 2.0, 2.9, -1.0, 0.0, 1.0], [5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.9]])


def drawn(logits=SCORES, times=200, **settings):
    """Return the ids that are drawn in many draws, for each row."""
    generator = torch.Generator().manual_seed(0)
    ids = [next_ids(logits, Sampling(**settings), generator) for _ in range(times)]
    return [set(row.tolist()) for row in torch.cat(ids, dim=1)]


def test_temperature_0_is_greedy() -> None:
    assert drawn(temperature=0) == [{1}, {0}]
    assert drawn(temperature=1e-30) == [{1}, {0}]  # and next to 0 nothing overflows
    assert drawn(temperature=0, top_k=3, top_p=0.5) == [{1}, {0}]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"temperature": -0.5}, "temperature is -0.5: 0 is greedy, 0.8 is usual, below 0 means"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"top_k": 0}, "top_k is 0: it is a whole number, at least 1 token must stay"),
        ({"top_k": -3}, "top_k is -3"),
        ({"top_k": 2.5}, "top_k is 2.5"),
        ({"top_p": 0.0}, "top_p is 0.0: it is a share, above 0 and at most 1"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"top_p": float("nan")}, "top_p is nan"),
        ({"min_p": -0.1}, "min_p is -0.1: it is a share, 0 keeps all and 1 the likeliest"),
        ({"min_p": 1.01}, "min_p is 1.01"),
        ({"min_p": float("nan")}, "min_p is nan"),
    ],
)
def test_what_means_nothing_is_refused_with_what_is_allowed(settings, words) -> None:
    with pytest.raises(UserError) as raised:
        Sampling(**settings)
    assert words in str(raised.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(UserError, match=r"temperature is -1.*top_k is 0.*top_p is 2"):
        Sampling(temperature=-1, top_k=0, top_p=2)


def test_top_k_above_the_vocabulary_keeps_all() -> None:
    flat = torch.zeros(1, V)
    assert drawn(flat, top_k=10**9) == [set(range(V))]
    assert drawn(flat, top_k=1)[0] <= set(range(V)) and len(drawn(flat, top_k=1)[0]) == 1


def test_top_p_1_keeps_all_and_the_smallest_keeps_the_likeliest() -> None:
    assert drawn(torch.zeros(1, V), top_p=1.0) == [set(range(V))]
    assert drawn(top_p=1e-300) == [{1}, {0}]


def test_min_p_0_keeps_all_and_1_the_likeliest() -> None:
    assert drawn(torch.zeros(1, V), min_p=0) == [set(range(V))]
    assert drawn(min_p=1, temperature=50.0) == [{1}, {0}]


@pytest.mark.parametrize("wrap", [lambda model: model, Cached], ids=["plain", "cached"])
def test_no_tokens_are_no_tokens_and_fewer_are_refused(wrap) -> None:
    model = wrap(GPT(GPTConfig(vocab_size=V, context_length=4, n_layer=1, n_head=1, n_embd=4)))
    ids = torch.tensor([[1, 2]])
    assert list(generate(model, ids, 0)) == []
    with pytest.raises(UserError, match=r"n_tokens is -1: give a whole number, 0 or more"):
        list(generate(model, ids, -1))
    with pytest.raises(UserError, match=r"The prompt has no token"):
        list(generate(model, ids[:, :0], 3))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    ("value", "words"), [(torch.nan, "highest score is nan"), (torch.inf, "highest score is inf")]
)
def test_scores_that_are_no_numbers_are_named(value, words, temperature) -> None:
    spoilt = SCORES.clone()
    spoilt[1, 3] = value
    with pytest.raises(UserError, match=rf"{words}.*no token can be chosen.*earlier checkpoint"):
        drawn(spoilt, times=1, temperature=temperature)


def test_nothing_left_to_choose_is_said_and_a_forbidden_token_is_fine() -> None:
    with pytest.raises(UserError, match="highest score is -inf"):
        drawn(torch.full((1, V), -torch.inf), times=1)
    forbidden = torch.zeros(1, V)
    forbidden[0, 2:] = -torch.inf
    assert drawn(forbidden) == [{0, 1}]


def test_a_model_with_spoilt_weights_stops_at_its_first_token() -> None:
    model = Bigram(BigramConfig(vocab_size=V))
    with torch.no_grad():
        model.table.weight[3] = torch.nan
    with pytest.raises(UserError, match="its weights were spoilt"):
        list(generate(model, torch.tensor([[3]]), 5))


def test_the_command_says_the_same(trained_run, capsys) -> None:
    for flags, words in (
        (["--temperature", "-1"], "temperature is -1.0"),
        (["--top-p", "0"], "top_p is 0.0"),
        (["--top-k", "0"], "top_k is 0"),
        (["--min-p", "2"], "min_p is 2.0"),
    ):
        status, out, err = complete(trained_run, capsys, "--prompt", "the", *flags)
        assert (status, out) == (1, "") and words in err and "Traceback" not in err
    assert complete(trained_run, capsys, "--prompt", "the", "--tokens", "0")[1] == "the\n"
    greedy = [
        complete(trained_run, capsys, "--prompt", "the", "--temperature", "0", "--seed", seed)
        for seed in "12"
    ]
    assert greedy[0] == greedy[1]
