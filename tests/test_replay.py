"""Batches of two texts: which windows are whose, and that a step's batch never changes."""

import numpy as np
import pytest
import torch

from bhushgpt.batches import Batches
from bhushgpt.errors import UserError
from bhushgpt.replay import Forgetting, Replay, shared_out
from bhushgpt.speed import World

NEW, OLD = np.arange(300), np.arange(1000, 1200)


def mixed(new: int = 5, old: int = 3, seed: int = 2) -> Replay:
    return Replay(Batches(NEW, new, 7, seed=seed), Batches(OLD, old, 7, seed=seed))


def test_the_new_windows_are_those_without_replay_and_the_old_ones_follow() -> None:
    inputs, targets = mixed()[4]
    assert inputs.shape == targets.shape == (8, 7)
    alone, alone_targets = Batches(NEW, 5, 7, seed=2)[4]
    assert torch.equal(inputs[:5], alone) and torch.equal(targets[:5], alone_targets)
    assert torch.equal(inputs[5:], Batches(OLD, 3, 7, seed=2)[4][0])
    assert bool((inputs[5:] >= 1000).all()) and torch.equal(targets, inputs + 1)


def test_a_batch_depends_on_its_number_alone() -> None:
    one, other = mixed(), mixed()
    _ = one[9]
    assert torch.equal(one[3][0], other[3][0])
    assert not torch.equal(one[3][0], one[4][0])
    assert not torch.equal(one[3][0], mixed(seed=3)[3][0])


def test_processes_share_a_mixed_batch_as_any_other() -> None:
    parts = [World(device=torch.device("cpu"), rank=r, size=2).batches(mixed()) for r in (0, 1)]
    assert torch.equal(torch.cat([part[6][1] for part in parts]), mixed()[6][1])


def test_windows_of_two_lengths_are_refused() -> None:
    with pytest.raises(UserError, match=r"Windows of 7 tokens on cpu .* 6 on cpu"):
        Replay(Batches(NEW, 2, 7), Batches(OLD, 2, 6))


@pytest.mark.parametrize(
    ("size", "share", "counts"),
    [(32, 0.25, (24, 8)), (32, 0.0, (32, 0)), (10, 0.04, (9, 1)), (10, 0.99, (1, 9))],
)
def test_both_texts_get_their_share(size, share, counts) -> None:
    assert shared_out(size, share) == counts


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share) -> None:
    with pytest.raises(UserError, match=r"from 0 .* to below 1"):
        shared_out(32, share)


def test_one_window_cannot_hold_two_texts() -> None:
    with pytest.raises(UserError, match="batch of one window"):
        shared_out(1, 0.5)


def test_forgetting_is_a_rise_and_gain_a_fall() -> None:
    both = Forgetting(old_before=1.0, old_after=1.25, new_before=3.0, new_after=2.5)
    assert (both.forgotten, both.gained) == (0.25, 0.5)
