"""Today's attention and MLPs: equal to what they are made of, and blind to the future."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhushgpt.attention import CausalSelfAttention, Form, causal_mask
from bhushgpt.errors import UserError
from bhushgpt.modern_layers import GroupedAttention, SquaredReLU, SwiGLU, gated_width, window_mask
from bhushgpt.positions import Rotary

B, T, C, H, K, D, W = 3, 7, 24, 6, 2, 4, 3
FORMS: tuple[Form, ...] = ("explicit", "fused")


def stream(seed: int = 0) -> Tensor:
    return torch.randn(B, T, C, generator=torch.Generator().manual_seed(seed))


def attention(**options) -> GroupedAttention:
    torch.manual_seed(1)
    return GroupedAttention(C, H, **options)


def by_loop(module: GroupedAttention, x: Tensor) -> Tensor:
    """The formulas, one query at a time: grouped heads, norms, turned positions, a window."""
    groups, reach = module.n_head // module.n_kv_head, module.window or T
    q, k, v = module.qkv(x).split([C, module.n_kv_head * D, module.n_kv_head * D], dim=-1)

    def vector(of: Tensor, b: int, t: int, head: int, normed: bool) -> Tensor:
        one = of[b, t, head * D : (head + 1) * D]
        if normed and module.qk_norm:
            one = one / ((one**2).mean() + torch.finfo(one.dtype).eps).sqrt()
        if normed and module.rotary is not None:
            pairs = torch.view_as_complex(torch.stack([one[: D // 2], one[D // 2 :]], -1))
            angles = t * 10000.0 ** (-torch.arange(0, D, 2) / D)
            turned = pairs * torch.polar(torch.ones(D // 2), angles)
            one = torch.cat([turned.real, turned.imag])
        return one

    mixed = torch.zeros(B, T, C)
    for b in range(B):
        for head in range(H):
            for t in range(T):
                seen = range(max(0, t - reach + 1), t + 1)
                query = vector(q, b, t, head, True)
                keys = torch.stack([vector(k, b, s, head // groups, True) for s in seen])
                values = torch.stack([vector(v, b, s, head // groups, False) for s in seen])
                weights = (keys @ query / math.sqrt(D)).softmax(dim=0)
                mixed[b, t, head * D : (head + 1) * D] = weights @ values
    return module.projection(mixed)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("options", [{}, {"n_kv_head": K}, {"qk_norm": True}, {"window": W}, None])
def test_each_part_alone_and_all_together_are_the_formula_by_loop(form: Form, options) -> None:
    if options is None:
        options = {"n_kv_head": K, "qk_norm": True, "window": W, "rotary": Rotary(T, D)}
    module = attention(form=form, **options)
    torch.testing.assert_close(module(stream()), by_loop(module, stream()), atol=2e-6, rtol=1e-4)


def test_without_any_of_the_parts_it_is_the_attention_of_notebook_07() -> None:
    ours = attention(bias=True, rotary=Rotary(T, D))
    torch.manual_seed(1)
    theirs = CausalSelfAttention(C, H, rotary=Rotary(T, D))
    torch.testing.assert_close(ours(stream()), theirs(stream()))


def test_one_head_of_keys_for_each_query_is_plain_attention_with_repeated_keys() -> None:
    grouped, plain = attention(n_kv_head=K), attention()
    q, k, v = grouped.qkv.weight.split([C, K * D, K * D])
    k, v = (w.view(K, D, C).repeat_interleave(H // K, dim=0).flatten(0, 1) for w in (k, v))
    with torch.no_grad():
        plain.qkv.weight.copy_(torch.cat([q, k, v]))
        plain.projection.weight.copy_(grouped.projection.weight)
    torch.testing.assert_close(grouped(stream()), plain(stream()))


class Memory:
    def __init__(self) -> None:
        self.length, self.kept = 0, None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        new = torch.stack([keys, values])
        self.kept = new if self.kept is None else torch.cat([self.kept, new], dim=3)
        self.length = self.kept.shape[3]
        return self.kept[0], self.kept[1]


@pytest.mark.parametrize("form", FORMS)
def test_token_by_token_with_a_past_is_all_at_once(form: Form) -> None:
    module = attention(form=form, n_kv_head=K, qk_norm=True, window=W, rotary=Rotary(T, D))
    past, x = Memory(), stream()
    alone = torch.cat([module(x[:, t : t + 1], past) for t in range(T)], dim=1)
    torch.testing.assert_close(alone, module(x), atol=1e-6, rtol=1e-4)
    assert past.kept is not None and past.kept.shape == (2, B, K, T, D)


@pytest.mark.parametrize("form", FORMS)
def test_a_token_moves_the_window_behind_it_and_nothing_else(form: Form) -> None:
    module, x = attention(form=form, window=W), stream()
    changed = x.clone()
    changed[:, 2] += 1
    moved = (module(changed) - module(x)).abs().amax(dim=(0, 2)) > 1e-6
    assert moved.tolist() == [2 <= t < 2 + W for t in range(T)]


def test_no_window_is_the_mask_of_notebook_07() -> None:
    assert torch.equal(window_mask(3, T), causal_mask(3, T))
    assert torch.equal(window_mask(T, T, window=T), causal_mask(T, T))


def test_normed_queries_and_keys_bound_every_score() -> None:
    """However large the weights: a softmax of scores up to sqrt(D) leaves every key a share."""
    module, kept = attention(qk_norm=True, form="explicit"), []
    with torch.no_grad():
        module.qkv.weight.mul_(1000)
    module.weights.register_forward_hook(lambda *given: kept.append(given[2]))
    module(stream())
    seen = kept[0][..., -1, :]  # the last query sees all T keys
    assert seen.min() > math.exp(-2 * math.sqrt(D)) / T


def test_the_weights_pass_a_module_that_can_be_hooked() -> None:
    module, kept = attention(n_kv_head=K, form="explicit"), []
    module.weights.register_forward_hook(lambda *given: kept.append(given[2]))
    module(stream())
    assert kept[0].shape == (B, H, T, T)
    torch.testing.assert_close(kept[0].sum(-1), torch.ones(B, H, T))


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"n_head": 5}, "n_embd 24 is not a multiple of n_head 5"),
        ({"n_kv_head": 4}, "n_head 6 is not a multiple of n_kv_head 4"),
        ({"n_kv_head": -1}, "n_kv_head -1"),
        ({"window": -2}, "window is -2"),
    ],
)
def test_heads_that_do_not_fit_are_named(sizes: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"n_embd": C, "n_head": H}
    with pytest.raises(UserError, match=said):
        GroupedAttention(**(given | sizes))


def test_the_mlps_are_their_formulas() -> None:
    x = stream()
    squared = SquaredReLU(C)
    hidden = torch.clamp(x @ squared.widen.weight.T, min=0) ** 2
    torch.testing.assert_close(squared(x), hidden @ squared.projection.weight.T)
    gated = SwiGLU(C)
    gate = x @ gated.gate.weight.T
    hidden = gate * torch.sigmoid(gate) * (x @ gated.widen.weight.T)
    torch.testing.assert_close(gated(x), hidden @ gated.projection.weight.T)


def test_three_gated_matrices_have_as_many_weights_as_two() -> None:
    for n_embd in (24, 128, 256, 768):
        ratio = 3 * gated_width(n_embd) / (8 * n_embd)
        assert 1 <= ratio <= 1.02 and gated_width(n_embd) % 8 == 0


def test_the_norm_is_the_formula() -> None:
    x, norm = stream(), nn.RMSNorm(C, eps=1e-6)
    by_hand = x / ((x**2).mean(dim=-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(norm(x), by_hand)
    torch.testing.assert_close(F.rms_norm(x, (C,), eps=1e-6), by_hand)
