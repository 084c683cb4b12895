"""What runs on a card gives the CPU's numbers: training, generation, saving, on an imaginary card.

`tests/test_accelerators.py` runs this file in a process of its own: torch asks which devices there
are at its first backward pass, and never again.
"""

import dataclasses
from typing import cast

import numpy as np
import pytest
import torch

from bhushgpt.batches import Batches
from bhushgpt.diagnosis import device_notices
from bhushgpt.errors import UserError
from bhushgpt.evaluation import evaluate
from bhushgpt.generation import Sampling, generate
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.kv_cache import Cached
from bhushgpt.modern_gpt import ModernConfig
from bhushgpt.modern_layers import GroupedAttention
from bhushgpt.presets import RunConfig
from bhushgpt.speed import (
    Acceleration,
    FastCached,
    World,
    accelerate,
    generate_together,
    pick_acceleration,
    train_scaled,
    with_packed_weights,
    wrap,
)
from bhushgpt.speed.distributed import _own_randomness
from bhushgpt.storage import load_checkpoint, save_checkpoint
from bhushgpt.tokenizers import CharTokenizer
from bhushgpt.training import TrainState, step_randomness, train
from bhushgpt.training_config import TrainingConfig
from tests.accelerators.imaginary_card import CardTensor, _Module, imaginary_card, off_card

CPU = torch.device("cpu")
V = 11
TOKENS = np.arange(500) % V
PROMPT = [[1, 2, 3]]
LONG = pytest.mark.long


@pytest.fixture
def card():
    with imaginary_card(pinned=True, one_pass=True) as device:
        yield device


def config(steps: int = 2, dropout: float = 0.2, accumulation_steps: int = 1) -> RunConfig:
    sizes = {"vocab_size": V, "context_length": 8, "n_layer": 1, "n_head": 2, "n_embd": 16}
    model = GPTConfig(**sizes, dropout=dropout)  # type: ignore[arg-type]
    training = TrainingConfig(steps=steps, batch_size=4, learning_rate=1e-2)
    training = dataclasses.replace(training, accumulation_steps=accumulation_steps)
    return RunConfig(preset="gpt-v1-smoke", model=model, training=training)


def fresh(run: RunConfig, device: torch.device) -> TrainState:
    torch.manual_seed(0)
    return TrainState.fresh(run.model.build().to(device), run.training)


def batches(device: torch.device) -> Batches:
    return Batches(TOKENS, 4, 8, device=device, vocab_size=V)


def losses(run: RunConfig, device: torch.device, how: Acceleration | None = None) -> list[float]:
    state = fresh(run, device)
    if how is None:
        return [report.loss for report in train(state, batches(device), run.training)]
    loss = accelerate(state.model, how)
    steps = train_scaled(state, batches(device), run.training, loss, loss.scaler)
    return [report.loss for report in steps]


@pytest.mark.parametrize(
    ("how", "tolerance"),
    [
        pytest.param(None, 1e-5, id="plain"),
        pytest.param(Acceleration(chunk_tokens=3), 1e-5, id="chunks", marks=LONG),
        pytest.param(
            Acceleration(activation_checkpointing=True), 1e-5, id="recomputed", marks=LONG
        ),
        pytest.param(Acceleration(precision="bfloat16"), 2e-3, id="bfloat16", marks=LONG),
        pytest.param(Acceleration(precision="float16"), 2e-3, id="float16", marks=LONG),
        pytest.param(
            Acceleration(precision="float16", chunk_tokens=5), 2e-3, id="float16 in chunks"
        ),
    ],
)
def test_training_gives_the_cpus_losses(card, how, tolerance):
    run = config(accumulation_steps=2 if how is None else 1)
    assert losses(run, card, how) == pytest.approx(losses(run, CPU, how), abs=tolerance)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_modern_parts_train_there_as_on_the_cpu(card, monkeypatch, precision):
    sizes = {"vocab_size": V, "context_length": 8, "n_layer": 1, "n_head": 2, "n_embd": 16}
    modern = ModernConfig(**sizes, n_kv_head=1, n_expert=2, window=4, zero_init=False)  # type: ignore[arg-type]
    run = dataclasses.replace(config(), model=modern)
    expected = losses(run, CPU, Acceleration(precision=precision))
    monkeypatch.setattr(GroupedAttention, "explicit", lambda *parts: pytest.fail("explicit"))
    found = losses(run, card, Acceleration(precision=precision))
    assert found == pytest.approx(expected, abs=1e-5 if precision == "float32" else 2e-3)


def test_its_weights_and_optimizer_are_there_and_fused(card):
    state = fresh(config(), card)
    assert state.optimizer.defaults["fused"] is True
    next(train(state, batches(card), config().training))
    tensors = [*state.model.parameters(), *state.model.buffers()]
    tensors += [kept for slots in state.optimizer.state.values() for kept in slots.values()]
    assert all(isinstance(tensor, CardTensor) for tensor in tensors)
    assert state.model.head.weight is state.model.tokens.weight  # type: ignore[union-attr]


