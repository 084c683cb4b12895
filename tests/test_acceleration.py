"""Around loop and model: every acceleration gives the plain run's numbers, up to rounding."""

import copy
import re
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from bhushgpt.batches import Batches
from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.diagnosis.non_finite import explain_non_finite
from bhushgpt.errors import UserError
from bhushgpt.evaluation import evaluate
from bhushgpt.generation import generate
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.kv_cache import Cached
from bhushgpt.presets import preset
from bhushgpt.speed import acceleration as module
from bhushgpt.speed.acceleration import Acceleration, accelerate, compile_trouble, pick_acceleration
from bhushgpt.training import NonFinite, Report, TrainState, train
from bhushgpt.training_config import TrainingConfig

CONFIG = TrainingConfig(steps=5, batch_size=4, learning_rate=1e-2, accumulation_steps=2)
TEXT = np.random.default_rng(0).integers(0, 11, 300)
BATCHES = Batches(TEXT, 4, 8)


def small_gpt(dropout: float = 0.0) -> GPT:
    torch.manual_seed(0)
    return GPT(
        GPTConfig(vocab_size=11, context_length=8, n_layer=2, n_head=2, n_embd=16, dropout=dropout)
    )


def run(model: GPT, settings: Acceleration) -> list[Report]:
    loss_function = accelerate(model, settings)
    return list(train(TrainState.fresh(model, CONFIG), BATCHES, CONFIG, loss_function))


EXACT: list[dict[str, Any]] = [
    {"chunk_tokens": 5},
    {"activation_checkpointing": True},
    {"cheap_dropout": True},  # without dropout it draws nothing
    {"quick_layers": True},
]


@pytest.mark.parametrize(
    "choice",
    [a | b for a, b in combinations([{}, *EXACT], 2)] + [EXACT[0] | EXACT[1] | EXACT[2] | EXACT[3]],
)
def test_what_is_no_rounding_gives_the_plain_run(choice):
    plain, fast = run(small_gpt(), Acceleration()), run(small_gpt(), Acceleration(**choice))
    for report, expected in zip(fast, plain, strict=True):
        assert report.loss == pytest.approx(expected.loss, rel=1e-6)
        assert report.grad_norm == pytest.approx(expected.grad_norm, rel=1e-5)


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
@pytest.mark.parametrize("choice", EXACT)
def test_they_go_together_with_a_small_type(kind, choice):
    plain = run(small_gpt(), Acceleration(precision=kind))
    fast = run(small_gpt(), Acceleration(precision=kind, **choice))
    for report, expected in zip(fast, plain, strict=True):
        assert report.loss == pytest.approx(expected.loss, abs=0.01)


def test_dropout_in_recomputed_blocks_is_the_same_dropout():
    settings = Acceleration(cheap_dropout=True)
    plain = run(small_gpt(0.3), settings)
    assert run(small_gpt(0.3), replace(settings, activation_checkpointing=True)) == plain


def test_the_model_keeps_class_keys_and_logits():
    model = small_gpt()
    keys, ids = list(model.state_dict()), BATCHES[0][0]
    settings = Acceleration(precision="bfloat16", chunk_tokens=3, activation_checkpointing=True)
    loss_function = accelerate(model, settings)
    before, held_out = model(ids), evaluate(model, TEXT)
    loss_function(model, *BATCHES[0]).backward()
    assert type(model) is GPT and list(model.state_dict()) == keys
    assert torch.equal(model(ids), before)
    assert evaluate(model, TEXT) == held_out
    copy.deepcopy(model)(ids)


def test_a_model_without_such_a_head_is_refused_and_told_what_to_set():
    table = Bigram(BigramConfig(vocab_size=11))
    loss_function = accelerate(table, Acceleration(chunk_tokens=4))
    with pytest.raises(UserError, match=r"needs a model whose last layer.*chunk_tokens to 0"):
        loss_function(table, *BATCHES[0])


def test_the_first_bad_layer_is_named_through_all_of_it():
    model = small_gpt()
    settings = Acceleration(precision="bfloat16", chunk_tokens=3, activation_checkpointing=True)
    loss_function = accelerate(model, settings)
    model.get_submodule("blocks.1.mlp.activation").register_forward_hook(
        lambda *given: given[-1] * torch.inf
    )
    state = TrainState.fresh(model, CONFIG)
    with pytest.raises(NonFinite):
        next(train(state, BATCHES, CONFIG, loss_function))
    cause = explain_non_finite(state, BATCHES, CONFIG, loss_function)
    assert re.search(r"blocks.1.mlp.activation .*\(batch 0\)", cause)
    assert state.step == 0
    assert all(weight.isfinite().all() for weight in model.parameters())


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(UserError, match="no precision 'half'"):
        Acceleration(precision="half")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="chunk_tokens is -1"):
        Acceleration(chunk_tokens=-1)
    with pytest.raises(UserError, match="must be auto, on or off"):
        pick_acceleration("cpu", preset("gpt-v1", 79), compile="yes")  # type: ignore[arg-type]


