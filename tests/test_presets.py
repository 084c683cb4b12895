"""Presets are settings; building from one gives the same model every time."""

import dataclasses
import math

import pytest
import torch

from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.language_model import next_token_loss
from bhushgpt.presets import GPT2_SIZES, PRESETS, build_model, preset

BUILT = [name for name in PRESETS if name not in GPT2_SIZES]


@pytest.mark.parametrize("name", BUILT)
def test_every_preset_of_a_laptops_size_builds_and_starts_near_the_uniform_loss(name):
    model = build_model(preset(name, 79))
    ids = torch.randint(0, 79, (4, 33), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        loss = next_token_loss(model(ids[:, :-1]), ids[:, 1:]).item()
    assert abs(loss - math.log(79)) < 0.1


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_random_state():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = (build_model(preset("gpt-v1-smoke", 11)) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_large_preset_is_the_classic_six_million_parameter_model():
    config = preset("gpt-v1-large", 80)
    sizes = config.model
    assert isinstance(sizes, GPTConfig)
    assert (sizes.n_layer, sizes.n_head, sizes.n_embd, sizes.context_length) == (8, 8, 256, 128)
    assert config.training.batch_size == 64
    model = build_model(config)
    assert isinstance(model, GPT)
    assert 6.2e6 < model.parameter_count() < 6.6e6


# Table 2 of Radford et al. says 117M, 345M, 762M and 1542M; the released files hold these numbers.
PUBLISHED = {
    "gpt-v2": 124_439_808,
    "gpt-v2-medium": 354_823_168,
    "gpt-v2-large": 774_030_080,
    "gpt-v2-xl": 1_557_611_200,
}


@pytest.mark.parametrize("name", GPT2_SIZES)
def test_the_gpt_v2_presets_have_the_published_number_of_parameters(name):
    config = preset(name, 50_257)
    assert isinstance(config.model, GPTConfig) and config.model.context_length == 1024
    with torch.device("meta"):  # shapes without memory
        assert GPT(config.model).parameter_count() == PUBLISHED[name]


@pytest.mark.parametrize("name", [*GPT2_SIZES, "gpt-v2-mini"])
def test_the_gpt_v2_presets_have_the_layout_of_gpt_2(name):
    config = preset(name, 50_257)
    assert isinstance(config.model, GPTConfig) and config.model.position == "learned"
    assert config.model.n_embd % config.model.n_head == 0
    assert config.training.min_learning_rate == pytest.approx(config.training.learning_rate / 10)


def test_a_step_of_gpt_v2_sees_half_a_million_tokens():
    for name in GPT2_SIZES:
        config = preset(name, 50_257)
        assert config.training.batch_size * config.model.context_length == 524_288


def test_other_steps_shorten_the_warm_up():
    assert preset("gpt-v1", 79, steps=50).training.warmup_steps == 5
    assert preset("gpt-v1", 79).training.warmup_steps == 100


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'gpt-v1'"):
        preset("gptv1", 79)


def test_steps_below_one_are_refused():
    with pytest.raises(UserError, match="steps is 0, it must be at least 1"):
        preset("gpt-v1", 79, steps=0)


@pytest.mark.parametrize("share", [0, 1, -0.1, math.nan])
def test_a_held_out_share_that_is_none_is_refused(share):
    with pytest.raises(UserError, match=f"held_out is {share}"):
        dataclasses.replace(preset("bigram", 79), held_out=share)
