"""Wishes that had no flag: other sizes and rates, more steps, the version, help without a word."""

import ast
import importlib
import inspect
import io
import json
import re
import shlex
import sys
import warnings
from pathlib import Path

import pytest
import torch

import bhushgpt
from bhushgpt.bpe import BPETokenizer
from bhushgpt.commands import COMMANDS
from bhushgpt.commands.line import EXAMPLES, main
from bhushgpt.data import PreparedTokens
from bhushgpt.devices import describe_device
from bhushgpt.diagnosis import check_free_disk, check_free_memory
from bhushgpt.environment import command, memory_size
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.interop import fast_tokenizer, to_hf, tokenizer_from_hf
from bhushgpt.interop.tokenizer_json import write_tokenizer
from bhushgpt.presets import preset, with_changes
from bhushgpt.runs import FineTuning, start_fine_tuning
from bhushgpt.speed import World
from bhushgpt.storage import load_checkpoint
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer

PACKAGE = Path(bhushgpt.__file__).parent


def test_sizes_rate_seed_and_share_can_be_asked_for(book, tmp_path, said):
    asked = {"batch-size": 3, "context-length": 5, "learning-rate": 0.02, "seed": 7}
    flags = [word for name, value in asked.items() for word in (f"--{name}", value)]
    run = tmp_path / "run"
    words = ("train", "--preset", "gpt-v1-smoke", "--corpus", book, "--steps", 2, "--out", run)
    code, text = said(*words, *flags, "--held-out", 0.25, "--precision", "float32")
    assert code == 0, text
    config = load_checkpoint(run).config
    assert (config.training.batch_size, config.model.context_length) == (3, 5)
    assert (config.training.learning_rate, config.training.seed, config.held_out) == (0.02, 7, 0.25)
    code, text = said("train", "--resume", run, "--batch-size", 4, "--steps", 3)
    assert code == 1 and "--batch-size is 3 in the run, and you asked for 4" in text
    assert said("train", "--resume", run, *flags, "--steps", 3)[0] == 0  # the same once more
    assert json.loads((run / "run.json").read_text())["steps_done"] == 3


def test_the_lowest_rate_keeps_its_share():
    usual = preset("gpt-v1", 79).training
    halved = with_changes(preset("gpt-v1", 79), {"learning_rate": usual.learning_rate / 2}).training
    assert halved.min_learning_rate == pytest.approx(usual.min_learning_rate / 2)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--batch-size", "0"), "batch_size is 0"),
        (("--held-out", "1"), "held_out is 1.0"),
        (("--learning-rate", "inf"), "learning_rate is infinite"),
        (("--context-length", "-1"), "context_length is -1"),
        (("--seed", "-1"), "seed is -1"),
    ],
)
def test_what_cannot_be_had_is_a_sentence_and_nothing_is_written(book, tmp_path, said, words, part):
    code, text = said("train", "--corpus", book, "--out", tmp_path / "run", *words)
    assert code == 1 and part in text and not (tmp_path / "run").exists()


def test_the_version_and_the_help_need_no_more_than_the_word(capsys):
    assert main(["--version"]) == 0 and capsys.readouterr().out.startswith("bhushgpt 0.")
    assert main([]) == 0 and "usage: " in capsys.readouterr().out


def test_the_part_that_is_held_out_is_named_by_its_share(book, tmp_path, said):
    words = ("train", "--preset", "bigram", "--corpus", book, "--steps", 2, "--held-out", 0.25)
    code, text = said(*words, "--out", tmp_path / "run", "--precision", "float32")
    assert code == 0 and "the last 25% is held out" in text and "last tenth" not in text
    code, text = said("evaluate", "--run", tmp_path / "run")
    assert code == 0 and "the held-out last 25%" in text


# --- help pages


