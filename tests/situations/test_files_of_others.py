"""Files that other programs wrote are read, or called what they are."""

import json

import pytest
import torch

from bhushgpt.bpe import BPETokenizer
from bhushgpt.commands.prepare import named_tokenizer
from bhushgpt.data.token_files import DocumentEncoder
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.interop import from_hf, to_hf
from bhushgpt.sources import clean_gutenberg, decode_text
from bhushgpt.storage import load_weights
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer, load_tokenizer

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{7:064d}\nsize 548105171\n"


def small_gpt() -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(vocab_size=256, context_length=8, n_layer=1, n_head=2, n_embd=8))


@pytest.fixture
def folder(tmp_path):
    return to_hf(small_gpt(), ByteTokenizer(), tmp_path / "model")


def edited(folder, **changes):
    file = folder / "config.json"
    described = json.loads(file.read_text()) | changes
    file.write_text(json.dumps(described))
    return folder


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_pointer_of_git_lfs_is_called_that(folder, name):
    (folder / name).write_text(POINTER)
    with pytest.raises(UserError, match=r"pointer of Git LFS.*git lfs pull"):
        from_hf(folder)


def test_a_pointer_in_the_place_of_ones_own_weights_is_too(tmp_path):
    (tmp_path / "weights.safetensors").write_text(POINTER)
    with pytest.raises(UserError, match=r"pointer of Git LFS.*git lfs pull"):
        load_weights(small_gpt(), tmp_path / "weights.safetensors")


def test_dropouts_that_differ_are_noted_and_change_nothing(folder):
    expected = from_hf(folder)(torch.tensor([[1, 2]]))
    with pytest.warns(UserWarning, match="three dropouts of this GPT-2 differ"):
        model = from_hf(edited(folder, resid_pdrop=0.25))
    assert model.config.dropout == 0.25
    assert torch.equal(model.eval()(torch.tensor([[1, 2]])), expected)
    with pytest.raises(UserError, match="must be numbers"):
        from_hf(edited(folder, attn_pdrop="0.1"))


def test_a_config_of_the_first_days_or_of_notepad_is_read(folder):
    from_hf(edited(folder, n_positions=None))
    file = folder / "config.json"
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert from_hf(folder).config.context_length == 8
    with pytest.raises(UserError, match="n_positions is None"):
        from_hf(edited_without(folder))


def edited_without(folder):
    described = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
    described.pop("n_ctx")
    (folder / "config.json").write_text(json.dumps(described))
    return folder


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"version": "1.0", "model": {"type": "BPE", "merges": []}}, "Hugging Face's form .*BPE"),
        ({"model": {"type": "Unigram"}}, r"Hugging Face's form \(its model is Unigram\)"),
        ({"tokenizer_class": "GPT2Tokenizer"}, "settings of a Hugging Face tokenizer"),
        ({"a": 0, "b": 1, "ab": 2}, "a bare vocabulary"),
    ],
)
def test_a_tokenizer_of_another_library_is_called_what_it_is(tmp_path, content, said):
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"tokenizer.json is .*{said}"):
        named_tokenizer(str(file))


def test_the_tokenizer_that_an_export_wrote_is_named_and_the_checkpoints_own_is_read(folder):
    with pytest.raises(UserError, match=r"in Hugging Face's form.*`tokenizer\.save`"):
        load_tokenizer(folder / "tokenizer.json")
    CharTokenizer("ab").save(folder / "own.json")
    own = folder / "own.json"
    own.write_text(own.read_text(), encoding="utf-8-sig")  # saved by Notepad
    assert load_tokenizer(own).decode([1, 0]) == "ba"


def test_byte_pairs_without_an_end_mark_separate_documents_by_a_blank_line():
    tokenizer = BPETokenizer.train(["the cat sat on the mat"] * 3, 262, ())
    assert tokenizer.decode(DocumentEncoder(tokenizer).end) == "\n\n"


def test_a_file_name_with_a_bad_byte_is_no_damage(folder):
    import os

    odd = folder.with_name(os.fsdecode(b"mod\xe8le"))
    try:
        folder.rename(odd)
    except OSError:
        pytest.skip("This disk takes names in UTF-8 only.")
    assert from_hf(odd).config.n_embd == 8


BINARY = bytes(range(1, 256)) * 12


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x89PNG\r\n\x1a\n" + BINARY, "is a picture \\(PNG\\)"),
        (b"\xff\xd8\xff\xe0" + BINARY, "is a picture \\(JPEG\\)"),
        (b"\x04\x22\x4d\x18" + BINARY, "is a file packed with lz4, .* Unpack it first"),
        (b"Rar!\x1a\x07" + BINARY, "is a rar archive"),
        (b"SQLite format 3\0" + BINARY, "is a database"),
        (b"<!-- saved from url=(0014)about -->\n<html><p>The cat</p>", "is a web page"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "x"><html>', "is a web page"),
    ],
)
def test_what_is_no_text_is_called_what_it_is_and_nothing_is_advised_that_harms_it(data, said):
    with pytest.raises(UserError, match=said) as error:
        decode_text(data, "book.txt")
    assert "write_text" not in str(error.value) and "other encodings" not in str(error.value)


