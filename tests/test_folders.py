from pathlib import Path

import pytest

from bhushgpt import environment
from bhushgpt.environment import cache_folder, checkout, project_root, runs_folder
from bhushgpt.errors import UserError


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("BHUSHGPT_RUNS", "BHUSHGPT_CACHE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Pretend that the package lies in site-packages, far from any checkout."""
    module = tmp_path / "site-packages" / "bhushgpt" / "folders.py"
    monkeypatch.setattr(environment, "__file__", str(module))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_checkout_is_found_from_any_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert (project_root() / "curriculum.toml").is_file()
    assert project_root() == Path(__file__).resolve().parent.parent


def test_without_a_checkout_the_package_carries_the_files(installed):
    assert checkout() is None
    assert project_root() == installed / "site-packages" / "bhushgpt" / "course"
    (installed / "curriculum.toml").touch()
    assert project_root() == checkout() == Path.cwd() == installed


def test_runs_lie_below_the_project_and_are_made(installed):
    folder = runs_folder("05_training", "sweep")
    assert folder == installed / "runs" / "05_training" / "sweep" and folder.is_dir()
    assert runs_folder("05_training", "sweep") == folder  # a second run finds it there


def test_a_variable_moves_the_runs(monkeypatch, tmp_path):
    monkeypatch.setenv("BHUSHGPT_RUNS", str(tmp_path / "elsewhere"))
    assert runs_folder("demo") == tmp_path / "elsewhere" / "demo"


def test_the_home_sign_is_understood(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("BHUSHGPT_RUNS", "~/runs")
    assert runs_folder() == tmp_path / "runs"


def test_the_cache_lies_in_the_checkout_or_with_the_user(monkeypatch, installed):
    monkeypatch.setattr(
        environment.platformdirs, "user_cache_dir", lambda name: str(installed / name)
    )
    assert cache_folder() == installed / "bhushgpt"
    (installed / "datasets").mkdir()
    assert cache_folder() == installed / "bhushgpt"  # somebody's own folder of that name
    (installed / "curriculum.toml").touch()
    assert cache_folder() == installed / "datasets" / "cache"
    monkeypatch.setenv("BHUSHGPT_CACHE", str(installed / "named"))
    assert cache_folder() == installed / "named" and cache_folder().is_dir()


def test_an_empty_variable_counts_as_none(monkeypatch, installed):
    monkeypatch.setenv("BHUSHGPT_RUNS", "")
    assert runs_folder() == installed / "runs"


@pytest.mark.parametrize(
    ("variable", "folder"), [("BHUSHGPT_RUNS", runs_folder), ("BHUSHGPT_CACHE", cache_folder)]
)
def test_a_folder_that_cannot_be_made_is_named_with_the_way_out(
    monkeypatch, tmp_path, variable, folder
):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(variable, str(tmp_path / "file" / "below"))
    with pytest.raises(UserError, match=rf"below cannot be made: .*variable {variable}"):
        folder()
