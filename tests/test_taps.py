"""Taps see what the model computes, patches change it, and nothing is left behind."""

import math
import re
from typing import Any

import pytest
import torch
from torch import nn

from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.taps import (
    induction_scores,
    logit_lens,
    moved_in,
    patches,
    previous_token_scores,
    taps,
    without_heads,
)


def small_gpt(**other) -> Any:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": 11,
        "context_length": 7,
        "n_layer": 2,
        "n_head": 3,
        "n_embd": 12,
    }
    return GPT(GPTConfig(**{**sizes, "attention_form": "explicit", **other})).eval()


IDS = torch.arange(14).view(2, 7) % 11


def hooks_on(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


# Taps


@torch.no_grad()
def test_taps_equal_the_values_computed_by_hand():
    model = small_gpt()
    with taps(model, "dropout", "blocks.0", "blocks.0.attention.weights") as seen:
        model(IDS)
    start = model.tokens(IDS) + model.positions(7)
    assert torch.equal(seen["dropout"], start)
    block = model.blocks[0]
    x = block.norm_1(start)
    q, k, v = (
        part.view(2, 7, 3, 4).transpose(1, 2) for part in block.attention.qkv(x).chunk(3, dim=2)
    )
    scores = (q @ k.mT / math.sqrt(4)).masked_fill(torch.ones(7, 7).triu(1) > 0, -math.inf)
    weights = scores.softmax(dim=-1)
    assert torch.allclose(seen["blocks.0.attention.weights"], weights, atol=1e-6)
    stream = start + block.attention.projection((weights @ v).transpose(1, 2).flatten(2))
    stream = stream + block.mlp(block.norm_2(stream))
    assert torch.allclose(seen["blocks.0"], stream, atol=1e-6)


def test_a_tapped_model_computes_the_same():
    model = small_gpt(position="rotary")
    plain = model(IDS)
    with taps(model, *[name for name, _ in model.named_modules() if "attention" in name]):
        assert torch.equal(model(IDS), plain)
    assert torch.equal(model(IDS), plain)


def test_the_last_call_is_kept():
    model = small_gpt()
    with taps(model, "blocks.1") as seen:
        model(IDS[:1, :3])
        assert seen["blocks.1"].shape == (1, 3, 12)
        model(IDS)
        assert seen["blocks.1"].shape == (2, 7, 12)


def test_what_is_done_to_a_tapped_value_does_not_reach_the_model():
    model = small_gpt()
    plain, weights = model(IDS), model.positions.weight.clone()
    with taps(model, "positions", "blocks.0") as seen:
        model(IDS)
    assert not seen["blocks.0"].requires_grad
    for value in seen.values():
        value.zero_()
    assert torch.equal(model.positions.weight, weights) and torch.equal(model(IDS), plain)


# Nothing is left behind


def test_no_hook_remains_after_the_with():
    model = small_gpt()
    with taps(model, "blocks.0", "head"), patches(model, {"blocks.1": torch.clone}):
        assert hooks_on(model) > 0
        model(IDS)
    assert hooks_on(model) == 0


@pytest.mark.parametrize("where", ["caller", "model", "patch", "name", "tap", "idle"])
def test_no_hook_remains_after_an_exception(where):
    model = small_gpt()

    def broken(output):
        raise KeyError("broken")

    names = {"name": "blocks.7", "tap": "twin", "idle": "blocks"}
    model.add_module("twin", nn.LSTM(2, 3))
    change = broken if where == "patch" else torch.clone
    with pytest.raises((KeyError, UserError)):
        with (
            taps(model, "blocks.0", names.get(where, "blocks.1")),
            patches(model, {"head": change}),
        ):
            model(torch.full((1, 3), 99) if where == "model" else IDS)
            model.twin(torch.zeros(1, 2))
            if where == "caller":
                raise KeyError("the caller's own")
    assert hooks_on(model) == 0


def test_state_and_parameters_stay_as_they_were():
    model = small_gpt()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with patches(model, {"positions": lambda output: output.zero_(), "blocks.0": torch.zeros_like}):
        model(IDS)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


# Patches


def test_a_patch_flows_on():
    model = small_gpt()
    with patches(model, {"blocks.1": torch.zeros_like}), taps(model, "blocks.1") as seen:
        logits = model(IDS)
    assert seen["blocks.1"].abs().max() == 0  # a tap inside sees what was changed
    assert torch.allclose(logits, model.head(model.norm(torch.zeros(2, 7, 12))), atol=1e-6)
    with taps(model, "blocks.1") as seen, patches(model, {"blocks.1": torch.zeros_like}):
        model(IDS)
    assert seen["blocks.1"].abs().max() > 0  # and one outside what was there before


def test_the_whole_stream_of_another_run_makes_it_that_run():
    model = small_gpt()
    other = IDS.flip(1)
    with taps(model, "blocks.0") as seen:
        expected = model(other)
    with patches(model, {"blocks.0": moved_in(seen["blocks.0"], *range(7))}):
        assert torch.equal(model(IDS), expected)
    with patches(model, {"blocks.0": moved_in(seen["blocks.0"], 4)}):
        mixed = model(IDS)
    # Nothing before place 4 can notice.
    assert torch.equal(mixed[:, :4], model(IDS)[:, :4]) and not torch.equal(mixed, model(IDS))


@torch.no_grad()
def test_without_heads_equals_zeroed_columns_of_the_projection():
    model, other = small_gpt(), small_gpt()
    other.blocks[1].attention.projection.weight[:, 4:8] = 0  # head 1 of 3, size 4
    with patches(model, {"blocks.1.attention.weights": without_heads(1)}):
        assert torch.allclose(model(IDS), other(IDS), atol=1e-6)
    assert not torch.allclose(model(IDS), other(IDS), atol=1e-6)


def test_gradients_flow_through_a_patch():
    model = small_gpt()
    with patches(model, {"blocks.1.attention.weights": without_heads(0, 2)}):
        model(IDS).sum().backward()
    values = model.blocks[1].attention.qkv.weight.grad[24:]  # the rows that make v
    assert values[4:8].abs().max() > 0 and values[:4].abs().max() == 0


# Scores and the lens


def perfect_induction(T: int, period: int) -> torch.Tensor:
    rows = [max(t - period + 1, 0) if t >= period else 0 for t in range(T)]
    return torch.eye(T)[rows]


@pytest.mark.parametrize(("T", "period"), [(8, 4), (13, 5), (7, 6)])
def test_a_perfect_induction_head_scores_1_and_its_neighbours_0(T, period):
    heads = torch.stack([perfect_induction(T, p) for p in (period, period + 1)])
    weights = torch.cat([heads, torch.eye(T)[None], torch.eye(T).roll(-1, 1)[None]])
    weights = weights.expand(3, -1, -1, -1)
    assert induction_scores(weights, period).tolist() == [1.0, 0.0, 0.0, 0.0]


def test_an_even_head_scores_what_the_loop_gives():
    weights = torch.ones(9, 9).tril() / torch.arange(1.0, 10)[:, None]
    expected = sum(1 / (t + 1) for t in range(4, 9)) / 5
    assert math.isclose(induction_scores(weights[None, None], 4).item(), expected, abs_tol=1e-6)
    expected = sum(1 / (t + 1) for t in range(1, 9)) / 8
    assert math.isclose(previous_token_scores(weights[None, None]).item(), expected, abs_tol=1e-6)


@pytest.mark.parametrize("position", ["learned", "rotary", "sinusoidal"])
@torch.no_grad()
def test_the_lens_ends_with_the_models_own_logits(position):
    model = small_gpt(position=position).train()
    lens = logit_lens(model, IDS)
    assert lens.shape == (3, 2, 7, 11) and model.training
    assert torch.allclose(lens[-1], model(IDS), atol=1e-6)
    if position == "rotary":  # the stream begins as the token vectors alone
        assert torch.allclose(lens[0], model.head(model.norm(model.tokens(IDS))), atol=1e-6)


# Bad input: one sentence each


def refusal(action) -> str:
    with pytest.raises(UserError) as caught:
        action()
    return re.sub(r"\s+", " ", str(caught.value))


def run_with(model, *names):
    with taps(model, *names):
        model(IDS)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("block.0.attention.weights", "'blocks.0.attention.weights'"),
        ("blocks.7", "'blocks.1'"),
        ("blocks.0.attn", "'blocks.0.attention'"),
        ("blocks[0].mlp", "'blocks.0.mlp'"),
        ("Head", "'head'"),
        ("", ""),
    ],
)
def test_a_module_that_does_not_exist_is_refused_with_the_nearest_names(name, near):
    model = small_gpt()
    for action in (
        lambda: run_with(model, "blocks.0", name),
        lambda: patches(model, {name: torch.clone}).__enter__(),
    ):
        message = refusal(action)
        assert f"no module {name!r}" in message and near in message
        assert "named_modules()" in message and len(message) < 300
    assert hooks_on(model) == 0


