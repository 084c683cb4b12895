"""Fault 10: a header that claims more than there is. Refused before anything is allocated."""

import json
import tracemalloc

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bhushgpt.errors import UserError
from bhushgpt.storage.checkpoints import (
    MODEL,
    OPTIMIZER,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)
from bhushgpt.storage.run_folder import MANIFEST, write_manifest
from bhushgpt.storage.tensors import KINDS, LONGEST_HEADER, MOST_TENSORS, TensorFacts, read_header
from tests.small_runs import TOKENIZER, fresh_state, small_config


def tensor_file(header, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(shape, begin=0, end=0, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


EIGHT = bytes(8)
BAD = {
    "nothing": (b"", "no sound safetensors file of 0 bytes: header too small"),
    "seven bytes": (bytes(7), "no sound safetensors file of 7 bytes: header too small"),
    "longer than the file": (tensor_file({}, length=10**6), "invalid header length"),
    "a header of exabytes": (b"\xff" * 8 + b"{}", "header too large"),
    "a header of many megabytes": (
        tensor_file(b"{}" + b" " * (LONGEST_HEADER + 1)),
        r"has a header of 4,\d+,\d+ bytes; at most 4,194,304",
    ),
    "too many tensors": (
        tensor_file({str(n): entry([0]) for n in range(MOST_TENSORS + 1)}),
        "20,001 tensors, at most 20,000 are read",
    ),
    "a shape that overflows": (
        tensor_file({"a": entry([2**32, 2**32], 0, 0)}),
        "overflow",
    ),
    "a huge shape": (tensor_file({"a": entry([10**12], 0, 8)}, EIGHT), "invalid shape"),
    "a hundred thousand dimensions": (
        tensor_file({"a": entry([1] * 99_999 + [2], 0, 8)}, EIGHT),
        "has 100,000 dimensions, which no model here has",
    ),
    "a negative shape": (
        tensor_file({"a": entry([-2, -1], 0, 8)}, EIGHT),
        "integer `-2`, expected",
    ),
    "a shape of true": (
        tensor_file({"a": entry([True, 2], 0, 8)}, EIGHT),
        "boolean `true`, expected",
    ),
    "a broken number": (
        tensor_file({"a": entry([2.5], 0, 8)}, EIGHT),
        "floating point `2.5`, expected",
    ),
    "an unknown kind": (tensor_file({"a": entry([2], 0, 8, "F7")}, EIGHT), "unknown variant `F7`"),
    "a kind that no model has": (
        tensor_file({"a": entry([8], 0, 8, "F8_E4M3")}, EIGHT),
        "numbers of the kind F8_E4M3, which no model here has",
    ),
    "places that overlap": (
        tensor_file({"a": entry([2], 0, 8), "b": entry([2], 0, 8)}, EIGHT),
        "invalid offset for tensor `[ab]`",
    ),
    "a gap": (
        tensor_file({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12)),
        "invalid offset for tensor `[ab]`",
    ),
    "more data than said": (tensor_file({"a": entry([1], 0, 4)}, EIGHT), "file not fully covered"),
    "not JSON": (tensor_file(b"{nonsense}"), "invalid JSON"),
    "not an object": (tensor_file(b"[1, 2]"), "invalid JSON"),
    "no UTF-8": (tensor_file(b"\xff\xfe"), "invalid UTF-8"),
    "no offsets": (
        tensor_file({"a": {"dtype": "F32", "shape": []}}),
        "missing field `data_offsets`",
    ),
    "nested without end": (tensor_file(b"[" * 10**6), "invalid JSON"),
}


@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=BAD.keys())
def test_a_header_that_cannot_be_true_is_refused(data, message, tmp_path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_header(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=BAD.keys())
def test_it_is_refused_in_a_checkpoint_too(data, message, tmp_path) -> None:
    config = small_config(6)
    saved = save_checkpoint(tmp_path, fresh_state(config), config, TOKENIZER)
    for name in (MODEL, OPTIMIZER):
        good = (saved / name).read_bytes()
        (saved / name).write_bytes(data)
        (saved / MANIFEST).unlink()
        write_manifest(saved)
        with pytest.raises(UserError, match=message):
            load_checkpoint(saved)
        (saved / name).write_bytes(good)


def test_nothing_is_allocated_for_a_file_of_another_size(tmp_path) -> None:
    save_file({"weight": torch.zeros(1024, 1024)}, tmp_path / "large.safetensors")
    model = nn.Linear(4, 4)
    tracemalloc.start()
    with pytest.raises(UserError, match=r"has \(1024, 1024\), the model \(4, 4\)"):
        load_weights(model, tmp_path / "large.safetensors")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("dtype", KINDS.values())
def test_a_header_that_the_library_wrote_is_read(dtype, tmp_path) -> None:
    tensors = {"a": torch.zeros(2, 3, dtype=dtype), "b": torch.zeros((), dtype=dtype)}
    save_file(tensors, tmp_path / "good.safetensors", metadata={"format": "pt"})
    assert read_header(tmp_path / "good.safetensors") == {
        "a": TensorFacts(dtype, (2, 3)),
        "b": TensorFacts(dtype, ()),
    }
