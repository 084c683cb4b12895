"""Texts that people bring: one novel, stories with a separator, a folder, a pipe, a wrong file.

Each is prepared, or gets a sentence that leads on.
"""

import os
import threading

import pyarrow as arrow
import pytest
from pyarrow import parquet

from bhushgpt.commands.line import main
from bhushgpt.corpus import load_text
from bhushgpt.data.prepared import PreparedTokens
from bhushgpt.errors import UserError
from bhushgpt.files import own_names
from tests.pages import make_pages

PAGES = make_pages(120)
NOVEL = "".join(
    f"The old man number {n} had a red hat, and ran to the house.\n" for n in range(2500)
)
STORIES = [page.replace("<|endoftext|>", "") for page in make_pages(300)]


@pytest.fixture
def prepare(tmp_path, capsys):
    """A function that runs the command and returns the text of both parts and what was said."""

    def run(place, *words):
        out = tmp_path / "tokens"
        code = main(["prepare", str(place), "--tokenizer", "bytes", "--out", str(out), *words])
        said = capsys.readouterr()
        if code:
            return code, said.err
        tokens = PreparedTokens.open(out)
        texts = [tokens.tokenizer.decode(part[:]) for part in (tokens.train, tokens.held_out)]
        return texts, said.out

    return run


def test_one_novel_is_cut_into_pages_and_has_a_held_out_part(tmp_path, prepare):
    (tmp_path / "novel.txt").write_text(NOVEL)
    (train, held), said = prepare(tmp_path / "novel.txt")
    assert train and held and sorted((train + held).split()) == sorted(NOVEL.split())
    assert "novel.txt: 38 documents" in said


def test_a_held_out_share_of_0_is_refused_and_not_replaced(tmp_path, prepare):
    (tmp_path / "novel.txt").write_text(NOVEL)
    code, said = prepare(tmp_path / "novel.txt", "--held-out", "0")
    assert code == 1 and "0" in said and "between 0 and 1" in said
    assert not (tmp_path / "tokens").exists()


def test_a_home_folder_that_nobody_has_is_a_sentence(prepare):
    code, said = prepare("~nobody-of-that-name/pages")
    assert code == 1 and "the home folder is not known" in said


def test_a_text_of_9_mb_is_prepared_whole(tmp_path, prepare):
    (tmp_path / "large.txt").write_text(NOVEL * 60)
    (train, held), said = prepare(tmp_path / "large.txt")
    assert len(train) + len(held) >= len(NOVEL) * 60 > 2**23
    assert "left out" not in said


def test_copies_of_one_short_text_say_that_no_share_can_split_them(tmp_path, prepare):
    (tmp_path / "copies").mkdir()
    for number in range(5):
        (tmp_path / "copies" / f"{number}.txt").write_text("a single page")
    code, said = prepare(tmp_path / "copies", "--held-out", "0.5")
    assert code == 1 and "on one side as a whole, and so are its copies: take more" in said


@pytest.mark.parametrize("line", ["<|endoftext|>", "  <|endoftext|>\t"])
def test_a_line_end_of_text_separates_documents(tmp_path, prepare, line):
    (tmp_path / "stories.txt").write_text(f"{line}\n".join(STORIES), encoding="utf-8")
    (train, held), said = prepare(tmp_path / "stories.txt")
    assert "stories.txt: 300 documents" in said
    assert "left out, 299 times: it is a line <|endoftext|>, which ends a document" in said
    assert "endoftext" not in train + held and held
    assert sum(story in train for story in STORIES) + sum(story in held for story in STORIES) == 300


@pytest.mark.parametrize(
    ("between", "given"),
    [("\n\n\n", r"\n\n\n"), ("\n###\n", "###"), ("<|endoftext|>", "<|endoftext|>"), ("†", "†")],
)
def test_any_separator_can_be_named(tmp_path, prepare, between, given):
    stories = [story.strip() for story in STORIES]
    (tmp_path / "stories.txt").write_text(between.join(stories), encoding="utf-8")
    (train, held), said = prepare(tmp_path / "stories.txt", "--separator", given)
    assert "stories.txt: 300 documents" in said
    assert held and sorted((train + held).split("\n\n")) == sorted([*stories, ""])


def test_training_on_such_a_file_says_what_it_does_with_the_marks(tmp_path):
    file = tmp_path / "stories.txt"
    file.write_text("One.\n<|endoftext|>\nTwo.\n<|endoftext|>\n")
    corpus = load_text(file)
    assert corpus.text == "One.\n\nTwo.\n\n"
    assert (
        "has 2 lines <|endoftext|> between its documents; they are read as blank" in corpus.notice
    )
    file.write_text("One.<|endoftext|>Two.\n")
    corpus = load_text(file)
    assert corpus.text == "One.<|endoftext|>Two.\n"
    assert "--separator '<|endoftext|>'" in corpus.notice


