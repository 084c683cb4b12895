"""Made-up input for all that reads from outside: nothing but a `UserError` ever comes back.

The examples are the same in every run (see `conftest.py`), and bounded in number and size.
"""

import contextlib
import io
import json
import string
import tomllib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bhushgpt.bpe import BPETokenizer
from bhushgpt.commands import flags
from bhushgpt.commands.line import main
from bhushgpt.corpus import load_text
from bhushgpt.data.token_files import TokenFile, header_bytes
from bhushgpt.diagnosis import TextFloors, explain
from bhushgpt.errors import UserError
from bhushgpt.runs.folder import HISTORY, RECORD, RunFolder
from bhushgpt.sources import registry
from bhushgpt.storage.run_folder import MANIFEST, verify_manifest
from bhushgpt.storage.tensors import read_header
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer, load_tokenizer, tokenizer_from_dict
from tools.curriculum import ROOT

ANY_TEXT = st.text(st.characters(), max_size=60)  # surrogates too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
bounded = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
BPE = BPETokenizer.train(["hug hugs pug bun " * 3], vocab_size=262)
TOKENIZERS = [CharTokenizer("ab\n ?"), ByteTokenizer(), BPE]


def only_user_errors(work, *arguments, **named):
    """Do something; a `UserError` with words in it is fine, and every other error is not."""
    try:
        return work(*arguments, **named)
    except UserError as error:
        assert len(str(error)) > 10
        return None


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["characters", "bytes", "bpe"])
@bounded
@given(text=ANY_TEXT, unknown=st.sampled_from(["error", "skip", "replace", "no such way"]))
def test_a_tokenizer_encodes_any_text_or_says_why_not(tokenizer, text, unknown) -> None:
    ids = only_user_errors(tokenizer.encode, text, unknown)
    if ids is not None:
        assert all(0 <= number < tokenizer.vocab_size for number in ids)
        assert isinstance(tokenizer.decode(ids), str)


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["characters", "bytes", "bpe"])
@bounded
@given(ids=st.lists(st.integers(-5, 400) | st.integers(), max_size=20))
def test_a_tokenizer_decodes_any_ids_or_says_which_is_wrong(tokenizer, ids) -> None:
    text = only_user_errors(tokenizer.decode, ids)
    assert (text is None) == any(not 0 <= number < tokenizer.vocab_size for number in ids)


@bounded
@given(data=JSON)
def test_any_json_as_a_tokenizer(data, tmp_path) -> None:
    only_user_errors(tokenizer_from_dict, data)
    (tmp_path / "t.json").write_text(json.dumps(data))
    only_user_errors(load_tokenizer, tmp_path / "t.json")


@bounded
@given(
    tokenizer=st.sampled_from(TOKENIZERS),
    key=st.integers(0, 10),
    value=JSON,
)
def test_a_tokenizer_s_file_with_one_field_changed(tokenizer, key, value) -> None:
    described = tokenizer.to_dict()
    name = sorted(described)[key % len(described)]
    made = only_user_errors(tokenizer_from_dict, described | {name: value})
    if made is not None:
        only_user_errors(made.encode, "a hug")


@bounded
@given(raw=st.binary(max_size=300))
def test_any_bytes_as_a_text_a_token_file_tensors_and_a_manifest(raw, tmp_path) -> None:
    (tmp_path / "x.txt").write_bytes(raw)
    (tmp_path / "x.txt.xz").write_bytes(raw)
    (tmp_path / MANIFEST).write_bytes(raw)
    only_user_errors(load_text, tmp_path / "x.txt")
    only_user_errors(load_text, tmp_path / "x.txt.xz")
    only_user_errors(TokenFile, tmp_path / "x.txt")
    only_user_errors(read_header, tmp_path / "x.txt")
    only_user_errors(verify_manifest, tmp_path)


@bounded
@given(place=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.integers(0, 200))
def test_a_token_file_with_one_byte_changed_or_cut_off(place, value, cut, tmp_path) -> None:
    tokenizer = ByteTokenizer()
    ids = np.arange(40, dtype="<u2")
    data = bytearray(header_bytes(2, 256, len(ids), tokenizer.digest) + ids.tobytes())
    data[place % len(data)] = value
    (tmp_path / "x.bin").write_bytes(bytes(data[: len(data) - cut] if cut < 100 else data))
    opened = only_user_errors(TokenFile, tmp_path / "x.bin", tokenizer)
    if opened is not None:
        assert len(np.asarray(opened)) == len(ids)
        opened.release()


