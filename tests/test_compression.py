import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bhushgpt.arithmetic_coding import Decoder, Encoder
from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.compression import (
    MODES,
    compress,
    compressing,
    decompress,
    decompressing,
    one_order,
)
from bhushgpt.cpu_settings import PERMISSION, _settings
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.mixing import MixedPredictor
from bhushgpt.online_counters import CodeTree
from bhushgpt.symbol_coding import ModelReader, code_symbols, from_symbols, to_symbols
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer

TEXT = "The cat sat on the mat, and the dog sat on the log. "
TOKENIZER = CharTokenizer.from_text(TEXT)


def make_model(seed: int = 0, **changes) -> GPT:
    torch.manual_seed(seed)
    sizes = {"context_length": 8, "n_layer": 1, "n_head": 2, "n_embd": 8, "position": "rotary"}
    model = GPT(GPTConfig(vocab_size=TOKENIZER.vocab_size, **{**sizes, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


MODEL = make_model()
DATA = (TEXT * 5).encode()


# Every text comes back


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"T",
        b"\xff",
        "Zoë ☃ 𝄞 and the cat".encode(),
        b"the cat\r\n\xfe\xff\0" * 3,
        bytes(range(0, 256, 5)),
        DATA[:60],
    ],
    ids=["empty", "one", "one byte", "strange characters", "mixed", "all bytes", "text"],
)
def test_any_data_comes_back(mode, data) -> None:
    given = (None, None) if mode == "counters" else (MODEL, TOKENIZER)
    assert decompress(compress(data, *given, mode=mode), *given) == data


@settings(max_examples=10)
@given(st.binary(max_size=60))
def test_any_bytes_come_back_without_a_model(data) -> None:
    assert decompress(compress(data, mode="counters")) == data


@pytest.mark.parametrize("lanes", [1, 2, 5, 7])
@pytest.mark.parametrize("mode", ["model", "mixed"])
def test_any_number_of_lanes_gives_the_text_back(mode, lanes) -> None:
    data = DATA[:66]  # divisible by neither 5 nor 7
    file = compress(data, MODEL, TOKENIZER, mode=mode, lanes=lanes)
    assert decompress(file, MODEL, TOKENIZER) == data


def test_other_models_and_tokenizers_do_too() -> None:
    bigram = Bigram(BigramConfig(vocab_size=256, context_length=4))
    data = "Zoë sat.\n".encode() + b"\xff"
    for mode in MODES:
        file = compress(data, bigram, ByteTokenizer(), mode=mode)
        assert decompress(file, bigram, ByteTokenizer()) == data


def test_learned_positions_and_a_primer() -> None:
    model = make_model(position="learned")
    for mode in ("adaptive", "mixed"):
        file = compress(DATA[:40], model, TOKENIZER, mode=mode, primer=TEXT)
        assert decompress(file, model, TOKENIZER, primer=TEXT) == DATA[:40]


@pytest.mark.parametrize("text", ["", "cat", "Zoë cat", "\x00\udcff\n", "\U0001d11e"])
def test_symbols_are_undone(text) -> None:
    data = text.encode("utf-8", "surrogateescape")
    for tokenizer in (TOKENIZER, ByteTokenizer(), CharTokenizer("act")):
        assert from_symbols(to_symbols(data, tokenizer).tolist(), tokenizer) == data


# Learning pays


def test_each_lesson_makes_the_file_smaller() -> None:
    data = (TEXT * 20).encode()
    sizes = {mode: len(compress(data, MODEL, TOKENIZER, mode=mode, lanes=8)) for mode in MODES}
    assert sizes["adaptive"] < sizes["model"]
    assert sizes["mixed"] < 0.5 * sizes["adaptive"]
    assert sizes["counters"] < 0.5 * sizes["adaptive"]


def test_a_primer_helps_a_text_like_it() -> None:
    sizes = [len(compress(DATA, mode="counters", primer=p, lanes=8)) for p in ("", TEXT)]
    assert sizes[1] < sizes[0]


def test_the_model_is_not_changed() -> None:
    before = {name: weight.clone() for name, weight in MODEL.state_dict().items()}
    compress(DATA[:60], MODEL, TOKENIZER, mode="adaptive", lanes=1)
    for name, weight in MODEL.state_dict().items():
        assert torch.equal(weight, before[name])


def test_progress_counts_the_tokens() -> None:
    reports = list(compressing(DATA, MODEL, TOKENIZER, mode="model", lanes=3))
    done = [report.done for report in reports]
    assert done == sorted(done) and done[-1] == len(DATA) == reports[-1].total
    assert all(report.data is None for report in reports[:-1])
    *_, last = decompressing(reports[-1].data or b"", MODEL, TOKENIZER)
    assert last.data == DATA


# Score first, then learn


def model_reader() -> ModelReader:
    reader = ModelReader(MODEL, TOKENIZER.vocab_size)
    reader.restart(1)
    return reader


def round_trip(symbols: np.ndarray, make) -> tuple[int, list[int]]:
    """Return the bytes that a message takes, and what comes back, if the encoder may peek."""
    encoder = Encoder()
    for _ in code_symbols(encoder, len(symbols), 1, wanted=symbols, **make(symbols)):
        pass
    data = encoder.finish()
    steps = code_symbols(Decoder(data), len(symbols), 1, **make(None))
    return len(data), np.concatenate(list(steps)).tolist()


class LeakyReader(ModelReader):
    """Learns, then scores: its prediction knows the symbol that it predicts."""

    future: np.ndarray | None = None
    place = 0

    def distribution(self) -> np.ndarray:
        p = super().distribution()
        if self.future is not None:
            p[0, self.future[self.place]] += 1.0
            self.place += 1
        return p


@pytest.mark.parametrize("leaks", [False, True])
def test_a_model_that_learned_before_it_scored_cannot_be_decoded(leaks) -> None:
    symbols = to_symbols(DATA[:60], TOKENIZER)

    def make(future):
        reader = LeakyReader(MODEL, TOKENIZER.vocab_size)
        reader.restart(1)
        reader.future = future if leaks else None
        return {"reader": reader}

    with one_order():
        size, back = round_trip(symbols, make)
        honest, _ = round_trip(symbols, lambda _: {"reader": model_reader()})
    assert (back == symbols.tolist()) is not leaks
    assert (size < honest / 2) is leaks  # too good to be true, and it was not


class LeakyMixer(MixedPredictor):
    """Swaps the two: learns the decision's outcome first, and is asked afterwards."""

    future: np.ndarray | None = None

    def predict(self, lanes, nodes):
        p = super().predict(lanes, nodes)
        if self.future is not None:
            token = self.future[len(self.matches.texts[0])]
            bits = np.array([int(self.tree.place[token] >= self.tree.bounds[nodes[0], 1])])
            super().learn(bits)
            p = super().predict(lanes, nodes)
        return p

    def learn(self, bits):
        if self.future is None:
            super().learn(bits)


@pytest.mark.parametrize("leaks", [False, True])
def test_counters_that_learned_before_they_scored_cannot_be_decoded(leaks) -> None:
    symbols = to_symbols(DATA[:60], TOKENIZER)
    size = TOKENIZER.vocab_size

    def make(future):
        tree = CodeTree.of(np.bincount(symbols, minlength=size))
        letters, lower = np.ones(size, dtype=bool), np.arange(size)
        mixed = LeakyMixer(tree, letters, lower, with_model=False, table_bits=12)
        mixed.restart(1)
        mixed.future = future if leaks else None
        return {"mixed": mixed}

    _, back = round_trip(symbols, make)
    assert (back == symbols.tolist()) is not leaks


def test_the_file_is_as_long_as_the_surprises_that_were_scored() -> None:
    symbols = to_symbols(DATA[:100], TOKENIZER)
    reader, bits = model_reader(), 0.0
    with one_order():
        for symbol in symbols:
            bits -= np.log2(reader.distribution()[0, symbol])
            reader.push(np.array([symbol]))
        size, back = round_trip(symbols, lambda _: {"reader": model_reader()})
    flags = np.log2(2 * len(symbols)) / 2 + 1  # "no character is escaped", learned
    assert back == symbols.tolist()
    assert bits / 8 <= size <= (bits + flags) / 8 + 3


def test_windows_score_as_the_whole_model_does() -> None:
    ids = to_symbols(DATA[:30], TOKENIZER)
    reader = model_reader()
    for t, token in enumerate(ids):
        window = reader.ids
        with torch.no_grad():
            expected = MODEL.eval()(window)[:, -1].double().softmax(-1).numpy()
        np.testing.assert_allclose(reader.distribution(), expected, atol=1e-6)
        assert window.shape[1] <= 8 and (t < 4 or window.shape[1] > 3)
        reader.push(np.array([token]))


# The same numbers on both sides


@pytest.mark.parametrize("mode", ["adaptive", "mixed"])
def test_the_number_of_threads_changes_nothing(mode) -> None:
    model = make_model(n_embd=64, context_length=16)
    before = torch.get_num_threads()
    files = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            files.append(compress(DATA, model, TOKENIZER, mode=mode, lanes=8))
            assert torch.get_num_threads() == threads
        assert decompress(files[0], model, TOKENIZER) == DATA
    finally:
        torch.set_num_threads(before)
    assert files[0] == files[1]


@pytest.mark.skipif(_settings() is None, reason="this torch multiplies with one library")
def test_what_training_lets_in_changes_no_file() -> None:
    model, library = make_model(n_embd=64, context_length=16), _settings()
    before = library.fp32_precision
    try:
        library.fp32_precision = "none"
        file = compress(DATA, model, TOKENIZER, lanes=8)
        library.fp32_precision = PERMISSION
        assert compress(DATA, model, TOKENIZER, lanes=8) == file
        assert library.fp32_precision == PERMISSION
    finally:
        library.fp32_precision = before


def test_another_process_with_two_threads_reads_the_file(tmp_path) -> None:
    model = make_model(n_embd=64, context_length=16)
    (tmp_path / "file").write_bytes(compress(DATA, model, TOKENIZER, lanes=8))
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    script = f"""
import sys, torch
from pathlib import Path
from bhushgpt.compression import decompress
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.tokenizers import CharTokenizer
assert torch.get_num_threads() == 2, torch.get_num_threads()
model = GPT(GPTConfig(**{vars(model.config)!r}))
folder = Path({str(tmp_path)!r})
model.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
data = decompress((folder / "file").read_bytes(), model, CharTokenizer({TOKENIZER.characters!r}))
(folder / "data").write_bytes(data)
"""
    environment = os.environ | {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    assert (tmp_path / "data").read_bytes() == DATA


# What cannot be read


FILE = compress(DATA[:90], MODEL, TOKENIZER, mode="model")


def altered(place: int) -> bytes:
    data = bytearray(FILE)
    data[place] ^= 16
    return bytes(data)


@pytest.mark.parametrize("length", [0, 3, 4, 40, len(FILE) - 1])
def test_a_file_cut_short_is_refused(length) -> None:
    with pytest.raises(UserError, match=r"cut short|no file that bhushgpt"):
        decompress(FILE[:length], MODEL, TOKENIZER)


def test_a_file_with_more_behind_it_is_refused() -> None:
    with pytest.raises(UserError, match="something was added"):
        decompress(FILE + b"\0", MODEL, TOKENIZER)


def test_a_flipped_bit_anywhere_is_noticed() -> None:
    for place in range(len(FILE)):
        with pytest.raises(UserError):
            decompress(altered(place), MODEL, TOKENIZER)


def test_an_altered_message_is_noticed_before_anything_is_read() -> None:
    with pytest.raises(UserError, match="altered"):
        next(decompressing(altered(len(FILE) - 10), MODEL, TOKENIZER))


def test_another_format_is_refused_by_number() -> None:
    with pytest.raises(UserError, match="format 7"):
        decompress(FILE[:4] + b"\7" + FILE[5:], MODEL, TOKENIZER)


def signed(data: bytes) -> bytes:
    """Return a file whose checksum fits, as one who forges it would."""
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))


