"""Fault 15: whichever part of the state is left out, the comparison of fault 14 fails."""

import pytest

from tests.faults.campaigns.resume import FORGOTTEN, broken, equal_parts, unbroken
from tests.small_runs import small_config

CONFIG = small_config(20)


@pytest.fixture(scope="module")
def whole():
    return unbroken(CONFIG)


def test_with_all_parts_it_holds(whole, tmp_path) -> None:
    assert all(equal_parts(whole, broken(CONFIG, (10,), tmp_path)).values())


@pytest.mark.parametrize("name", FORGOTTEN)
def test_without_one_it_fails(name, whole, tmp_path) -> None:
    equal = equal_parts(whole, broken(CONFIG, (10,), tmp_path, FORGOTTEN[name]))
    assert not all(equal.values()), f"nothing misses {name}"
    # Training draws from its own seeds; only what the caller draws needs the global state.
    assert equal["weights"] == (name == "the random numbers' state")
