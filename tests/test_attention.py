"""Attention: all forms are one formula, nobody sees the future, and mistakes are noticed."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhushgpt.attention import CausalSelfAttention, Form, causal_mask
from bhushgpt.errors import UserError
from bhushgpt.positions import Rotary, learned_positions, sinusoidal_positions

B, T, C, H, D = 5, 7, 12, 3, 4
FORMS: tuple[Form, ...] = ("explicit", "fused")


def stream(seed: int = 0) -> Tensor:
    return torch.randn(B, T, C, generator=torch.Generator().manual_seed(seed))


def attention(kind: type[CausalSelfAttention] = CausalSelfAttention, **options):
    torch.manual_seed(1)
    return kind(C, H, **options)


def by_loop(module: CausalSelfAttention, x: Tensor) -> Tensor:
    """The formula, one query at a time: no mask, since the loop looks at the past alone."""
    q, k, v = module.qkv(x).chunk(3, dim=-1)
    mixed = torch.zeros(B, T, C)
    for b in range(B):
        for head in range(H):
            mine = slice(head * D, (head + 1) * D)
            for t in range(T):
                scores = torch.stack([q[b, t, mine] @ k[b, s, mine] for s in range(t + 1)])
                weights = (scores / math.sqrt(D)).softmax(dim=0)
                mixed[b, t, mine] = sum(weights[s] * v[b, s, mine] for s in range(t + 1))
    return module.projection(mixed)


def by_torch_function(module: CausalSelfAttention, x: Tensor) -> Tensor:
    q, k, v = (part.unflatten(-1, (H, D)).transpose(1, 2) for part in module.qkv(x).chunk(3, -1))
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return module.projection(mixed.transpose(1, 2).flatten(2))


def by_torch_module(module: CausalSelfAttention, x: Tensor) -> Tensor:
    """Copy the weights into torch's own class; gradients come back through the copies."""
    library = nn.MultiheadAttention(C, H, batch_first=True)
    copies = {
        "in_proj_weight": module.qkv.weight,
        "in_proj_bias": module.qkv.bias,
        "out_proj.weight": module.projection.weight,
        "out_proj.bias": module.projection.bias,
    }
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    options = {"attn_mask": future, "need_weights": False}
    return torch.func.functional_call(library, copies, (x, x, x), options)[0]


ORACLES = [by_loop, by_torch_function, by_torch_module]


def result_and_gradients(compute, module: nn.Module) -> list[Tensor]:
    x = stream().requires_grad_()
    module.zero_grad()
    y = compute(x)
    (y * stream(seed=2)).sum().backward()
    parts = [y, x.grad, *(parameter.grad for parameter in module.parameters())]
    return [part.detach() for part in parts if part is not None]


def assert_equals_the_formula(module: CausalSelfAttention, oracle=by_torch_function) -> None:
    """Outputs, and gradients of the input and of every weight."""
    ours = result_and_gradients(module, module)
    theirs = result_and_gradients(lambda x: oracle(module, x), module)
    assert len(ours) == len(theirs) == 6
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def assert_the_future_changes_nothing(module: nn.Module) -> None:
    """Other tokens from t on leave every output before t as it was, and change the one at t."""
    x = stream()
    before = module(x)
    for t in range(T):
        changed = torch.cat([x[:, :t], stream(seed=3)[:, t:]], dim=1)
        after = module(changed)
        torch.testing.assert_close(after[:, :t], before[:, :t], atol=1e-6, rtol=0)
        assert (after[:, t] - before[:, t]).abs().max() > 1e-3


@torch.no_grad()
def assert_weights_are_shares_of_the_past(module: CausalSelfAttention) -> None:
    seen: list[Tensor] = []
    handle = module.weights.register_forward_hook(lambda *call: seen.append(call[-1]))
    module(stream())
    handle.remove()
    assert [tuple(weights.shape) for weights in seen] == [(B, H, T, T)]
    torch.testing.assert_close(seen[0].sum(dim=-1), torch.ones(B, H, T))
    assert seen[0].triu(1).abs().max() == 0 and seen[0].min() >= 0


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("form", FORMS)
def test_outputs_and_gradients_equal_the_formula(form: Form, oracle) -> None:
    assert_equals_the_formula(attention(form=form), oracle)


