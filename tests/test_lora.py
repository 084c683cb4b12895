"""LoRA learns additions alone, merging them changes nothing, and a file of them knows its model."""

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from small_runs import TOKENIZER, batches_of, fresh_state, same_weights, small_config
from torch import nn

from bhushgpt.errors import UserError
from bhushgpt.forecast import expected_bytes, loading_memory, parameter_count, training_memory
from bhushgpt.generation import Sampling, generate
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.kv_cache import Cached
from bhushgpt.lora import LoRA, LoRAConfig, additions, lora_layers, merged, with_lora
from bhushgpt.presets import RunConfig, build_model, preset
from bhushgpt.speed import Acceleration, FastCached, accelerate, with_int8_weights
from bhushgpt.storage import load_adapter, load_checkpoint, save_adapter, save_checkpoint
from bhushgpt.storage.tensors import read_header
from bhushgpt.training import TrainState, batch_loss, train

SIZES = GPTConfig(vocab_size=11, context_length=9, n_layer=2, n_head=3, n_embd=12)
IDS = torch.randint(11, (2, 9), generator=torch.Generator().manual_seed(1))


def base_model(config: GPTConfig = SIZES) -> GPT:
    torch.manual_seed(5)
    model = config.build()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def moved(model: GPT) -> GPT:
    """Give every addition numbers that matter."""
    for weight in additions(model).values():
        nn.init.normal_(weight, std=0.3)
    return model


def test_before_the_first_step_it_is_the_base_bit_for_bit() -> None:
    base = base_model()
    assert torch.equal(with_lora(base, rank=5)(IDS), base(IDS))


def test_a_layer_is_its_base_and_the_product_written_out() -> None:
    layer = LoRA(nn.Linear(7, 15), rank=4, alpha=6.0)
    nn.init.normal_(layer.up)
    x = torch.randn(2, 3, 7)
    by_hand = x @ (layer.base.weight + 6.0 / 4 * layer.up @ layer.down).T + layer.base.bias
    torch.testing.assert_close(layer(x), by_hand)
    torch.testing.assert_close(F.linear(x, layer.merged_weight(), layer.base.bias), by_hand)


def test_all_four_layers_of_a_block_have_additions() -> None:
    names = [name for name, part in with_lora(base_model()).named_modules() if type(part) is LoRA]
    parts = ("attention.qkv", "attention.projection", "mlp.widen", "mlp.projection")
    assert names == [f"blocks.{i}.{part}" for i in range(2) for part in parts]


def test_training_moves_the_additions_and_nothing_of_the_base() -> None:
    base = base_model()
    before = {name: weight.clone() for name, weight in base.state_dict().items()}
    tuned, training = with_lora(base, rank=2), small_config(4).training
    state = TrainState.fresh(tuned, training)
    targets = IDS.roll(-1, 1)
    step = [(IDS, targets)] * 4
    reports = list(train(state, step, dataclasses.replace(training, accumulation_steps=1)))
    assert reports[-1].loss < reports[0].loss
    assert all(torch.equal(weight, before[name]) for name, weight in base.state_dict().items())
    assert all(parameter.requires_grad for parameter in base.parameters())
    own = set(additions(tuned))
    assert {name for name, p in tuned.named_parameters() if p.grad is not None} == own
    held = sum(len(group["params"]) for group in state.optimizer.param_groups)
    assert held == len(own) == 16
    assert tuned.tokens.weight.data_ptr() == base.tokens.weight.data_ptr()
    assert tuned.head.weight is tuned.tokens.weight


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "rotary"])
def test_merged_equals_applied(position) -> None:
    base = base_model(dataclasses.replace(SIZES, position=position, n_head=2))
    tuned = moved(with_lora(base, rank=3))
    one = merged(tuned)
    assert type(one.config) is GPTConfig and one.config == base.config
    assert not any(lora_layers(one)) and all(p.requires_grad for p in one.parameters())
    assert not torch.allclose(one(IDS), base(IDS), atol=0.1)
    difference = (one(IDS) - tuned(IDS)).abs().max() / tuned(IDS).abs().max()
    assert difference < 1e-6
    exact = moved(with_lora(base.double(), rank=3))  # in double precision only the formula differs
    assert (merged(exact)(IDS) - exact(IDS)).abs().max() < 1e-12


def test_it_draws_the_same_with_every_cache_and_merged() -> None:
    tuned = moved(with_lora(base_model())).eval()
    prompt, sampling = IDS[:, :3], Sampling(temperature=0.8, seed=3)
    plain = torch.cat(list(generate(tuned, prompt, 15, sampling)), dim=1)
    for model in (Cached(tuned), FastCached(tuned), merged(tuned)):
        assert torch.equal(torch.cat(list(generate(model, prompt, 15, sampling)), 1), plain)


def test_int8_weights_keep_the_additions() -> None:
    base = base_model(GPTConfig(vocab_size=11, context_length=9, n_layer=1, n_head=2, n_embd=32))
    tuned = moved(with_lora(base)).eval()
    small = with_int8_weights(tuned)
    off = (small(IDS) - tuned(IDS)).abs().mean()
    assert off < 0.05 * (tuned(IDS) - base(IDS)).abs().mean()


def test_it_trains_the_same_with_everything_that_accelerates() -> None:
    tuned, targets = moved(with_lora(base_model())), IDS.roll(-1, 1)
    plain = batch_loss(tuned, IDS, targets)
    wanted = torch.autograd.grad(plain, tuple(additions(tuned).values()))
    settings = Acceleration(chunk_tokens=5, activation_checkpointing=True, quick_layers=True)
    quick = accelerate(tuned, settings)(tuned, IDS, targets)
    torch.testing.assert_close(quick, plain)
    quick.backward()
    for weight, expected in zip(additions(tuned).values(), wanted, strict=True):
        torch.testing.assert_close(weight.grad, expected, atol=1e-5, rtol=1e-4)


