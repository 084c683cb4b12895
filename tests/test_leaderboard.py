"""An honest entry is verified; a leak, an edited file and a better number are not."""

import dataclasses
import json
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from bhushgpt.commands.leaderboard import board
from bhushgpt.commands.line import main
from bhushgpt.errors import UserError
from bhushgpt.runs import Interruption, enter, entries, leaderboard, start_session, verify
from bhushgpt.speed import World
from bhushgpt.storage import fingerprint


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    """Return a small text that follows rules, and others at its end than before."""
    chance = random.Random(0)
    words = ["abra", "bacada", "cadabra", "dabb"]
    old = " ".join(chance.choice(words) for _ in range(900))
    new = " ".join(chance.choice(["dcba", "bdbd"]) for _ in range(120))
    file = tmp_path_factory.mktemp("texts") / "rules.txt"
    file.write_text(f"{old} {new}\n")
    return file


def trained(text: Path, folder: Path, seed: int, *, leak: bool = False) -> Path:
    """Train a run of 25 steps; with a leak, the held-out part is learned from as well."""
    session = start_session(
        "bigram",
        str(text),
        World(device=torch.device("cpu")),
        folder,
        steps=25,
        changes={"seed": seed},
    )
    if leak:
        whole = np.concatenate([session.text.train, session.text.held_out])
        session.text = dataclasses.replace(session.text, train=whole)
    with Interruption() as interruption:
        session.train(interruption)
    session.record(session.evaluate(), {}, 1, session.run.history())
    return folder


@pytest.fixture(scope="module")
def honest(text, tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("honest")
    return [trained(text, folder / str(seed), seed) for seed in (1, 2, 3)]


@pytest.fixture
def root(text, tmp_path, monkeypatch) -> Path:
    """Return a checkout of its own, in which the small text is a registered one."""
    monkeypatch.setattr(leaderboard, "corpora", lambda: {str(text): None})
    (tmp_path / "bhushgpt").mkdir()
    (tmp_path / "bhushgpt" / "code.py").write_text("1\n")
    (tmp_path / "requirements.txt").write_text("torch\n")
    git(tmp_path, "init", "-q")
    commit_all(tmp_path)
    return tmp_path


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


def commit_all(root: Path) -> None:
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "x")


def refusal(action) -> str:
    with pytest.raises(UserError) as caught:
        action()
    assert str(caught.value).count("\n") <= 1  # a command has a line of its own
    return str(caught.value)


def entry_file(root: Path, name: str = "mine") -> Path:
    return root / "benchmarks" / "leaderboard" / f"{name}.json"


def rewrite(root: Path, change) -> None:
    """Change an entry as a cheat would, who also mends the fingerprints of the files."""
    file = entry_file(root)
    entry = json.loads(file.read_text())
    change(entry)
    for run in entry["runs"]:
        folder = file.with_suffix("") / f"seed-{run['seed']}"
        run["files"] = {path.name: dict(fingerprint(path)) for path in folder.iterdir()}
    file.write_text(json.dumps(entry))


# What counts


def test_an_honest_entry_is_verified_also_after_later_commits_of_other_files(root, honest):
    enter("mine", honest, track="data", by="Ada", root=root)
    commit_all(root)
    lines = list(verify("mine", root=root))
    assert len(lines) == 4 and "3 seeds" in lines[0]
    for line in lines[1:]:
        entered, again = (float(word) for word in line.split() if "." in word)
        assert abs(entered - again) < 1e-3
    found = entries(root)
    assert found["mine"].mean > 0 and found["mine"].spread > 0
    assert "mine by Ada: bigram, 25 steps" in board(found)


def test_the_seed_decides_the_run(honest):
    losses = {(folder / "history.jsonl").read_text().split('"loss": ')[2][:9] for folder in honest}
    assert len(losses) == 3


def test_the_board_is_sorted_by_loss_and_says_where_nothing_is(root, honest):
    enter("mine", honest, track="bytes", limit=4000, by="Ada", root=root)
    enter("other", honest, track="bytes", limit=4000, by="Bob", root=root)

    def worse(entry):
        entry["runs"][0]["held_out"] += 1

    file = entry_file(root)
    entry = json.loads(file.read_text())
    worse(entry)
    file.write_text(json.dumps(entry))
    assert list(entries(root)) == ["other", "mine"]
    assert board(entries(root)).count("no entry yet") == 2


# What does not


def test_a_model_that_trained_on_the_held_out_text_is_refused(root, text, honest, tmp_path):
    leaky = [trained(text, tmp_path / "leaky" / str(s), s, leak=True) for s in (1, 2, 3)]
    enter("mine", leaky, track="data", by="Eve", root=root)
    enter("honest", honest, track="data", by="Ada", root=root)
    assert entries(root)["mine"].mean < entries(root)["honest"].mean - 0.02  # it would have paid
    message = refusal(lambda: list(verify("mine", root=root)))
    assert "held-out part may have leaked" in message and "Seed 1" in message


