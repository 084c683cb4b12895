"""Our tokenizers in the form that Hugging Face and its readers know: tokenizer.json.

Lesson: notebook 15.
"""

import json
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from bhushgpt.bpe_bytes import to_signs
from bhushgpt.errors import UserError
from bhushgpt.tokenizer_interface import Tokenizer
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"


@runtime_checkable
class WritesItself(Protocol):
    """A tokenizer with a tokenizer.json of its own, such as the one of notebook 12."""

    def to_tokenizers_json(self, path: Path) -> Any: ...  # noqa: D102


def write_tokenizer(tokenizer: Tokenizer, folder: Path, context_length: int) -> None:
    """Write tokenizer.json and tokenizer_config.json, from which AutoTokenizer makes the same.

    "The same" are the same ids for every text, with two exceptions. A character outside the
    alphabet of a `CharTokenizer` is not refused there, but becomes its `stand_in`. And the letters
    "<|endoftext|>" in a text are read as the end of a document, unless one passes
    `split_special_tokens=True`.

    Args:
        tokenizer: One that counts characters or bytes, or that writes itself.
        folder: An existing folder.
        context_length: The most tokens the model takes, for whoever wants to be warned.

    Raises:
        UserError: If there is no such form of it.

    Lesson: notebook 15.
    """
    path = folder / TOKENIZER
    if isinstance(tokenizer, WritesItself):
        tokenizer.to_tokenizers_json(path)
    elif isinstance(tokenizer, CharTokenizer):
        _write(path, _characters(tokenizer))
    elif isinstance(tokenizer, ByteTokenizer):
        _write(path, _bytes())
    else:
        raise UserError(
            f"There is no tokenizer.json for a {type(tokenizer).__name__}. Characters, bytes and "
            "byte-pair encoding can be written; train the model with one of these."
        )
    described = {
        # The class that takes tokenizer.json as it is. "GPT2Tokenizer" would build its own from
        # the vocabulary and drop what it does not expect.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
    }
    end = end_of_text(tokenizer)
    if end is not None:
        described |= {"bos_token": tokenizer.decode([end]), "eos_token": tokenizer.decode([end])}
    _write(folder / TOKENIZER_CONFIG, described)


def end_of_text(tokenizer: Tokenizer) -> int | None:
    """Return the id of the token between documents, None if the tokenizer has none.

    Lesson: notebook 15.

    >>> end_of_text(ByteTokenizer()) is None
    True
    """
    try:
        return getattr(tokenizer, "eot_id", None)
    except UserError:  # byte-pair encoding that was trained without it
        return None


def _characters(tokenizer: CharTokenizer) -> dict[str, Any]:
    """Byte-pair encoding that starts from characters and has no pair to merge."""
    vocabulary = {character: number for number, character in enumerate(tokenizer.characters)}
    return _description(
        vocabulary, unknown=tokenizer.stand_in, pre_tokenizer=None, decoder={"type": "Fuse"}
    )


def _bytes() -> dict[str, Any]:
    """Byte-pair encoding that starts from bytes and has no pair to merge."""
    by_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    signs = [to_signs(bytes([byte])) for byte in range(256)]
    vocabulary = {sign: byte for byte, sign in enumerate(signs)}
    return _description(
        vocabulary,
        unknown=None,
        pre_tokenizer={**by_bytes, "use_regex": True},
        decoder={**by_bytes, "use_regex": True},
    )


def _description(
    vocabulary: dict[str, int],
    *,
    unknown: str | None,
    pre_tokenizer: dict[str, Any] | None,
    decoder: dict[str, Any],
) -> dict[str, Any]:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [],
        },
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
