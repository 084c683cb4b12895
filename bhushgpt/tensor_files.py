"""What a file of tensors says it holds, checked before any of it is loaded.

A safetensors file begins with the length of its header (8 bytes), then the header (JSON: of each
tensor the name, kind of number, shape, and place), then the numbers. No code anywhere.

Lesson: notebook 10. Source: github.com/huggingface/safetensors, "Format".
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bhushgpt.errors import UserError
from bhushgpt.files import open_regular

# The largest GPT-2 has 580 tensors, and AdamW three for each: a few hundred kilobytes of header.
LONGEST_HEADER = 2**22
MOST_TENSORS = 20_000
MOST_DIMENSIONS = 8
KINDS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
PICKLES = (b"\x80", b"PK\x03\x04", b"\x93NUMPY")


@dataclass(frozen=True)
class TensorFacts:
    """What a header says of one tensor.

    Lesson: notebook 10.
    """

    dtype: torch.dtype
    """Kind of its numbers."""
    shape: tuple[int, ...]
    """Its sizes."""

    @property
    def count(self) -> int:
        """How many numbers it has; never overflows."""
        return math.prod(self.shape)


def read_header(file: Path) -> dict[str, TensorFacts]:
    """Return what a safetensors file holds, after checking that it can be true.

    Nothing but the header is read, and no more of it than a checkpoint could need.

    Raises:
        UserError: If it is no such file, too much for one, or its sizes contradict each other.

    Lesson: notebook 10.

    >>> import tempfile
    >>> from safetensors.torch import save_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file({"a": torch.zeros(2, 3)}, Path(folder, "a.safetensors"))
    ...     read_header(Path(folder, "a.safetensors"))
    {'a': TensorFacts(dtype=torch.float32, shape=(2, 3))}
    """
    with open_regular(file) as stream:
        start = stream.read(8)
        length = int.from_bytes(start, "little")
        size = stream.seek(0, 2)
        if start.startswith(PICKLES) and length > LONGEST_HEADER:
            raise UserError(_pickle_message(file))
        if len(start) < 8 or length > size - 8:
            raise UserError(f"{file} is not a safetensors file, or it is cut off: {size:,} bytes.")
        if length > LONGEST_HEADER:
            raise UserError(
                f"{file} has a header of {length:,} bytes; at most {LONGEST_HEADER:,} are read. It "
                "is not a checkpoint of this course."
            )
        stream.seek(8)
        text = stream.read(length)
    try:
        return _facts(json.loads(text.decode("utf-8")), size - 8 - length)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"The header of {file} makes no sense ({error}). Not loaded.") from error


def _facts(header: dict[str, Any], data_bytes: int) -> dict[str, TensorFacts]:
    """Return the tensors of a header, if they fill the rest of the file without gap or overlap."""
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    if len(entries) > MOST_TENSORS:
        raise ValueError(f"{len(entries):,} tensors, at most {MOST_TENSORS:,} are read")
    places = []
    facts = {}
    for name, entry in entries.items():
        begin, end = entry["data_offsets"]
        shape = tuple(entry["shape"])
        if len(shape) > MOST_DIMENSIONS:
            raise ValueError(f"{name!r} has {len(shape):,} dimensions")
        if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
            raise ValueError(f"sizes of {name!r} are not whole numbers from 0")
        facts[name] = TensorFacts(KINDS[entry["dtype"]], shape)
        if end - begin != facts[name].count * facts[name].dtype.itemsize:
            raise ValueError(f"{name!r} of shape {list(shape)} does not fit into its place")
        places.append((begin, end))
    places.sort()
    ends = [0, *(end for _, end in places)]
    if [begin for begin, _ in places] != ends[:-1] or ends[-1] != data_bytes:
        raise ValueError(f"its tensors do not fill the {data_bytes:,} bytes of the file")
    return facts


def load_tensors(file: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name, its header checked first.

    Raises:
        UserError: See `read_header`.

    Lesson: notebook 10.
    """
    read_header(file)
    try:
        return load_file(file, device=str(device))
    except SafetensorError as error:
        raise UserError(f"{file} is no sound safetensors file: {error}. Get it again.") from error


def _pickle_message(file: Path) -> str:
    return (
        f"{file} is not a safetensors file but looks like a pickle, a format that runs the code "
        "in it when it is loaded (notebook 10 shows how). It was not opened. Ask for the weights "
        "as a .safetensors file."
    )
