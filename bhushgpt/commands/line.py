"""What happens to a line that was typed: the command is found and run, and errors become sentences.

Lesson: notebook 17.
"""

import errno
import os
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, cast

from bhushgpt.commands import COMMANDS, WITHOUT_TORCH
from bhushgpt.environment import command, runs_folder
from bhushgpt.errors import UserError, nearest
from bhushgpt.versions import missing_torch

# One example for the help page of each, which the reader may paste.
EXAMPLES = {
    "demo": "--steps 300",
    "train": "--preset gpt-v1 --corpus my.txt --out runs/mine",
    "finetune": "--run runs/demo --corpus my.txt --lora 8",
    "complete": "--run runs/demo --prompt 'The ' --tokens 100",
    "chat": "--run runs/demo --temperature 0.6",
    "serve": "--run runs/demo --open",
    "evaluate": "--run runs/demo --json",
    "export": "--run runs/demo --to page model.html",
    "import": "my-gpt2 --out runs/my-gpt2",
    "prepare": "my-texts --tokenizer gpt2 --out tokens",
    "compress": "book.txt --run runs/demo",
    "decompress": "book.txt.bhgz --run runs/demo",
    "leaderboard": "list --track data",
    "corpora": "--fetch sherlock",
    "progress": "",
    "info": "",
    "bench": "--quick --peers",
    "doctor": "--run runs/demo",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit status.

    0 done, 1 cannot be done, 2 wrong flags, 70 a mistake of our own, 130 stopped by Ctrl-C,
    143 by SIGTERM.
    Nothing ends in a traceback: what a person can mend is said in a sentence, and a mistake of
    our own goes to a file that the bug report asks for.
    """
    _ready_streams()
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(arguments: list[str]) -> int:
    try:
        return _run_typed(arguments)
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


def _run_typed(arguments: list[str]) -> int:
    """Run the command that was typed, with its flags."""
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name == "--version":
        print(f"bhushgpt {metadata.version('bhushgpt')}")
        return 0
    if name not in COMMANDS:
        what = "option" if name.startswith("-") else "command"
        print(
            f"There is no {what} {name!r}. {nearest(name, COMMANDS)} "
            f"`{command('--help')}` lists the commands.",
            file=sys.stderr,
        )
        return 2
    if name not in WITHOUT_TORCH and (trouble := missing_torch()):
        print(trouble, file=sys.stderr)
        return 1
    import tyro  # here, since it takes longer to load than the list of commands to print

    module, kind = COMMANDS[name][0].split(":")
    typed_one = getattr(import_module(f"bhushgpt.commands.{module}"), kind)
    try:
        typed = cast(Any, tyro.cli(typed_one, prog=command(name), args=arguments[1:]))
    except SystemExit as stopped:
        if not stopped.code:  # the help was shown
            print(f"For example:\n  {command(name, *shlex.split(EXAMPLES[name]))}")
        raise
    return cast(Callable[[], int], typed.run)()


def _help() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{says}" for name, (_, says) in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {command('COMMAND')} [options]",
            "",
            *lines,
            "",
            f"`{command('COMMAND', '--help')}` lists the options of a command.",
        ]
    )


def _sentence(error: Exception) -> str | None:
    """Return what to tell a person who can mend it, or None if it is a mistake of our own."""
    if isinstance(error, UserError):
        return str(error)
    from bhushgpt.diagnosis import is_memory_error

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
            f"`{command('doctor')}` prints."
        )
    return f"{what} Please report it."


def _ready_streams() -> None:
    """Let no odd terminal stop a run: closed streams, and characters that it cannot show."""
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="replace")
