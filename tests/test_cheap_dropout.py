"""The cheap mask is dropout: the right share, no pattern, the same mean, the seed's own."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bhushgpt.speed.acceleration import compile_trouble
from bhushgpt.speed.cpu_layers import CheapDropout, kept_share, random_mask
from bhushgpt.speed.views import view

N = 400_000


def assert_coin(kept: torch.Tensor, share: float) -> None:
    """Fail unless the mean of zeros and ones is within five standard errors of `share`."""
    error = math.sqrt(share * (1 - share) / kept.numel())
    assert abs(kept.double().mean().item() - share) < 5 * error, (kept.double().mean(), share)


@pytest.mark.parametrize("dropout", [0.01, 0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_mask_is_ones_and_zeros_with_the_share_that_was_asked_for(dropout, dtype):
    mask = random_mask(torch.Size([N]), dropout, dtype)
    assert mask.dtype == dtype and set(mask.unique().tolist()) == {0.0, 1.0}
    assert_coin(mask, 1 - dropout)
    assert kept_share(dropout) == pytest.approx(1 - dropout, abs=1 / 2**16)


@pytest.mark.parametrize("dropout", [0.1, 0.5])
def test_every_place_in_the_draw_of_64_bits_is_a_fair_coin(dropout):
    mask = random_mask(torch.Size([N]), dropout, torch.float32)
    for place in range(4):
        assert_coin(mask[place::4], kept_share(dropout))


@pytest.mark.parametrize("apart", [1, 2, 3, 4, 7, 256, 1024])
def test_neighbours_are_independent(apart):
    mask = random_mask(torch.Size([N]), 0.3, torch.float32)
    both = mask[:-apart] * mask[apart:]
    share = kept_share(0.3)
    # Pairs overlap, so their mean spreads a little more than that of independent coins.
    error = math.sqrt(3 * share**2 * (1 - share**2) / both.numel())
    assert abs(both.double().mean().item() - share**2) < 5 * error


def test_the_number_of_zeros_in_rows_spreads_as_a_binomial():
    width, share = 1000, kept_share(0.2)
    rows = random_mask(torch.Size([N // width, width]), 0.2, torch.float32).sum(dim=1)
    ratio = rows.double().var().item() / (width * share * (1 - share))
    assert 0.6 < ratio < 1.4


def test_a_pattern_would_be_noticed():
    striped = torch.arange(N) % 4 != 0  # a quarter dropped, but always the same place
    with pytest.raises(AssertionError):
        for place in range(4):
            assert_coin(striped[place::4], 0.75)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 63])
def test_any_number_of_activations_gets_a_mask(count):
    assert random_mask(torch.Size([count]), 0.5, torch.bfloat16).shape == (count,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mean_stays_and_the_gradient_passes_where_the_value_did(dtype):
    x = torch.ones(N, dtype=dtype, requires_grad=True)
    y = CheapDropout(0.1)(x)
    y.sum().backward()
    assert y.double().mean().item() == pytest.approx(1.0, abs=0.006)
    assert x.grad is not None and torch.equal(x.grad, y.detach())


def test_value_and_slope_are_those_of_the_formula():
    x = torch.randn(50, dtype=torch.float64, requires_grad=True)

    def seeded(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        return CheapDropout(0.4)(x)

    assert torch.autograd.gradcheck(seeded, x)
    torch.manual_seed(3)
    mask = random_mask(x.shape, 0.4, x.dtype)
    torch.testing.assert_close(seeded(x), x * mask / kept_share(0.4))


def test_a_seed_decides_the_mask_and_two_draws_differ():
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(random_mask(torch.Size([100]), 0.5, torch.float32))
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])
    assert not torch.equal(masks[2], random_mask(torch.Size([100]), 0.5, torch.float32))


def test_evaluation_and_the_ends_are_as_in_torch():
    x = torch.randn(100)
    assert torch.equal(CheapDropout(0.5).eval()(x), x)
    for p in (0.0, 1.0):
        torch.testing.assert_close(CheapDropout(p)(x), F.dropout(x, p))


def test_the_same_loss_comes_out_on_average_as_with_torchs():
    torch.manual_seed(0)
    x, w = torch.randn(2000, 64), torch.randn(64)
    cheap = [float((CheapDropout(0.2)(x) @ w).square().mean()) for _ in range(20)]
    torchs = [float((F.dropout(x, 0.2) @ w).square().mean()) for _ in range(20)]
    assert np.mean(cheap) == pytest.approx(np.mean(torchs), rel=0.02)


def test_only_plain_dropout_is_exchanged_and_keys_stay():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1), nn.Dropout2d(0.1))
    keys = list(model.state_dict())
    cheap: Any = view(model, {nn.Dropout: CheapDropout})
    assert type(cheap[1]) is CheapDropout and type(cheap[2]) is nn.Dropout2d
    assert list(cheap.state_dict()) == keys and type(model[1]) is nn.Dropout


def test_at_0_nothing_is_drawn_and_at_1_nothing_is_left():
    x, before = torch.randn(200_000), torch.get_rng_state()
    assert torch.equal(CheapDropout(0.0)(x), x)
    assert torch.equal(torch.get_rng_state(), before)
    assert not CheapDropout(1.0)(x).any()  # one level in 65,536 would be some of so many


# Traced both ways, and its operations run as they are; or made into C++ too, in half a minute.
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.long)])
@pytest.mark.filterwarnings("ignore")  # what torch's compiler warns about is its own code
def test_compiled_every_layer_draws_a_mask_of_its_own_and_the_way_back_the_same(backend):
    if backend == "inductor" and (trouble := compile_trouble("cpu")):
        pytest.skip(trouble)
    layers = nn.ModuleList([CheapDropout(0.25), CheapDropout(0.25)])

    @torch.compile(fullgraph=True, backend=backend)
    def twice(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return layers[0](x).exp(), layers[1](x).exp()

    for _ in range(2):
        x = torch.ones(4, 3, 4096, dtype=torch.bfloat16, requires_grad=True)
        first, second = twice(x)
        first.sum().backward()
        assert not torch.equal(first, second)
        assert x.grad is not None and torch.equal(x.grad > 0, first > 1)
        assert_coin((first > 1).flatten(), 0.75)
