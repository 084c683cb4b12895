"""The command line: `python -m bhushgpt train|complete|evaluate|...`, listed in `_command`.

Each command is a frozen dataclass: its fields are the flags, the text under a field is its help,
and `run` calls the same functions that the notebooks call.

Lesson: notebook 16.
"""

import errno
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import subcommand

from bhushgpt.bench_commands import Bench
from bhushgpt.errors import UserError
from bhushgpt.folders import runs_folder
from bhushgpt.preparation_commands import Prepare


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit status.

    0 done, 1 cannot be done, 2 wrong flags, 70 a mistake of our own, 130 stopped by Ctrl-C,
    143 by SIGTERM.
    Nothing ends in a traceback: what a person can mend is said in a sentence, and a mistake of
    our own goes to a file that the bug report asks for.

    Lesson: notebook 16.
    """
    _ready_streams()
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(arguments: list[str]) -> int:
    try:
        command = _command(arguments)
        return command.run()
    except BrokenPipeError:
        raise
    except KeyboardInterrupt as error:
        _say("Stopped.", error, start="\n")
        return getattr(error, "status", 130)  # 143 after SIGTERM
    except Exception as error:
        sentence = _sentence(error)
        _say(f"bhushgpt: {sentence or _own_mistake(error, arguments)}", error)
        return 1 if sentence else 70
    finally:
        sys.stdout.flush()


def _command(arguments: list[str]) -> Any:
    """Return the command that was typed, with its flags."""
    if arguments[:1] == ["prepare"]:
        # It needs no torch: a start in an instant, and 300 MB of memory left to the work.
        return tyro.cli(Prepare, prog="python -m bhushgpt prepare", args=arguments[1:])
    from bhushgpt.doctor_commands import Doctor
    from bhushgpt.export_commands import Export
    from bhushgpt.information_commands import Corpora, Info
    from bhushgpt.model_commands import Complete, Evaluate
    from bhushgpt.training_commands import Demo, Train

    commands = (
        Annotated[Train, subcommand("train")]
        | Annotated[Complete, subcommand("complete")]
        | Annotated[Evaluate, subcommand("evaluate")]
        | Annotated[Export, subcommand("export")]
        | Annotated[Prepare, subcommand("prepare")]
        | Annotated[Corpora, subcommand("corpora")]
        | Annotated[Info, subcommand("info")]
        | Annotated[Bench, subcommand("bench")]
        | Annotated[Doctor, subcommand("doctor")]
        | Annotated[Demo, subcommand("demo")]
    )
    return tyro.cli(commands, prog="python -m bhushgpt", args=arguments)  # type: ignore[arg-type]


def _sentence(error: Exception) -> str | None:
    """Return what to tell a person who can mend it, or None if it is a mistake of our own."""
    if isinstance(error, UserError):
        return str(error)
    from bhushgpt.full_memory import is_memory_error  # loads torch

    if is_memory_error(error):
        return "The memory is full. Take a smaller preset, or close other programs."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk is full. Make room, then try again."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'A file'} cannot be used: {error.strerror}."
    return None


def _say(text: str, error: BaseException, start: str = "") -> None:
    notes = getattr(error, "__notes__", [])  # what is saved, from `saved_whatever_happens`
    print(start + "\n".join([text, *notes]), file=sys.stderr)


def _own_mistake(error: Exception, arguments: list[str]) -> str:
    details = f"{arguments}\n\n{''.join(traceback.format_exception(error))}"
    what = f"A mistake of the program's own ({type(error).__name__}: {error})."
    for folder in (runs_folder, lambda: Path(tempfile.gettempdir())):
        try:
            file = folder() / "error.log"
            file.write_text(details, encoding="utf-8", errors="backslashreplace")
        except (OSError, UserError):
            continue
        return (
            f"{what} The details are in {file}; please send that file with a bug report, and what "
            "`python -m bhushgpt doctor` prints."
        )
    return f"{what} Please report it."


def _ready_streams() -> None:
    """Let no odd terminal stop a run: closed streams, and characters that it cannot show."""
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="replace")
