"""`make faults` runs every campaign and fails when one does."""

from pathlib import Path

import pytest

from tools import faults

CAMPAIGN = 'import sys, time\nif __name__ == "__main__":\n    print("seen")\n    {}\n'


@pytest.mark.parametrize(
    ("code", "seconds", "verdict"),
    [
        ("sys.exit(0)", 60.0, "passed"),
        ("sys.exit(1)", 60.0, "FAILED"),
        ("[][0]", 60.0, "FAILED"),
        ("time.sleep(60)", 1.0, "too slow"),
    ],
)
def test_a_campaign_gets_the_verdict_it_deserves(
    code: str, seconds: float, verdict: str, tmp_path: Path
) -> None:
    (tmp_path / "fake.py").write_text(CAMPAIGN.format(code))
    (tmp_path / "helper.py").write_text("x = 1\n")
    assert faults.campaigns(tmp_path) == ["fake"]
    assert faults.attack("fake", seconds, tmp_path).verdict == verdict


def test_one_that_fails_fails_the_whole(monkeypatch, capsys) -> None:
    verdicts = {"kills": "passed", "bit_flips": "FAILED"}
    monkeypatch.setattr(
        faults, "attack", lambda name, left: faults.Outcome(name, verdicts[name], 1.0, "seen")
    )
    assert faults.main(["kills"]) == 0
    assert faults.main(["kills", "bit_flips"]) == 1
    assert "FAILED: bit_flips." in capsys.readouterr().out
    assert faults.main(["no such"]) == 2


def test_the_campaigns_of_the_project_are_found() -> None:
    assert {"kills", "bit_flips", "full_disk", "resume", "bad_files"} <= set(faults.campaigns())
