"""Fault 18: Ctrl-C. Once: the step is finished and saved. Twice: it stops now, and what was saved
is whole. In a notebook the stop button leaves model and optimizer fit to go on with."""

import contextlib
import signal

import pytest
import torch
from jupyter_client.manager import start_new_kernel

from bhushgpt.commands.line import main
from bhushgpt.speed.acceleration import AcceleratedLoss
from bhushgpt.storage.checkpoints import load_checkpoint
from bhushgpt.storage.run_folder import latest_checkpoint
from bhushgpt.training import TrainState, batch_loss, train
from tests.interrupted_runs import flags, history, launch, send_at, wait_for_step, whole_state
from tests.interrupted_runs import train as train_by_command
from tests.small_runs import batches_of, fresh_state, same_weights, small_config
from tools.curriculum import ROOT

assert AcceleratedLoss


@pytest.fixture(scope="module")
def unbroken(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    assert train_by_command(text, folder) == 0
    return folder


def test_once_finishes_the_step_saves_and_says_how_to_go_on(
    text, unbroken, tmp_path, monkeypatch, capfd
):
    folder = tmp_path / "run"
    send_at(
        monkeypatch, "bhushgpt.speed.acceleration.AcceleratedLoss.__call__", signal.SIGINT, call=16
    )
    assert train_by_command(text, folder) == 130
    err = capfd.readouterr().err
    assert "Ctrl-C: finishing this step and saving. Once more stops at once." in err
    assert f"step_00000012 of {folder} is saved. To go on:" in err
    monkeypatch.undo()
    assert main(["train", "--resume", str(folder)]) == 0
    assert (whole_state(folder), history(folder)) == (whole_state(unbroken), history(unbroken))


def test_twice_stops_at_once_and_the_last_checkpoint_is_whole(text, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log.txt"
    process = launch(flags(text, folder, "--save-every", 1000, steps=100_000), log)
    try:
        wait_for_step(folder, 5)
        process.send_signal(signal.SIGSTOP)  # so that both are waiting before it notices one
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
    assert "To go on:" in log.read_text(encoding="utf-8")
    saved = load_checkpoint(latest_checkpoint(folder))  # its files are verified
    assert saved.state.step <= history(folder)[-1]["step"]


@pytest.mark.parametrize("moment", ["forward", "backward", "optimizer", "between two weights"])
def test_the_stop_button_leaves_a_state_that_goes_on_bit_for_bit(moment):
    assert same_weights(run_the_cell_until_it_ends(), run_the_cell_until_it_ends(moment))


def test_without_waiting_for_the_whole_step_it_would_not(monkeypatch):
    monkeypatch.setattr("bhushgpt.training.interrupt_deferred", contextlib.nullcontext)
    torn = run_the_cell_until_it_ends("between two weights")
    assert not same_weights(run_the_cell_until_it_ends(), torn)


def run_the_cell_until_it_ends(moment: str | None = None) -> TrainState:
    config = small_config(12)
    state = fresh_state(config)
    button = Button(moment, state) if moment else None
    for _ in range(2):
        try:
            loss = button.loss if button else batch_loss
            for _ in train(state, batches_of(config), config.training, loss):
                pass
        except KeyboardInterrupt:
            assert button and button.pressed
    assert state.step == 12
    return state


class Button:
    """Is pressed once, at a moment of the sixth step."""

    def __init__(self, moment: str, state: TrainState) -> None:
        self.moment, self.state, self.pressed = moment, state, False
        if moment == "optimizer":
            state.optimizer.register_step_pre_hook(lambda *_: self.press())
        if moment == "between two weights":
            half_way = state.optimizer.param_groups[0]["params"][0]
            original = state.optimizer.step

            def torn_step(closure: None = None) -> None:
                before = half_way.detach().clone()
                original(closure)
                assert not torch.equal(before, half_way)
                self.press()  # the weights are new, the step is not counted yet

            state.optimizer.step = torn_step  # type: ignore[method-assign]

    def press(self) -> None:
        if self.state.step == 5 and not self.pressed:
            self.pressed = True
            signal.raise_signal(signal.SIGINT)

    def loss(self, model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor):
        loss = batch_loss(model, inputs, targets)
        if self.moment == "forward":
            self.press()
        if self.moment == "backward":
            loss.register_hook(lambda gradient: self.press())
        return loss


TOTAL = "float(sum(p.detach().double().abs().sum() for p in state.model.parameters()))"
CELL = """
from tests.small_runs import batches_of, fresh_state, small_config
from bhushgpt.training import train
config = small_config(STEPS)
if "state" not in globals():
    state = fresh_state(config)
for report in train(state, batches_of(config), config.training):
    if report.step == 20 and not globals().get("said"):
        said = True
        print("twenty", flush=True)
"""


def test_the_stop_button_of_a_real_notebook(tmp_path):
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(ROOT))
    try:
        cell = CELL.replace("STEPS", "200")
        pressed = False

        def look(message):
            nonlocal pressed
            if message["msg_type"] == "stream" and not pressed:
                pressed = True
                manager.interrupt_kernel()

        first = client.execute_interactive(cell, timeout=60, output_hook=look, stop_on_error=False)
        assert (first["content"]["status"], first["content"]["ename"]) == (
            "error",
            "KeyboardInterrupt",
        )
        again = client.execute_interactive(cell, timeout=60, output_hook=lambda message: None)
        assert again["content"]["status"] == "ok"
        answers = client.execute_interactive(
            "",
            user_expressions={
                "step": "state.step",
                "weights": TOTAL,
            },
            timeout=60,
            output_hook=lambda message: None,
        )["content"]["user_expressions"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    config = small_config(200)
    state = fresh_state(config)
    for _ in train(state, batches_of(config), config.training):
        pass
    total = float(sum(p.detach().double().abs().sum() for p in state.model.parameters()))
    assert answers["step"]["data"]["text/plain"] == "200"
    assert float(answers["weights"]["data"]["text/plain"]) == total
