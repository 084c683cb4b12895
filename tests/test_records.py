"""The records of training: runs of the studies as they stand, that can go on, and claims."""

import dataclasses
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

from bhushgpt.environment import project_root

BENCHMARKS = project_root() / "benchmarks"
RECORDS = sorted(BENCHMARKS.glob("record_*.json"))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("records", BENCHMARKS / "records.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_trial_of_every_study_can_be_built(script: ModuleType) -> None:
    for study in (make() for make in script.STUDIES.values()):
        for trial in study.trials.values():
            with torch.device("meta"):
                assert trial.model(vocab_size=79).build().parameter_count() < 7e6
            assert trial.training.steps >= study.evaluate_every and trial.seeds >= 1


def test_the_first_seed_of_all_comes_before_the_second_of_any(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "HERE", tmp_path)
    study = script.modern()
    study = dataclasses.replace(
        study,
        trials={n: dataclasses.replace(trial, seeds=5) for n, trial in study.trials.items()},
    )
    record = script.load("modern", study)
    left = script.missing(study, record)
    assert [seed for _, seed in left] == sorted(seed for _, seed in left)
    assert len(left) == 5 * len(study.trials)
    name, seed = left[3]
    record["runs"][name] = [{"seed": seed, "held_out": [[500, 1.5]]}]
    script.save("modern", record)
    again = script.load("modern", study)
    assert again == record and (name, seed) not in script.missing(study, again)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_every_run_is_one_of_the_study_as_it_stands(path: Path, script: ModuleType) -> None:
    record = json.loads(path.read_text(encoding="utf-8"))
    study = script.STUDIES[path.stem.removeprefix("record_")]()
    assert record["measured_by"].startswith("python benchmarks/records.py ")
    assert (record["text"], record["held_out_share"]) == (study.text, study.held_out)
    assert record["runs"].keys() <= study.trials.keys()
    for name, runs in record["runs"].items():
        training = study.trials[name].training
        assert sorted(run["seed"] for run in runs) == list(range(len(runs)))
        for run in runs:
            model = study.trials[name].model(vocab_size=80)
            window = training.batch_size * model.context_length
            assert run["held_out"][-1][0] == training.steps
            assert run["tokens"] == training.steps * window
            assert len(run["training"]) == training.steps // 25
            assert 0.5 < run["held_out"][-1][1] < 2.5
            assert all(0 < loss < 5 for _, loss in run["held_out"])


def test_the_table_in_the_readme_is_that_of_the_records(script: ModuleType) -> None:
    said = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert script.table() in said, "put what  python benchmarks/records.py --table  prints there"


def test_the_front_page_shows_the_best_of_the_records() -> None:
    said = (project_root() / "README.md").read_text(encoding="utf-8")
    for name in ("holmes", "shakespeare", "tinystories"):
        record = json.loads((BENCHMARKS / f"record_{name}.json").read_text(encoding="utf-8"))
        best = min(run["held_out"][-1][1] for runs in record["runs"].values() for run in runs)
        assert f"{best:.3f}" in said, name
