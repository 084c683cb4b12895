"""The script of records: every trial can be built, and a record that stopped goes on."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def records(tmp_path: Path, monkeypatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("records", ROOT / "benchmarks" / "records.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "records", module)  # where its dataclasses look for types
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path)
    return module


def test_every_trial_of_every_study_can_be_built(records: ModuleType) -> None:
    for study in (make() for make in records.STUDIES.values()):
        for trial in study.trials.values():
            with torch.device("meta"):
                assert trial.model(vocab_size=79).build().parameter_count() < 7e6 * 3
            assert trial.training.steps >= study.evaluate_every and trial.seeds >= 1


def test_the_first_seed_of_all_comes_before_the_second_of_any(records: ModuleType) -> None:
    study = records.parts()
    record = records.load("parts", study)
    left = records.missing(study, record)
    assert [seed for _, seed in left] == sorted(seed for _, seed in left)
    name, seed = left[3]
    record["runs"][name] = [{"seed": seed, "held_out": [[500, 1.5]]}]
    records.save("parts", record)
    again = records.load("parts", study)
    assert again == record and (name, seed) not in records.missing(study, again)


def test_every_stored_record_says_what_made_it() -> None:
    for file in (ROOT / "benchmarks").glob("record_*.json"):
        record = json.loads(file.read_text(encoding="utf-8"))
        assert record["measured_by"].startswith("python benchmarks/records.py ")
        for runs in record["runs"].values():
            assert len({run["seed"] for run in runs}) == len(runs)
            assert all(0 < loss < 5 for run in runs for _, loss in run["held_out"])