def test_a_text_that_is_damaged_in_one_place_says_so_once():
    with pytest.raises(UserError, match="nor is it a text in another encoding") as error:
        decode_text(b"a\xff" + BINARY, "book.txt")
    assert str(error.value).count("fits no character") == 1


BODY = "The cat sat on the mat and saw the dog.\n" * 100
LEGAL = "\nProject Gutenberg licence words, of the Project Gutenberg Foundation.\n" * 20


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("***** START OF THE {0} A *****", "***** END OF THE {0} A *****"),
        ("*** START OF THE {0} M*A*S*H ***", "*** END OF THE {0} M*A*S*H ***"),
        ("\u00a0*** START OF THIS {0} A\nSECOND LINE ***", "\u00a0*** END OF THIS {0} A ***"),
        ("*** DEBUT DE CE LIVRE {0} A ***", "*** FIN DE CE LIVRE ELECTRONIQUE {0} A ***"),
        ("*** BEGINN DIESES {0}S A ***", "*** ENDE DIESES {0}S A ***"),
        ("*** START OF THIS {0} A ***", "*** LOPPU {0} A ***"),
    ],
)
def test_marks_of_a_book_with_more_stars_or_stars_in_its_title_are_marks(start, end):
    name = "PROJECT GUTENBERG EBOOK"
    text = f"Head of Project Gutenberg\n{start.format(name)}\n{BODY}{end.format(name)}\n{LEGAL}"
    assert clean_gutenberg(text) == BODY
    assert clean_gutenberg(text * 2) == f"{BODY.strip()}\n\n\n{BODY}"


WORDS = "\u201cHello,\u201d said Jack \u2014 \u201cnaïve Übermut, déjà vu; größer als groß\u201d"
OLD = {"cp1252": WORDS, "mac-roman": WORDS, "cp850": "Über große Straßen; naïve, déjà vu"}
OLD |= {"cp1251": "В начале было слово", "koi8-r": "В начале было слово", "gb18030": "从前有一座山"}
# From here on another reading came first, or the text was taken as it stood.
OLD |= {
    "euc_jp": "むかしむかしあるところに",
    "big5": "從前有一座山，山裡有一座廟",
    "cp1256": "في البدء كان",
}
OLD |= {"gbk": "从前有一座山，山里有一座庙，庙里有一个老和尚。"}
OLD |= {"iso2022_jp": "むかしむかしあるところに", "utf-7": "Grüße aus Köln, das schöne Café."}
OLD |= {"utf-16-le": "في البدء كان الكلمة"}


@pytest.mark.parametrize("encoding", OLD)
def test_the_way_that_is_printed_for_another_encoding_reads_the_text_right(encoding, tmp_path):
    file, text = tmp_path / "book.txt", f"{OLD[encoding]}\n" * 40
    file.write_bytes(text.encode(encoding))
    with pytest.raises(UserError) as error:
        decode_text(file.read_bytes(), str(file))
    program = str(error.value).partition("in Python: ")[2]
    exec(program, {})  # pasted as it stands
    assert (tmp_path / "book.utf8.txt").read_text(encoding="utf-8") == text
    assert file.read_bytes() == text.encode(encoding)  # the only copy is as it was


SUMS = ["a +b- c +10- d +x1y2- e\n" * 9, "1+abcd-2 +abc- +foobar-\n" * 9]
SUMS += ["+100-200 +104-1 +108-2\n" * 9]  # as UTF-7 three Hangul syllables


@pytest.mark.parametrize("text", SUMS)
def test_a_sum_in_a_text_is_no_encoding(text):
    assert decode_text(text.encode()) == text


def test_of_a_text_that_is_utf8_but_for_some_bytes_nothing_but_those_is_lost(tmp_path):
    text = "The café was naïve, and the résumé too.\n" * 40
    data = bytearray(text.encode())
    data[200] = 0xFF
    file = tmp_path / "book.txt"
    file.write_bytes(bytes(data) + b"\xc3")
    with pytest.raises(UserError, match="damaged in 2 places, or cut off at its end") as error:
        decode_text(file.read_bytes(), str(file))
    assert "other encodings" not in str(error.value)
    exec(str(error.value).partition("in Python: ")[2], {})
    mended = (tmp_path / "book.utf8.txt").read_text(encoding="utf-8")
    assert sum(a != b for a, b in zip(mended, text, strict=False)) == 1  # and one more at the end
    assert len(mended) == len(text) + 1
