"""Our tokenizers in the form that Hugging Face and its readers know, tokenizer.json, and back.

Lesson: notebook 16.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, pre_tokenizers, processors

from bhushgpt.bpe import BPETokenizer, parse_merges
from bhushgpt.bpe_by_hand import to_signs
from bhushgpt.errors import UserError
from bhushgpt.files import read_file, refuse_pointer, write_atomically
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer, Tokenizer, end_of_text

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"

BYTES = [to_signs(bytes([byte])) for byte in range(256)]
# Each way of cutting a text differs in one of these: words, numbers, apostrophes, gaps, signs.
PROBES = ("The cat's 1,234 CATS  sat.\n\n\tÉtude naïve 山寺 🙂 <b>x_y</b>  ", " lead", "lead")


def fast_tokenizer(tokenizer: Tokenizer) -> FastTokenizer:
    """Return the same tokenizer as one of the library `tokenizers`.

    "The same" are the same ids for every text, with two exceptions. A character outside the
    alphabet of a `CharTokenizer` is not refused there, but becomes its `stand_in`. And the name of
    a special token in a text is read as that token, unless `encode_special_tokens` is set.

    Args:
        tokenizer: One that counts characters or bytes, or a byte-pair one.

    Raises:
        UserError: If there is no such form of it, or a special token has the name of an ordinary
            one: that library would give both one id.

    >>> fast_tokenizer(ByteTokenizer()).encode("hi").ids
    [104, 105]
    """
    if isinstance(tokenizer, CharTokenizer):
        # Byte-pair encoding that starts from characters and has no pair to merge.
        vocabulary = {character: number for number, character in enumerate(tokenizer.characters)}
        fast: Any = FastTokenizer(models.BPE(vocabulary, [], unk_token=tokenizer.stand_in))
        fast.decoder = decoders.Fuse()
        return fast
    if isinstance(tokenizer, ByteTokenizer):
        names, pairs, special = BYTES, [], []
    elif isinstance(tokenizer, BPETokenizer):
        special = [*tokenizer.special_ids]
        ordinary = tokenizer.tokens[: tokenizer.vocab_size - len(special)]
        names = [to_signs(token) for token in ordinary]
        pairs = [(names[left], names[right]) for left, right in tokenizer.merges]
    else:
        raise UserError(
            f"There is no tokenizer.json for a {type(tokenizer).__name__}. Characters, bytes and "
            "byte-pair encoding can be written; train the model with one of these."
        )
    if both := sorted({*names} & {*special}):
        raise UserError(
            f"The special tokens {both} have the names of ordinary tokens, and tokenizer.json "
            "cannot hold both. Choose names that no text contains, such as <|endoftext|>."
        )
    fast = FastTokenizer(models.BPE({name: n for n, name in enumerate(names)}, pairs))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.post_processor = processors.ByteLevel(trim_offsets=False)
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens(special)  # their ids follow, as ours do
    return fast


def write_tokenizer(tokenizer: Tokenizer, folder: Path, context_length: int) -> None:
    """Write tokenizer.json and tokenizer_config.json, from which AutoTokenizer makes the same.

    Args:
        tokenizer: See `fast_tokenizer`.
        folder: An existing folder.
        context_length: The most tokens the model takes, for whoever wants to be warned.

    Raises:
        UserError: If there is no such form of it.
    """
    write_atomically(folder / TOKENIZER, fast_tokenizer(tokenizer).to_str(pretty=True).encode())
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
    text = json.dumps(described, ensure_ascii=False, indent=1) + "\n"
    write_atomically(folder / TOKENIZER_CONFIG, text.encode())


def read_tokenizer(file: Path) -> Tokenizer:
    """Return our tokenizer that gives the same ids as the one in a tokenizer.json.

    Raises:
        UserError: If the file cannot be read, or there is no such tokenizer here: characters,
            bytes, and byte pairs of texts that are cut as GPT-2 cuts them can be had.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tokenizer(CharTokenizer("abc"), Path(folder), context_length=8)
    ...     read_tokenizer(Path(folder, TOKENIZER)).encode("cab")
    [2, 0, 1]
    """
    refuse_pointer(file)
    try:
        text = read_file(file).decode("utf-8-sig")
        theirs, described = FastTokenizer.from_str(text), json.loads(text)
        added = sorted(described["added_tokens"] or (), key=lambda token: token["id"])
        model, special = described["model"], [token["content"] for token in added]
        cut = described["pre_tokenizer"] is not None
        ours = _with_vocabulary(model["vocab"], model["merges"], special, cut)
    except UserError:
        raise
    except Exception as error:  # the library raises no kind of its own
        raise UserError(
            f"{file} is damaged or no tokenizer.json of byte pairs ({error})."
        ) from None
    if not _agree(fast_tokenizer(ours), theirs, ours):
        raise UserError(
            f"{file} describes a tokenizer that gives other ids than any that is known here. Known "
            "are characters, bytes, and byte pairs with GPT-2's way of cutting a text."
        )
    return ours


def read_merges(merges: Path, vocabulary: Path) -> BPETokenizer:
    """Return the tokenizer in the two files that GPT-2 came with, merges.txt and vocab.json.

    Raises:
        UserError: If a file cannot be read, or they do not belong together.
    """
    pairs = parse_merges(read_file(merges).decode("utf-8", errors="replace"))
    try:
        ids = json.loads(read_file(vocabulary))
        special = sorted(ids, key=ids.__getitem__)[256 + len(pairs) :]
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{vocabulary} is damaged: it is not one JSON object.") from None
    tokenizer = BPETokenizer(pairs, special)
    if fast_tokenizer(tokenizer).get_vocab() != ids:
        raise UserError(f"{vocabulary} gives other ids than {merges.name} makes. Get both again.")
    return tokenizer


def _with_vocabulary(
    ids: Mapping[str, int], merges: Sequence[Any], special: Sequence[str], cut: bool
) -> Tokenizer:
    """Return the tokenizer that such a description may mean."""
    names = sorted(ids, key=ids.__getitem__)
    if not merges and not cut:
        return CharTokenizer("".join(names))
    if not merges and names == BYTES:
        return ByteTokenizer()
    pairs = (pair if isinstance(pair, str) else " ".join(pair) for pair in merges)
    return BPETokenizer(parse_merges("\n".join(pairs)), special)


def _agree(one: FastTokenizer, other: FastTokenizer, ours: Tokenizer) -> bool:
    """Return whether two of them have the same ids, and find the same in the same texts."""
    if one.get_vocab() != other.get_vocab():
        return False
    # Every token as a text too: one that crosses a cut is found only where there is no such cut.
    probes = [ours.decode([token]) for token in range(ours.vocab_size)]
    probes += [ours.characters] if isinstance(ours, CharTokenizer) else PROBES
    ids = ([found.ids for found in each.encode_batch(probes)] for each in (one, other))
    return next(ids) == next(ids)
