"""`compress` and `decompress`: every byte comes back, and what cannot is a sentence."""

import shlex

import pytest

from bhushgpt.commands.line import main
from tests.interrupted_runs import train

POEM = "the cat sat on the log, and the dog sat on the mat.\n" * 6 + "é 山 never seen\n"


@pytest.fixture(scope="module")
def run(text, tmp_path_factory):
    """A run on the cats and dogs of the fixture `text`."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert train(text, folder) == 0
    return folder


@pytest.fixture
def there_and_back(tmp_path, capsys):
    """Compress, then decompress as it says; return the size of the file between."""

    def made(data: bytes, *flags: str) -> int:
        file = tmp_path / "a poem.txt"
        file.write_bytes(data)
        assert main(["compress", str(file), *flags]) == 0
        packed = tmp_path / "a poem.txt.bhgz"
        size = packed.stat().st_size
        file.unlink()
        back = capsys.readouterr().out.splitlines()[-1].partition(" -m bhushgpt ")[2]
        assert main(shlex.split(back)) == 0
        packed.unlink()
        assert file.read_bytes() == data
        return size

    return made


@pytest.mark.parametrize("data", [POEM.encode(), b"", b"\x00\xff\xfe" * 40])
def test_without_a_run_all_bytes_come_back(there_and_back, data):
    there_and_back(data)


def test_with_a_run_it_takes_less_and_adaptive_less_still(there_and_back, run):
    ways = ((), ("--run", str(run)), ("--run", str(run), "--adaptive"))
    alone, by_model, mixed = (there_and_back(POEM.encode(), *flags) for flags in ways)
    assert mixed < by_model and mixed < alone


def test_what_cannot_be_done_is_a_sentence_and_changes_nothing(tmp_path, run, capsys):
    file = tmp_path / "poem.txt"
    file.write_text(POEM, encoding="utf-8")
    assert main(["compress", str(file), "--adaptive"]) == 1
    assert "--adaptive needs --run DIR" in capsys.readouterr().err
    assert main(["compress", str(file), "--out", str(file)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(["compress", str(file), "--run", str(run)]) == 0
    packed = tmp_path / "poem.txt.bhgz"
    assert main(["decompress", str(packed)]) == 1  # the poem is still there
    assert "exists already" in capsys.readouterr().err
    file.unlink()
    assert main(["decompress", str(packed)]) == 1
    assert "needs a model and its tokenizer, such as those of a run" in capsys.readouterr().err
    packed.write_bytes(packed.read_bytes()[:-9])
    assert main(["decompress", str(packed), "--run", str(run)]) == 1
    assert not file.exists() and packed.exists()
    assert main(["decompress", str(run / "run.json")]) == 1
    assert "does not end in .bhgz" in capsys.readouterr().err
