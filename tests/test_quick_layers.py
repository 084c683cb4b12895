"""The quick forms of a CPU are the plain layers: values, slopes, and who falls back to them."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from bhushgpt.attention import CausalSelfAttention
from bhushgpt.kv_cache import LayerCache
from bhushgpt.positions import Rotary
from bhushgpt.speed import cpu_layers
from bhushgpt.speed.acceleration import compile_trouble
from bhushgpt.speed.cpu_layers import (
    QUICK,
    FusedBiasLinear,
    QuickAttention,
    SigmoidGELU,
)
from bhushgpt.speed.small_weights import has_onednn
from bhushgpt.speed.views import view

# Of the largest number: a bfloat16 has 8 bits for its digits.
ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 2**-7}
TYPES = list(ROUNDING)


def results(module: nn.Module, x: torch.Tensor, dtype: torch.dtype) -> list[torch.Tensor]:
    """Return value, slope of the input, and slopes of the weights, under autocast to a type."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        y = module(x)
    torch.manual_seed(1)
    y.backward(torch.randn(y.shape, dtype=y.dtype))
    assert x.grad is not None
    grads = [p.grad for p in module.parameters() if p.grad is not None]
    return [y.detach(), x.grad, *grads]


def assert_same(ours: nn.Module, plain: nn.Module, x: torch.Tensor, dtype: torch.dtype) -> None:
    pairs = list(zip(results(ours, x, dtype), results(plain, x, dtype), strict=True))
    for mine, theirs in pairs:
        assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
        largest = theirs.abs().max().item()
        assert (mine - theirs).abs().max().item() <= 2 * ROUNDING[dtype] * largest


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(cpu_layers, "NUMBERS_AT_ONCE", 100)
    monkeypatch.setattr(cpu_layers, "SCORES_AT_ONCE", 2 * 3 * 7 * 7)  # two texts of 7 tokens


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(3, 5, 33), (1,), (0, 4), (100,), (4, 50)])
def test_gelu_is_gelu(dtype, shape, small_blocks):
    x = 4 * torch.randn(shape)
    x = x.to(dtype)  # autocast does not reach a GELU: it takes what the layer before it gives
    if not x.numel():
        assert SigmoidGELU(approximate="tanh")(x.requires_grad_()).shape == shape
        return
    assert_same(SigmoidGELU(approximate="tanh"), nn.GELU(approximate="tanh"), x, dtype)


def test_gelu_far_from_zero_is_the_number_or_nothing():
    x = torch.tensor([-1e4, -50.0, 50.0, 1e4], requires_grad=True)
    y = SigmoidGELU(approximate="tanh")(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert y.tolist() == [0, 0, 50, 1e4] and slope.tolist() == [0, 0, 1, 1]


def test_the_slope_of_gelu_is_that_of_its_values():
    x = torch.linspace(-4, 4, 200, requires_grad=True)
    gelu, width = SigmoidGELU(approximate="tanh"), 1e-4
    (slope,) = torch.autograd.grad(gelu(x).sum(), x)
    exact = x.detach().double()
    up, down = (nn.functional.gelu(exact + w, approximate="tanh") for w in (width, -width))
    assert torch.allclose(slope.double(), (up - down) / (2 * width), atol=1e-5)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(6, 9), (2, 5, 9), (2, 1, 3, 9)])
def test_a_layer_with_its_bias_is_that_layer(dtype, shape):
    if not has_onednn(dtype):
        pytest.skip(f"this PyTorch does not add biases so in {dtype} on this processor")
    plain = nn.Linear(9, 17)
    ours = view(copy.deepcopy(plain), QUICK)
    assert type(ours) is FusedBiasLinear
    assert_same(ours, plain, torch.randn(shape), dtype)


def test_frozen_weights_get_no_slope():
    layer = FusedBiasLinear(4, 3)
    layer.weight.requires_grad_(False)
    layer(torch.randn(2, 4)).sum().backward()
    assert layer.weight.grad is None and layer.bias.grad is not None


