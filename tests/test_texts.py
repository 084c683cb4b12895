"""Texts that are read, tokens that were prepared, and what a run on them reports."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bhushgpt.commands.line import main
from bhushgpt.data.prepared import PreparedTokens
from bhushgpt.errors import UserError
from bhushgpt.ngrams import count_floors
from bhushgpt.runs import training_text
from bhushgpt.runs.training_text import open_text
from bhushgpt.tokenizers import ByteTokenizer

DOCUMENTS = [
    f"Page {n}. the cat sat on the mat and the dog number {n % 7} sat on the log.\n" * 5
    for n in range(200)
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Pages prepared by the command, as bytes."""
    place = tmp_path_factory.mktemp("pages")
    (place / "pages").mkdir()
    for number, page in enumerate(DOCUMENTS):
        (place / "pages" / f"{number:03}.txt").write_text(page, encoding="utf-8")
    ByteTokenizer().save(place / "bytes.json")
    command = ["prepare", str(place / "pages"), "--tokenizer", str(place / "bytes.json")]
    assert main([*command, "--out", str(place / "tokens"), "--held-out", "0.2"]) == 0
    return place / "tokens"


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    command = ["train", "--preset", "gpt-v1-smoke", "--steps", "30", "--corpus", str(prepared)]
    assert main([*command, "--precision", "float32", "--out", str(folder)]) == 0
    return folder


def test_prepared_tokens_are_the_text_and_stay_on_the_disk(prepared):
    text, found = open_text(str(prepared), context_length=32), PreparedTokens.open(prepared)
    assert (text.unit, text.digest) == ("token", found.digest)
    assert type(text.train) is type(found.train)
    assert text.held_out.tolist() == found.held_out.tolist()
    assert text.held_out_bytes == found.held_out_bytes


KEPT = """
import os, sys, tracemalloc
from bhushgpt import tokenizers
from bhushgpt.runs.training_text import open_text
tokenizers.PIECE = 2**14
open_text(sys.argv[1])  # what is imported on the way is no memory of the text's
tracemalloc.start()
text = open_text(sys.argv[1])
kept, peak = tracemalloc.get_traced_memory()
size = os.stat(sys.argv[1]).st_size
print(text.tokens, kept / size, peak / size)
"""


def test_a_text_in_memory_takes_a_few_bytes_for_each_of_its_own(tmp_path):
    # Lists of ids took 13.5 to 15. Found now are 4.6, 3.0 for ASCII: the bytes, the text with two
    # bytes a character, and the room that Python takes to turn one into the other. In a process of
    # its own: other tests leave threads behind that allocate, too.
    file = tmp_path / "long.txt"
    file.write_text("“The cat sat on the mat,” he said. It was 4 o’clock.\n" * 20_000, "utf-8")
    asked = [sys.executable, "-c", KEPT, str(file)]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    tokens, kept, peak = map(float, done.stdout.split())
    assert tokens > 10**6
    assert kept < 1.2
    assert 1 < peak < 5


def test_a_long_held_out_part_is_judged_by_pieces_of_all_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(training_text, "JUDGED_TOKENS", 128)
    file = tmp_path / "mine.txt"
    file.write_text("".join(chr(97 + n % 26) for n in range(20_000)))
    text = open_text(str(file))
    assert len(text.held_out) == 128 == text.held_out_bytes + 1
    assert (
        text.held_out_is == "128 tokens, evenly spread over the held-out last tenth (2,000 tokens)"
    )
    ids = [n % 26 for n in range(18_000, 20_000)]
    assert text.held_out[:2].tolist() == ids[:2] and text.held_out[-2:].tolist() == ids[-2:]
    assert text.held_out[64:66].tolist() == ids[1014:1016]  # the 33rd of 64, 31.71 apart


def test_of_very_many_tokens_a_part_is_judged_and_the_first_are_counted(prepared, monkeypatch):
    monkeypatch.setattr(training_text, "JUDGED_TOKENS", 640)
    monkeypatch.setattr(training_text, "COUNTED_TOKENS", 3000)
    text, found = open_text(str(prepared)), PreparedTokens.open(prepared)
    whole = found.held_out.tolist()
    assert len(text.held_out) == 640 == text.held_out_bytes  # each token is a byte here
    assert text.held_out[:10].tolist() == whole[:10] and text.held_out[-10:].tolist() == whole[-10:]
    assert text.held_out_is == (
        f"640 tokens, evenly spread over the held-out documents ({len(whole):,} tokens)"
    )
    assert text.floors() == count_floors(
        np.asarray(found.train)[:3000], text.held_out, found.tokenizer.vocab_size
    )


