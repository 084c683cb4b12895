"""The records of training: runs of the studies as they stand, and what is claimed of them."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

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


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_every_run_is_one_of_the_study_as_it_stands(path: Path, script: ModuleType) -> None:
    record = json.loads(path.read_text(encoding="utf-8"))
    study = script.STUDIES[path.stem.removeprefix("record_")]()
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


def test_the_table_in_the_readme_is_that_of_the_records(script: ModuleType) -> None:
    said = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert script.table() in said, "put what  python benchmarks/records.py --table  prints there"


def test_the_front_page_shows_the_best_of_the_records() -> None:
    said = (project_root() / "README.md").read_text(encoding="utf-8")
    for name in ("holmes", "shakespeare", "tinystories"):
        record = json.loads((BENCHMARKS / f"record_{name}.json").read_text(encoding="utf-8"))
        best = min(run["held_out"][-1][1] for runs in record["runs"].values() for run in runs)
        assert f"{best:.3f}" in said, name