def attentions(**settings) -> tuple[Any, CausalSelfAttention]:
    torch.manual_seed(0)
    plain = CausalSelfAttention(12, 3, **settings)
    ours = view(copy.deepcopy(plain), {CausalSelfAttention: QuickAttention})
    return ours, plain


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("texts", [1, 2, 4, 5])
def test_attention_by_blocks_is_attention(dtype, texts, small_blocks):
    assert_same(*attentions(), torch.randn(texts, 7, 12), dtype)


def test_a_block_of_one_text_may_be_larger_than_planned(monkeypatch):
    monkeypatch.setattr(cpu_layers, "SCORES_AT_ONCE", 1)
    assert_same(*attentions(), torch.randn(3, 7, 12), torch.float32)


@pytest.mark.parametrize("form", ["auto", "explicit"])
def test_blocks_are_really_taken(form, small_blocks, monkeypatch):
    ours, _ = attentions(form=form)
    monkeypatch.setattr(QuickAttention, "explicit", lambda *given: pytest.fail("not blocked"))
    ours(torch.randn(4, 7, 12))


@pytest.mark.parametrize(
    "settings", [{"form": "fused"}, {"dropout": 0.5}, {"rotary": Rotary(7, 4)}]
)
def test_what_blocks_do_not_know_goes_the_usual_way(settings, small_blocks, monkeypatch):
    ours, plain = attentions(**settings)
    monkeypatch.setattr(cpu_layers._Blocked, "apply", lambda *a: pytest.fail("blocked"))
    x = torch.randn(4, 7, 12)
    values = []
    for module in (ours, plain):
        torch.manual_seed(2)
        values.append(module(x))
    torch.testing.assert_close(*values, atol=1e-6, rtol=1e-5)


def test_a_past_is_looked_at_as_well(small_blocks):
    ours, plain = attentions()
    x, values = torch.randn(4, 7, 12), []
    for module in (ours, plain):
        past = LayerCache(10)
        module(torch.ones(4, 3, 12), past)
        values.append(module(x, past))
    torch.testing.assert_close(*values, atol=1e-6, rtol=1e-5)


def test_whoever_looks_at_the_weights_sees_them(small_blocks):
    ours, _ = attentions()
    seen = []
    ours.weights.register_forward_hook(lambda module, given, result: seen.append(result))
    ours(torch.randn(4, 7, 12))
    assert seen[0].shape == (4, 3, 7, 7)


def test_without_a_gradient_all_are_the_plain_layers(small_blocks, monkeypatch):
    layers = nn.Sequential(nn.Linear(12, 12), CausalSelfAttention(12, 3), nn.GELU("tanh"))
    x = torch.randn(4, 7, 12)
    with torch.no_grad():
        plain = layers(x)
        quick = view(layers, QUICK)
        for function in (cpu_layers._SigmoidGELU, cpu_layers._FusedBias):
            monkeypatch.setattr(function, "apply", lambda *a: pytest.fail("not plain"))
        monkeypatch.setattr(cpu_layers._Blocked, "apply", lambda *a: pytest.fail("blocked"))
        torch.testing.assert_close(quick(x), plain, atol=1e-6, rtol=1e-5)


def test_a_view_has_the_weights_and_hooks_of_the_model_which_does_not_notice():
    layers = nn.Sequential(nn.Linear(12, 12), CausalSelfAttention(12, 3), nn.GELU("tanh"))
    kinds = [type(module) for module in layers.modules()]
    quick: Any = view(layers, QUICK)
    assert [type(module) for module in quick] == [FusedBiasLinear, QuickAttention, SigmoidGELU]
    assert [type(module) for module in layers.modules()] == kinds
    assert list(quick.state_dict()) == list(layers.state_dict())
    assert all(a is b for a, b in zip(quick.parameters(), layers.parameters(), strict=True))
    # What comes later is shared as well: other weights, and whoever looks at a layer.
    layers.load_state_dict({name: 0 * value for name, value in layers.state_dict().items()})
    seen = []
    layers[1].register_forward_hook(lambda *given: seen.append(given[2]))
    layers[0].weight = nn.Parameter(torch.ones(12, 12))
    assert quick(torch.randn(1, 7, 12)).abs().max() == 0 and len(seen) == 1
    assert quick[0].weight is layers[0].weight
    layers.double()
    assert quick[0].weight.dtype == torch.float64


