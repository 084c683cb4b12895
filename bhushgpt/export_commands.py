"""The command that lets a model leave the course: `export`.

Lesson: notebook 16.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from bhushgpt.checkpoints import load_checkpoint
from bhushgpt.flags import FOLDER
from bhushgpt.interop import check_empty, to_hf
from bhushgpt.model_commands import Run


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a trained model as a folder that other programs open."""

    run_folder: Run
    """Folder of a run, or of one of its checkpoints."""
    to: Literal["hf"] = "hf"
    """The form: hf is Hugging Face's, with the layout of GPT-2."""
    out: Annotated[Positional[Path], FOLDER, arg(metavar="OUT")]
    """The folder to write, new or empty."""

    def run(self) -> int:
        """Write the folder and say how to open it; return the exit status."""
        check_empty(self.out)  # before a large model is read
        checkpoint = load_checkpoint(self.run_folder, "cpu")
        folder = to_hf(checkpoint.state.model, checkpoint.tokenizer, self.out)
        parameters = sum(weight.numel() for weight in checkpoint.state.model.parameters())
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
        f"  python tools/to_gguf.py {shlex.quote(str(folder))} model.gguf"
    )
