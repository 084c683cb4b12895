"""Positions: the formulas, what they promise, and that a wrong formula would be noticed."""

import math

import pytest
import torch
from torch import Tensor, nn

from bhushgpt.errors import UserError
from bhushgpt.positions import (
    Positions,
    Rotary,
    learned_positions,
    sinusoidal_positions,
    sinusoidal_table,
)

P, C, T, D = 9, 12, 7, 6


def table_by_loop(context_length: int, n_embd: int) -> Tensor:
    """Section 3.5 of arXiv 1706.03762, one number at a time."""
    table = torch.zeros(context_length, n_embd)
    for position in range(context_length):
        for i in range(n_embd // 2):
            angle = position / 10000 ** (2 * i / n_embd)
            table[position, 2 * i] = math.sin(angle)
            table[position, 2 * i + 1] = math.cos(angle)
    return table


def rotated_by_complex_numbers(x: Tensor, start: int) -> Tensor:
    """Channel i and channel i + D/2 are one complex number; turning is multiplying."""
    half = x.shape[-1] // 2
    numbers = torch.complex(x[..., :half].double(), x[..., half:].double())
    places = torch.arange(start, start + x.shape[-2], dtype=torch.float64)
    speeds = torch.tensor([10000 ** (-2 * i / (2 * half)) for i in range(half)]).double()
    turned = numbers * torch.polar(torch.ones(()).double(), torch.outer(places, speeds))
    return torch.cat([turned.real, turned.imag], dim=-1).float()


def assert_is_the_papers_table(make) -> None:
    torch.testing.assert_close(make(P, C), table_by_loop(P, C), atol=1e-6, rtol=0)


def assert_moving_turns_each_pair_equally(make) -> None:
    """Row p + k is row p with pair i turned by k / 10000^(2i/C), wherever p is."""
    table, k = make(40, C), 5
    angles = torch.tensor([k / 10000 ** (2 * i / C) for i in range(C // 2)])
    sin, cos = table[:-k, 0::2], table[:-k, 1::2]
    moved = torch.stack(
        [sin * angles.cos() + cos * angles.sin(), cos * angles.cos() - sin * angles.sin()], dim=-1
    )
    torch.testing.assert_close(table[k:], moved.flatten(1), atol=1e-5, rtol=0)


def test_the_sinusoidal_table_is_the_papers_formula() -> None:
    assert_is_the_papers_table(sinusoidal_table)


def test_moving_by_k_positions_turns_each_pair_by_the_same_angle() -> None:
    assert_moving_turns_each_pair_equally(sinusoidal_table)


def test_far_positions_keep_their_digits() -> None:
    """A float32 angle near 100,000 is known to 0.004 only: sines must be taken before rounding."""
    angles = [99_999 / 10000 ** (2 * i / C) for i in range(C // 2)]
    waves = torch.tensor([[math.sin(angle), math.cos(angle)] for angle in angles])
    far = sinusoidal_table(100_000, C)[-1]
    torch.testing.assert_close(far, waves.flatten(), atol=1e-6, rtol=0)
    rotary = Rotary(100_000, C)
    torch.testing.assert_close(rotary.sines[-1], waves[:, 0], atol=1e-6, rtol=0)
    torch.testing.assert_close(rotary.cosines[-1], waves[:, 1], atol=1e-6, rtol=0)


@pytest.mark.parametrize("make", [learned_positions, sinusoidal_positions])
def test_a_start_offset_equals_a_slice(make) -> None:
    positions = make(P, C)
    whole = positions(P)
    assert torch.equal(positions(T, start=2), whole[2 : 2 + T])


def test_learned_positions_are_small_numbers_that_train() -> None:
    positions = learned_positions(200, 64)
    assert [name for name, _ in positions.named_parameters()] == ["weight"]
    assert positions.weight.std().item() == pytest.approx(0.02, rel=0.05)
    positions(5).sum().backward()
    assert positions.weight.grad is not None
    assert positions.weight.grad.sum().item() == 5 * 64


def test_sinusoidal_positions_have_nothing_to_train_or_save() -> None:
    positions = sinusoidal_positions(P, C)
    assert not list(positions.parameters()) and not positions.state_dict()
    assert torch.equal(positions(T), sinusoidal_table(P, C)[:T])
    assert positions.to(torch.float64)(T).dtype == torch.float64  # it moves with the model


@pytest.mark.parametrize("start", [0, 3])
def test_too_many_tokens_are_refused_with_the_way_out(start: int) -> None:
    positions = Positions(torch.zeros(8, C))
    with pytest.raises(UserError, match=r"9 tokens .* knows 8 positions.*ids\[:, -8:\]"):
        positions(9 - start, start)
    assert positions(8 - start, start).shape == (8 - start, C)


def test_an_odd_width_has_no_pairs() -> None:
    with pytest.raises(UserError, match=r"n_embd is 7.*even"):
        sinusoidal_table(4, 7)
    with pytest.raises(UserError, match=r"head size is 5.*n_embd / n_head must be even"):
        Rotary(4, 5)


# Rotary


def vectors(length: int = T) -> Tensor:
    return torch.randn(2, 3, length, D, generator=torch.Generator().manual_seed(0))


def assert_keeps_lengths(rotary: nn.Module) -> None:
    x = vectors()
    torch.testing.assert_close(rotary(x).norm(dim=-1), x.norm(dim=-1))


def assert_scores_depend_on_distance_alone(rotary: nn.Module) -> None:
    """The same query and key everywhere: the scores of one diagonal are all the same."""
    q, k = vectors(1).expand(-1, -1, T, -1), vectors(2)[:, :, 1:].expand(-1, -1, T, -1)
    scores = rotary(q) @ rotary(k).transpose(-1, -2)
    for distance in range(-T + 1, T):
        diagonal = scores.diagonal(distance, dim1=-2, dim2=-1)
        torch.testing.assert_close(diagonal, diagonal[..., :1].expand_as(diagonal))
    # The distances themselves can be told apart.
    assert scores[0, 0, 0].std() > 0.01


def assert_start_equals_slice(rotary: nn.Module) -> None:
    x = vectors()
    pieces = [rotary(x[:, :, :3], start=0), rotary(x[:, :, 3:], start=3)]
    assert torch.equal(torch.cat(pieces, dim=2), rotary(x))


PROMISES = [
    assert_keeps_lengths,
    assert_scores_depend_on_distance_alone,
    assert_start_equals_slice,
]


@pytest.mark.parametrize("promise", PROMISES)
def test_rotary_keeps_its_promise(promise) -> None:
    promise(Rotary(P, D))


@pytest.mark.parametrize("start", [0, 2])
def test_rotary_is_multiplication_by_complex_numbers(start: int) -> None:
    x = vectors()
    torch.testing.assert_close(Rotary(P, D)(x, start), rotated_by_complex_numbers(x, start))


def test_the_first_position_is_not_turned() -> None:
    x = vectors()
    assert torch.equal(Rotary(P, D)(x)[:, :, 0], x[:, :, 0])


def test_rotary_answers_in_the_type_it_was_given() -> None:
    x = vectors()
    turned = Rotary(P, D)(x.bfloat16())
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(turned.float(), Rotary(P, D)(x), atol=0.05, rtol=0.02)


def test_rotary_has_nothing_to_train_or_save() -> None:
    assert not list(Rotary(P, D).parameters()) and not Rotary(P, D).state_dict()


@pytest.mark.parametrize("start", [0, 4])
def test_rotary_refuses_positions_without_an_angle(start: int) -> None:
    rotary = Rotary(8, D)
    rotary(vectors(8 - start), start)
    with pytest.raises(UserError, match=r"9 tokens .* knows 8 positions.*ids\[:, -8:\]"):
        rotary(vectors(9 - start), start)


# Planted mistakes: the assertions above must see them


class AddsPositions(Rotary):
    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        return x + sinusoidal_table(P, D)[start : start + x.shape[2]]


class ForgetsTheMinus(Rotary):
    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        cosines, sines = self.cosines[start:][: x.shape[2]], self.sines[start:][: x.shape[2]]
        first, second = x.chunk(2, dim=-1)
        turned = [first * cosines + second * sines, first * sines + second * cosines]
        return torch.cat(turned, dim=-1)


class IgnoresTheStart(Rotary):
    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        return super().forward(x, 0)


@pytest.mark.parametrize(
    ("mutant", "promise"),
    [
        (AddsPositions, assert_keeps_lengths),
        (AddsPositions, assert_scores_depend_on_distance_alone),
        (ForgetsTheMinus, assert_keeps_lengths),
        (IgnoresTheStart, assert_start_equals_slice),
    ],
)
def test_a_planted_mistake_in_rotary_is_caught(mutant, promise) -> None:
    with pytest.raises(AssertionError):
        promise(mutant(P, D))


def cosine_first(context_length: int, n_embd: int) -> Tensor:
    return sinusoidal_table(context_length, n_embd).unflatten(1, (-1, 2)).flip(2).flatten(1)


def halves_instead_of_pairs(context_length: int, n_embd: int) -> Tensor:
    pairs = sinusoidal_table(context_length, n_embd).unflatten(1, (-1, 2))
    return pairs.transpose(1, 2).flatten(1)


def counts_from_one(context_length: int, n_embd: int) -> Tensor:
    return sinusoidal_table(context_length + 1, n_embd)[1:]


@pytest.mark.parametrize("mutant", [cosine_first, halves_instead_of_pairs, counts_from_one])
def test_a_planted_mistake_in_the_table_is_caught(mutant) -> None:
    with pytest.raises(AssertionError):
        assert_is_the_papers_table(mutant)