def test_explicit_equals_fused_with_rotary() -> None:
    modules = [attention(form=form, rotary=Rotary(T, D)) for form in FORMS]
    explicit, fused = (result_and_gradients(module, module) for module in modules)
    for one, other in zip(explicit, fused, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_bfloat16_is_near_float32(form: Form) -> None:
    module = attention(form=form)
    exact = result_and_gradients(module, module)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = result_and_gradients(module, module)
    assert rough[0].dtype == torch.bfloat16
    for one, other in zip(exact, rough, strict=True):
        error = (one - other.float()).norm() / one.norm()
        assert 1e-5 < error < 0.05


def test_auto_is_explicit_on_the_cpu() -> None:
    assert_weights_are_shares_of_the_past(attention())
    assert_weights_are_shares_of_the_past(attention(form="explicit"))
    with pytest.raises(AssertionError):  # the fused form never has them in its hands
        assert_weights_are_shares_of_the_past(attention(form="fused"))


def test_a_hook_can_replace_the_weights() -> None:
    module = attention()
    module.weights.register_forward_hook(lambda *call: torch.zeros_like(call[-1]))
    assert torch.allclose(module(stream()), module.projection.bias.expand(B, T, C))


# The past


@pytest.mark.parametrize("with_rotary", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_a_future_token_changes_no_past_output(form: Form, with_rotary: bool) -> None:
    rotary = Rotary(T, D) if with_rotary else None
    assert_the_future_changes_nothing(attention(form=form, rotary=rotary))


class WithPositions(nn.Module):
    def __init__(self, positions: nn.Module) -> None:
        super().__init__()
        self.positions, self.attention = positions, attention()

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x + self.positions(x.shape[1]))


@pytest.mark.parametrize("make", [learned_positions, sinusoidal_positions])
def test_added_positions_show_no_future_either(make) -> None:
    assert_the_future_changes_nothing(WithPositions(make(T, C)))


def test_the_mask_hides_the_future_of_the_last_queries() -> None:
    for n_queries, n_keys in ((1, 1), (4, 4), (1, 6), (3, 7)):
        mask = causal_mask(n_queries, n_keys)
        for t in range(n_queries):
            for s in range(n_keys):
                is_past = s <= n_keys - n_queries + t
                assert mask[t, s] == (0 if is_past else -torch.inf)


class Memory:
    """The simplest past: it keeps everything in a list."""

    def __init__(self) -> None:
        self.length, self.kept = 0, []

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        self.kept.append((keys, values))
        self.length += keys.shape[2]
        return torch.cat([k for k, _ in self.kept], 2), torch.cat([v for _, v in self.kept], 2)


@torch.no_grad()
def assert_pieces_equal_the_whole(module: CausalSelfAttention, sizes: list[int]) -> None:
    x = stream()
    whole = module(x)
    past = Memory()
    pieces = [module(piece, past) for piece in x.split(sizes, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sizes", [[1] * T, [3, 4], [1, 2, 4], [T]])
@pytest.mark.parametrize("with_rotary", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_tokens_after_a_past_equal_the_whole(form: Form, with_rotary: bool, sizes) -> None:
    rotary = Rotary(T, D) if with_rotary else None
    assert_pieces_equal_the_whole(attention(form=form, rotary=rotary), sizes)


# Dropout


@pytest.mark.parametrize("form", FORMS)
def test_dropout_is_at_work_in_train_mode_only(form: Form) -> None:
    module, x = attention(form=form, dropout=0.5), stream()
    assert not torch.equal(module(x), module(x))
    module.eval()
    assert torch.equal(module(x), module(x))
    assert torch.allclose(module(x), attention(form=form)(x))  # the same weights without dropout


def test_dropout_zeroes_its_share_and_scales_the_rest() -> None:
    share = 0.3
    module = CausalSelfAttention(60, 5, dropout=share)
    for part, value in ((module.weight_dropout, 0.25), (module.output_dropout, -2.0)):
        out = part(torch.full((200, 200), value))
        zeros = (out == 0).float().mean().item()
        assert zeros == pytest.approx(share, abs=0.02)
        torch.testing.assert_close(out[out != 0], torch.full_like(out[out != 0], value / 0.7))
    out = module(torch.randn(8, 50, 60))
    assert (out == 0).float().mean().item() == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("form", FORMS)
def test_attention_weights_are_dropped_too(form: Form) -> None:
    """With v = 1 and no output dropout each output is the sum of the weights that are left."""
    module = CausalSelfAttention(4, 1, dropout=0.3, form=form)
    module.output_dropout.p = 0.0
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.qkv.bias[8:] = 1.0
        module.projection.weight.copy_(torch.eye(4))
        sums = module(torch.zeros(512, 50, 4))[..., 0]
    assert (sums[:, 0] == 0).float().mean().item() == pytest.approx(0.3, abs=0.08)
    last = sums[:, -1] * 0.7  # the share of 50 equal weights that survived
    assert last.mean().item() == pytest.approx(0.7, abs=0.04)
    assert last.std().item() == pytest.approx(math.sqrt(0.3 * 0.7 / 50), rel=0.4)


# Errors


@pytest.mark.parametrize(("n_embd", "n_head"), [(10, 3), (12, 0), (12, -2), (2, 4)])
def test_channels_that_cannot_be_shared_out_are_refused(n_embd: int, n_head: int) -> None:
    message = f"n_embd {n_embd} cannot be shared out among {n_head} heads.*multiple of n_head"
    with pytest.raises(UserError, match=message):
        CausalSelfAttention(n_embd, n_head)


# Planted mistakes: the assertions above must see them


class Mutant(CausalSelfAttention):
    """The explicit form with its five places where people go wrong."""

    def mask(self) -> Tensor:
        return causal_mask(T, T)

    def shared(self, scores: Tensor) -> Tensor:
        return scores.softmax(dim=-1)

    def scale(self) -> float:
        return 1 / math.sqrt(D)

    def split(self, part: Tensor) -> Tensor:
        return part.view(B, T, H, D).transpose(1, 2)

    def join(self, mixed: Tensor) -> Tensor:
        return mixed.transpose(1, 2).reshape(B, T, C)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.split(part) for part in self.qkv(x).chunk(3, dim=-1))
        scores = q @ k.transpose(-1, -2) * self.scale() + self.mask()
        weights = self.weights(self.shared(scores))
        return self.projection(self.join(weights @ v))


class SeesOneAhead(Mutant):
    def mask(self) -> Tensor:
        return torch.full((T, T), -torch.inf).triu(2)


class SeesAll(Mutant):
    def mask(self) -> Tensor:
        return torch.zeros(T, T)


class MasksWithZero(Mutant):
    def mask(self) -> Tensor:
        return torch.zeros(T, T)

    def shared(self, scores: Tensor) -> Tensor:
        return scores.tril().softmax(dim=-1)


class MasksAfterSoftmax(Mutant):
    def mask(self) -> Tensor:
        return torch.zeros(T, T)

    def shared(self, scores: Tensor) -> Tensor:
        return scores.softmax(dim=-1).tril()


class SoftmaxOverQueries(Mutant):
    def shared(self, scores: Tensor) -> Tensor:
        return scores.softmax(dim=-2)


class ScalesByWidth(Mutant):
    def scale(self) -> float:
        return 1 / math.sqrt(C)


class ForgetsToScale(Mutant):
    def scale(self) -> float:
        return 1.0


class SplitsWithoutTranspose(Mutant):
    def split(self, part: Tensor) -> Tensor:
        return part.reshape(B, H, T, D)


class JoinsWithoutTranspose(Mutant):
    def join(self, mixed: Tensor) -> Tensor:
        return mixed.reshape(B, T, C)


def test_without_a_mistake_the_mutant_class_passes() -> None:
    for check in (
        assert_equals_the_formula,
        assert_the_future_changes_nothing,
        assert_weights_are_shares_of_the_past,
    ):
        check(attention(Mutant))


@pytest.mark.parametrize(
    ("mutant", "check"),
    [
        (SeesOneAhead, assert_equals_the_formula),
        (SeesOneAhead, assert_the_future_changes_nothing),
        (SeesOneAhead, assert_weights_are_shares_of_the_past),
        (SeesAll, assert_the_future_changes_nothing),
        (MasksWithZero, assert_the_future_changes_nothing),
        (MasksWithZero, assert_weights_are_shares_of_the_past),
        (MasksAfterSoftmax, assert_the_future_changes_nothing),
        (MasksAfterSoftmax, assert_weights_are_shares_of_the_past),
        (SoftmaxOverQueries, assert_equals_the_formula),
        (SoftmaxOverQueries, assert_weights_are_shares_of_the_past),
        (ScalesByWidth, assert_equals_the_formula),
        (ForgetsToScale, assert_equals_the_formula),
        (SplitsWithoutTranspose, assert_equals_the_formula),
        (SplitsWithoutTranspose, assert_the_future_changes_nothing),
        (JoinsWithoutTranspose, assert_equals_the_formula),
    ],
)
def test_a_planted_mistake_is_caught(mutant, check) -> None:
    with pytest.raises(AssertionError):
        check(attention(mutant))


def test_a_mask_lined_up_with_the_first_key_is_caught() -> None:
    """What torch's is_causal does when there are fewer queries than keys."""

    class WrongCorner(CausalSelfAttention):
        def fused(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    with pytest.raises(AssertionError):
        assert_pieces_equal_the_whole(attention(WrongCorner, form="fused"), [3, 4])
