"""A run that was trained by the command itself, for the faults of completing and resuming."""

from bhushgpt.commands.line import main

RUN_TEXT = "the cat sat on the mat and the dog sat on the log\n" * 60
RUN_ALPHABET = sorted(set(RUN_TEXT))
CONTEXT = 32


def train_for_a_few_steps(folder):
    """Train a small model on a text of the user's own and return its run."""
    (folder / "cats.txt").write_text(RUN_TEXT, encoding="utf-8")
    flags = ["--preset", "gpt-v1-smoke", "--steps", "10", "--corpus", str(folder / "cats.txt")]
    assert main(["train", *flags, "--device", "cpu", "--out", str(folder / "run")]) == 0
    return folder / "run"


def complete(run, capsys, *flags):
    """Return status, output and errors of `complete` with a few tokens."""
    capsys.readouterr()
    status = main(["complete", "--run", str(run), "--device", "cpu", "--tokens", "8", *flags])
    captured = capsys.readouterr()
    return status, captured.out, captured.err
