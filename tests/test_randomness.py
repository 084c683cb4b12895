"""The random numbers of a step belong to (seed, step) alone."""

import pytest
import torch

from bhushgpt.training import step_randomness

CPU = torch.device("cpu")


def numbers(seed: int, step: int) -> list[float]:
    with step_randomness(seed, step, CPU):
        return torch.rand(4).tolist()


def test_the_same_seed_and_step_give_the_same_numbers_whatever_came_before():
    first = numbers(3, 7)
    torch.rand(100)
    assert numbers(3, 7) == first


def test_other_seeds_and_steps_give_other_numbers():
    drawn = {tuple(numbers(seed, step)) for seed in range(5) for step in range(20)}
    assert len(drawn) == 100


def test_outside_nothing_has_changed():
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    numbers(3, 7)
    assert torch.equal(torch.rand(4), expected)


def test_an_exception_inside_puts_the_state_back_too():
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), step_randomness(1, 2, CPU):
        torch.rand(3)
        raise RuntimeError
    assert torch.equal(torch.get_rng_state(), before)


def test_a_negative_seed_works_too():
    assert numbers(-5, 1) == numbers(-5, 1) != numbers(-5, 2)