def test_a_card_without_one_pass_optimizers_trains_and_goes_on(tmp_path, monkeypatch):
    run = config(steps=3)
    with imaginary_card() as card:  # as a Mac's GPU
        whole = fresh(run, card)
        first, second, third = (report.loss for report in train(whole, batches(card), run.training))
        state = fresh(run, card)
        steps = train(state, batches(card), run.training)
        assert [next(steps).loss, next(steps).loss] == [first, second]
        alphabet = CharTokenizer("abcdefghijk")
        save_checkpoint(tmp_path, state, run, alphabet)
        found = load_checkpoint(tmp_path, card)
        counters = [slots["step"] for slots in found.state.optimizer.state.values()]
        assert counters and not any(isinstance(counter, CardTensor) for counter in counters)
        (report,) = train(found.state, batches(card), run.training)
        assert report.loss == third
    # And what a card has saved goes on on a CPU.
    found = load_checkpoint(tmp_path, "cpu")
    (report,) = train(found.state, batches(CPU), run.training)
    assert report.loss == pytest.approx(third, abs=1e-5)


def as_held(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: off_card(tensor) for name, tensor in tensors.items()}


def drawn(model: torch.nn.Module, device: torch.device) -> list[int]:
    ids = torch.tensor(PROMPT, device=device)
    return [int(new) for new in generate(model, ids, 7, Sampling(seed=1, top_k=5, top_p=0.9))]  # type: ignore[arg-type]


def test_what_is_drawn_is_what_the_cpu_draws(card):
    there, here = fresh(config(), card).model, fresh(config(), CPU).model
    expected = drawn(here, CPU)
    assert drawn(there, card) == drawn(Cached(there), card) == expected  # type: ignore[arg-type]
    assert drawn(FastCached(there), card) == expected  # type: ignore[arg-type]
    prompts = [[1, 2, 3], [4]]
    for one, other in zip(
        generate_together(there, prompts, 3),  # type: ignore[arg-type]
        generate_together(here, prompts, 3),  # type: ignore[arg-type]
        strict=True,
    ):
        assert torch.equal(off_card(one), other)
    losses_of = [evaluate(cast(GPT, one), TOKENS[:60]).nats_per_token for one in (there, here)]
    assert losses_of[0] == pytest.approx(losses_of[1], abs=1e-5)


def test_ids_on_the_cpu_get_a_sentence_and_others_an_error(card):
    model = fresh(config(), card).model
    with pytest.raises(UserError, match=r"The ids are on cpu, the model on card:0"):
        model(torch.tensor(PROMPT))
    with pytest.raises(RuntimeError, match="at least two devices"):
        torch.ones(3, device=card).add(torch.ones(3))


def test_ids_that_are_too_large_are_found_before_they_go_there(card):
    with pytest.raises(UserError, match="holds the token id 10, but a vocabulary of 9"):
        Batches(TOKENS, 4, 8, device=card, vocab_size=9)[0]


def test_attention_takes_the_fused_form_there(card, monkeypatch):
    model = fresh(config(), card).model
    attention = model.blocks[0].attention  # type: ignore[index, union-attr]
    monkeypatch.setattr(attention, "explicit", lambda *parts: pytest.fail("explicit"))
    model(torch.tensor(PROMPT, device=card))


def test_the_cards_own_random_numbers_depend_on_the_step_and_are_put_back(card):
    def state() -> list[int]:
        return _Module.get_rng_state().tolist()

    seen = []
    for step in (5, 5, 6):
        _Module.manual_seed(99 + len(seen))
        before = state()
        with step_randomness(1, step, card):
            seen.append(state())
        assert state() == before
    assert seen[0] == seen[1] != seen[2]
    with step_randomness(1, 5, card):
        _own_randomness(World(device=card, rank=1, size=2))
        assert state() != seen[0]
    with imaginary_card() as other, step_randomness(1, 5, CPU):
        assert other.type == "card" and state() == before  # a run on the CPU leaves it alone


def test_the_quick_forms_of_a_cpu_are_left_out_there(card):
    chosen, notices = pick_acceleration(card, config(), precision="float32")
    assert not (chosen.quick_layers or chosen.cheap_dropout or chosen.compile) and not notices
    # A view made for the CPU computes the same there all the same.
    quick = Acceleration(quick_layers=True, cheap_dropout=True)
    run = config(dropout=0.0)
    assert losses(run, card, quick) == pytest.approx(losses(run, card), abs=1e-5)
    with pytest.raises(UserError, match="cannot be sorted on the device card"):
        with_packed_weights(fresh(run, card).model)  # type: ignore[arg-type]


def test_a_kind_that_is_not_trusted_is_compared_with_the_cpu_first(monkeypatch):
    with imaginary_card(trusted=False) as card:
        assert device_notices(card) == []
        real = torch.nn.functional.gelu
        monkeypatch.setattr(
            torch.nn.functional,
            "gelu",
            lambda x, **more: real(x, **more) * (1.01 if isinstance(x, CardTensor) else 1),
        )
        (notice,) = device_notices(card)
        assert "differs from the CPU" in notice


def test_alone_a_loss_is_wrapped_in_nothing(card):
    state = fresh(config(), card)
    loss = wrap(state.model, Acceleration(), World(device=card))
    assert loss(state.model, *batches(card)[0]).device.type == "card"