def help_of(name, capsys, monkeypatch, columns=80):
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_a_help_page_names_its_command_offers_no_none_and_ends_with_an_example(
    name, capsys, monkeypatch
):
    page = help_of(name, capsys, monkeypatch)
    assert page.startswith(f"usage: {command(name)}")
    assert "None" not in page and "False" not in page and "True" not in page
    last, example = page.splitlines()[-2:]
    assert last == "For example:"
    assert example.strip() == command(name, *shlex.split(EXAMPLES[name]))
    boxed = [line for line in page.splitlines() if line[:1] in "\u2502\u256d\u2570"]
    assert max(map(len, boxed)) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_the_words_of_a_help_page_are_whole_and_its_lines_are_filled(name, capsys, monkeypatch):
    module, kind = COMMANDS[name][0].split(":")
    source = inspect.getsource(
        getattr(importlib.import_module(f"bhushgpt.commands.{module}"), kind)
    )
    (made,) = ast.parse(source).body
    assert isinstance(made, ast.ClassDef)
    helps = [
        str(node.value.value)
        for node in made.body[1:]
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    assert not any("\n" in text for text in helps if "\\n" not in repr(text)), helps
    wide, narrow = (help_of(name, capsys, monkeypatch, columns) for columns in (300, 60))
    for text in helps:
        for page in (wide, narrow):
            words = " ".join(page.replace("\u2502", " ").split())
            assert " ".join(text.split()).replace("\n", "\\n") in words or "NAME" in page


# --- a prompt from elsewhere


def test_a_prompt_comes_from_a_file_or_over_the_standard_input(run, tmp_path, said, monkeypatch):
    file = tmp_path / "prompt.txt"
    file.write_bytes("\ufeffThe caf\u00e9\r\nsat\r\n".encode())
    words = ("complete", "--run", run, "--tokens", 2, "--prompt-file")
    code, text = said(*words, file)
    assert code == 0 and text.startswith("The café\nsat") and text.index("sat") == 9, text

    def stream(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))

    stream("The café\nsat\n".encode())
    assert said(*words, "-") == (code, text)  # the same words, so the same answer
    stream(b"caf\xe9")
    code, text = said(*words, "-")
    assert code == 1 and "not UTF-8" in text
    code, text = said(*words, tmp_path / "none.txt")
    assert code == 1 and "none.txt cannot be read" in text
    for more in ((), ("--prompt", "a", "--prompt-file", "-")):
        code, text = said("complete", "--run", run, *more)
        assert code == 1 and "--prompt TEXT, or --prompt-file FILE" in text


# --- weights of another run


def test_a_run_begins_with_the_weights_of_another(run, book, tmp_path, said):
    words = ("train", "--preset", "bigram", "--corpus", book, "--steps", 2, "--save-every", 1)
    flags = ("--init-from", run, "--learning-rate", 0.001, "--precision", "float32")
    code, text = said(*words, *flags, "--keep", 5, "--out", tmp_path / "new")
    assert code == 0 and f"begins with the weights of {run}" in text.replace("\n", " ")
    first = load_checkpoint(tmp_path / "new" / "step_00000000")
    given, drawn = load_checkpoint(run), preset("bigram", first.tokenizer.vocab_size)
    assert first.state.step == 0 and not first.state.optimizer.state  # weights, and nothing else
    for name, weight in given.state.model.state_dict().items():
        assert torch.equal(weight, first.state.model.state_dict()[name])
    assert drawn.training.learning_rate != first.config.training.learning_rate == 0.001
    assert str(run) in json.loads((tmp_path / "new" / "run.json").read_text())["init_from"]
    assert said("train", "--resume", tmp_path / "new", "--steps", 3)[0] == 0


def test_weights_that_do_not_fit_are_refused_by_name(run, book, tmp_path, said):
    out = tmp_path / "new"
    words = ("train", "--corpus", book, "--steps", 2, "--out", out, "--init-from")
    code, text = said(*words, run, "--preset", "gpt-v1-smoke")
    assert code == 1 and "kind     BigramConfig     GPTConfig" in text and not out.exists()
    code, text = said(*words, run, "--preset", "bigram", "--context-length", 9)
    assert code == 1 and "context_length  64               9" in text and not out.exists()
    other = tmp_path / "other.txt"
    other.write_text("Wörter, die das Modell nie sah.\n" * 90, encoding="utf-8")
    more = ("--init-from", run, "--preset", "bigram", "--out", out)
    code, text = said("train", "--corpus", other, *more)
    assert code == 1 and "finetune can leave such characters out" in text and not out.exists()
    code, text = said("train", "--resume", run, "--init-from", run)
    assert code == 1 and "Leave --init-from or --resume out" in text
    code, text = said(*words, tmp_path / "none", "--preset", "bigram")
    assert code == 1 and "no checkpoint in" in text and not out.exists()
    code, text = said("train", "--minutes", 1, "--corpus", book, "--init-from", run, "--out", out)
    assert code == 1 and "--minutes decides what --init-from would decide" in text


# --- a model that comes in


def gpt2(tokenizer, folder):
    torch.manual_seed(3)
    V = tokenizer.vocab_size
    sizes = GPTConfig(vocab_size=V, context_length=8, n_layer=1, n_head=2, n_embd=8)
    model = GPT(sizes).eval()
    return model, to_hf(model, tokenizer, folder)


