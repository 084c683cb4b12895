"""The random numbers of a step belong to (seed, step) alone, and nobody else's are touched."""

import re
from pathlib import Path

import pytest
import torch

import bhushgpt
from bhushgpt.diagnosis.machine import self_check
from bhushgpt.exercises import nb00_start_here
from bhushgpt.exercises.exercise import Exercise
from bhushgpt.presets import build_model, preset
from bhushgpt.speed.precision import bfloat16_speedup
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


EXERCISE = next(value for value in vars(nb00_start_here).values() if isinstance(value, Exercise))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: build_model(preset("bigram", 7)),
        lambda: self_check("cpu"),
        lambda: EXERCISE.judge(None),
        lambda: bfloat16_speedup.__wrapped__(CPU),
        lambda: numbers(3, 7),
    ],
    ids=["build_model", "self_check", "an exercise", "bfloat16_speedup", "step_randomness"],
)
def test_what_draws_on_the_cpu_leaves_its_numbers_and_every_cards_alone(draw, monkeypatch):
    # `torch.manual_seed` goes on to all cards, and `fork_rng(devices=[])` puts none of them back.
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("reseeded"))
    before = torch.get_rng_state()
    draw()
    assert torch.equal(torch.get_rng_state(), before)


def test_only_processes_of_their_own_reseed_everything():
    package = Path(bhushgpt.__file__).parent
    reseeding = {
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        if re.search(r"^\s*torch\.manual_seed\(", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert reseeding == {"bench/peers.py", "bench/work.py"}
