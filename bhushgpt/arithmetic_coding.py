"""An arithmetic coder: a message becomes one number, and likely symbols make it hardly longer.

The coder holds an interval of whole numbers. Each symbol takes the share of it that its frequency
promises, so after a message of probability p the interval has shrunk by the factor p, and about
-log2 p bits name a number inside. Only integers are used: the decoder, doing the same steps, has
the same interval.

Letters: R rows, V vocabulary.

Lesson: notebook 19.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from bhushgpt.errors import UserError

TOTAL = 1 << 24  # frequencies of one distribution add up to this
WIDTH = 48  # bits of the interval's width: at least 2^40, so a share is exact to 2^-16 of itself
_TOP, _LOW = 1 << WIDTH, 1 << (WIDTH - 8)


def frequencies(probabilities: np.ndarray) -> np.ndarray:
    """Return bounds (R, V+1) of whole numbers: symbol v owns bounds[v] up to bounds[v + 1].

    Every symbol gets at least 1, or it could not be written at all; the rest of `TOTAL` is shared
    out by probability, and what rounding leaves over goes to the likeliest symbol.

    Args:
        probabilities: (R, V), at least 0, any positive sum a row.

    Raises:
        UserError: If there are more symbols than `TOTAL` can give a share, or a number is no
            probability.

    >>> frequencies(np.array([[1.0, 3.0]])).tolist() == [[0, 4194304, 16777216]]
    True
    """
    rows, size = probabilities.shape
    if size > TOTAL // 2:
        raise UserError(f"{size:,} symbols are too many for this coder: {TOTAL // 2:,} at most.")
    sums = probabilities.sum(axis=1, keepdims=True)
    if not (np.isfinite(sums).all() and (sums > 0).all() and (probabilities >= 0).all()):
        raise UserError(
            "The model's prediction is not a distribution: it holds a NaN, an infinity or a "
            "negative number. Take another checkpoint."
        )
    shares = 1 + (probabilities / sums * (TOTAL - size)).astype(np.int64)  # (R, V)
    likeliest = probabilities.argmax(axis=1)
    shares[np.arange(rows), likeliest] += TOTAL - shares.sum(axis=1)
    bounds = np.zeros((rows, size + 1), dtype=np.int64)  # (R, V+1)
    np.cumsum(shares, axis=1, out=bounds[:, 1:])
    return bounds


class Coder(Protocol):
    """What `Encoder` and `Decoder` share, so that one loop can serve both.

    The loop passes the symbol that it wants written. The encoder writes and returns it; the
    decoder does not look at it, and returns the symbol that it read.
    """

    def code(self, bounds: Sequence[int], symbol: int) -> int:
        """Write or read one symbol; bounds[v] to bounds[v + 1] is its share of the whole."""
        ...


class Encoder:
    """Symbols in, bytes out.

    Source: range coding after G. N. N. Martin (1979), with the carry of LZMA's coder.

    >>> encoder = Encoder()
    >>> [encoder.code([0, 1, 8], symbol) for symbol in (1, 1, 0, 1)]
    [1, 1, 0, 1]
    >>> data = encoder.finish()
    >>> decoder = Decoder(data)
    >>> [decoder.code([0, 1, 8], -1) for _ in range(4)]
    [1, 1, 0, 1]
    """

    def __init__(self) -> None:
        self._low, self._width = 0, _TOP - 1
        self._bytes = bytearray()

    def code(self, bounds: Sequence[int], symbol: int) -> int:
        """Narrow the interval to the symbol's share."""
        unit = self._width // int(bounds[-1])
        self._low += unit * int(bounds[symbol])
        self._width = unit * int(bounds[symbol + 1] - bounds[symbol])
        assert self._width > 0, "a symbol with no share cannot be written"
        if self._low >= _TOP:
            self._carry()
        while self._width < _LOW:
            # The leading byte is settled, but for a carry that may still come.
            self._bytes.append(self._low >> (WIDTH - 8))
            self._low = (self._low & (_LOW - 1)) << 8
            self._width <<= 8
        return symbol

    def _carry(self) -> None:
        """Add one to the number written so far: 0xff bytes turn over, as 9s do in 1999 + 1."""
        self._low -= _TOP
        place = len(self._bytes) - 1
        while self._bytes[place] == 255:
            self._bytes[place] = 0
            place -= 1
        self._bytes[place] += 1

    def finish(self) -> bytes:
        """Return the message: as few bytes as name a number inside the last interval."""
        for kept in range(1, WIDTH // 8 + 1):
            step = 1 << (WIDTH - 8 * kept)
            point = -(-self._low // step) * step  # the first multiple of `step` in the interval
            if point < self._low + self._width:
                break
        self._low = point
        if self._low >= _TOP:
            self._carry()
        # The decoder reads zeros behind the end.
        return bytes(self._bytes) + self._low.to_bytes(WIDTH // 8, "big")[:kept]


class Decoder:
    """Bytes in, symbols out: the same narrowing, led by where the number lies.

    Attributes:
        missing: Bytes that were read behind the end. More than a whole message may need means
            that it was cut short.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, WIDTH // 8
        self._width = _TOP - 1
        self._offset = int.from_bytes(data[: WIDTH // 8].ljust(WIDTH // 8, b"\0"), "big")

    @property
    def missing(self) -> int:
        """How many bytes were read that the message does not have."""
        return max(0, self._place - len(self._data))

    def code(self, bounds: Sequence[int], symbol: int = -1) -> int:
        """Return the symbol in whose share the number lies; `symbol` is not looked at."""
        unit = self._width // int(bounds[-1])
        target = min(self._offset // unit, int(bounds[-1]) - 1)
        symbol = bisect_right(bounds, target) - 1
        self._offset -= unit * int(bounds[symbol])
        self._width = unit * int(bounds[symbol + 1] - bounds[symbol])
        while self._width < _LOW:
            byte = self._data[self._place] if self._place < len(self._data) else 0
            self._offset = (self._offset << 8) | byte
            self._width <<= 8
            self._place += 1
        return symbol
