"""Fault 14: 60 steps are the same as 30, a stop and 30 more: losses, weights, texts, every bit.

There are no loading processes whose number could matter, and no epochs: a step's batch depends on
the seed and the step. Several training processes are in tests/test_distributed.py.
"""

import pytest

from tests.faults.campaigns.resume import (
    STOPS,
    broken,
    equal_parts,
    interrupted_evaluation,
    unbroken,
)
from tests.small_runs import same_weights, small_config

CONFIG = small_config(60)


@pytest.fixture(scope="module")
def whole():
    return unbroken(CONFIG)


@pytest.mark.parametrize("stops", STOPS.values(), ids=STOPS.keys())
def test_a_run_with_stops_is_the_run_without(stops, whole, tmp_path) -> None:
    """With dropout, accumulation, warm-up and cosine, and texts sampled between the steps."""
    equal = equal_parts(whole, broken(CONFIG, stops, tmp_path))
    assert equal == dict.fromkeys(equal, True)


def test_a_stop_in_the_middle_of_an_evaluation_changes_nothing(whole, tmp_path) -> None:
    losses, state = interrupted_evaluation(CONFIG, tmp_path)
    assert len(losses) == 60
    assert [*losses[:27], *losses[28:]] == [m.loss for m in whole[0] if m.step != 28]
    assert same_weights(state, whole[1])