def test_a_folder_of_gutenberg_files_loses_its_headers_and_licences(tmp_path, prepare):
    (tmp_path / "books").mkdir()
    for number in range(40):
        mark = f"OF THE PROJECT GUTENBERG EBOOK BOOK {number} ***"
        (tmp_path / "books" / f"{number}.txt").write_text(
            f"HEADERWORDS\n*** START {mark}\nStory number {number} of the hat.\n*** END {mark}\n"
            "LICENCEWORDS of Project Gutenberg\n"
        )
    (train, held), said = prepare(tmp_path / "books")
    assert "left out, 40 times: it is the header and licence of a Project Gutenberg file" in said
    assert "WORDS" not in train + held and "***" not in train + held
    assert (train + held).count("of the hat") == 40


def test_a_large_collection_of_gutenberg_books_is_cleaned_book_by_book(tmp_path, prepare):
    books = []
    for number in range(100):
        mark = f"OF THE PROJECT GUTENBERG EBOOK BOOK {number} ***"
        books.append(f"Head\n*** START {mark}\n{NOVEL}*** END {mark}\nLICENCEWORDS\n")
    (tmp_path / "books.txt").write_text("".join(books))
    (train, held), _ = prepare(tmp_path / "books.txt")
    assert "LICENCEWORDS" not in train + held and "GUTENBERG" not in train + held
    assert (train + held).count("number 7 ") == 100


def test_a_folder_as_a_text_is_told_how_and_a_folder_of_other_kinds_which(tmp_path, prepare):
    (tmp_path / "my books").mkdir()
    (tmp_path / "my books" / "a.txt").write_text("a")
    with pytest.raises(UserError, match=r"a folder, with 1 text files[^$]*prepare '[^']*my books'"):
        load_text(tmp_path / "my books")
    (tmp_path / "my books" / "a.txt").rename(tmp_path / "my books" / "a.md")
    code, said = prepare(tmp_path / "my books")
    assert code == 1 and ".jsonl" in said
    assert "1 of them: it is of a kind that is not read (.md)" in said


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="This system has no such pipes.")
def test_a_pipe_is_called_a_pipe(tmp_path, prepare):
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(UserError, match=r"is a pipe or a device.*Save it to a file"):
        load_text(tmp_path / "pipe.txt")
    code, said = prepare(tmp_path / "pipe.txt")
    assert code == 1 and "is a pipe or a device" in said
    assert threading.active_count() < 10  # nobody waits for it to be written to


KINDS = [
    *(arrow.binary(), arrow.large_binary(), arrow.string(), arrow.large_string()),
    *(arrow.string_view(), arrow.dictionary(arrow.int32(), arrow.string())),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_column_of_text_is_read_however_it_is_stored(tmp_path, prepare, kind):
    pages = [page.encode() if "binary" in str(kind) else page for page in PAGES]
    table = arrow.table({"text": arrow.array(pages).cast(kind)})
    parquet.write_table(table, tmp_path / "a.parquet")
    (train, held), said = prepare(tmp_path / "a.parquet")
    assert "a.parquet: 120 documents" in said
    assert all(page in train + held for page in PAGES)


def test_a_column_of_bytes_that_are_no_text_is_counted(tmp_path, prepare):
    pages = [page.encode() for page in PAGES] + [b"caf\xe9", b"a\0b"]
    parquet.write_table(arrow.table({"text": pages}), tmp_path / "a.parquet")
    _, said = prepare(tmp_path / "a.parquet")
    assert "1 times: it is not UTF-8 text" in said and "1 times: it holds NUL bytes" in said


def test_another_column_is_named_and_can_be_taken(tmp_path, prepare):
    table = arrow.table({"text": [*range(120)], "body": PAGES, "title": ["x"] * 120})
    parquet.write_table(table, tmp_path / "a.parquet")
    code, said = prepare(tmp_path / "a.parquet")
    assert code == 1
    assert 'the column "text" holds int64, not text; take one of' in said
    assert "--text-field: body, title" in said
    (train, held), _ = prepare(tmp_path / "a.parquet", "--text-field", "body")
    assert all(page in train + held for page in PAGES)


def test_a_file_name_of_any_bytes_is_read(tmp_path, prepare):
    name = os.fsdecode(b"donn\xe9es")
    try:
        (tmp_path / f"{name}.jsonl").write_text('{"text": "good"}\n' * 3)
    except OSError:
        pytest.skip("This disk takes names in UTF-8 only.")
    (tmp_path / f"{name}.txt").write_text(NOVEL)
    for ending in ("jsonl", "txt"):
        found, said = prepare(tmp_path / f"{name}.{ending}")
        assert "donn\\udce9es" in said
        if found == 1:  # three copies of one line
            assert "And name a new folder" in said
            for path in sorted((tmp_path / "tokens").rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()


def test_what_a_system_puts_into_a_new_folder_is_nobodys(tmp_path, prepare):
    out = tmp_path / "tokens"
    (out / "lost+found").mkdir(parents=True)
    for name in ("desktop.ini", "Thumbs.db", ".DS_Store"):
        (out / name).touch()
    assert own_names(out) == set()
    (tmp_path / "novel.txt").write_text(NOVEL)
    assert "38 documents" in prepare(tmp_path / "novel.txt")[1]
