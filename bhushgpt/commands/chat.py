"""The command `chat`: a model and a person write one text in turns.

Lesson: notebook 17.
"""

import dataclasses
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from bhushgpt.commands.flags import DECIMAL, FOLDER, WHOLE, Device, decimal
from bhushgpt.conversation import Conversation
from bhushgpt.cpu_settings import threads_for
from bhushgpt.devices import pick_device
from bhushgpt.environment import written_out
from bhushgpt.errors import UserError, nearest
from bhushgpt.files import write_atomically
from bhushgpt.generation import Sampling
from bhushgpt.language_model import LanguageModel
from bhushgpt.storage import load_checkpoint

HELP = """\
  (an empty line)  let the model write on
  /temperature X   choose more daringly above 1, more safely below
  /reset           forget all that was said
  /save FILE       write all that was said to a file
  /exit            end; so does Ctrl-D. Ctrl-C stops a reply.
  //...            a line that begins with /"""


@dataclass(frozen=True, kw_only=True)
class Chat:
    """Write in turns with a trained model; what was said stays in its context."""

    run_folder: Annotated[Path, FOLDER, arg(name="run")]
    """Folder of a run."""
    tokens: Annotated[int, WHOLE] = 200
    """The most tokens of a reply; it ends earlier where the model ends a line."""
    temperature: Annotated[float, DECIMAL] = 0.8
    """Below 1 plays safe, above 1 takes risks, 0 always takes the likeliest token."""
    top_k: Annotated[int | None, WHOLE, arg(help_behavior_hint="(default: all)")] = None
    """Draw among this many likeliest tokens only."""
    top_p: Annotated[float | None, DECIMAL, arg(help_behavior_hint="(default: all)")] = None
    """Draw among the fewest likeliest tokens that together have this probability."""
    min_p: Annotated[float | None, DECIMAL, arg(help_behavior_hint="(default: all)")] = None
    """Draw among the tokens only that are at least this many times as likely as the likeliest."""
    seed: Annotated[int, WHOLE] = 0
    """The same seed and the same lines give the same replies."""
    device: Device = "auto"
    """Where to compute."""

    def run(self) -> int:
        """Read lines and write replies until the end of the input; return the exit status."""
        if not 0 <= self.seed < 2**62:
            raise UserError(f"--seed is {self.seed}: take 0, or a number of up to 18 digits.")
        names = ("temperature", "top_k", "top_p", "min_p", "seed")
        sampling = Sampling(**{name: getattr(self, name) for name in names})
        if self.tokens < 1:
            raise UserError(f"--tokens is {self.tokens}: a reply has at least 1 token.")
        checkpoint = load_checkpoint(self.run_folder, pick_device(self.device), optimizer=False)
        model = checkpoint.state.model
        assert isinstance(model, LanguageModel)
        talk = Conversation(
            model, checkpoint.tokenizer, sampling, n_tokens=self.tokens, exact=False
        )
        session = _Session(
            talk, model.context_length, at_terminal=sys.stdin.isatty() and sys.stdout.isatty()
        )
        how_far = f"{checkpoint.unfinished} " if checkpoint.unfinished else ""
        session.note(
            f"{checkpoint.config.preset} {how_far}continues what you write; it sees the last "
            f"{model.context_length} tokens.\n/help lists the commands."
        )
        with threads_for(2 * model.parameter_count()):
            return session.run()


class _Session:
    """Lines in, replies out. At a terminal it asks and explains; over a pipe replies alone."""

    def __init__(self, talk: Conversation, context_length: int, *, at_terminal: bool) -> None:
        self.talk = talk
        self.context_length = context_length
        self.at_terminal = at_terminal
        self.commands: dict[str, Callable[[str], None]] = {
            "/help": lambda _: print(HELP),
            "/temperature": self._temperature,
            "/reset": self._reset,
            "/save": self._save,
        }
        if at_terminal and os.name == "posix":
            import readline  # noqa: F401  lines of any length, with arrow keys and a history
        if (reconfigure := getattr(sys.stdin, "reconfigure", None)) is not None:
            reconfigure(errors="replace")

    def run(self) -> int:
        while (line := self._line()) is not None:
            name, _, rest = line.strip().partition(" ")
            if name == "/exit":
                break
            if name.startswith("/") and not name.startswith("//"):
                try:
                    if name not in self.commands:
                        raise UserError(
                            f"There is no command {shown(name[:40])}. "
                            f"{nearest(name[:40], [*self.commands, '/exit'])}"
                        )
                    self.commands[name](rest.strip())
                except UserError as error:
                    print(error, file=sys.stderr, flush=True)
            else:
                self._answer(line[1:] if line.startswith("//") else line)
        return 0

    def note(self, text: str) -> None:
        """Say something that is no part of the conversation."""
        if self.at_terminal:
            print(text, flush=True)

    def _line(self) -> str | None:
        """Return the next line, or None at the end of the input."""
        while True:
            try:
                if self.at_terminal:
                    return input("> ")
                line = sys.stdin.readline()
                return line.rstrip("\r\n") if line else None
            except EOFError:
                print()
                return None
            except KeyboardInterrupt:
                if not self.at_terminal:
                    raise
                print("\n(Ctrl-D, or /exit, ends.)")

    def _answer(self, line: str) -> None:
        if strange := self.talk.unknown(line):
            some = " ".join(shown(one) for one in strange[:8]) + " ..." * (len(strange) > 8)
            print(f"(The model never saw {some}: left out.)", file=sys.stderr, flush=True)
        length = len(self.talk.tokenizer.encode(line, unknown="skip"))
        if length > self.context_length:
            print(
                f"(The line has {length:,} tokens; the model sees the last {self.context_length}.)",
                file=sys.stderr,
                flush=True,
            )
        try:
            for piece in self.talk.reply(line):
                print(shown(piece), end="", flush=True)
        except KeyboardInterrupt:
            if not self.at_terminal:
                raise
        print(flush=True)

    def _temperature(self, rest: str) -> None:
        if rest:
            chosen = dataclasses.replace(self.talk.sampling, temperature=decimal(rest))
            self.talk.sampling = chosen
        self.note(f"(The temperature is {self.talk.sampling.temperature:g}.)")

    def _reset(self, rest: str) -> None:
        self.talk.reset()
        self.note("(All is forgotten.)")

    def _save(self, rest: str) -> None:
        if not rest:
            raise UserError("Name the file, such as: /save talk.txt")
        file = written_out(rest)
        if file.exists():
            raise UserError(f"{file} exists already. Name another file.")
        try:
            write_atomically(file, self.talk.text.encode("utf-8", "replace"))
        except OSError as error:
            raise UserError(f"{file} cannot be written: {error.strerror or error}.") from None
        self.note(f"(Saved in {file}.)")


def shown(text: str) -> str:
    r"""Return the text with control characters as pictures: a model's must not steer a terminal.

    >>> shown("a\tb\n\x1b[2J")
    'a\tb\n␛[2J'
    """
    return "".join(
        chr(0x2400 + ord(one)) if ord(one) < 32 and one not in "\n\t"
        else "\N{SYMBOL FOR DELETE}" if one == "\x7f"
        else "\ufffd" if "\x80" <= one < "\xa0" or "\ud800" <= one < "\ue000"
        else one
        for one in text
    )  # fmt: skip
