"""The commands `compress` and `decompress`: a trained model, or counters alone, as a compressor.

Lesson: notebook 19.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tqdm import tqdm
from tyro.conf import Positional, arg

from bhushgpt.commands.flags import FOLDER, Flag
from bhushgpt.compression import Progress, compressing, decompressing
from bhushgpt.environment import command
from bhushgpt.errors import UserError
from bhushgpt.files import read_file, write_atomically
from bhushgpt.runs import run_of, text_of
from bhushgpt.storage import load_checkpoint

ENDING = ".bhgz"
File = Annotated[Positional[Path], FOLDER, arg(metavar="FILE")]
Run = Annotated[Path | None, FOLDER, arg(name="run", help_behavior_hint="")]
Out = Annotated[Path | None, FOLDER, arg(help_behavior_hint="")]


@dataclass(frozen=True, kw_only=True)
class Compress:
    """Write a file in fewer bytes, by what a model expects; `decompress` gives it back exactly."""

    file: File
    """The file to compress: any text, or any bytes."""
    run_folder: Run = None
    """Folder of the run whose model is used; without one everything is learned while reading."""
    adaptive: Flag = False
    """Learn while reading, with counters that have read the run's text: smaller, slower."""
    out: Out = None
    """The file to write; left out, FILE with .bhgz behind its name."""

    def run(self) -> int:
        """Compress with a progress bar and say what came of it; return the exit status."""
        data = read_file(self.file)
        out = self.out or self.file.with_name(self.file.name + ENDING)
        mode = "counters" if self.run_folder is None else "mixed" if self.adaptive else "model"
        if self.adaptive and self.run_folder is None:
            raise UserError("--adaptive needs --run DIR. Without a run everything is adaptive.")
        _refuse_overwriting(out, self.file)
        made = _last(compressing(data, mode=mode, **_given(self.run_folder)))
        write_atomically(out, made)
        saved = f"{8 * len(made) / max(1, len(data)):.3f} bits for each byte"
        print(f"{out}: {len(made):,} bytes for {len(data):,}, {saved} ({mode}).")
        if self.run_folder is None:
            print(f"To get the file back:\n  {command('decompress', out)}")
        else:
            back = command("decompress", out, "--run", self.run_folder)
            print(f"To get the file back, with this run as it is now:\n  {back}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Decompress:
    """Give back what `compress` was given, with the same run."""

    file: File
    """The compressed file."""
    run_folder: Run = None
    """Folder of the run that it was compressed with, if one was used."""
    out: Out = None
    """The file to write; left out, FILE without .bhgz, which must not exist yet."""

    def run(self) -> int:
        """Decompress with a progress bar; return the exit status."""
        if self.out is None and self.file.suffix != ENDING:
            raise UserError(f"{self.file} does not end in {ENDING}. Name the result with --out.")
        out = self.out or self.file.with_suffix("")
        _refuse_overwriting(out, self.file)
        made = _last(decompressing(read_file(self.file), **_given(self.run_folder)))
        write_atomically(out, made)
        print(f"{out}: {len(made):,} bytes.")
        return 0


def _given(run_folder: Path | None) -> dict[str, Any]:
    """Return what both directions are given of a run: model, tokenizer, and the text it learned."""
    if run_folder is None:
        return {}
    checkpoint = load_checkpoint(run_folder, "cpu", optimizer=False)
    tokenizer = checkpoint.tokenizer
    text = text_of(run_of(run_folder), checkpoint.config, tokenizer)
    primer = tokenizer.decode(text.train)
    return {"model": checkpoint.state.model.eval(), "tokenizer": tokenizer, "primer": primer}


def _last(steps: Iterable[Progress]) -> bytes:
    """Show a bar, and return the data of the last step."""
    made = b""
    with tqdm(file=sys.stderr, unit=" tokens", unit_scale=True) as bar:
        for step in steps:
            bar.total = step.total
            bar.update(step.done - bar.n)
            made = made if step.data is None else step.data
    return made


def _refuse_overwriting(out: Path, source: Path) -> None:
    if out.exists() or out.resolve() == source.resolve():
        raise UserError(f"{out} exists already. Name another file with --out, or remove it first.")
