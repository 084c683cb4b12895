"""Sorted weights give the plain product, and a model with them the plain tokens."""

import pytest
import torch
from torch import nn

from bhushgpt.errors import UserError
from bhushgpt.generation import Sampling, generate
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.speed.small_weights import PackedLinear, has_onednn, with_packed_weights
from bhushgpt.speed.static_generation import FastCached

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"
)


def make_gpt() -> GPT:
    model = GPT(GPTConfig(vocab_size=40, context_length=16, n_layer=2, n_head=2, n_embd=32))
    with torch.no_grad():  # weights of a trained size, so that a mistake shows in the tokens
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


@pytest.mark.parametrize("shape", [(1, 64), (1, 1, 64), (3, 5, 64), (100, 64)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_the_product_is_the_plain_one(shape, bias, dtype, near):
    if not has_onednn(dtype):
        pytest.skip(f"this processor has no instructions for {dtype}")
    layer, x = nn.Linear(64, 48, bias=bias), torch.randn(shape)
    ours, plain = PackedLinear(layer, dtype)(x), layer(x)
    assert ours.shape == plain.shape and ours.dtype == torch.float32
    assert (ours - plain).abs().max() < near * plain.abs().max()


@pytest.mark.parametrize("settings", [Sampling(temperature=0), Sampling(seed=1)])
def test_in_float32_the_tokens_are_the_plain_ones(settings):
    model, start = make_gpt(), torch.tensor([[1, 2, 3]])
    packed = with_packed_weights(model, torch.float32)
    plain = torch.cat(list(generate(model, start, 20, settings)), dim=1)
    for writer in (packed, FastCached(packed)):
        assert torch.equal(torch.cat(list(generate(writer, start, 20, settings)), dim=1), plain)


@pytest.mark.skipif(not has_onednn(torch.bfloat16), reason="this processor has no bfloat16")
def test_in_bfloat16_predictions_stay_near():
    model, ids = make_gpt(), torch.randint(40, (8, 16))
    with torch.no_grad():
        exact = model(ids).log_softmax(-1)
        near = with_packed_weights(model, torch.bfloat16)(ids).log_softmax(-1)
    assert 0 <= (exact.exp() * (exact - near)).sum(-1).mean() < 0.01


def test_the_model_is_left_alone():
    model = make_gpt()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    packed = with_packed_weights(model)
    assert not any(isinstance(module, nn.Linear) for module in packed.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_another_device_and_a_torch_without_the_library_are_refused(monkeypatch):
    with pytest.raises(UserError, match="cannot be sorted on the device meta"):
        with_packed_weights(make_gpt().to("meta"))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    has_onednn.cache_clear()
    try:
        with pytest.raises(UserError, match=r"sorted in float32 here: .* this processor\.$"):
            with_packed_weights(make_gpt())
    finally:
        has_onednn.cache_clear()


@pytest.mark.parametrize("has_half", [True, False])
def test_a_processor_without_bfloat16_sorts_in_float32(monkeypatch, has_half):
    taken = []

    class Noted(PackedLinear):
        def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
            taken.append(dtype)
            super().__init__(linear, torch.float32)  # which every processor has

    known = {torch.float32, torch.bfloat16} if has_half else {torch.float32}
    monkeypatch.setattr("bhushgpt.speed.small_weights.has_onednn", known.__contains__)
    monkeypatch.setattr("bhushgpt.speed.small_weights.PackedLinear", Noted)
    with_packed_weights(make_gpt())
    assert {*taken} == {torch.bfloat16 if has_half else torch.float32}
    if not has_half:
        with pytest.raises(UserError, match=r"sorted in bfloat16 here.*dtype=torch\.float32\.$"):
            with_packed_weights(make_gpt(), torch.bfloat16)


def test_every_part_of_the_copy_is_in_eval_mode():
    assert not any(module.training for module in with_packed_weights(make_gpt()).modules())
