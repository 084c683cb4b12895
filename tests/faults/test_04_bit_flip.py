"""Fault 4: one bit is not what it was. The file is named, and nothing is loaded."""

from itertools import islice

import pytest

from bhushgpt.errors import UserError
from bhushgpt.storage import run_folder
from tests.faults.campaigns.bit_flips import (
    campaign,
    make_checkpoint,
    manifest_flips,
    random_flips,
)


@pytest.fixture
def checkpoint(tmp_path):
    return make_checkpoint(tmp_path)


def test_every_flip_is_found_in_all_files(checkpoint) -> None:
    """The long form, 1,000 flips and all bits of the manifest, is a part of `make faults`."""
    tally = campaign(checkpoint, random_flips(checkpoint, 150, seed=1))
    assert (tally.found, tally.missed) == (150, [])


def test_every_flip_is_found_in_the_manifest(checkpoint) -> None:
    every_eleventh = islice(manifest_flips(checkpoint), 0, None, 11)
    tally = campaign(checkpoint, every_eleventh)
    assert tally.found == tally.flips > 500
    assert tally.missed == []


def test_the_campaign_notices_a_check_of_sizes_alone(checkpoint, monkeypatch) -> None:
    def sizes_only(file, saved, way_out):
        if file.stat().st_size != saved["bytes"]:
            raise UserError(f"{file} is damaged")

    monkeypatch.setattr(run_folder, "_compare", sizes_only)
    tally = campaign(checkpoint, random_flips(checkpoint, 20))
    assert any("loaded as if nothing were wrong" in line for line in tally.missed)
