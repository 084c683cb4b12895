"""Files from a stranger run nothing, write nowhere else and fill no memory, whoever loads them.

`make faults` throws all of them; here it is a few of each kind.
"""

from pathlib import Path

import pytest
import torch

from bhushgpt.errors import UserError
from tests.faults import malicious
from tests.faults.campaigns.bad_files import problems

FEW = ("exec_5.pkl", "global.pkl", "product.safetensors", "tar_up.xz", "xz_bomb.xz", "new.pt")


def test_a_few_of_each_kind_get_nowhere(tmp_path: Path) -> None:
    seen = malicious.thrown(tmp_path, FEW)
    assert problems(seen) == []
    assert seen["files"] == len(FEW)
    # The oldest pickles are plain letters, and a text may be any letters.
    assert seen["read"] == ["global.pkl at text"]
    assert seen["refused"] == seen["throws"] - 1


def test_the_corpus_holds_every_kind_in_every_protocol(tmp_path: Path) -> None:
    names = set(malicious.corpus(tmp_path / "canary"))
    assert {f"touch_{n}.pkl" for n in malicious.PROTOCOLS} <= names
    assert {name.rpartition(".")[2] for name in names} >= {
        *("pkl", "pt", "npy", "safetensors", "xz", "ipynb", "json", "zip"),
    }
    assert len(names) > 60


@pytest.mark.parametrize("name", ["exec_0.pkl", "touch_5.pkl", "global.pkl", "stack_global.pkl"])
def test_an_exploit_works_where_it_is_let(name: str, tmp_path: Path) -> None:
    """Else its silence would prove nothing."""
    import pickle

    data = malicious.corpus(tmp_path / "canary")[name]
    pickle.loads(data)
    assert (tmp_path / "canary").exists()


def test_a_loader_that_unpickles_would_be_caught(tmp_path: Path, monkeypatch) -> None:
    malicious.make_files(tmp_path, ["new.pt"])

    def careless(self, file):
        yield "careless", lambda: torch.load(file, weights_only=False)

    monkeypatch.setattr(malicious.Place, "loaders", careless)
    seen = malicious.attack(tmp_path)
    assert problems(seen)[0] == "ran code: new.pt at careless"


def test_a_file_outside_and_a_crash_would_be_caught(tmp_path: Path, monkeypatch) -> None:
    malicious.make_files(tmp_path, ["empty.bin"])

    def wild(self, file):
        yield "writes", lambda: (tmp_path / "elsewhere").write_text("")
        yield "crashes", lambda: [][1]
        yield "refuses", lambda: (_ for _ in ()).throw(UserError("no"))

    monkeypatch.setattr(malicious.Place, "loaders", wild)
    seen = malicious.attack(tmp_path)
    assert (seen["throws"], seen["refused"]) == (3, 1)
    said = problems(seen)
    assert "wrote outside" in said[0] and "elsewhere" in said[0]
    assert "IndexError" in said[1]
    assert problems(seen | {"crashes": [], "outside": [], "grown_mib": 10**6})
