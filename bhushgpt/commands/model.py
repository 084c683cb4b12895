"""The commands that use a trained model: `complete`, `evaluate`; `export` and `import`, its doors.

What only one of them needs is imported there: `complete` starts without a run's texts and reports.

Lesson: notebook 17.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from bhushgpt.commands.flags import CORPUS, DECIMAL, FOLDER, WHOLE, Device, Flag
from bhushgpt.cpu_settings import threads_for
from bhushgpt.devices import pick_device
from bhushgpt.environment import command, python_command
from bhushgpt.errors import UserError
from bhushgpt.files import read_file
from bhushgpt.generation import Sampling, as_in_texts, complete_text, prompt_ids
from bhushgpt.gpt import GPT
from bhushgpt.language_model import LanguageModel
from bhushgpt.sources import decode_text, plain_lines
from bhushgpt.storage import load_adapter, load_checkpoint
from bhushgpt.tokenizers import Tokenizer, Unknown, UnknownCharacter

Run = Annotated[Path, FOLDER, arg(name="run")]


@dataclass(frozen=True, kw_only=True)
class Complete:
    """Continue a prompt with a trained model."""

    run_folder: Run
    """Folder of a run."""
    prompt: Annotated[str | None, arg(metavar="TEXT", help_behavior_hint="")] = None
    """Text to go on from; an empty one starts from a new line. --prompt="-x" for one like -x."""
    prompt_file: Annotated[Path | None, FOLDER, arg(metavar="FILE|-", help_behavior_hint="")] = None
    """Instead, a file with that text, without its last end of line; - reads the standard input."""
    tokens: Annotated[int, WHOLE] = 200
    """How many tokens to add."""
    temperature: Annotated[float, DECIMAL] = 0.8
    """Below 1 plays safe, above 1 takes risks, 0 always takes the likeliest token."""
    top_k: Annotated[int | None, WHOLE, arg(help_behavior_hint="(default: all)")] = None
    """Draw among this many likeliest tokens only."""
    top_p: Annotated[float | None, DECIMAL, arg(help_behavior_hint="(default: all)")] = None
    """Draw among the fewest likeliest tokens that together have this probability."""
    min_p: Annotated[float | None, DECIMAL, arg(help_behavior_hint="(default: all)")] = None
    """Draw among the tokens only that are at least this many times as likely as the likeliest."""
    seed: Annotated[int, WHOLE] = 0
    """The same seed gives the same text."""
    exact: Flag = False
    """Beyond the context, see a whole window for every token, not half a one: many times slower."""
    unknown: Unknown = "error"
    """What to do with a character of the prompt that the model has never seen."""
    adapter: Annotated[
        Path | None, FOLDER, arg(metavar="FILE", help_behavior_hint="(default: none)")
    ] = None
    """Additions that `finetune --lora` made for this very model (adapter.safetensors)."""
    device: Device = "auto"
    """Where to compute."""

    def run(self) -> int:
        """Print the prompt and what follows, as it is drawn; return the exit status."""
        if (self.prompt is None) == (self.prompt_file is None):
            raise UserError(
                "Say what to go on from, in one of two ways: --prompt TEXT, or --prompt-file FILE "
                "(- reads the standard input)."
            )
        if self.tokens < 0:
            raise UserError(f"--tokens is {self.tokens}: it cannot be below 0.")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed is {self.seed}: take 0, or a number of up to 18 digits.")
        sampling = Sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            seed=self.seed,
        )
        checkpoint = load_checkpoint(self.run_folder, pick_device(self.device), optimizer=False)
        model, tokenizer = checkpoint.state.model, checkpoint.tokenizer
        assert isinstance(model, LanguageModel)
        if self.adapter is not None:
            model = adapted(model, self.adapter)
        if checkpoint.unfinished:
            print(f"The model is the one {checkpoint.unfinished}.", file=sys.stderr)
        prompt = self._known_part(tokenizer)
        length = len(prompt_ids(tokenizer, prompt))
        if length > model.context_length:
            print(
                f"The prompt has {length} tokens; the model looks at the last "
                f"{model.context_length}.",
                file=sys.stderr,
            )
        print(prompt, end="", flush=True)
        parts = (model, tokenizer, prompt, self.tokens, sampling)
        with threads_for(2 * model.parameter_count()):
            for piece in complete_text(*parts, exact=self.exact):
                print(piece, end="", flush=True)
        print()
        return 0

    def _given(self) -> str:
        """Return the text to go on from, wherever it stands."""
        if self.prompt_file is None:
            return self.prompt or ""
        if str(self.prompt_file) != "-":
            text = decode_text(read_file(self.prompt_file), str(self.prompt_file))
            return text.removesuffix("\n")
        try:
            text = sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError:
            raise UserError(
                "What came over the standard input is not UTF-8 text. Save it as UTF-8 first."
            ) from None
        return plain_lines(text).removesuffix("\n")

    def _known_part(self, tokenizer: Tokenizer) -> str:
        """Return the prompt as the model can read it."""
        try:
            prompt = as_in_texts(tokenizer, self._given())
            return tokenizer.decode(tokenizer.encode(prompt, unknown=self.unknown))
        except UnknownCharacter as error:
            raise error.typed() from error


def adapted(model: LanguageModel, file: Path) -> LanguageModel:
    """Return a model with the additions in a file.

    Raises:
        UserError: If it is no GPT, or they were made for another one.
    """
    if not isinstance(model, GPT):
        raise UserError(f"--adapter needs a GPT, and this model is a {type(model).__name__}.")
    return load_adapter(model, file)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure a trained model on its held-out text; the same number every time."""

    run_folder: Run
    """Folder of a run."""
    corpus: Annotated[
        str | None, CORPUS, arg(help_behavior_hint="(default: where it was while training)")
    ] = None
    """The text of the run, if it lies elsewhere now."""
    as_json: Annotated[Flag, arg(name="json", help_behavior_hint="")] = False
    """Print one JSON object instead of a table."""
    device: Device = "auto"
    """Where to compute."""

    def run(self) -> int:
        """Print loss, perplexity and bits per byte; return the exit status."""
        from bhushgpt.runs import facts, open_session

        session = open_session(self.run_folder, pick_device(self.device), self.corpus)
        measured = facts(session.evaluate())
        if self.as_json:
            print(json.dumps(measured))
            return 0
        print(f"{session.text.title}, {session.text.held_out_is}:")
        for name, value in measured.items():
            number = f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
            print(f"  {name.replace('_', ' '):<16}{number:>10}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Import:
    """Make a run of a GPT-2 that another program wrote; all commands take it like any other."""

    source: Annotated[Positional[str], CORPUS, arg(metavar="DIR|NAME")]
    """A folder with config.json, model.safetensors and tokenizer.json, or a name on the hub."""
    corpus: Annotated[str, CORPUS] = "sherlock"
    """The text that `evaluate` measures it on, and that `finetune` does not let it forget."""
    out: Annotated[Path, FOLDER]
    """Folder of the run, new or empty."""

    def run(self) -> int:
        """Import it and say what to do with it; return the exit status."""
        from bhushgpt.interop import from_hf, tokenizer_from_hf
        from bhushgpt.runs import import_run

        model = from_hf(self.source)
        tokenizer = tokenizer_from_hf(self.source)
        text = import_run(model, tokenizer, self.source, self.corpus, self.out)
        sizes = model.config
        print(
            f"{self.out} holds a GPT-2 of {model.parameter_count():,} numbers: {sizes.n_layer} "
            f"blocks, {sizes.vocab_size:,} tokens, a context of {sizes.context_length:,}. Next:\n  "
            + command("complete", "--run", self.out.absolute(), "--prompt", text.prompt)
        )
        return 0


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a trained model in a form that other programs, or a browser, open."""

    run_folder: Run
    """Folder of a run, or of one of its checkpoints."""
    to: Literal["hf", "page"] = "hf"
    """The form: hf is Hugging Face's, with the layout of GPT-2; page a web page that writes."""
    out: Annotated[Positional[Path], FOLDER, arg(metavar="OUT")]
    """For hf the folder to write, new or empty; for a page the file, such as model.html."""

    def run(self) -> int:
        """Write it and say how to open it; return the exit status."""
        return self._page() if self.to == "page" else self._folder()

    def _page(self) -> int:
        from bhushgpt.interop import write_page
        from bhushgpt.runs import plain_model

        checkpoint = load_checkpoint(self.run_folder, "cpu", optimizer=False)
        title = f"A small GPT ({checkpoint.config.preset})"
        page = write_page(
            plain_model(checkpoint.state.model), checkpoint.tokenizer, self.out, title=title
        )
        print(
            f"{page} holds the model after step {checkpoint.state.step} and all that it takes to "
            f"write with it: {page.stat().st_size:,} bytes. Open it with a double click; it needs "
            "no network."
        )
        return 0

    def _folder(self) -> int:
        from bhushgpt.interop import check_empty, to_hf
        from bhushgpt.runs import plain_model

        check_empty(self.out)  # before a large model is read
        checkpoint = load_checkpoint(self.run_folder, "cpu", optimizer=False)
        model = plain_model(checkpoint.state.model)
        folder = to_hf(model, checkpoint.tokenizer, self.out)
        parameters = model.parameter_count()
        print(
            f"{folder} holds the model after step {checkpoint.state.step}: {parameters:,} numbers."
        )
        for file in sorted(folder.iterdir()):
            print(f"  {file.name:<24}{file.stat().st_size:>14,} bytes")
        print(f"\nOpen it in transformers:\n{_in_transformers(folder)}")
        return 0


def _in_transformers(folder: Path) -> str:
    place = repr(str(folder))
    return (
        "  from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f"  model = AutoModelForCausalLM.from_pretrained({place})\n"
        f"  tokenizer = AutoTokenizer.from_pretrained({place})\n\n"
        "Make a file for llama.cpp of it, in a checkout of the course:\n"
        "  " + python_command("tools/to_gguf.py", folder, "model.gguf")
    )