# Traced both ways, and its operations run as they are; or made into C++ too, in half a minute.
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.long)])
@pytest.mark.filterwarnings("ignore")  # what torch's compiler warns about is its own code
def test_compiled_they_are_the_same(small_blocks, backend):
    if backend == "inductor" and (trouble := compile_trouble("cpu")):
        pytest.skip(trouble)
    layers = nn.Sequential(nn.Linear(12, 12), CausalSelfAttention(12, 3), nn.GELU("tanh"))
    plain = copy.deepcopy(layers)
    quick = view(layers, QUICK)
    quick.compile(backend=backend)
    assert layers._compiled_call_impl is None
    assert_same(quick, plain, torch.randn(4, 7, 12), torch.float32)


def test_what_is_not_the_same_would_be_noticed(small_blocks, monkeypatch):
    monkeypatch.setattr(cpu_layers, "CUBIC", 1.01 * cpu_layers.CUBIC)
    monkeypatch.setattr(cpu_layers, "causal_mask", lambda *sizes: torch.zeros(sizes))
    with pytest.raises(AssertionError):
        gelus = SigmoidGELU(approximate="tanh"), nn.GELU(approximate="tanh")
        assert_same(*gelus, torch.randn(50), torch.float32)
    with pytest.raises(AssertionError):
        assert_same(*attentions(), torch.randn(4, 7, 12), torch.float32)


@pytest.mark.parametrize("layer", [nn.GELU("tanh"), nn.Linear(7, 7)], ids=["gelu", "linear"])
def test_numbers_that_do_not_lie_in_a_row_are_taken_as_they_are_meant(layer, small_blocks):
    ours = view(copy.deepcopy(layer), QUICK)
    for x in (torch.randn(7, 30, 7).transpose(0, 1), torch.randn(30, 14)[:, ::2]):
        assert not x.is_contiguous()
        assert_same(ours, layer, x.detach(), torch.float32)


def test_attention_of_numbers_that_do_not_lie_in_a_row(small_blocks):
    x = torch.randn(7, 4, 12).transpose(0, 1)
    assert not x.is_contiguous()
    assert_same(*attentions(), x, torch.float32)


def test_the_other_gelu_stays_itself(monkeypatch):
    monkeypatch.setattr(cpu_layers._SigmoidGELU, "apply", lambda *a: pytest.fail("another form"))
    x = torch.randn(50)
    plain = nn.GELU()
    assert_same(view(copy.deepcopy(plain), QUICK), plain, x, torch.float32)


def test_whoever_looks_at_the_weights_before_they_are_used_sees_them(small_blocks):
    ours, plain = attentions()
    seen = []
    ours.weights.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    x = torch.randn(4, 7, 12)
    torch.testing.assert_close(ours(x), plain(x), atol=1e-6, rtol=1e-5)
    assert seen[0].shape == (4, 3, 7, 7)


class Products(TorchDispatchMode):
    """Counts the products of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten.mm.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("frozen", "products"), [(False, 2), (True, 1)])
def test_a_slope_that_nobody_wants_is_not_computed(frozen, products):
    layer = FusedBiasLinear(4, 3)
    layer.weight.requires_grad_(not frozen)
    result = layer(torch.randn(2, 4, requires_grad=True)).sum()
    with Products() as seen:
        result.backward()
    assert seen.count == products
