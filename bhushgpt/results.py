"""What a run says before it starts and after it ends, and what it leaves behind.

Lesson: notebook 16.
"""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bhushgpt.checkpoints import checkpoints
from bhushgpt.files import write_atomically
from bhushgpt.forecast import forecast
from bhushgpt.ladder import Floors, count_floors, ladder_table
from bhushgpt.session import Session

LADDER, CURVE = "ladder.json", "curve.png"


def describe(session: Session) -> str:
    """Return what is about to be trained: text, model, memory and time.

    Lesson: notebook 16.
    """
    corpus, config = session.text.corpus, session.config
    expected = forecast(config, session.model, session.batches, session.device)
    author = "" if corpus.author == "unknown" else f", {corpus.author}"
    lines = [
        f"text    {corpus.title}{author}: {len(corpus.text):,} characters, "
        f"{session.text.tokenizer.vocab_size:,} different; the last tenth is held out",
        f"model   {config.preset}: {expected}",
    ]
    if corpus.notice:
        lines.insert(1, f"        {corpus.notice}")
    if session.state.step:
        lines.append(f"start   after step {session.state.step} of {config.training.steps}")
    return "\n".join(lines)


def results(session: Session) -> str:
    """Measure a trained run, write ladder, curve and record, and return them as text.

    Lesson: notebook 16.
    """
    text = session.text
    floors = count_floors(text.train, text.held_out, text.tokenizer.vocab_size)
    result = session.evaluate()
    rungs = floors.rungs()
    # The trained table of the preset `bigram` must not take the place of the counted one.
    name = session.config.preset
    rungs[f"{name}, trained" if name in rungs else name] = result.nats_per_token
    write_atomically(session.run.path / LADDER, (json.dumps(rungs, indent=2) + "\n").encode())
    save_curve(session, floors)
    session.record(result, rungs, floors.best_order)
    return (
        f"{glances_table(session)}Held-out loss on the same {result.tokens:,} characters "
        f"(n-gram: the best of 3 to 7 is {floors.best_order}):\n\n{ladder_table(rungs)}"
    )


def glances_table(session: Session) -> str:
    """Return the glances at the held-out text, a line each, or nothing if there were none.

    Lesson: notebook 16.
    """
    lines = [
        f"{line['step']:>6}{line['loss']:>10.4f}{line['held_out']:>10.4f}\n"
        for line in session.run.history()
        if "held_out" in line
    ]
    return "".join(["  step  training  held out\n", *lines, "\n"]) if lines else ""


def save_curve(session: Session, floors: Floors) -> Path:
    """Draw the run's history with the floors into `curve.png` and return the file.

    Lesson: notebook 16.
    """
    # Here and not above: matplotlib takes as long to load as a short command to run.
    from bhushgpt.curves import plot_curve
    from bhushgpt.figures import png_bytes

    history = session.run.history()
    figure = plot_curve(
        [(line["step"], line["loss"]) for line in history],
        [(line["step"], line["held_out"]) for line in history if "held_out" in line],
        floors.rungs(),
        title=f"{session.config.preset} on {session.text.corpus.title}",
    )
    file = session.run.path / CURVE
    write_atomically(file, png_bytes(figure))
    return file


def completion_command(session: Session) -> str:
    """Return the next command to type, with a prompt that the run's alphabet can spell.

    Lesson: notebook 16.
    """
    text = session.text.corpus.text
    prompt = "The " if set("The ") <= set(text) else text.split(maxsplit=1)[0][:20]
    folder = shlex.quote(str(session.run.path))
    return f"  python -m bhushgpt complete --run {folder} --prompt {shlex.quote(prompt)}"


@contextmanager
def saved_whatever_happens(folder: Path) -> Iterator[None]:
    """Add to any error that leaves the `with`, Ctrl-C too, what is saved and how to go on.

    Lesson: notebook 16.
    """
    try:
        yield
    except BaseException as error:
        found = checkpoints(folder)
        if found:
            error.add_note(
                f"{found[-1].name} of {folder} is saved. To go on:\n"
                f"  python -m bhushgpt train --resume {shlex.quote(str(folder))}"
            )
        raise