def test_other_bad_taps_are_refused_in_a_sentence():
    model = small_gpt()
    assert "did not run" in refusal(
        lambda: run_with(small_gpt(attention_form="fused"), "blocks.0.attention.weights")
    )
    assert "'blocks' is a list" in refusal(lambda: run_with(model, "blocks"))
    assert "such as 'blocks.0'; ['head'] came" in refusal(lambda: run_with(model, ["head"]))
    with taps(model, "blocks.0") as seen:  # the model was never asked: nothing to complain about
        pass
    assert seen == {}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda output: None, "a NoneType"),
        (lambda output: output[:1], "(1, 7, 12) float32 on cpu"),
        (lambda output: output.double(), "(2, 7, 12) float64 on cpu"),
        (lambda output: 0.0, "a float"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused(change, part):
    model = small_gpt()

    def action():
        with patches(model, {"blocks.0": change}):
            model(IDS)

    message = refusal(action)
    assert part in message and "(2, 7, 12) float32 on cpu must flow on" in message
    assert hooks_on(model) == 0


def test_heads_periods_and_donors_that_do_not_fit_are_refused():
    weights = torch.ones(1, 3, 5, 5)
    assert "no head 3" in refusal(lambda: without_heads(0, 3)(weights))
    assert "no head -1" in refusal(lambda: without_heads(-1)(weights))
    for period in (1, 5, 9):
        assert f"The period is {period}" in refusal(lambda p=period: induction_scores(weights, p))
    assert "same length" in refusal(lambda: moved_in(torch.ones(1, 5, 2), 0)(torch.ones(1, 7, 2)))
