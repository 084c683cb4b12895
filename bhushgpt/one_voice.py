"""Many processes, one of which speaks: what torchrun starts N times says everything once.

Lesson: notebook 16.
"""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from bhushgpt.distributed import World
from bhushgpt.errors import UserError

# What the libraries of distributed computing say when a process that they wait for is gone.
GONE = ("gloo", "nccl", "connection", "timed out", "peer")


@contextmanager
def one_voice(world: World) -> Iterator[None]:
    """Let only the main process print inside the `with`, and errors say whose they are.

    Raises:
        UserError: If another process of the run is gone.

    Lesson: notebook 16.
    """
    with contextlib.ExitStack() as stack:
        if not world.is_main:
            nothing = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nothing))
        try:
            yield
        except KeyboardInterrupt as error:
            if world.is_main:
                raise
            raise SystemExit(getattr(error, "status", 130)) from None
        except UserError as error:
            if world.is_main:
                raise
            raise UserError(f"(process {world.rank}) {error}") from error
        except RuntimeError as error:
            if world.size == 1 or not any(word in str(error).lower() for word in GONE):
                raise
            raise UserError(
                f"(process {world.rank}) Another process of this run has ended, so this one cannot "
                "go on. What was saved is whole; torchrun --max-restarts 1 goes on by itself."
            ) from error


def agreed_path(path: Path, world: World) -> Path:
    """Return the path that the main process means: names with the time in them differ.

    Lesson: notebook 16.

    >>> agreed_path(Path("runs/mine"), World(device=torch.device("cpu"))).name
    'mine'
    """
    if world.size == 1:
        return path
    size = 4096  # the longest path that systems take
    data = os.fsencode(path)[:size].ljust(size, b"\0")
    row = torch.tensor(list(data), dtype=torch.uint8, device=world.device)
    torch.distributed.broadcast(row, src=0)
    return Path(os.fsdecode(bytes(row.tolist()).rstrip(b"\0")))