TOKENIZERS = {
    "characters": CharTokenizer.from_text(
        "The café sat on the mat and the old dog sat on the log.\n"
    ),
    "bytes": ByteTokenizer(),
    "crossing": BPETokenizer([(68, 220)], ()),  # "e" and " ", which GPT-2 never puts together
    "byte pairs": BPETokenizer.train(["The café sat on the mat and the log, the old log"] * 3, 275),
    "no pairs": BPETokenizer([], ("<|endoftext|>", "<|end|>")),
}


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_a_tokenizer_of_hugging_face_is_read_as_ours(tokenizer, tmp_path):
    write_tokenizer(tokenizer, tmp_path, context_length=8)
    assert tokenizer_from_hf(tmp_path).digest == tokenizer.digest


def test_a_folder_of_hugging_face_becomes_a_run_that_all_commands_take(book, tmp_path, said):
    tokenizer = TOKENIZERS["characters"]
    model, folder = gpt2(tokenizer, tmp_path / "theirs")
    run = tmp_path / "run"
    code, text = said("import", folder, "--out", run, "--corpus", book)
    assert code == 0 and f"a GPT-2 of {model.parameter_count():,} numbers" in text, text
    found = load_checkpoint(run)
    assert found.tokenizer.digest == tokenizer.digest and found.state.step == 0
    ids = torch.tensor([tokenizer.encode("The cat"[:3])])
    assert torch.equal(found.state.model.eval()(ids), model(ids))
    assert said("complete", "--run", run, "--prompt", "The", "--tokens", 2)[0] == 0
    assert said("evaluate", "--run", run)[0] == 0
    here, settings = World(device=torch.device("cpu")), FineTuning(steps=2)
    tuned = start_fine_tuning(run, str(book), here, tmp_path / "tuned", settings)
    assert tuned.origin and tuned.origin.old_before == pytest.approx(tuned.origin.new_before)
    code, text = said("import", folder, "--out", run, "--corpus", book)
    assert code == 1 and "holds another run" in text


def test_the_files_that_gpt2_came_with_are_read_too(tmp_path):
    tokenizer = TOKENIZERS["byte pairs"]
    _, folder = gpt2(tokenizer, tmp_path / "theirs")
    described = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"holds no tokenizer.json, and not both of merges.txt"):
        tokenizer_from_hf(folder)
    pairs = (pair if isinstance(pair, str) else " ".join(pair) for pair in described["merges"])
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(pairs) + "\n", "utf-8")
    ids = fast_tokenizer(tokenizer).get_vocab()
    (folder / "vocab.json").write_text(json.dumps(ids), "utf-8")
    assert tokenizer_from_hf(folder).digest == tokenizer.digest
    ids["Ġ"], ids["!"] = ids["!"], ids["Ġ"]
    (folder / "vocab.json").write_text(json.dumps(ids), "utf-8")
    with pytest.raises(UserError, match=r"vocab.json gives other ids"):
        tokenizer_from_hf(folder)


PREFIX = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
FOREIGN = {
    "a space put before": {"pre_tokenizer": PREFIX},
    "not cut at words": {"pre_tokenizer": PREFIX | {"add_prefix_space": False, "use_regex": False}},
    "all in small letters": {"normalizer": {"type": "Lowercase"}},
    "cut at gaps": {"pre_tokenizer": {"type": "Whitespace"}},
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN)
def test_a_tokenizer_that_reads_texts_otherwise_is_refused(change, tmp_path, book, said):
    _, folder = gpt2(TOKENIZERS["crossing"], tmp_path / "theirs")
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | change), "utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code, text = said("import", folder, "--out", tmp_path / "run", "--corpus", book)
    assert code == 1 and "gives other ids than any that is known here" in text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"model": 3}', b"\xff\xfe"], ids=repr)