def test_a_forged_file_is_found_out_by_the_original_or_ends_early() -> None:
    for place in range(60, len(FILE) - 4, 7):
        with pytest.raises(UserError, match=r"not what was written|ends before"):
            decompress(signed(altered(place)), MODEL, TOKENIZER)


@pytest.mark.parametrize("count", [10**4, 2**32 - 1])
def test_a_forged_length_ends_soon(count) -> None:
    data = FILE[:8] + struct.pack("<I", count) + FILE[12:]
    with pytest.raises(UserError, match="ends before"):
        decompress(signed(data), MODEL, TOKENIZER)


def test_another_model_tokenizer_or_primer_is_refused() -> None:
    other = CharTokenizer(TOKENIZER.characters[::-1])
    file = compress(DATA[:60], MODEL, TOKENIZER, mode="model", primer=TEXT)
    for model, tokenizer, primer in (
        (make_model(seed=1), TOKENIZER, TEXT),
        (MODEL, other, TEXT),
        (MODEL, TOKENIZER, TEXT + "."),
        (MODEL, TOKENIZER, ""),
    ):
        with pytest.raises(UserError, match="another model, tokenizer or primer"):
            decompress(file, model, tokenizer, primer=primer)


def test_another_arithmetic_is_refused(monkeypatch) -> None:
    class Other(ModelReader):
        def distribution(self) -> np.ndarray:
            return super().distribution() * (1 + 2**-52)

    monkeypatch.setattr("bhushgpt.compression.ModelReader", Other)
    with pytest.raises(UserError, match="other last digits"):
        decompress(FILE, MODEL, TOKENIZER)


def test_a_missing_model_and_an_unknown_mode_are_said() -> None:
    with pytest.raises(UserError, match="needs a model"):
        decompress(FILE)
    with pytest.raises(UserError, match="needs a model"):
        compress(DATA)
    with pytest.raises(UserError, match="Did you mean 'mixed'"):
        compress(DATA, MODEL, TOKENIZER, mode="mixt")
    with pytest.raises(UserError, match="lanes is 0"):
        compress(DATA, mode="counters", lanes=0)
    with pytest.raises(UserError, match="do not belong together"):
        compress(DATA, MODEL, ByteTokenizer())
