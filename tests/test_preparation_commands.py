"""`python -m bhushgpt prepare`: names, files and folders become tokens, and mistakes a sentence."""

import json
import shutil
import subprocess
import sys
from collections import namedtuple

import psutil
import pytest

from bhushgpt.bpe import BPETokenizer
from bhushgpt.commands.line import main
from bhushgpt.data.prepared import PreparedTokens
from bhushgpt.tokenizers import ByteTokenizer
from tests.pages import make_pages, openwebtext, real_pages
from tools.curriculum import ROOT

PAGES = make_pages(120)


@pytest.fixture
def archive(tmp_path):
    return openwebtext(tmp_path / "urlsf_subset00.tar", PAGES)


def prepare(*words, held_out="0.2"):
    return main(["prepare", *map(str, words), "--held-out", held_out])


def test_an_archive_becomes_tokens_and_the_report_says_what_came(archive, tmp_path, capsys):
    out = tmp_path / "out"
    assert prepare(archive, "--tokenizer", "bytes", "--out", out, "--workers", "2") == 0
    told = capsys.readouterr()
    assert "urlsf_subset00.tar: 120 documents in" in told.out
    assert f"--corpus {out}" in told.out
    assert "shard 6/6, 120 documents" in told.err and "documents/s" in told.err
    assert "left" in told.err
    assert PreparedTokens.open(out).tokenizer.digest == ByteTokenizer().digest
    assert prepare(archive, "--tokenizer", "bytes", "--out", out) == 0
    assert "It is done already." in capsys.readouterr().out


def test_what_was_left_out_is_told(tmp_path, capsys):
    folder = tmp_path / "pages"
    folder.mkdir()
    for number, page in enumerate(PAGES[:20]):
        (folder / f"{number}.txt").write_text(page, encoding="utf-8")
    (folder / "nul.txt").write_bytes(b"a\0b")
    (folder / "broken.xz").write_bytes(b"<html>")
    assert prepare(folder, "--tokenizer", "bytes", "--out", tmp_path / "out") == 0
    told = capsys.readouterr().out
    assert "left out, 1 times: it holds NUL bytes" in told
    assert "not used: broken.xz: it is not a .xz file" in told


def test_shards_takes_only_the_first(archive, tmp_path, capsys):
    out = tmp_path / "out"
    assert prepare(archive, "--tokenizer", "bytes", "--out", out, "--shards", "2") == 0
    assert ": 40 documents in" in capsys.readouterr().out


def test_a_tokenizer_file_is_used(archive, tmp_path):
    file = tmp_path / "mine.json"
    tokenizer = BPETokenizer.train(PAGES, 300)
    tokenizer.save(file)
    assert prepare(archive, "--tokenizer", file, "--out", tmp_path / "out") == 0
    assert PreparedTokens.open(tmp_path / "out").tokenizer.digest == tokenizer.digest


def test_a_name_of_the_registry_is_cut_into_pages(tmp_path, capsys):
    out = tmp_path / "out"
    assert prepare("sherlock", "--tokenizer", "bytes", "--out", out) == 0
    assert "The Adventures of Sherlock Holmes: 131 documents in" in capsys.readouterr().out


def test_openwebtext_with_gpt2s_tokenizer(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("BHUSHGPT_DATA", str(tmp_path))
    openwebtext(tmp_path / "urlsf_subset03.tar", PAGES)
    out = tmp_path / "out"
    assert prepare("openwebtext", "--tokenizer", "gpt2", "--out", out) == 0
    told = capsys.readouterr().out
    assert told.startswith("1 of its 21 archives, from BHUSHGPT_DATA.\nOpenWebText: 120 documents")
    tokens = PreparedTokens.open(out)
    assert tokens.tokenizer.vocab_size == 50_257
    assert tokens.train.dtype.itemsize == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gone.tar"], "There is no file or folder"),
        (["sherlok"], "There is no corpus, file or folder 'sherlok'. Did you mean 'sherlock'?"),
        (["openwebtext", "sherlock"], "'openwebtext' is a name; it cannot be given beside other"),
        ([], "Say what to prepare: openwebtext, a name from `corpora`, or files."),
        (["@", "--shards", "0"], "shards is 0; take 1 or more"),
        (["@", "--workers", "0"], "workers is 0; take 1 or more"),
        (["@", "--tokenizer", "gpt3"], "There is no tokenizer 'gpt3': type gpt2, bytes, or the"),
    ],
)
def test_mistakes_get_a_sentence(archive, tmp_path, capsys, words, said):
    words = [str(archive) if word == "@" else word for word in words]
    if "--tokenizer" not in words:
        words += ["--tokenizer", "bytes"]
    assert prepare(*words, "--out", tmp_path / "out") == 1
    assert said in capsys.readouterr().err


def test_a_full_disk_is_said_before_the_work_starts(archive, tmp_path, capsys, monkeypatch):
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
    assert prepare(archive, "--tokenizer", "bytes", "--out", tmp_path / "out") == 1
    assert "Preparing urlsf_subset00.tar needs 16." in capsys.readouterr().err


def test_the_whole_command_loads_no_torch(archive, tmp_path):
    words = ["prepare", str(archive), "--tokenizer", "bytes", "--out", str(tmp_path / "out")]
    for rest in (["--held-out", "0.2", "--workers", "2"], ["--help"]):
        command = (
            "import atexit, sys\nfrom bhushgpt.commands.line import main\n"
            f"atexit.register(lambda: print(*sys.modules))\nmain({words + rest!r})"
        )
        ran = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
        loaded = {*ran.stdout.splitlines()[-1].split()}
        assert "bhushgpt.data.preparation" in loaded and "torch" not in loaded, ran.stderr


def test_the_command_and_its_workers_stay_far_below_500_mib(tmp_path):
    """With 565 MB of text it was 225 MiB: `python benchmarks/preparation_speed.py --memory`."""
    pages = make_pages(200)
    archive = openwebtext(tmp_path / "large.tar", pages * 20, a_shard=1000)
    BPETokenizer.train(pages, 300).save(tmp_path / "bpe.json")
    words = [sys.executable, "-m", "bhushgpt", "prepare", str(archive), "--workers", "2"]
    words += ["--tokenizer", str(tmp_path / "bpe.json"), "--out", str(tmp_path / "out")]
    process = subprocess.Popen([*words, "--held-out", "0.2"], cwd=ROOT, stderr=subprocess.PIPE)
    family, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            members = [family, *family.children(recursive=True)]
            peak = max(peak, sum(member.memory_info().rss for member in members))
        except psutil.Error:  # one of them has just ended
            pass
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    assert process.returncode == 0, said
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert sum(manifest["documents"].values()) == 4000
    # 204 MiB three times over: the command and two workers, 68 each. One that loads torch has 250.
    assert 120 * 2**20 < peak < 300 * 2**20


def test_the_real_pages_by_name(tmp_path, capsys):
    real_pages()
    out = tmp_path / "out"
    assert prepare("openwebtext", "--tokenizer", "gpt2", "--out", out, held_out="0.01") == 0
    assert "OpenWebText: 1,904 documents" in capsys.readouterr().out
    assert len(PreparedTokens.open(out).train) == 2_115_634
