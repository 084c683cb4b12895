"""Inputs with very much of nothing in them end in a sentence that counts it."""

import tarfile

import pytest

from bhushgpt.commands.line import main


def folder_of_empty_files(place):
    place.mkdir()
    for number in range(200):
        (place / f"{number}.txt").touch()
    return place


def tar_of_headers(place):
    """The small cousin of a million members' headers, which took 91 MiB of memory."""
    header = tarfile.TarInfo("a.txt").tobuf()
    place.write_bytes(300 * header + bytes(1024))
    return place


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (folder_of_empty_files, "200 times: it is empty"),
        (tar_of_headers, "299 times: it has the name of an earlier one; 1 times: it is empty"),
    ],
)
def test_what_holds_no_text_is_counted_in_a_sentence(make, words, tmp_path, capsys):
    found = make(tmp_path / "many.tar")
    out = tmp_path / "tokens"
    words_typed = ["prepare", str(found), "--tokenizer", "bytes", "--out", str(out)]
    assert main([*words_typed, "--workers", "1"]) == 1
    assert words in capsys.readouterr().err
