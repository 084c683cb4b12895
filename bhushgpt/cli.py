"""The command line: `python -m bhushgpt train|complete|evaluate|corpora|info|demo`.

Lesson: notebook 16.
"""

import dataclasses
import os
import sys
import traceback
from typing import Annotated

import torch
import tyro

from bhushgpt import commands
from bhushgpt.errors import UserError
from bhushgpt.folders import runs_folder

Command = (
    Annotated[commands.Train, tyro.conf.subcommand("train")]
    | Annotated[commands.Complete, tyro.conf.subcommand("complete")]
    | Annotated[commands.Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[commands.Corpora, tyro.conf.subcommand("corpora")]
    | Annotated[commands.Info, tyro.conf.subcommand("info")]
    | Annotated[commands.Demo, tyro.conf.subcommand("demo")]
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit status: 0 done, 1 cannot be done, 2 wrong flags.

    Nothing ends in a traceback: what a person can mend is said in a sentence, and an error of our
    own goes to a file that the bug report asks for.
    """
    command = tyro.cli(Command, prog="python -m bhushgpt", args=arguments)  # type: ignore[arg-type]
    try:
        command.run()
    except UserError as error:
        print(f"bhushgpt: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except torch.OutOfMemoryError as error:
        print(f"bhushgpt: {str(error).splitlines()[0]} Take a smaller preset.", file=sys.stderr)
        return 1
    except Exception as error:
        return _own_mistake(error, command)
    return 0


def _own_mistake(error: Exception, command: object) -> int:
    file = runs_folder() / "error.log"
    settings = dataclasses.asdict(command)  # type: ignore[call-overload]
    file.write_text(f"{type(command).__name__} {settings}\n\n{traceback.format_exc()}", "utf-8")
    print(
        f"bhushgpt: a mistake of the program's own ({type(error).__name__}). Saved runs are "
        f"as they were. The details are in {file}; please send that file with a bug report.",
        file=sys.stderr,
    )
    return 70
