"""The bar passes everything through and says how it goes."""

import gc

import pytest

from bhushgpt import training
from bhushgpt.training import Report, progress


def report(step: int, loss: float = 2.5) -> Report:
    return Report(step=step, loss=loss, learning_rate=0.1, grad_norm=1.0, tokens=64)


def test_reports_come_through_unchanged_and_in_order(capsys: pytest.CaptureFixture):
    reports = [report(n) for n in range(1, 6)]
    passed = list(progress(iter(reports), steps=5))
    assert all(a is b for a, b in zip(passed, reports, strict=True))
    assert capsys.readouterr().out == ""


def test_the_bar_shows_steps_loss_and_time_left(capsys: pytest.CaptureFixture):
    list(progress((report(n) for n in range(1, 6)), steps=5))
    shown = capsys.readouterr().err
    assert "100%" in shown and "step 5/5" in shown and "loss 2.500" in shown and "left" in shown


def test_the_shown_loss_is_a_running_mean(capsys: pytest.CaptureFixture):
    list(progress([report(1, loss=4.0), report(2, loss=2.0)], steps=2))
    assert f"loss {(0.95 * 4 + 1 * 2) / 1.95:.3f}" in capsys.readouterr().err


def test_a_resumed_run_starts_where_it_was(capsys: pytest.CaptureFixture):
    list(progress([report(8), report(9)], steps=10, start=7))
    shown = capsys.readouterr().err
    assert "step 7/10" in shown and "step 9/10" in shown


def test_nothing_is_drawn_ahead_and_leaving_closes_the_run():
    made, closed = [], []

    def reports():
        try:
            for n in range(1, 100):
                made.append(n)
                yield report(n)
        finally:
            closed.append(True)

    for passed in progress(reports(), steps=100):
        if passed.step == 3:
            break
    del passed
    gc.collect()
    assert made == [1, 2, 3] and closed == [True]


def test_no_reports_is_no_error(capsys: pytest.CaptureFixture):
    assert list(progress([], steps=5)) == []
    assert "step 0/5" in capsys.readouterr().err


def test_in_a_notebook_the_bar_is_no_pink_box(capsys, monkeypatch):
    monkeypatch.setattr(training, "in_notebook", lambda: True)
    list(progress([report(1)], steps=1))
    shown = capsys.readouterr()
    assert "step 1/1" in shown.out and shown.err == ""
