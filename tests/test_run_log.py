"""What is logged of a run: speed, share of the limit, TensorBoard, samples, spikes, best."""

import json
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from bhushgpt.commands.line import main
from bhushgpt.errors import UserError
from bhushgpt.evaluation import windows_at_once
from bhushgpt.files import NoRoom
from bhushgpt.runs import session
from bhushgpt.runs.folder import RunFolder
from bhushgpt.runs.monitoring import (
    FOLDER,
    NAMES,
    Board,
    Glances,
    RunLog,
    machine_limit,
    usual_interval,
)
from bhushgpt.speed.acceleration import AcceleratedLoss
from bhushgpt.storage.checkpoints import load_checkpoint
from bhushgpt.storage.run_folder import followed, list_checkpoints
from bhushgpt.training import Report
from tests.interrupted_runs import STEPS, history, train


@pytest.fixture(scope="module")
def run(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert train(text, folder, "--tensorboard", "--save-every", 4, "--keep", 3) == 0
    return folder


def test_a_line_holds_the_report_the_speed_and_the_share_of_the_limit(tmp_path):
    log = RunLog(RunFolder.create(tmp_path / "run", {}), weights=1000, limit=1e6)
    time.sleep(0.01)
    report = Report(step=1, loss=2.0, learning_rate=0.1, grad_norm=1.5, tokens=50)
    line = log.line(report)
    assert line["seconds"] >= 0.01
    assert line["tokens_per_second"] == 50 / line["seconds"]
    assert line["mfu"] == pytest.approx(6 * 1000 * 50 / line["seconds"] / 1e6)
    assert "mfu" not in RunLog(log.run, weights=1000).line(report)


def test_every_step_of_a_run_is_logged_with_all_of_it(run):
    lines = RunFolder.open(run).history()
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    for line in lines:
        assert line["tokens_per_second"] > 0
        assert line["grad_norm"] > 0
        assert 0 < line["mfu"] < 1
    record = json.loads((run / "run.json").read_text())
    assert record["matmul_limit"] == machine_limit("cpu", "float32")


def test_the_history_is_read_once_when_a_run_goes_on_and_before_its_clock_starts(
    text, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    assert train(text, out, "--save-every", 4, "--keep", 10) == 0
    events, read = [], RunFolder.history

    def history(self):
        events.append("read")
        return read(self)

    def started(self, begin=RunLog.start):
        events.append("clock")
        begin(self)

    monkeypatch.setattr(RunFolder, "history", history)
    monkeypatch.setattr(RunLog, "start", started)
    monkeypatch.setattr(session.Session, "record", lambda *parts: None)
    assert main(["train", "--resume", str(list_checkpoints(out)[1])]) == 0
    # The log's own start, one before the first of the 26 steps, and one behind each of them.
    assert events == ["read", *["clock"] * (2 + STEPS - 4), "read"]


def test_results_are_measured_in_the_precision_of_the_training(text, tmp_path, monkeypatch):
    seen = []

    def evaluated(*arguments, measure=session.evaluate, **more):
        seen.append(torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu"))
        return measure(*arguments, **more)

    monkeypatch.setattr(session, "evaluate", evaluated)
    for number, precision in enumerate(("bfloat16", "float32")):
        out = tmp_path / str(number)
        assert train(text, out, "--precision", precision, steps=2) == 0
        assert main(["evaluate", "--run", str(out)]) == 0
    # A trial of it before the run, its result, and the command.
    assert seen == [torch.bfloat16] * 3 + [False] * 3


def test_numbers_that_a_machine_cannot_multiply_have_no_limit(monkeypatch):
    def refuse(*arguments, **more):
        raise UserError("cannot multiply")

    monkeypatch.setattr("bhushgpt.runs.monitoring.matmul_limit", refuse)
    assert machine_limit.__wrapped__("cpu", "float16") is None


def test_checkpoints_come_as_often_as_asked_and_the_best_stays(run):
    names = sorted(path.name for path in run.glob("step_*"))
    assert names == ["step_00000025", "step_00000028", "step_00000030"]
    looks = [(line["held_out"], line["step"]) for line in history(run) if "held_out" in line]
    nats, step = min(looks)
    best = followed(run, "best")
    assert best is not None and best.name == f"step_{step:08d}"
    assert json.loads((run / "run.json").read_text())["best"] == {"step": step, "held_out": nats}
    assert load_checkpoint(run / "best").state.step == step


def test_samples_are_kept_by_step(run):
    samples = RunFolder.open(run).samples()
    assert [sample["step"] for sample in samples] == [25, 30]
    assert all(sample["prompt"] == "the" and len(sample["text"]) == 64 for sample in samples)


def test_tensorboard_reads_the_same_numbers(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / FOLDER)).Reload()
    for key, name in NAMES.items():
        ours = [(line["step"], line[key]) for line in RunFolder.open(run).history() if key in line]
        theirs = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in theirs] == [step for step, _ in ours]
        assert [value for _, value in theirs] == pytest.approx([value for _, value in ours])
    assert events.Tags()["tensors"] == ["sample/text_summary"]


def test_without_tensorboard_one_sentence_says_what_to_do(text, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert train(text, tmp_path / "run", "--tensorboard", steps=2) == 1
    said = capsys.readouterr().err
    assert "Leave the flag out" in said and "pip install tensorboard" in said
    assert train(text, tmp_path / "other", steps=2) == 0


def test_a_jump_of_the_loss_is_reported_while_it_trains(text, tmp_path, monkeypatch, capsys):
    class Jumpy(session.SpikeDetector):
        def look(self, step, loss):
            return super().look(step, 99.0 if step == 29 else loss)

    monkeypatch.setattr(session, "SpikeDetector", Jumpy)
    assert train(text, tmp_path / "run") == 0
    assert "Spike at step 29: the loss is 99.000" in capsys.readouterr().err


def test_a_full_disk_is_said_and_training_goes_on_to_the_last_save(
    text, tmp_path, monkeypatch, capsys
):
    original, full = session.save_checkpoint, []

    def save(folder, state, *rest, **more):
        if state.step == 8:
            full.append(state.step)
            raise NoRoom("The disk is full.")
        return original(folder, state, *rest, **more)

    monkeypatch.setattr(session, "save_checkpoint", save)
    assert train(text, tmp_path / "run", "--save-every", 4) == 0
    assert full == [8]
    assert "The disk is full. Training goes on." in capsys.readouterr().err


def test_a_disk_that_is_full_at_the_end_is_an_error(text, tmp_path, monkeypatch, capsys):
    original = session.save_checkpoint

    def save(folder, state, *rest, **more):
        if state.step == STEPS:
            raise NoRoom("The disk is full.")
        return original(folder, state, *rest, **more)

    monkeypatch.setattr(session, "save_checkpoint", save)
    assert train(text, tmp_path / "run") == 1
    err = capsys.readouterr().err
    assert "bhushgpt: The disk is full." in err
    assert "step_00000025" in err


def test_a_bad_batch_stops_the_run_and_can_be_left_out(text, tmp_path, monkeypatch, capsys):
    """The batch of step 12 gives no number, as often as it is tried; without it the run ends."""
    bad: list[torch.Tensor] = []
    take, compute = session.Batches.__getitem__, AcceleratedLoss.__call__

    def taken(self, step):
        inputs, targets = take(self, step)
        if step == 12 and 12 not in self.skip:
            bad[:] = [inputs]
        return inputs, targets

    def computed(self, model, inputs, targets):
        factor = float("nan") if bad and torch.equal(inputs, bad[0]) else 1.0
        return factor * compute(self, model, inputs, targets)

    monkeypatch.setattr(session.Batches, "__getitem__", taken)
    monkeypatch.setattr(AcceleratedLoss, "__call__", computed)
    folder = tmp_path / "run"
    assert train(text, folder) == 1
    for _ in range(2):  # going on meets the same batch again
        err = capsys.readouterr().err
        assert "Training stopped at step 13: the loss is nan" in err
        assert "step_00000012" in err
        assert main(["train", "--resume", str(folder)]) == 1
    assert main(["train", "--resume", str(folder), "--skip-batch", "12"]) == 0
    assert json.loads((folder / "run.json").read_text())["skipped_batches"] == [12]
    assert len(history(folder)) == STEPS


def test_skipping_needs_a_run_that_got_stuck(text, tmp_path, capsys):
    assert train(text, tmp_path / "run", "--skip-batch", 3) == 1
    assert "--skip-batch needs --resume DIR" in capsys.readouterr().err


def test_ten_glances_fit_into_a_run():
    assert [usual_interval(steps) for steps in (1, 250, 1500, 5000)] == [25, 25, 150, 500]


@pytest.mark.parametrize(
    ("vocabulary", "context", "rows"), [(79, 64, 64), (50_257, 128, 2), (50_257, 1024, 1)]
)
def test_the_scores_of_a_large_vocabulary_are_made_a_few_windows_at_a_time(
    vocabulary, context, rows
):
    assert windows_at_once(context, vocabulary) == rows


def test_only_one_of_several_processes_writes(tmp_path):
    run = RunFolder.create(tmp_path / "run", {})
    report = Report(step=1, loss=2.0, learning_rate=0.1, grad_norm=1.5, tokens=50)
    for writes, lines in ((False, 0), (True, 1)):
        log = RunLog(run, weights=1000, writes=writes)
        log.write(log.line(report))
        log.add_sample(1, "a", "b")
        assert (len(run.history()), len(run.samples())) == (lines, lines)


def test_tensorboard_forgets_the_steps_after_the_one_that_a_run_goes_on_from(tmp_path):
    writer = pytest.importorskip("torch.utils.tensorboard")
    given = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "SummaryWriter", lambda *where, **how: given.append(how))
        Board(tmp_path, step=7)
    assert given == [{"purge_step": 8}]  # what was written for step 7 stays


def test_as_good_as_the_best_is_no_better(monkeypatch):
    history = [{"step": 25, "held_out": 2.0}]
    text = SimpleNamespace(held_out=[], prompt="")
    world = SimpleNamespace(size=1, is_main=True, device=torch.device("cpu"))
    options = SimpleNamespace(precision="float32", strategy="ddp")
    glances = Glances(None, text, None, 100, options, world, history)  # type: ignore[arg-type]
    monkeypatch.setattr(glances, "_sample", lambda *given: None)
    for nats, better in ((2.0, False), (1.9, True), (1.9, False)):
        monkeypatch.setattr(glances, "_held_out", lambda stopped, nats=nats: nats)
        assert glances.look({"step": 50}, None) is better  # type: ignore[arg-type]
    assert glances.best == (1.9, 50)
