"""A byte-pair tokenizer as `tokenizer.json`, the file that Hugging Face's libraries read.

Lesson: notebook 12.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bhushgpt.bpe_bytes import to_signs
from bhushgpt.bpe_naive import Merge
from bhushgpt.errors import UserError

# The library's name for GPT-2's way: its pattern, then bytes as signs.
_BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}
_SPECIAL = {
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": True,
}
_MODEL = {
    "type": "BPE",
    "dropout": None,
    "unk_token": None,
    "continuing_subword_prefix": None,
    "end_of_word_suffix": None,
    "fuse_unk": False,
    "byte_fallback": False,
    "ignore_merges": False,
}


def tokenizers_description(
    tokens: Sequence[bytes], merges: Sequence[Merge], special_ids: Mapping[str, int]
) -> dict[str, Any]:
    """Return what belongs into a `tokenizer.json`.

    Args:
        tokens: The bytes of every ordinary token; its place is its id.
        merges: Pairs of ids.
        special_ids: The special tokens and their ids.

    Raises:
        UserError: If a special token has the name of an ordinary one: that library would give
            both one id.

    Lesson: notebook 12. Source: the documentation of Hugging Face `tokenizers`.

    >>> described = tokenizers_description([b"a", b" ", b" a"], [(1, 0)], {"<end>": 3})
    >>> described["model"]["vocab"], described["model"]["merges"]
    ({'a': 0, 'Ġ': 1, 'Ġa': 2}, [('Ġ', 'a')])
    """
    names = [to_signs(token) for token in tokens]
    vocabulary = {name: number for number, name in enumerate(names)}
    if both := sorted(vocabulary.keys() & special_ids.keys()):
        raise UserError(
            f"The special tokens {both} have the names of ordinary tokens, and tokenizer.json "
            "cannot hold both. Choose names that no text contains, such as <|endoftext|>."
        )
    pairs = [(names[left], names[right]) for left, right in merges]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _SPECIAL | {"id": number, "content": name} for name, number in special_ids.items()
        ],
        "normalizer": None,
        "pre_tokenizer": _BYTE_LEVEL,
        "post_processor": _BYTE_LEVEL | {"trim_offsets": False},
        "decoder": _BYTE_LEVEL,
        "model": _MODEL | {"vocab": vocabulary, "merges": pairs},
    }
