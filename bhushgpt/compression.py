"""A language model is a compressor: a text becomes the surprises that a model had while reading it.

Four modes: the `model` alone; `adaptive`, the model that goes on learning from what it has just
scored (dynamic evaluation); `mixed`, the same with counters mixed in; and `counters`, which needs
no trained model. Encoder and decoder run the same loop, `bhushgpt.symbol_coding.code_symbols`.

What makes it reproducible: both sides compute the same batches in the same order, torch on one
thread and with one library, sums in numpy without any, and only whole numbers reach the coder. A
fingerprint of the arithmetic is in the file; a machine that computes otherwise says so at once.

Lesson: notebook 19.
"""

import hashlib
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec

import numpy as np

from bhushgpt.arithmetic_coding import Decoder, Encoder
from bhushgpt.cpu_settings import float32_products_as_shipped, threads
from bhushgpt.errors import UserError, nearest
from bhushgpt.language_model import LanguageModel
from bhushgpt.mixing import MixedPredictor
from bhushgpt.online_counters import CodeTree
from bhushgpt.symbol_coding import Listener, ModelReader, code_symbols, from_symbols, to_symbols
from bhushgpt.tokenizers import CharTokenizer, Tokenizer

MODES = ("model", "adaptive", "mixed", "counters")
FORMAT = 1
MAGIC = b"BhGZ"
# magic, format, mode, lanes, symbols, bytes of the tables and of the message, sha256 of the model
# and of the original (16 bytes each), fingerprint of the arithmetic
_HEADER = struct.Struct("<4sBBHIII16s16s4s")
LEARNING_RATE = (
    0.03  # of the model's weights while it reads; 0.1 cost short texts more than it gave
)
_PRIMING_LANES = 64


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a text is; the last one of a run carries the result."""

    done: int
    """Tokens read so far."""
    total: int
    """Tokens of the text."""
    data: bytes | None = None
    """The finished file, or the text that was read from one."""


@contextmanager
def one_order() -> Iterator[None]:
    """Let torch add up in one order: on one thread, with the library that it comes with.

    Training may have let in another (`fast_float32_products`); who reads the file need not.
    """
    with threads(1), float32_products_as_shipped():
        yield


def compressing(
    data: bytes,
    model: LanguageModel | None = None,
    tokenizer: Tokenizer | None = None,
    *,
    mode: str = "mixed",
    primer: str = "",
    lanes: int | None = None,
) -> Iterator[Progress]:
    """Write the data in fewer bytes, and yield how far it is; the last one holds the file.

    Args:
        data: Any bytes. Text is UTF-8; what is not, is written byte by byte.
        model: Not for the mode `counters`.
        tokenizer: The model's.
        mode: One of `MODES`.
        primer: A text that counters read first, such as the one that the model learned from. It
            is not written: whoever decompresses must have it too.
        lanes: Texts read side by side: more are faster and cost a few bytes. None chooses.

    Raises:
        UserError: If the mode is unknown or lacks its model.

    >>> for progress in compressing(b"the cat sat on the mat. " * 2, mode="counters", lanes=24):
    ...     print(progress.done, progress.data is not None)
    24 False
    48 False
    48 True
    """
    check_mode(mode, model, tokenizer)
    tables = b""
    if mode == "counters" and tokenizer is None:
        tables = _alphabet(data)
        tokenizer = _alphabet_tokenizer(tables)
    assert tokenizer is not None
    symbols = to_symbols(data, tokenizer)
    if lanes is None:
        lanes = min(16, max(1, len(symbols) // 1024))
    with one_order():
        setting = _Setting(mode, model, tokenizer, primer, tables, len(symbols), lanes)
        coder, done = Encoder(), 0
        for step in code_symbols(coder, len(symbols), lanes, wanted=symbols, **setting.predictors):
            done += len(step)
            yield Progress(done=done, total=len(symbols))
    message = coder.finish()
    header = _HEADER.pack(
        MAGIC,
        FORMAT,
        MODES.index(mode),
        lanes,
        len(symbols),
        len(tables),
        len(message),
        setting.digest,
        hashlib.sha256(data).digest()[:16],
        setting.arithmetic,
    )
    file = header + tables + message
    whole = file + struct.pack("<I", zlib.crc32(file))
    yield Progress(done=done, total=len(symbols), data=whole)


def decompressing(
    file: bytes,
    model: LanguageModel | None = None,
    tokenizer: Tokenizer | None = None,
    *,
    primer: str = "",
) -> Iterator[Progress]:
    """Do what `decompress` does, and yield how far it is; the last one holds the data."""
    mode, lanes, count, digest, original, arithmetic, tables, message = _read(file)
    check_mode(mode, model, tokenizer)
    if tables:
        tokenizer = _alphabet_tokenizer(tables)
    if tokenizer is None:
        raise UserError("This file was written with a tokenizer of its own: give the same one.")
    symbols: list[np.ndarray] = []
    with one_order():
        setting = _Setting(mode, model, tokenizer, primer, tables, count, lanes)
        if setting.digest != digest:
            raise UserError(
                "The file was written with another model, tokenizer or primer than the one given. "
                "Decompress with the run that compressed it."
            )
        if setting.arithmetic != arithmetic:
            raise UserError(
                "The model is right, but this machine computes its predictions with other last "
                "digits than the one that wrote the file (another processor, torch or numpy). "
                "Decompress where it was compressed."
            )
        coder, done = Decoder(message), 0
        for step in code_symbols(coder, count, lanes, **setting.predictors):
            symbols.append(step)
            done += len(step)
            if coder.missing > 8:
                raise UserError("The file ends before its text does. Get it again.")
            yield Progress(done=done, total=count)
    text = _in_order(symbols, count, lanes)
    try:
        data = from_symbols(text, tokenizer)
    except (ValueError, OverflowError):
        data = b""
    if hashlib.sha256(data).digest()[:16] != original:
        raise UserError("What was read is not what was written: the file is damaged. Get it again.")
    yield Progress(done=done, total=count, data=data)


Given = ParamSpec("Given")


def _to_the_end(steps: Callable[Given, Iterator[Progress]]) -> Callable[Given, bytes]:
    """Return the function that runs through these steps and gives back what the last one holds."""

    def whole(*args: Given.args, **settings: Given.kwargs) -> bytes:
        *_, last = steps(*args, **settings)
        assert last.data is not None
        return last.data

    return whole


compress = _to_the_end(compressing)
"""What `compressing` writes, as bytes: `compress(data, mode="counters")`."""
decompress = _to_the_end(decompressing)
"""What `decompressing` gives back, as bytes: `decompress(file)`."""


def check_mode(mode: str, model: LanguageModel | None, tokenizer: Tokenizer | None) -> None:
    """Refuse a mode that does not exist or lacks what it needs."""
    if mode not in MODES:
        raise UserError(f"There is no mode {mode!r}. {nearest(mode, MODES)}")
    if mode != "counters" and (model is None or tokenizer is None):
        raise UserError(
            f"The mode {mode!r} needs a model and its tokenizer, such as those of a run. "
            "Only the mode 'counters' works without."
        )


def _in_order(steps: list[np.ndarray], count: int, lanes: int) -> list[int]:
    """Return the symbols lane after lane, from steps that each hold one of every lane."""
    length = -(-count // lanes)
    table = np.zeros((lanes, length), dtype=np.int64)
    starts = np.arange(lanes) * length
    for step, symbols in enumerate(steps):
        table[np.flatnonzero(starts + step < count), step] = symbols
    return table.ravel()[:count].tolist()


class _Setting:
    """What predicts, ready to start, and the fingerprints of model and arithmetic."""

    def __init__(
        self,
        mode: str,
        model: LanguageModel | None,
        tokenizer: Tokenizer,
        primer: str,
        tables: bytes,
        count: int,
        lanes: int,
    ) -> None:
        if not 1 <= lanes <= 1024:
            raise UserError(f"lanes is {lanes}: it must be from 1 to 1,024.")
        model = None if mode == "counters" else model
        self.digest = _digest(mode, model, tokenizer, primer)
        past = to_symbols(primer.encode("utf-8", "surrogatepass"), tokenizer)
        past = past[past >= 0]
        self.predictors: dict = {"reader": None, "mixed": None}
        self.arithmetic = _fingerprint(np.log(np.linspace(0.001, 2, 999)))
        if model is not None:
            rate = 0.0 if mode == "model" else LEARNING_RATE
            reader = ModelReader(model, tokenizer.vocab_size, learning_rate=rate)
            reader.restart(lanes, np.arange(8) % tokenizer.vocab_size)
            self.arithmetic = _fingerprint(reader.distribution())
            reader.restart(lanes, past)
            self.predictors["reader"] = reader
        if mode in ("mixed", "counters"):
            self.predictors["mixed"] = self._mixed(tokenizer, past, tables, count, lanes)

    def _mixed(
        self, tokenizer: Tokenizer, past: np.ndarray, tables: bytes, count: int, lanes: int
    ) -> MixedPredictor:
        size = tokenizer.vocab_size
        counts = np.bincount(past, minlength=size) + 0.01
        if tables:
            counts = counts + 2.0 ** -np.array(_code_lengths(tables))
        pieces = [tokenizer.decode([token]) for token in range(size)]
        numbers = {piece: token for token, piece in reversed(list(enumerate(pieces)))}
        lower = np.array([numbers.get(p.lower(), t) for t, p in enumerate(pieces)])
        is_letter = np.array([piece.strip().isalpha() for piece in pieces])
        # About ten slots for each token read are filled; at 26 bits, 670 MB, that is enough.
        bits = min(26, max(16, (16 * (len(past) + count)).bit_length()))
        with_model = self.predictors["reader"] is not None
        mixed = MixedPredictor(
            CodeTree.of(counts), is_letter, lower, with_model=with_model, table_bits=bits
        )
        if len(past):
            side_by_side = min(_PRIMING_LANES, -(-len(past) // 1024))
            mixed.restart(side_by_side)
            for _ in code_symbols(Listener(), len(past), side_by_side, wanted=past, mixed=mixed):
                pass
            mixed.expect_model()
        mixed.restart(lanes, past)
        return mixed


def _digest(mode: str, model: LanguageModel | None, tokenizer: Tokenizer, primer: str) -> bytes:
    """Return the fingerprint of all that both sides must have in common."""
    parts = hashlib.sha256(f"{FORMAT} {mode} {tokenizer.digest}".encode())
    parts.update(hashlib.sha256(primer.encode("utf-8", "surrogatepass")).digest())
    for name, weight in [] if model is None else sorted(model.state_dict().items()):
        parts.update(f"{name} {tuple(weight.shape)}".encode())
        parts.update(weight.detach().float().cpu().numpy().tobytes())
    return parts.digest()[:16]


def _fingerprint(numbers: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(numbers).tobytes()).digest()[:4]


def _read(file: bytes) -> tuple[str, int, int, bytes, bytes, bytes, bytes, bytes]:
    """Take the file apart, or say what is wrong with it."""
    if file[: len(MAGIC)] != MAGIC:
        raise UserError("This is no file that bhushgpt compressed: it begins with other bytes.")
    if len(file) < _HEADER.size + 4:
        raise UserError("The file is cut short: not even its header is whole. Get it again.")
    _, number, mode, lanes, count, n_tables, n_message, *rest = _HEADER.unpack_from(file)
    if number != FORMAT:
        raise UserError(f"The file has format {number}; this version of bhushgpt reads {FORMAT}.")
    end = _HEADER.size + n_tables + n_message
    if len(file) != end + 4:
        raise UserError(
            f"The file has {len(file):,} bytes and should have {end + 4:,}: it is cut short or "
            "something was added. Get it again."
        )
    if struct.unpack("<I", file[end:])[0] != zlib.crc32(file[:end]) or mode >= len(MODES):
        raise UserError("The file was altered: its checksum is another. Get it again.")
    digest, original, arithmetic = rest
    tables = file[_HEADER.size : _HEADER.size + n_tables]
    return (
        MODES[mode],
        lanes,
        count,
        digest,
        original,
        arithmetic,
        tables,
        file[end - n_message : end],
    )


def _alphabet(data: bytes) -> bytes:
    """Return the characters that come more than once, and how rare each is, as bytes."""
    counts = Counter(data.decode("utf-8", errors="surrogateescape"))
    often = sorted((c for c in counts if counts[c] > 1), key=lambda c: (-counts[c], c))
    often = often or ["\0"]
    total = sum(counts.values()) or 1
    rarity = [min(40, max(0, round(np.log2(total / max(1, counts[c]))))) for c in often]
    letters = "".join(often).encode("utf-8", "surrogatepass")
    # Sorted by frequency, the rarities only rise: each is told by how much.
    steps = bytes(np.diff(rarity, prepend=0).tolist())
    return zlib.compress(struct.pack("<I", len(letters)) + letters + steps, 9)


def _unpacked(tables: bytes) -> tuple[str, list[int]]:
    try:
        plain = zlib.decompress(tables)
        size = struct.unpack_from("<I", plain)[0]
        letters = plain[4 : 4 + size].decode("utf-8", "surrogatepass")
        return letters, np.cumsum(list(plain[4 + size :])).tolist()
    except (zlib.error, struct.error, UnicodeError):
        raise UserError("The alphabet in the file is damaged. Get the file again.") from None


def _alphabet_tokenizer(tables: bytes) -> Tokenizer:
    return CharTokenizer(_unpacked(tables)[0])


def _code_lengths(tables: bytes) -> list[int]:
    return _unpacked(tables)[1]