def test_bytes_of_a_part_are_those_of_its_text_without_the_marks_between(prepared, monkeypatch):
    class Marked(ByteTokenizer):
        eot_id = 10

    ids = np.array(list("höher\nals\n".encode()))
    assert training_text._text_bytes(ids, Marked()) == len("höherals".encode())
    assert training_text._text_bytes(ids, ByteTokenizer()) == len(ids)


def test_a_run_on_prepared_tokens_reports_floors_and_bits_per_byte_and_is_evaluated_alike(
    run, prepared, capsys
):
    record = json.loads((run / "run.json").read_text())
    assert record["corpus"] == str(prepared.resolve())
    text = open_text(str(prepared))
    ladder = record["ladder"]
    assert list(ladder) == ["uniform", "unigram", "bigram", "n-gram", "gpt-v1-smoke"]
    assert ladder["bigram"] == text.floors().bigram
    assert record["held_out"]["nats_per_token"] < ladder["uniform"] == math.log(256)
    nats = record["held_out"]["nats_per_token"] * record["held_out"]["tokens"]
    bits = nats / math.log(2) / text.held_out_bytes
    assert record["held_out"]["bits_per_byte"] == pytest.approx(bits)
    capsys.readouterr()
    assert main(["evaluate", "--run", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == record["held_out"]
    assert main(["complete", "--run", str(run), "--prompt", "the cat", "--tokens", "5"]) == 0


def test_tokens_prepared_anew_are_noticed(run, prepared, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "run", symlinks=True)
    record = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(record | {"corpus_sha256": "0" * 64}))
    assert main(["evaluate", "--run", str(copy)]) == 1
    assert "has changed since" in capsys.readouterr().err


def test_too_few_prepared_tokens_are_refused(prepared):
    with pytest.raises(UserError, match=r"training part .* one example needs 9,000,001"):
        open_text(str(prepared), context_length=9_000_000)
    with pytest.raises(UserError, match="held-out part"):
        open_text(str(prepared), context_length=len(PreparedTokens.open(prepared).held_out))


def test_an_unfinished_preparation_says_how_to_go_on(tmp_path):
    (tmp_path / "parts").mkdir()
    with pytest.raises(UserError, match="not finished: run the same `prepare` command again"):
        open_text(str(tmp_path))


def test_a_text_far_larger_than_the_judged_part_needs_no_memory_for_it(tmp_path):
    """A row of 200 million tokens (400 MB) is opened, cut into batches and counted in 250 MiB."""
    code = """
import sys, numpy as np, resource, psutil
from bhushgpt.batches import Batches
from bhushgpt.tokenizers import ByteTokenizer
from bhushgpt.runs import training_text
from bhushgpt.data.token_files import TokenFile, header_bytes
folder, tokenizer = sys.argv[1], ByteTokenizer()
count = 200_000_000
with open(folder + "/train.tokens", "wb") as file:
    file.write(header_bytes(2, 256, count, tokenizer.digest))
    file.truncate(64 + 2 * count)  # zeros, which take no room on the disk
before = psutil.Process().memory_info().rss
train = TokenFile(folder + "/train.tokens", tokenizer)
text = training_text.Text(title="", size="", digest="", unit="token", tokenizer=tokenizer,
                  train=train,
                  held_out=np.zeros(1000, np.uint16), held_out_bytes=999)
batches = Batches(text.train, 8, 64)
for step in range(50):
    batches[step]
text.counted.sum()
print((psutil.Process().memory_info().rss - before) / 2**20)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )
    assert float(done.stdout) < 100, done.stderr


def test_another_text_of_the_same_name_and_another_tokenizer_are_refused(tmp_path, prepared):
    (tmp_path / "a.txt").write_text("some words and others " * 50)
    text = open_text(str(tmp_path / "a.txt"))
    assert open_text(str(tmp_path / "a.txt"), digest=text.digest).digest == text.digest
    with pytest.raises(training_text.OtherText, match="has changed"):
        open_text(str(tmp_path / "a.txt"), digest="0" * 64)
    with pytest.raises(UserError, match="made by another tokenizer than the model's"):
        open_text(str(prepared), tokenizer=text.tokenizer)


@pytest.mark.parametrize("share", [0.1, 0.25])
def test_the_share_that_is_held_out_is_the_one_that_was_asked_for(share, tmp_path):
    (tmp_path / "a.txt").write_text("some words and others" * 50)
    text = open_text(str(tmp_path / "a.txt"), held_out=share)
    assert len(text.held_out) == int(share * text.tokens)
