"""int8 weights: near the float product, a quarter of the bytes, and the model left alone."""

import pytest
import torch
from torch import nn

from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.speed.small_weights import FEW_ROWS, Int8Linear, weight_bytes, with_int8_weights
from bhushgpt.speed.static_generation import FastCached


def make_gpt() -> GPT:
    config = GPTConfig(vocab_size=40, context_length=16, n_layer=2, n_head=2, n_embd=64)
    model = GPT(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@pytest.mark.parametrize("rows", [1, FEW_ROWS, FEW_ROWS + 1])
@pytest.mark.parametrize("bias", [True, False])
def test_the_product_is_near_the_float_one_for_few_rows_and_many(rows, bias):
    layer = nn.Linear(128, 96, bias=bias)
    x = torch.randn(2, rows // 2 + rows % 2, 128)
    ours, exact = Int8Linear(layer)(x), layer(x)
    assert ours.shape == exact.shape and ours.dtype == torch.float32
    # 0.004 to 0.007 was measured: a step is a 254th, and the rounding of many weights averages out.
    assert (ours - exact).abs().max() < 0.012 * exact.abs().max()


def test_each_row_has_its_own_scale():
    """The planted case: one large row must not cost the small one its digits."""
    layer = nn.Linear(64, 2, bias=False)
    with torch.no_grad():
        layer.weight[0] *= 1000
    x = torch.randn(4, 64)
    small, exact = Int8Linear(layer)(x)[:, 1], layer(x)[:, 1]
    # 0.002 to 0.007 was measured; with the scale of the large row it is all there is.
    assert (small - exact).abs().max() < 0.012 * exact.abs().max()


def test_a_row_of_zeros_gives_zeros():
    layer = nn.Linear(64, 2, bias=False)
    nn.init.zeros_(layer.weight)
    assert Int8Linear(layer)(torch.randn(3, 64)).abs().max() == 0


def test_the_copy_has_no_float_layer_and_the_model_is_left_alone():
    model = make_gpt()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    small = with_int8_weights(model)
    assert not any(isinstance(module, nn.Linear) for module in small.modules())
    assert not any(parameter.requires_grad for parameter in small.parameters())
    assert model.head.weight is model.tokens.weight
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_layers_take_a_quarter_of_the_bytes():
    model = make_gpt()
    layers = 2 * 12 * 64 * 64  # the matrices of two blocks
    saved = weight_bytes(model) - weight_bytes(with_int8_weights(model))
    # The head was tied to the token table and now has bytes of its own.
    assert saved == pytest.approx(3 * layers - 40 * 64, rel=0.05)


def test_predictions_stay_near():
    model = make_gpt()
    ids = torch.randint(40, (8, 16))
    with torch.no_grad():
        exact = model(ids).log_softmax(-1)
        near = with_int8_weights(model)(ids).log_softmax(-1)
    spoilt = (exact.exp() * (exact - near)).sum(-1).mean()  # what it costs, in nats a token
    assert 0 <= spoilt < 0.01


def test_int8_behind_the_fast_cache_predicts_what_int8_predicts():
    small, ids = with_int8_weights(make_gpt()), torch.randint(40, (2, 12))
    fast = FastCached(small)
    with torch.no_grad():
        for end in range(4, 13):
            plain = small(ids[:, :end])[:, -1].softmax(-1)
            # Many rows and few are rounded to bfloat16 at different places.
            assert (fast(ids[:, :end])[:, -1].softmax(-1) - plain).abs().max() < 0.03


def test_every_part_of_the_copy_is_in_eval_mode():
    assert not any(module.training for module in with_int8_weights(make_gpt()).modules())


@pytest.mark.parametrize("wide", [64, 96])
def test_a_weight_is_off_by_at_most_half_a_step(wide):
    """A step is the largest number of a row, divided by 127 and rounded to bfloat16."""
    layer = nn.Linear(wide, 50)
    small = Int8Linear(layer)
    with torch.no_grad():
        steps = small.scales.float()[:, None]
        largest = layer.weight.abs().amax(dim=1, keepdim=True)
        assert torch.allclose(steps, largest / 127, rtol=2**-8)
        off = (small.weight.float() * steps - layer.weight).abs() / steps
    assert 0.49 < off.max() <= 0.5 + 1e-4
    assert small.weight.abs().max() == 127
