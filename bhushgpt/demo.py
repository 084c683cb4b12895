"""One command from nothing to a GPT that has read a book: the ladder, samples, and every file.

Lesson: notebook 16.
"""

from pathlib import Path

import torch

from bhushgpt.completion import complete_text
from bhushgpt.distributed import World
from bhushgpt.errors import UserError
from bhushgpt.generation import Sampling
from bhushgpt.interruption import Interruption
from bhushgpt.results import completion_command, describe, results, saved_whatever_happens
from bhushgpt.run_options import RunOptions
from bhushgpt.runs import RECORD
from bhushgpt.session import Session
from bhushgpt.session_setup import start_session

PRESET, BOOK = "gpt-v1", "sherlock"
# The recorded result in benchmarks/ is of float32, so everybody can compare.
OPTIONS = RunOptions(precision="float32")
PROMPTS = ("To Sherlock Holmes ", '"My dear Watson," said ', "It was a dark ")


def make_room(folder: Path) -> Path | None:
    """Move an earlier demo aside, so that a new one can take its name; return where it went.

    Raises:
        UserError: If it cannot be moved.

    Lesson: notebook 16.
    """
    if not (folder / RECORD).is_file():
        return None
    number = 1
    while (aside := folder.with_name(f"{folder.name}-{number}")).exists():
        number += 1
    try:
        return folder.rename(aside)
    except OSError as error:
        raise UserError(
            f"The earlier demo in {folder} cannot be moved aside: {error.strerror}. "
            "Name another folder with --out."
        ) from error


def run_demo(
    device: torch.device, folder: Path, interruption: Interruption, *, steps: int | None = None
) -> None:
    """Train GPT-v1 on the default book, print the ladder and three completions, save all.

    Args:
        device: Where to train.
        folder: Where everything goes; an earlier demo there is moved aside.
        interruption: Entered already.
        steps: Fewer steps than the preset's, for tests.

    Raises:
        UserError: If the book cannot be had or the folder not be used.
        Stopped: After Ctrl-C, when the step is finished and saved.

    Lesson: notebook 16.
    """
    if aside := make_room(folder):
        print(f"The earlier demo is kept in {aside}.\n")
    session = start_session(
        PRESET, BOOK, World(device=device), folder, steps=steps, options=OPTIONS
    )
    with saved_whatever_happens(folder):
        print(describe(session), "\n", sep="", flush=True)
        session.train(interruption)
        interruption.check()
        print(f"\n{results(session)}")
        for prompt in PROMPTS:
            _complete(session, prompt)
    print(f"\nAll of it is in {folder}: the checkpoint, curve.png, run.json, ladder.json. Next:")
    print(completion_command(session))
    print("  make lab     opens notebook 00; notebook 08 builds this very model")


def _complete(session: Session, prompt: str) -> None:
    sampling = Sampling(temperature=0.8, seed=1)
    print(f"\n--- {prompt!r}\n{prompt}", end="")
    for piece in complete_text(session.model, session.text.tokenizer, prompt, 200, sampling):
        print(piece, end="", flush=True)
    print()
