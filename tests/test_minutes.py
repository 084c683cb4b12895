"""`train --minutes N`: the choice without a clock, what is refused, and a run to its end."""

import dataclasses
import json
from functools import partial

import pytest
import torch

from bhushgpt.commands.line import main
from bhushgpt.errors import UserError
from bhushgpt.runs import minutes as dial
from bhushgpt.runs.folder import RunOptions
from bhushgpt.runs.minutes import Bench, minutes_session, planned
from bhushgpt.runs.start import resume_session
from bhushgpt.runs.training_text import open_text
from bhushgpt.scaling import HOLMES, MOST_EPOCHS, SHAPES, Trained, plan_run
from bhushgpt.speed import World

WORLD = World(device=torch.device("cpu"))
OPTIONS = RunOptions(precision="float32", compile="off", quick_products=False)
SENTENCE = "The cat sat on the mat, and the dog sat on the cat. "
# Each size ten times slower than the one before; the pilot finds the text a fifth of a nat easier.
SPEEDS = {shape: 3e5 / 10**number for number, shape in enumerate(SHAPES)}
PILOT = Trained(parameters=10**5, tokens=512_000, loss=HOLMES.loss(10**5, 512_000) - 0.2)
BENCH = Bench(speeds=SPEEDS, others={}, pilot=PILOT)


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "cats.txt"
    file.write_text(400 * SENTENCE, encoding="utf-8")
    return file


def session(minutes, text, folder, bench=BENCH):
    given = {"options": OPTIONS, "measured": lambda *_: bench}
    return minutes_session(minutes, str(text), WORLD, folder, **given)


def test_the_choice_follows_from_what_was_measured(text, tmp_path):
    made = session(0.5, text, tmp_path / "run")
    wanted = plan_run(
        (1 - dial.OVERHEAD) * 30,
        SPEEDS,
        HOLMES.moved_to(PILOT),
        vocab_size=made.text.tokenizer.vocab_size,
        text_tokens=len(made.text.train),
    )
    assert made.config == wanted.config
    assert made.run.record["forecast"] == wanted.loss
    assert made.run.record["minutes"] == 0.5
    assert made.run.record["preset"] == "minutes"
    assert str(wanted) in made.notices[0]


def test_a_run_that_ends_long_before_its_time_says_so_and_what_to_type_instead(text, tmp_path):
    brief = session(0.001, text, tmp_path / "brief")
    assert len(brief.notices) == 1
    endless = session(10_000, text, tmp_path / "endless")
    assert "read their text more than" in endless.notices[1]
    assert "--preset gpt-modern --steps" in endless.notices[1]


def test_the_forecast_is_that_of_this_text_and_not_of_the_book(text):
    opened = open_text(str(text), context_length=64)
    mine, harder = (planned(30, BENCH, opened), planned(30, _as_hard_as_holmes(), opened))
    assert mine.config == harder.config
    assert mine.loss == pytest.approx(harder.loss - 0.2)


def _as_hard_as_holmes():
    loss = HOLMES.loss(PILOT.parameters, PILOT.tokens)
    return dataclasses.replace(BENCH, pilot=dataclasses.replace(PILOT, loss=loss))