@bounded
@given(data=JSON)
def test_any_json_as_a_manifest_a_record_and_a_history(data, tmp_path) -> None:
    text = json.dumps(data)
    (tmp_path / MANIFEST).write_text(text)
    only_user_errors(verify_manifest, tmp_path)
    for line in (data, {"step": 3, "loss": data}, {"step": data, "loss": 1.0, "held_out": data}):
        (tmp_path / RECORD).write_text(text)
        (tmp_path / HISTORY).write_text(json.dumps(line) + "\n" + text + "\n")
        run = only_user_errors(RunFolder.open, tmp_path)
        if run is not None:
            rungs = {"uniform": 4.0, "unigram": 3.0, "bigram": 2.0}
            explain(run.history(), TextFloors(rungs=rungs))


@bounded
@given(
    names=st.lists(st.text(string.ascii_letters + "/.\\~\0", max_size=12), max_size=3),
    entry=JSON,
)
def test_a_manifest_that_lists_odd_files(names, entry, tmp_path) -> None:
    files = dict.fromkeys(names, entry)
    (tmp_path / MANIFEST).write_text(json.dumps({"format": 1, "files": files}))
    only_user_errors(verify_manifest, tmp_path)


@bounded
@given(
    key=st.sampled_from(["title", "sha256", "characters", "sources", "sherlock", "extra"]),
    value=st.integers() | st.booleans() | ANY_TEXT.filter(lambda t: t.isprintable()),
)
def test_a_registry_with_one_field_changed(key, value, tmp_path) -> None:
    source = ROOT / "datasets" / "corpora.toml"
    data = tomllib.loads(source.read_text("utf-8"))["sherlock"]
    changed = {"sherlock": value} if key == "sherlock" else {"sherlock": data | {key: value}}

    def entries() -> dict[str, Any]:
        return {name: registry._entry(name, fields) for name, fields in changed.items()}

    only_user_errors(entries)


WORDS = st.sampled_from(
    [
        *(
            "train",
            "complete",
            "evaluate",
            "corpora",
            "info",
            "doctor",
            "demo",
            "prepare",
            "export",
        ),
        *("--preset", "--corpus", "--steps", "--device", "--out", "--resume", "--run", "--prompt"),
        *("--tokens", "--temperature", "--top-k", "--top-p", "--seed", "--unknown", "--json"),
        *("--save-every", "--keep", "--precision", "--compile", "--to", "--help", "--fetch"),
        *(
            "",
            "-1",
            "nan",
            "1e999",
            "9" * 40,
            "..",
            "~",
            "~nobody/x",
            "a b",
            "ü",
            "\udcff",
            "--",
            "-",
        ),
        *("nowhere", "gpt-v1-smoke", "auto", "cpu", "hf", "{}", "[]", "=", "--steps=", "--no-such"),
    ]
)


def usable(words: list[str]) -> bool:
    """Nothing that would really begin to train, fetch, compile or benchmark."""
    return not words or words[0] not in ("demo", "doctor", "prepare", "bench") or "--help" in words


@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(words=st.lists(WORDS, max_size=6).filter(usable))
def test_any_command_line_ends_with_a_status_and_a_sentence(words, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BHUSHGPT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr("bhushgpt.commands.train.start_session", refuse)
    monkeypatch.setattr("bhushgpt.commands.information.load_text", refuse)
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            status = main(words)
        except SystemExit as leaving:  # --help, and flags that do not exist
            status = leaving.code or 0
    assert status in (0, 1, 2), (words, said.getvalue())
    assert "Traceback" not in said.getvalue()
    assert said.getvalue().strip()


def refuse(*arguments, **named):
    raise UserError("Nothing is trained or fetched in this test.")


@bounded
@given(text=ANY_TEXT)
def test_any_word_as_a_value_of_a_flag(text) -> None:
    for read in (flags.whole_number, flags.decimal, flags.folder, flags.corpus):
        only_user_errors(read, text)


def test_a_helper_that_lets_everything_pass_would_be_noticed() -> None:
    with pytest.raises(KeyError):
        only_user_errors({}.__getitem__, "x")
    with pytest.raises(AssertionError):
        only_user_errors(lambda: (_ for _ in ()).throw(UserError("short")).__next__())
