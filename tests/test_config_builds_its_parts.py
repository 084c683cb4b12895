"""A model of today's parts, built by overriding only: everything that holds a GPT fits it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bhushgpt import kinds
from bhushgpt.batches import Batches
from bhushgpt.errors import UserError
from bhushgpt.forecast import expected_bytes, parameter_count, training_memory
from bhushgpt.generation import Sampling, generate
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.interop.gpt2 import to_hf
from bhushgpt.kv_cache import Cached
from bhushgpt.modern_gpt import ModernConfig
from bhushgpt.muon import MuonConfig
from bhushgpt.presets import RunConfig, build_model
from bhushgpt.speed.acceleration import Acceleration, accelerate
from bhushgpt.speed.static_generation import FastCached, generate_together
from bhushgpt.storage.checkpoints import load_checkpoint, save_checkpoint
from bhushgpt.tokenizers import CharTokenizer
from bhushgpt.training import TrainState, batch_loss, train

ALPHABET = "abcdefghijk"


MODEL = ModernConfig(
    vocab_size=len(ALPHABET),
    context_length=12,
    n_layer=2,
    n_head=4,
    n_embd=24,
    n_kv_head=2,
    window=7,
    mlp_form="swiglu",
    n_expert=3,
    experts_per_token=2,
)
CONFIG = RunConfig(
    preset="modern-test",
    model=MODEL,
    training=MuonConfig(steps=30, batch_size=8, learning_rate=1e-2),
)
TOKENS = np.arange(400) ** 2 % len(ALPHABET)
BATCHES = Batches(TOKENS, 8, 12)


def fresh() -> TrainState:
    return TrainState.fresh(build_model(CONFIG), CONFIG.training)


def trained(steps: int) -> TrainState:
    state = fresh()
    for report in train(state, BATCHES, CONFIG.training):
        if report.step == steps:
            break
    return state


def gpt_of(state: TrainState) -> GPT:
    assert isinstance(state.model, GPT)
    return state.model.eval()


def test_it_learns() -> None:
    reports = list(train(fresh(), BATCHES, CONFIG.training))
    assert reports[-1].loss < reports[0].loss - 1


def test_it_trains_the_same_with_everything_that_accelerates() -> None:
    inputs, targets = BATCHES[0]
    model = build_model(CONFIG)
    plain = batch_loss(model, inputs, targets)
    settings = Acceleration(chunk_tokens=5, activation_checkpointing=True, quick_layers=True)
    quick = accelerate(model, settings)(model, inputs, targets)
    torch.testing.assert_close(quick, plain)
    wanted = torch.autograd.grad(plain, tuple(model.parameters()))
    quick.backward()
    for parameter, expected in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, expected, atol=1e-5, rtol=1e-4)


def test_it_draws_the_same_with_and_without_a_cache_also_beyond_the_window() -> None:
    model = gpt_of(trained(10))
    prompt, sampling = torch.tensor([[1, 2, 3], [4, 5, 6]]), Sampling(temperature=0.8, seed=3)
    plain = torch.cat(list(generate(model, prompt, 20, sampling)), dim=1)
    for remembering in (Cached(model), FastCached(model)):
        assert torch.equal(torch.cat(list(generate(remembering, prompt, 20, sampling)), 1), plain)


def test_prompts_of_different_lengths_fall_back_to_the_plain_cache() -> None:
    model, sampling = gpt_of(trained(10)), Sampling(seed=3)
    together = torch.cat(list(generate_together(model, [[1, 2, 3], [4]], 6, sampling)), dim=1)
    for row, prompt in zip(together, ([1, 2, 3], [4]), strict=True):
        alone = generate(model, torch.tensor([prompt]), 6, sampling)
        assert torch.equal(torch.cat(list(alone), dim=1)[0], row)


def test_it_is_counted_right() -> None:
    count = sum(p.numel() for p in build_model(CONFIG).parameters())
    assert parameter_count(CONFIG) == count != parameter_count(as_gpt())
    assert 12 * count < expected_bytes(CONFIG) < 12 * count + 2**18
    assert 16 * count < training_memory(CONFIG) < 16 * count + 8 * 2**20


def as_gpt() -> RunConfig:
    sizes = GPTConfig(vocab_size=11, context_length=12, n_layer=2, n_head=4, n_embd=24)
    return RunConfig(preset="gpt", model=sizes, training=CONFIG.training)


def test_saved_loaded_and_gone_on_with_it_is_the_unbroken_run(tmp_path: Path) -> None:
    straight = trained(20)
    folder = save_checkpoint(tmp_path, trained(10), CONFIG, CharTokenizer(ALPHABET))
    checkpoint = load_checkpoint(folder, asked=MODEL)
    assert checkpoint.config == CONFIG
    for report in train(checkpoint.state, BATCHES, CONFIG.training):
        if report.step == 20:
            break
    pairs = zip(checkpoint.state.model.parameters(), straight.model.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_what_cannot_hold_it_refuses_it_by_name(tmp_path: Path, monkeypatch) -> None:
    state, tokenizer = trained(1), CharTokenizer(ALPHABET)
    with pytest.raises(UserError, match="ModernGPT"):
        to_hf(gpt_of(state), tokenizer, tmp_path / "hf")
    folder = save_checkpoint(tmp_path, state, CONFIG, tokenizer)
    monkeypatch.delitem(kinds.MODELS, "modern")
    with pytest.raises(UserError, match=r"no kind of model 'modern' here\. .*gpt, .*mlp"):
        load_checkpoint(folder)
    with pytest.raises(UserError, match=r"ModernConfig is no kind of model that has a name"):
        save_checkpoint(tmp_path / "other", state, CONFIG, tokenizer)