def test_what_is_picked_follows_the_run(monkeypatch):
    monkeypatch.setattr(module, "pick_precision", lambda device, wanted: "bfloat16")
    small, notices = pick_acceleration("cpu", preset("gpt-v1", 79))
    assert small == Acceleration(precision="bfloat16", quick_layers=True) and notices == []
    large, _ = pick_acceleration("cpu", preset("gpt-v2", 50257))
    assert large == replace(small, chunk_tokens=module.CHUNK_TOKENS)
    dropping, _ = pick_acceleration("cpu", preset("gpt-v1-large", 79))
    assert dropping.cheap_dropout
    table, _ = pick_acceleration("cpu", preset("bigram", 50257))
    assert table.chunk_tokens == 0


def test_compiling_is_tried_and_a_failure_is_one_sentence(monkeypatch):
    def broken(*_args: Any, **_settings: Any) -> Any:
        raise RuntimeError("cl.exe is not found\nand a long trace")

    monkeypatch.setattr(torch, "compile", broken)
    compile_trouble.cache_clear()
    try:
        chosen, notices = pick_acceleration("cpu", preset("gpt-v1", 79), "float32", compile="on")
        assert not chosen.compile
        assert len(notices) == 1 and "\n" not in notices[0]
        assert "not compiled" in notices[0] and "cl.exe is not found" in notices[0]
    finally:
        compile_trouble.cache_clear()


def test_only_a_view_of_the_model_is_compiled_and_once(monkeypatch):
    model, calls = small_gpt(), []
    monkeypatch.setattr(GPT, "compile", lambda self: calls.append(self))
    loss_function = accelerate(model, Acceleration(compile=True))
    for step in range(2):
        loss_function(model, *BATCHES[step])
    assert len(calls) == 1 and calls[0] is not model
    assert calls[0] is loss_function.view(model)


@pytest.mark.filterwarnings("ignore")  # what torch's compiler warns about is its own code
def test_a_compiled_model_gives_the_plain_run_and_is_compiled_once(monkeypatch):
    """Through the tracer alone: its code needs no compiler, and so this runs everywhere."""
    import torch._dynamo
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    whole = GPT.compile
    monkeypatch.setattr(GPT, "compile", lambda self: whole(self, backend=counter))
    model = small_gpt()
    keys = list(model.state_dict())
    fast = run(model, Acceleration(compile=True, chunk_tokens=5))
    traced = counter.frame_count
    assert traced > 0 and list(model.state_dict()) == keys
    plain = run(small_gpt(), Acceleration())
    for report, expected in zip(fast, plain, strict=True):
        assert report.loss == pytest.approx(expected.loss, rel=1e-5)
    list(generate(Cached(model), torch.tensor([[1, 2]]), 12))  # drawing goes past it
    run(model, Acceleration(chunk_tokens=5))
    assert counter.frame_count == traced
    torch._dynamo.reset()


def test_an_error_inside_the_chunked_loss_leaves_the_model_as_it_was():
    model = small_gpt()
    loss = accelerate(model, Acceleration(chunk_tokens=5))
    inputs, targets = BATCHES[0]
    head, expected = model.head, loss(model, inputs, targets).item()
    with pytest.raises((IndexError, RuntimeError)):
        loss(model, inputs, targets + 10**6)
    assert model.head is head and model.head.weight is model.tokens.weight
    assert model(inputs).shape[-1] == model.config.vocab_size
    assert loss(model, inputs, targets).item() == expected


def test_in_float16_gradients_are_lifted_inside_and_put_down_at_the_weights():
    largest = {}
    for name in ("float32", "float16"):
        model = small_gpt()
        loss = accelerate(model, Acceleration(precision=name))

        def look(module, given, result, name=name):
            result.register_hook(lambda slope: largest.__setitem__(name, slope.abs().max().item()))

        model.norm.register_forward_hook(look)
        loss(model, *BATCHES[0]).backward()
        own = model.tokens.weight.grad
        assert own is not None
        largest[f"weights, {name}"] = own.abs().max().item()
    assert largest["float16"] == pytest.approx(2**16 * largest["float32"], rel=0.05)
    assert largest["weights, float16"] == pytest.approx(largest["weights, float32"], rel=0.05)


def test_dropout_goes_off_and_on_with_the_models_mode():
    model = small_gpt(dropout=0.5)
    loss = accelerate(model, Acceleration(quick_layers=True, cheap_dropout=True))

    def values():
        return {loss(model, *BATCHES[0]).item() for _ in range(3)}

    assert len(values()) == 3
    model.eval()
    assert len(values()) == 1
    model.train()
    assert len(values()) == 3


def test_a_head_with_a_bias_is_refused_by_the_chunked_loss():
    model = small_gpt()
    model.head = torch.nn.Linear(16, 11)
    with pytest.raises(UserError, match=r"a linear `head` without a bias"):
        accelerate(model, Acceleration(chunk_tokens=4))(model, *BATCHES[0])


def test_a_vocabulary_is_large_from_the_size_on_that_is_named():
    size = module.LARGE_VOCABULARY
    chunks = [
        pick_acceleration("cpu", preset("gpt-v1", n), precision="float32")[0].chunk_tokens
        for n in (size - 1, size)
    ]
    assert chunks == [0, module.CHUNK_TOKENS]