def test_a_faster_machine_gets_a_larger_model_or_more_steps(text):
    opened = open_text(str(text), context_length=64)
    speeds = {shape: 100 * speed for shape, speed in SPEEDS.items()}
    fast = dataclasses.replace(BENCH, speeds=speeds)
    slow, quick = planned(0.1, BENCH, opened), planned(0.1, fast, opened)
    assert quick.loss < slow.loss
    assert quick.parameters * quick.tokens > slow.parameters * slow.tokens


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_no_time_and_endless_time_are_refused(minutes, text, tmp_path):
    with pytest.raises(UserError, match=r"--minutes is .* must be above 0\. Type --minutes 5"):
        session(minutes, text, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_less_than_a_step_is_refused_and_nothing_is_written(text, tmp_path):
    with pytest.raises(UserError, match="fewer than one step takes"):
        session(1e-6, text, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_less_than_a_step_is_refused_before_anything_is_trained(text, monkeypatch):
    """With a real bench behind it: the pilot itself has no step that fits."""

    def slow(config, *given, **more):  # ten tokens a second
        return config.training.batch_size * config.model.context_length / 10

    monkeypatch.setattr(dial, "step_seconds", slow)
    opened = open_text(str(text), context_length=64)
    with pytest.raises(UserError, match=r"60 seconds are too few .* takes 2e\+02 s here"):
        dial.measure(opened, WORLD, OPTIONS, seconds=60)


def test_the_pilot_has_a_seventh_of_the_run_and_no_more_steps_than_it_needs(text, monkeypatch):
    monkeypatch.setattr(dial, "step_seconds", lambda *given, **more: 0.5)
    monkeypatch.setattr(dial, "PILOT_STEPS", 4)
    opened = open_text(str(text), context_length=64)
    steps = [
        dial.measure(opened, WORLD, OPTIONS, seconds=seconds).pilot.tokens // 2048
        for seconds in (7, 11, 10_000)
    ]
    assert steps == [2, 3, 4]


def test_what_a_run_does_besides_its_steps_is_measured_for_every_size(text, monkeypatch):
    monkeypatch.setattr(dial, "step_seconds", lambda *given, **more: 0.5)
    monkeypatch.setattr(dial, "PILOT_STEPS", 1)
    monkeypatch.setattr(dial, "counting_cost", lambda text: (100.0, 0))
    monkeypatch.setattr(dial, "looking_seconds", lambda model, *given: float(model.config.n_embd))
    opened = open_text(str(text), context_length=64)
    others = dial.measure(opened, WORLD, OPTIONS, seconds=60).others
    for shape in SHAPES:
        assert 100 + shape[2] < others[shape] < 100 + shape[2] + 30


def test_the_speeds_are_those_of_the_pilot_and_not_of_the_short_trials(text, monkeypatch):
    monkeypatch.setattr(dial, "step_seconds", lambda config, *given, **more: 1e-9)
    monkeypatch.setattr(dial, "PILOT_STEPS", 2)
    opened = open_text(str(text), context_length=64)
    bench = dial.measure(opened, WORLD, OPTIONS, seconds=60)
    assert len(set(bench.speeds.values())) == 1  # still in proportion to the trials
    assert all(1 < speed < 1e9 for speed in bench.speeds.values())  # and not 2e12 a second


def test_a_short_text_is_not_read_more_often_by_the_pilot_than_by_the_run(text, monkeypatch):
    monkeypatch.setattr(dial, "step_seconds", lambda *given, **more: 1e-6)
    opened = open_text(str(text), context_length=64)
    pilot = dial.measure(opened, WORLD, OPTIONS, seconds=10**6).pilot
    assert 0 <= MOST_EPOCHS * len(opened.train) - pilot.tokens < 2048


def test_one_sees_that_it_measures(text, monkeypatch, capsys):
    monkeypatch.setattr(dial, "step_seconds", lambda *given, **more: 0.5)
    monkeypatch.setattr(dial, "PILOT_STEPS", 2)
    dial.measure(open_text(str(text), context_length=64), WORLD, OPTIONS, seconds=60)
    shown = capsys.readouterr().err
    # How often a bar is drawn depends on the clock; that it begins does not.
    assert "speed of each size   0%" in shown and "a first try   0%" in shown


def test_several_processes_are_refused(text, tmp_path):
    two = World(device=torch.device("cpu"), rank=0, size=2)
    with pytest.raises(UserError, match="one process"):
        minutes_session(1, str(text), two, tmp_path / "run", options=OPTIONS)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--minutes", "0"], "--minutes is 0"),
        (["--minutes", "5", "--steps", "9"], "--minutes decides what --steps would decide"),
        (["--minutes", "5", "--preset", "bigram"], "decides what --preset would decide"),
    ],
)
def test_the_command_line_refuses_in_a_sentence(flags, message, capsys):
    assert main(["train", *flags]) in (1, 2)
    said = capsys.readouterr()
    assert message in said.err and "Traceback" not in said.err


def test_a_run_goes_to_its_end_says_forecast_and_result_and_can_be_gone_on_with(
    text, tmp_path, monkeypatch, capsys
):
    """The smallest model, 3 steps: 2,048 tokens each at 300,000 a second, after 9 other seconds."""
    one = Bench(speeds={SHAPES[0]: 3e5}, others={SHAPES[0]: 9.0}, pilot=PILOT)
    given = partial(minutes_session, measured=lambda *_: one)
    monkeypatch.setattr("bhushgpt.commands.train.minutes_session", given)
    out = tmp_path / "run"
    seconds = (9 + 3.5 * 2048 / 3e5) / (1 - dial.OVERHEAD)
    flags = ["--minutes", f"{seconds / 60:.8f}", "--corpus", str(text), "--out", str(out)]
    assert main(["train", *flags, "--precision", "float32"]) == 0
    said = capsys.readouterr().out
    assert "3 steps of 2,048 tokens" in said
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert record["steps_done"] == 3
    reached = record["held_out"]["nats_per_token"]
    assert f"forecast {record['forecast']:.3f} nats per character, reached {reached:.3f}" in said
    assert resume_session(out, WORLD).finished
    assert main(["train", "--resume", str(out), "--minutes", "5"]) == 1
    assert "Leave --minutes out" in capsys.readouterr().err