def test_a_damaged_tokenizer_is_called_that(data, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(data)
    with pytest.raises(UserError, match=r"tokenizer.json is damaged or no tokenizer.json"):
        tokenizer_from_hf(tmp_path)


def test_a_model_and_a_tokenizer_that_do_not_belong_together_are_refused(tmp_path, book, said):
    _, folder = gpt2(TOKENIZERS["bytes"], tmp_path / "theirs")
    _, other = gpt2(TOKENIZERS["characters"], tmp_path / "other")
    (folder / "tokenizer.json").write_bytes((other / "tokenizer.json").read_bytes())
    code, text = said("import", folder, "--out", tmp_path / "run", "--corpus", book)
    assert code == 1 and "has 256 tokens and its tokenizer 18: they do not belong" in text
    code, text = said("import", other, "--out", tmp_path / "run")  # Sherlock has other letters
    assert code == 1 and "on another text: --corpus FILE" in text
    assert not (tmp_path / "run").exists()


# --- texts in other encodings


RUSSIAN = "В начале было слово, и старый дом стоял у реки.\n"


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "UTF-16", "utf-16-be", "utf-32"])
def test_prepare_reads_texts_in_the_encoding_that_is_named(encoding, tmp_path, said):
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(30):
        (texts / f"{number}.txt").write_bytes(f"{number} {RUSSIAN}".encode(encoding))
    words = ("prepare", texts, "--tokenizer", "bytes", "--held-out", 0.2, "--workers", 1)
    code, text = said(*words, "--out", tmp_path / "tokens", "--encoding", encoding)
    assert code == 0, text
    tokens = PreparedTokens.open(tmp_path / "tokens")
    read = tokens.tokenizer.decode([*tokens.train, *tokens.held_out])
    assert read.count(RUSSIAN.strip()) == 30 and "\ufeff" not in read
    if encoding == "cp1251":  # and without the word: said, with the way out
        code, text = said(*words, "--out", tmp_path / "others")
        assert code == 1 and "is not UTF-8 text" in text and "--encoding" in text
    code, text = said(*words, "--out", tmp_path / "tokens", "--encoding", "cp1252")
    assert code == 1  # not the same preparation


def test_a_large_text_in_another_encoding_is_read_whole_whatever_the_pieces(
    tmp_path, said, monkeypatch
):
    from bhushgpt.data import documents, shards

    monkeypatch.setattr(shards, "RANGE", 1000)
    lines = [f"{number} {RUSSIAN}" for number in range(3000)]
    (tmp_path / "book.txt").write_bytes("".join(lines).encode("utf-16"))
    (shard,) = shards.find_shards([tmp_path / "book.txt"], encoding="utf-16").shards
    found = documents.read_shard(shard, documents.UnpackingLimits(), documents.Counter())
    assert "".join(document.text for document in found) == "".join(lines)


def test_an_encoding_that_is_none_or_another_is_said(tmp_path, said):
    file = tmp_path / "a.txt"
    file.write_bytes(RUSSIAN.encode("cp1251") * 40)
    words = ("prepare", file, "--tokenizer", "bytes", "--out", tmp_path / "out", "--encoding")
    code, text = said(*words, "cp1253x")
    assert code == 1 and "no encoding 'cp1253x'. Did you mean 'cp125" in text
    for none in ("base64", "", "\0"):
        assert said(*words, none)[0] == 1
    code, text = said(*words, "shift_jis")
    assert code == 1 and "it is not text in shift_jis" in text


def test_the_same_bytes_in_another_encoding_are_another_preparation(tmp_path, said):
    texts, out = tmp_path / "texts", tmp_path / "tokens"
    texts.mkdir()
    for number in range(20):
        (texts / f"{number}.txt").write_bytes(f"{number} {RUSSIAN}".encode("cp1251"))
    words = ("prepare", texts, "--tokenizer", "bytes", "--held-out", 0.3, "--out")
    assert said(*words, out, "--encoding", "cp1251")[0] == 0
    before = {part.name: part.read_bytes() for part in out.iterdir()}
    assert said(*words, out, "--encoding", "Windows-1251")[0] == 0  # another name of the same
    code, text = said(*words, out, "--encoding", "koi8-r")
    assert code == 1 and "another input, encoding, tokenizer or split" in text
    assert {part.name: part.read_bytes() for part in out.iterdir()} == before
    assert said(*words, tmp_path / "other", "--encoding", "koi8-r")[0] == 0
    one, other = (PreparedTokens.open(folder) for folder in (out, tmp_path / "other"))
    assert one.digest != other.digest


# --- memory in the same units everywhere


def sizes_by_hand(source: str) -> list[str]:
    """Return the f-strings that divide by a size and write its unit themselves."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.JoinedStr)
        and re.search(r"[KMG]iB", ast.unparse(node))
        and "2 ** " in ast.unparse(node)
    ]


def test_one_function_says_how_much_memory_something_takes():
    assert sizes_by_hand('f"{size / 2**20:,.0f} MiB"')  # what is looked for is found
    by_hand = {
        file.relative_to(PACKAGE).as_posix(): found
        for file in PACKAGE.rglob("*.py")
        if (found := sizes_by_hand(file.read_text(encoding="utf-8")))
    }
    assert by_hand.keys() == {"environment.py"}


def test_memory_is_told_in_powers_of_two_by_each_command_and_disks_in_powers_of_ten(said):
    there = memory_size(describe_device("cpu").memory_bytes)
    assert f", {there}" in said("info")[1]
    assert there in str(describe_device("cpu"))
    assert check_free_memory().text.startswith(there)
    assert re.search(r"\d GB free", check_free_disk().text)
