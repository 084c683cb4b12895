"""The 256 bytes in the order GPT-2 numbers them, and a printable sign for each.

GPT-2's files must show any byte in a text editor, line by line and without spaces. So the 188 bytes
that Latin-1 prints keep their sign, and the other 68 borrow the signs from U+0100 on: the space
becomes `Ġ`, the line break `Ċ`. GPT-2 numbers the printable bytes first, then the others; that is
also the order of the signs, so the `tokenizers` library breaks ties by it.

Lesson: notebook 12.
"""

from bhushgpt.errors import UserError

_PRINTABLE = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]

BYTE_ORDER = bytes(_PRINTABLE + _OTHERS)
"""The byte of each id from 0 to 255."""

BYTE_IDS = bytes(BYTE_ORDER.index(byte) for byte in range(256))
"""The id of each byte: `data.translate(BYTE_IDS)` numbers a whole text at once."""

_SIGNS = [chr(byte) for byte in _PRINTABLE] + [chr(0x100 + n) for n in range(len(_OTHERS))]
_SIGN_OF = dict(zip(BYTE_ORDER, _SIGNS, strict=True))
_BYTE_OF = {sign: byte for byte, sign in _SIGN_OF.items()}


def to_signs(token: bytes) -> str:
    r"""Return the bytes as GPT-2's files write them, one sign for each byte.

    Example:
        >>> to_signs(b" the"), to_signs("é\n".encode())
        ('Ġthe', 'Ã©Ċ')

    Lesson: notebook 12. Source: OpenAI, gpt-2/src/encoder.py, `bytes_to_unicode`, 2019.
    """
    return "".join(_SIGN_OF[byte] for byte in token)


def from_signs(signs: str) -> bytes:
    """Return the bytes that the signs stand for.

    Raises:
        UserError: If a character is none of the 256 signs.

    Example:
        >>> from_signs("Ġthe")
        b' the'

    Lesson: notebook 12.
    """
    try:
        return bytes(_BYTE_OF[sign] for sign in signs)
    except KeyError as error:
        raise UserError(
            f"{signs!r} is not a token in GPT-2's signs: {error.args[0]!r} stands for no byte."
        ) from None
