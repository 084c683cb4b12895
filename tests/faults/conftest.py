"""What the tests of several faults share: a run that was trained by the command itself."""

import pytest

from tests.faults.trained import train_for_a_few_steps


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory):
    """The folder of a small run."""
    return train_for_a_few_steps(tmp_path_factory.mktemp("trained"))
