"""MLP and block: equal to their formulas, and mistakes are noticed."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhushgpt.attention import CausalSelfAttention
from bhushgpt.transformer import MLP, Block

B, T, C, H = 5, 7, 12, 3


def stream(seed: int = 0) -> Tensor:
    # Far from mean 0 and length 1, so that a norm that is missing is noticed.
    x = torch.randn(B, T, C, generator=torch.Generator().manual_seed(seed))
    return 3 * x + 2


def block(kind: type[Block] = Block, dropout: float = 0.0) -> Block:
    torch.manual_seed(1)
    attention = CausalSelfAttention(C, H, dropout=dropout)
    made = kind(C, attention, MLP(C, dropout=dropout))
    # Gains and biases away from 1 and 0, so that a norm that forgets them is noticed.
    norms: Any = (made.norm_1, made.norm_2)
    for norm in norms:
        nn.init.normal_(norm.weight, mean=1.0)
        nn.init.normal_(norm.bias)
    return made


def norm_by_hand(x: Tensor, norm: Any) -> Tensor:
    """One token at a time: subtract its mean, divide by its standard deviation."""
    out = torch.empty_like(x)
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            mean = sum(x[b, t]) / C
            variance = sum((number - mean) ** 2 for number in x[b, t]) / C
            out[b, t] = (x[b, t] - mean) / (variance + 1e-5) ** 0.5
    return out * norm.weight + norm.bias


def gelu_by_hand(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def mlp_by_hand(x: Tensor, mlp: MLP) -> Tensor:
    hidden = gelu_by_hand(x @ mlp.widen.weight.T + mlp.widen.bias)
    return hidden @ mlp.projection.weight.T + mlp.projection.bias


@torch.no_grad()
def assert_equals_the_formula(module: Block) -> None:
    x = stream()
    middle = x + module.attention(norm_by_hand(x, module.norm_1))
    expected = middle + mlp_by_hand(norm_by_hand(middle, module.norm_2), module.mlp)  # type: ignore[arg-type]
    torch.testing.assert_close(module(x), expected, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def assert_silent_parts_leave_the_stream_alone(module: Block) -> None:
    """Parts that add zero change nothing: the stream itself goes through untouched."""
    for part in (module.attention.projection, module.mlp.projection):
        for parameter in part.parameters():  # type: ignore[union-attr]
            parameter.zero_()
    assert torch.equal(module(stream()), stream())


@torch.no_grad()
def assert_examples_stay_apart(module: Block) -> None:
    whole = module(stream())
    alone = torch.cat([module(one) for one in stream().split(1)])
    torch.testing.assert_close(whole, alone, atol=1e-5, rtol=1e-5)


def test_layer_norm_by_hand_equals_the_library() -> None:
    norm = block().norm_1
    torch.testing.assert_close(norm_by_hand(stream(), norm), norm(stream()), atol=1e-5, rtol=1e-5)


def test_the_mlp_equals_its_formula() -> None:
    torch.manual_seed(1)
    mlp = MLP(C)
    torch.testing.assert_close(mlp(stream()), mlp_by_hand(stream(), mlp), atol=1e-5, rtol=1e-5)


def test_the_mlp_equals_the_functional_form() -> None:
    mlp = MLP(C)
    hidden = F.gelu(F.linear(stream(), mlp.widen.weight, mlp.widen.bias), approximate="tanh")
    expected = F.linear(hidden, mlp.projection.weight, mlp.projection.bias)
    assert torch.equal(mlp(stream()), expected)


def test_the_mlp_works_on_each_token_by_itself() -> None:
    mlp, order = MLP(C), torch.randperm(T)
    torch.testing.assert_close(mlp(stream()[:, order]), mlp(stream())[:, order])


def test_the_mlp_is_four_times_wide_and_two_thirds_of_the_matrices() -> None:
    module = Block(120, CausalSelfAttention(120, 3), MLP(120))
    assert isinstance(module.mlp, MLP)
    assert module.mlp.widen.weight.shape == (480, 120)
    matrices = {name: p.numel() for name, p in module.named_parameters() if p.dim() == 2}
    in_mlp = sum(size for name, size in matrices.items() if name.startswith("mlp."))
    assert in_mlp * 3 == sum(matrices.values()) * 2


def test_the_block_equals_its_formula() -> None:
    assert_equals_the_formula(block())


def test_the_block_adds_to_the_stream() -> None:
    assert_silent_parts_leave_the_stream_alone(block())


def test_examples_of_a_batch_do_not_touch_each_other() -> None:
    assert_examples_stay_apart(block())


def test_a_future_token_changes_no_past_output() -> None:
    module, x = block(), stream()
    for t in range(1, T):
        changed = torch.cat([x[:, :t], stream(seed=3)[:, t:]], dim=1)
        torch.testing.assert_close(module(changed)[:, :t], module(x)[:, :t], atol=1e-5, rtol=0)


def test_any_two_parts_make_a_block() -> None:
    module = Block(C, nn.Identity(), nn.Identity())
    normed = F.layer_norm(stream(), (C,))
    middle = stream() + normed
    torch.testing.assert_close(module(stream()), middle + F.layer_norm(middle, (C,)))


def test_dropout_is_at_work_in_train_mode_only() -> None:
    module = block(dropout=0.5)
    assert not torch.equal(module(stream()), module(stream()))
    module.eval()
    assert torch.equal(module(stream()), module(stream()))
    assert torch.equal(module(stream()), block()(stream()))


def test_the_mlps_dropout_zeroes_its_share() -> None:
    out = MLP(C, dropout=0.3)(torch.randn(100, 50, C))
    assert (out == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)


# Planted mistakes: the assertions above must see them


class PostNorm(Block):
    def forward(self, x: Tensor) -> Tensor:
        x = self.norm_1(x + self.attention(x))
        return self.norm_2(x + self.mlp(x))


class ResidualFromTheNormed(Block):
    def forward(self, x: Tensor) -> Tensor:
        x = self.norm_1(x)
        x = x + self.attention(x)
        x = self.norm_2(x)
        return x + self.mlp(x)


class OneResidualMissing(Block):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x))
        return self.mlp(self.norm_2(x))


class MlpReadsTheOldStream(Block):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.norm_1(x)) + self.mlp(self.norm_2(x))


class OneNormForBoth(Block):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x))
        return x + self.mlp(self.norm_1(x))


class OtherNorm(Block):
    """A block whose norms are computed by `statistics`, gains and biases as they were."""

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def normed(self, x: Tensor, norm: Any) -> Tensor:
        mean, variance = self.statistics(x)
        return (x - mean) / (variance + 1e-5).sqrt() * norm.weight + norm.bias

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.normed(x, self.norm_1))
        return x + self.mlp(self.normed(x, self.norm_2))


class RightNorm(OtherNorm):
    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)


class UnbiasedVariance(OtherNorm):
    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.mean(-1, keepdim=True), x.var(-1, keepdim=True)


class NormOverTheBatch(OtherNorm):
    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.mean(0, keepdim=True), x.var(0, keepdim=True, unbiased=False)


def test_without_a_mistake_the_mutant_class_passes() -> None:
    assert_equals_the_formula(block(RightNorm))
    assert_examples_stay_apart(block(RightNorm))


@pytest.mark.parametrize(
    ("mutant", "check"),
    [
        (PostNorm, assert_equals_the_formula),
        (PostNorm, assert_silent_parts_leave_the_stream_alone),
        (ResidualFromTheNormed, assert_equals_the_formula),
        (ResidualFromTheNormed, assert_silent_parts_leave_the_stream_alone),
        (OneResidualMissing, assert_silent_parts_leave_the_stream_alone),
        (MlpReadsTheOldStream, assert_equals_the_formula),
        (OneNormForBoth, assert_equals_the_formula),
        (UnbiasedVariance, assert_equals_the_formula),
        (NormOverTheBatch, assert_equals_the_formula),
        (NormOverTheBatch, assert_examples_stay_apart),
    ],
)
def test_a_planted_mistake_is_caught(mutant, check) -> None:
    with pytest.raises(AssertionError):
        check(block(mutant))


def test_the_other_gelu_is_caught() -> None:
    mlp = MLP(C)
    mlp.activation = nn.GELU()
    assert (mlp(stream()) - mlp_by_hand(stream(), mlp)).abs().max() > 1e-5
