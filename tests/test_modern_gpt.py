"""The GPT of today's parts: each exchangeable alone, equal to the old one without, and a preset."""

import math
from typing import Any

import pytest
import torch

from bhushgpt.errors import UserError
from bhushgpt.gpt import GPTConfig
from bhushgpt.language_model import next_token_loss
from bhushgpt.modern_gpt import ModernConfig
from bhushgpt.muon import MuonConfig
from bhushgpt.presets import build_model, preset
from bhushgpt.speed.acceleration import Acceleration, accelerate

SIZES: dict[str, Any] = {
    "vocab_size": 11,
    "context_length": 9,
    "n_layer": 2,
    "n_head": 4,
    "n_embd": 24,
}
GPT2: dict[str, Any] = {
    "position": "learned",
    "norm_form": "layer",
    "mlp_form": "gelu",
    "qk_norm": False,
    "tied": True,
    "zero_init": False,
    "bias": True,
}
CHANGES: list[dict[str, Any]] = [
    {"norm_form": "rms"},
    {"mlp_form": "relu2"},
    {"mlp_form": "swiglu"},
    {"qk_norm": True},
    {"n_kv_head": 2},
    {"n_kv_head": 1},
    {"window": 3},
    {"tied": False},
    {"zero_init": True},
    {"bias": False},
    {"position": "rotary"},
    {"position": "sinusoidal"},
    {"n_expert": 3, "experts_per_token": 2},
]


def ids() -> torch.Tensor:
    return torch.randint(11, (3, 9), generator=torch.Generator().manual_seed(0))


def test_with_gpt_2s_parts_it_is_the_gpt_of_notebook_09() -> None:
    torch.manual_seed(0)
    old = GPTConfig(**SIZES).build()
    torch.manual_seed(0)
    new = ModernConfig(**SIZES, **GPT2).build()
    assert [name for name, _ in old.named_parameters()] == [n for n, _ in new.named_parameters()]
    for one, other in zip(old.parameters(), new.parameters(), strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(new(ids()), old(ids()), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("change", [{}, *CHANGES], ids=str)
def test_a_future_token_never_changes_a_past_logit(change) -> None:
    torch.manual_seed(0)
    model, given = ModernConfig(**SIZES, **(GPT2 | change)).build(), ids()
    for weight in model.parameters():  # parts that begin at zero would hide what they do
        torch.nn.init.normal_(weight, std=0.2)
    changed = given.clone()
    changed[:, 5] = (given[:, 5] + 1) % 11
    moved = (model(changed) - model(given)).abs().amax(dim=(0, 2)) > 1e-5
    assert not moved[:5].any() and moved[5]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_single_change_makes_another_model(change) -> None:
    def model(config: ModernConfig):
        torch.manual_seed(0)
        return config.build()

    old, new = model(ModernConfig(**SIZES, **GPT2)), model(ModernConfig(**SIZES, **(GPT2 | change)))
    shapes = [[tuple(weight.shape) for weight in m.parameters()] for m in (old, new)]
    assert shapes[0] != shapes[1] or not torch.allclose(old(ids()), new(ids()), atol=1e-6)


def test_from_zero_the_first_loss_is_ln_v_and_every_weight_can_still_move() -> None:
    model = ModernConfig(**SIZES).build()
    loss = next_token_loss(model(ids()[:, :-1]), ids()[:, 1:])
    assert loss.item() == pytest.approx(math.log(11), abs=1e-6)
    loss.backward()
    assert model.head.weight.grad is not None and model.head.weight.grad.abs().max() > 0
    torch.manual_seed(0)
    model = ModernConfig(**SIZES, tied=True).build()  # a tied head is no zero: tokens need vectors
    assert model.tokens.weight.abs().max() > 0
    next_token_loss(model(ids()[:, :-1]), ids()[:, 1:]).backward()
    projection = model.get_parameter("blocks.1.mlp.projection.weight")
    assert projection.abs().max() == 0
    assert projection.grad is not None and projection.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"n_kv_head": 3}, "n_head 4 is not a multiple of n_kv_head 3"),
        ({"n_head": 8}, "n_embd / n_head is 3, not even"),
        ({"n_expert": 2, "experts_per_token": 3}, "experts_per_token is 3, and there are 2"),
        ({"n_expert": -1}, "n_expert must be at least 0"),
        ({"norm_form": "batch"}, "norm_form is 'batch', there are rms, layer"),
        ({"mlp_form": "tanh"}, "mlp_form is 'tanh', there are relu2, swiglu, gelu"),
        ({"window": -1}, "window is -1"),
    ],
)
def test_parts_that_do_not_fit_are_named(wrong, said: str) -> None:
    with pytest.raises(UserError, match=f"This GPT cannot be built: .*{said}"):
        ModernConfig(**(SIZES | wrong))


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(UserError, match=r"n_kv_head 3.*dropout is 2"):
        ModernConfig(**SIZES, n_kv_head=3, dropout=2.0)


def test_in_bfloat16_it_is_nearly_the_same() -> None:
    torch.manual_seed(0)
    model = ModernConfig(**SIZES, n_kv_head=2, n_expert=2, zero_init=False).build()
    given = (model, ids()[:, :-1], ids()[:, 1:])
    plain = accelerate(model, Acceleration())(*given)
    half = accelerate(model, Acceleration(precision="bfloat16", quick_layers=True))(*given)
    assert half.item() == pytest.approx(plain.item(), abs=0.01)


@pytest.mark.parametrize("name", ["gpt-modern", "tinystories", "speedrun"])
def test_the_presets_are_modern_and_trained_with_muon(name: str) -> None:
    config = preset(name, 80, steps=100)
    assert isinstance(config.model, ModernConfig) and isinstance(config.training, MuonConfig)
    assert config.training.warmup_steps <= 10


def test_gpt_modern_is_configuration_b() -> None:
    config = preset("gpt-modern", 79)
    sizes = config.model
    assert isinstance(sizes, ModernConfig)
    assert (sizes.n_layer, sizes.n_head, sizes.n_embd, sizes.context_length) == (4, 4, 128, 64)
    assert config.training.batch_size * sizes.context_length == 2048
    assert config.training.steps == 2000


def test_the_story_teller_has_at_most_six_and_a_half_million_parameters() -> None:
    with torch.device("meta"):
        model = build_model(preset("tinystories", 120), "meta")
    assert 6e6 < model.parameter_count() <= 6.5e6
