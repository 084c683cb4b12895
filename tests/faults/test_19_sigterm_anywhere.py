"""Fault 19: SIGTERM, whatever the run is doing: saved within one step, and goes on from there."""

import signal

import pytest

from bhushgpt.commands.line import main
from bhushgpt.runs import start, training_text
from bhushgpt.storage.run_folder import latest_checkpoint
from tests.interrupted_runs import (
    STEPS,
    flags,
    history,
    launch,
    send_at,
    train,
    wait_for_step,
    whole_state,
)


@pytest.fixture(scope="module")
def unbroken(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    assert train(text, folder) == 0
    return folder


@pytest.mark.parametrize(
    "place",
    [
        "bhushgpt.runs.training_text.load_text",
        "bhushgpt.runs.start.build_model",
        "bhushgpt.storage.run_folder.write_manifest",
    ],
)
def test_before_the_first_checkpoint_there_is_no_run_and_the_same_command_starts_one(
    place, text, tmp_path, monkeypatch, capfd
):
    assert start and training_text  # imported, so that they can be changed
    called = send_at(monkeypatch, place, signal.SIGTERM)
    assert train(text, tmp_path / "run") == 143
    assert called() == 1
    assert "Stopped." in capfd.readouterr().err
    monkeypatch.undo()
    assert train(text, tmp_path / "run", steps=2) == 0


@pytest.mark.parametrize(
    ("doing", "place", "call", "saved"),
    [
        ("the trial before it starts", "bhushgpt.runs.report.forecast", 1, 0),
        # Compiling happens inside the forward pass of the first step.
        ("a forward pass", "bhushgpt.speed.acceleration.AcceleratedLoss.__call__", 4 + 8, 8),
        ("an optimizer step", "torch.optim.adamw.AdamW.step", 4 + 8, 8),
        ("a look at the held-out text", "bhushgpt.runs.monitoring.evaluate", 1, 25),
        ("a sample", "bhushgpt.runs.monitoring.complete_text", 1, 25),
        ("saving", "bhushgpt.runs.session.save_checkpoint", 2, 25),
        ("the last save", "bhushgpt.runs.session.save_checkpoint", 3, STEPS),
        ("counting the floors", "bhushgpt.runs.training_text.count_floors", 1, STEPS),
        # The first call is the trial of it.
        ("the last evaluation", "bhushgpt.runs.session.evaluate", 2, STEPS),
    ],
)
def test_it_is_saved_within_one_step_and_ends_as_if_nothing_had_happened(
    doing, place, call, saved, text, unbroken, tmp_path, monkeypatch, capfd
):
    folder = tmp_path / "run"
    called = send_at(monkeypatch, place, signal.SIGTERM, call=call)
    assert train(text, folder) == 143, doing
    assert called() >= call
    assert latest_checkpoint(folder).name == f"step_{saved:08d}"
    err = capfd.readouterr().err
    assert f"step_{saved:08d} of {folder} is saved. To go on:" in err
    assert f"-m bhushgpt train --resume {folder}" in err
    monkeypatch.undo()
    assert main(["train", "--resume", str(folder)]) == 0
    assert whole_state(folder) == whole_state(unbroken)
    assert [line["loss"] for line in history(folder)] == [
        line["loss"] for line in history(unbroken)
    ]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGTERM to send.")
def test_a_process_that_is_asked_to_end_saves_says_how_to_go_on_and_ends(text, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log.txt"
    process = launch(flags(text, folder, steps=100_000), log)
    try:
        wait_for_step(folder, 5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    finally:
        process.kill()
    said = log.read_text(encoding="utf-8")
    last = history(folder)[-1]["step"]
    assert "Asked to end (SIGTERM): finishing this step and saving." in said
    assert f"step_{last:08d} of {folder} is saved. To go on:" in said
    assert latest_checkpoint(folder).name == f"step_{last:08d}"
    assert "Traceback" not in said
