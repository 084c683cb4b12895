"""Fault 20: torchrun is asked to end, or one of its processes dies. All save the same step, and
the run goes on from there to the same weights."""

import os
import signal
import sys

import psutil
import pytest
import torch

from bhushgpt.commands.line import main
from bhushgpt.storage.checkpoints import load_checkpoint
from bhushgpt.storage.run_folder import latest_checkpoint
from tests.interrupted_runs import flags, history, launch, train, wait_for_step

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or not torch.distributed.is_available(),
    reason="Here are no signals, or this PyTorch knows no distributed computing.",
)
STEPS = 60


@pytest.fixture(scope="module")
def alone(text, tmp_path_factory):
    """The weights of a run that one process makes without being disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert train(text, folder, steps=STEPS) == 0
    return folder


@pytest.fixture(scope="module")
def unbroken(text, tmp_path_factory):
    """The weights of a run that two processes make without being disturbed."""
    folder = tmp_path_factory.mktemp("runs")
    process = launch(flags(text, folder / "run", steps=STEPS), folder / "log", processes=2)
    assert process.wait(300) == 0, (folder / "log").read_text()
    return folder / "run"


def weights(folder):
    return load_checkpoint(folder).state.model.state_dict()


def same_weights(one, other):
    return all(
        torch.equal(a, b) for a, b in zip(*(weights(f).values() for f in (one, other)), strict=True)
    )


def losses(folder):
    return [line["loss"] for line in history(folder)]


def trains_as(folder, alone):
    """Return whether every loss is that of one process, but for the order in which it is added."""
    assert losses(alone)[1:] != pytest.approx(losses(alone)[:-1], rel=1e-3)  # a step too many shows
    return losses(folder) == pytest.approx(losses(alone), rel=1e-3)


def worker(process, rank):
    """Return the process that torchrun started as that rank."""
    return next(
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if child.environ().get("RANK") == str(rank)
    )


def test_asked_to_end_all_save_the_same_step_and_another_number_of_processes_goes_on(
    text, alone, tmp_path, capsys
):
    folder, log = tmp_path / "run", tmp_path / "log"
    process = launch(flags(text, folder, "--save-every", 1000, steps=STEPS), log, processes=2)
    try:
        wait_for_step(folder, 3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(300) == 1  # of torchrun itself; its processes ended with 143
    finally:
        process.kill()
    said = log.read_text(encoding="utf-8")
    last = history(folder)[-1]["step"]
    assert 3 <= last < STEPS
    assert latest_checkpoint(folder).name == f"step_{last:08d}"
    assert said.count(f"step_{last:08d} of {folder} is saved") == 1  # one process speaks
    assert said.count("text    cats.txt") == 1
    assert main(["train", "--resume", str(folder)]) == 0
    assert "the number of processes is 1 (it was 2)" in capsys.readouterr().out
    assert trains_as(folder, alone)


@pytest.fixture(scope="module")
def killed(text, tmp_path_factory):
    """A run of two processes of which one was killed, and went on."""
    place = tmp_path_factory.mktemp("killed")
    folder, log = place / "run", place / "log"
    command = flags(text, folder, "--save-every", 5, steps=STEPS)
    process = launch(command, log, processes=2, restarts=1)
    try:
        wait_for_step(folder, 12)
        os.kill(worker(process, rank=1).pid, signal.SIGKILL)
        assert process.wait(300) == 0, log.read_text()
    finally:
        process.kill()
    assert "start   after step " in log.read_text(encoding="utf-8")
    return folder


def test_one_process_is_killed_and_torchrun_goes_on_as_one_process_alone_does(killed, alone):
    assert [line["step"] for line in history(killed)] == list(range(1, STEPS + 1))
    assert trains_as(killed, alone)
    assert main(["complete", "--run", str(killed), "--prompt", "the", "--tokens", "3"]) == 0
    assert main(["evaluate", "--run", str(killed)]) == 0


@pytest.mark.long
def test_one_process_is_killed_and_torchrun_goes_on_to_the_same_weights(killed, unbroken):
    assert same_weights(killed, unbroken)
    assert losses(killed) == losses(unbroken)