def test_a_better_number_with_mended_files_is_refused(root, honest):
    enter("mine", honest, track="data", by="Eve", root=root)

    def better(entry):
        run = entry["runs"][0]
        run["held_out"] -= 0.3
        file = entry_file(root).with_suffix("") / "seed-1" / "run.json"
        record = json.loads(file.read_text())
        record["held_out"]["nats_per_token"] = run["held_out"]
        file.write_text(json.dumps(record))

    rewrite(root, better)
    assert "does not come from this training" in refusal(lambda: list(verify("mine", root=root)))


@pytest.mark.parametrize("name", ["run.json", "history.jsonl"])
def test_an_edited_run_folder_is_refused(root, honest, name):
    enter("mine", honest, track="data", by="Eve", root=root)
    file = entry_file(root).with_suffix("") / "seed-2" / name
    file.write_text(file.read_text().replace("1", "2", 1))
    assert f"{name} was edited" in refusal(lambda: next(verify("mine", root=root)))
    file.unlink()
    assert "has no run folder" in refusal(lambda: next(verify("mine", root=root)))


def drop_a_seed(entry):
    del entry["runs"][2]


def same_seed_twice(entry):
    entry["runs"][1] = entry["runs"][0]


def private_text(entry):
    entry["corpus"] = "/my/own.txt"


def unknown_track(entry):
    entry["track"] = "dato"


def no_commit(entry):
    entry["commit"] = "main"


def unknown_commit(entry):
    entry["commit"] = "0" * 40


def more_parameters(entry):
    entry["preset"] = "gpt-v1"


def other_steps(entry):
    entry["steps"] = 26


def other_loss(entry):
    entry["runs"][0]["held_out"] = 0.5


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (drop_a_seed, "2 different seeds in 2 runs"),
        (same_seed_twice, "2 different seeds in 3 runs"),
        (private_text, "not a registered one"),
        (unknown_track, "Did you mean 'data'?"),
        (no_commit, "which is none"),
        (unknown_commit, "not known here"),
        (more_parameters, "preset is bigram in its record"),
        (other_steps, "does not hold the steps 1 to 26"),
        (other_loss, "held-out loss is"),
    ],
)
def test_an_entry_that_breaks_a_rule_is_refused_before_anything_is_trained(
    root, honest, change, part
):
    enter("mine", honest, track="data", by="Eve", root=root)
    rewrite(root, change)
    assert part in refusal(lambda: next(verify("mine", root=root)))


def test_an_entry_of_other_code_is_refused(root, honest):
    enter("mine", honest, track="data", by="Ada", root=root)
    (root / "bhushgpt" / "code.py").write_text("2\n")
    assert "made with other code" in refusal(lambda: next(verify("mine", root=root)))
    commit_all(root)
    assert "made with other code" in refusal(lambda: next(verify("mine", root=root)))


def test_what_cannot_be_entered_is_refused_and_leaves_nothing(root, honest, text, tmp_path):
    unfinished = tmp_path / "unfinished"
    start_session(
        "bigram", str(text), World(device=torch.device("cpu")), unfinished, steps=3
    ).save()

    def refused(folders=honest, name="mine", track="data", by="Ada", **more):
        return refusal(lambda: enter(name, folders, track=track, by=by, root=root, **more))

    assert "needs at least 3" in refused(honest[:2])
    assert "needs at least 3" in refused([honest[0]] * 3)
    assert "has not come to its end" in refused([*honest[:2], unfinished])
    assert "no run in" in refused([tmp_path / "nowhere"])
    assert "small letters" in refused(name="../mine")
    assert "Did you mean 'time'" in refused(track="tyme")
    assert "needs a limit" in refused(track="time")
    assert "leave --limit out" in refused(limit=3)
    assert "limit is 100" in refused(track="bytes", limit=100)
    assert "minutes" in refused(track="time", limit=1e-9)
    assert "Say who" in refused(by=" ")
    assert not entry_file(root).exists() and entries(root) == {}
    (root / "bhushgpt" / "code.py").write_text("2\n")
    assert "not committed" in refused()


def test_the_command_answers_in_sentences(capsys):
    assert main(["leaderboard"]) == 0
    assert all(f"{track}: " in capsys.readouterr().out for track in ["time"])
    assert main(["leaderboard", "verify"]) == 1
    assert "Name the entry" in capsys.readouterr().err
    assert main(["leaderboard", "verify", "no-such-entry"]) == 1
    assert "There is no entry 'no-such-entry'" in capsys.readouterr().err