def lora_run() -> RunConfig:
    config = small_config(20)
    sizes = LoRAConfig(**vars(config.model), rank=2)
    return dataclasses.replace(config, model=sizes)


def test_counts_and_memory_come_from_the_model() -> None:
    sizes = preset("gpt-v1", 79).model
    full = preset("gpt-v1", 79)
    small = dataclasses.replace(full, model=LoRAConfig(**vars(sizes), rank=8))
    model = build_model(small)
    C, R = 128, 8
    per_block = R * (C + 3 * C) + R * (C + C) + 2 * R * (C + 4 * C)
    assert model.trained_count() == 4 * per_block
    assert model.parameter_count() == parameter_count(full) + 4 * per_block
    assert 0.08 < model.trained_count() / parameter_count(full) < 0.083
    assert expected_bytes(small) < 0.55 * expected_bytes(full)
    # No means and gradients of the base, but what the additions compute is kept for backward.
    assert loading_memory(small, optimizer=True) < 0.45 * loading_memory(full, optimizer=True)
    assert 0.9 * training_memory(full) < training_memory(small) < training_memory(full)


def test_a_run_with_lora_resumes_as_if_unbroken(tmp_path: Path) -> None:
    config = lora_run()
    straight, broken = fresh_state(config), fresh_state(config)
    for state, end in ((straight, 12), (broken, 6)):
        for report in train(state, batches_of(config), config.training):
            if report.step == end:
                break
    save_checkpoint(tmp_path, broken, config, TOKENIZER)
    again = load_checkpoint(tmp_path)
    assert again.config == config
    assert again.state.model.trained_count() == straight.model.trained_count()  # type: ignore
    for report in train(again.state, batches_of(config), config.training):
        if report.step == 12:
            break
    assert same_weights(again.state, straight)


def test_settings_that_cannot_be_built_are_named_together() -> None:
    with pytest.raises(UserError, match=r"rank is 13, .* from 1 to n_embd 12; alpha is 0"):
        LoRAConfig(**vars(SIZES), rank=13, alpha=0)


def test_additions_are_not_stacked() -> None:
    with pytest.raises(UserError, match=r"is a LoRAConfig\. Merge"):
        with_lora(with_lora(base_model()))


# Files


def test_a_file_holds_the_additions_alone_and_gives_them_back(tmp_path: Path) -> None:
    base, file = base_model(), tmp_path / "adapter.safetensors"
    tuned = moved(with_lora(base, rank=2, alpha=3.0))
    save_adapter(tuned, file)
    assert set(read_header(file)) == set(additions(tuned))
    numbers = sum(weight.numel() for weight in additions(tuned).values())
    assert file.stat().st_size < 4 * numbers + 3000
    again = load_adapter(base, file)
    assert again.config == tuned.config and torch.equal(again(IDS), tuned(IDS))


def other_width() -> GPT:
    return base_model(dataclasses.replace(SIZES, n_embd=15))


def fewer_blocks() -> GPT:
    return base_model(dataclasses.replace(SIZES, n_layer=1))


def too_narrow() -> GPT:
    return base_model(dataclasses.replace(SIZES, n_embd=3))


def one_weight_off() -> GPT:
    model = base_model()
    with torch.no_grad():
        model.blocks[1].norm_1.weight[2] += 1e-6  # type: ignore
    return model


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (other_width, r"qkv.down is \(5, 12\) there and \(5, 15\) here"),
        (fewer_blocks, r"blocks\.1\.\S+ is \(5, 12\) there and missing here"),
        (too_narrow, "rank is 5, it must be a whole number from 1 to n_embd 3"),
        (one_weight_off, "the sizes fit, but the weights are others"),
        (lambda: with_lora(base_model()), "this one is a LoRAConfig"),
    ],
)
def test_an_adapter_of_another_model_is_refused(model, why, tmp_path: Path) -> None:
    file = tmp_path / "adapter.safetensors"
    save_adapter(moved(with_lora(base_model(), rank=5)), file)
    with pytest.raises(UserError, match=f"was made for another model: .*{why}.*Nothing was loaded"):
        load_adapter(model(), file)


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    base, file = base_model(), tmp_path / "adapter.safetensors"
    with pytest.raises(UserError, match="There is no file"):
        load_adapter(base, file)
    with pytest.raises(UserError, match=r"no additions of LoRA.*--lora 8"):
        save_adapter(base, file)
    checkpoint = save_checkpoint(tmp_path, fresh_state(lora_run()), lora_run(), TOKENIZER)
    with pytest.raises(UserError, match="not an adapter of this course"):
        load_adapter(base, checkpoint / "model.safetensors")
    save_adapter(moved(with_lora(base)), file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match="no sound safetensors file"):
        load_adapter(base, file)


@pytest.mark.parametrize("rank", [0, -1, 13, 2.5])
def test_a_rank_that_cannot_be_is_refused(rank) -> None:
    with pytest.raises(UserError, match="whole number from 1 to n_embd 12"):
        LoRAConfig(**vars(SIZES), rank=rank)


@pytest.mark.parametrize("training", [True, False])
def test_a_merged_model_is_in_the_mode_of_the_one_it_was_made_of(training) -> None:
    tuned = with_lora(base_model()).train(training)
    assert merged(tuned).training is training
