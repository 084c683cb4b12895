"""Fault 37: tokenising is killed; it goes on, and no short file ever looks complete."""

import os
import subprocess
import sys

import pytest

from bhushgpt.data.preparation import make_plan, prepare
from bhushgpt.data.prepared import PreparedTokens
from bhushgpt.data.shards import find_shards
from bhushgpt.errors import UserError
from bhushgpt.tokenizers import ByteTokenizer
from tests.pages import make_pages, openwebtext
from tools.curriculum import ROOT

needs_sessions = pytest.mark.skipif(
    not hasattr(os, "killpg"), reason="This system knows no groups of processes to kill."
)


@needs_sessions
def test_killed_at_random_moments_the_tokens_are_those_of_an_unbroken_run() -> None:
    """The long form, 40 kills, also with the real pages, is a part of `make faults`."""
    command = [sys.executable, "-m", "tests.faults.campaigns.prepare_kills", "--kills", "2"]
    environment = {key: value for key, value in os.environ.items() if key != "BHUSHGPT_DATA"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same to the byte: yes" in done.stdout


def test_at_60_percent_there_is_no_training_file_and_it_goes_on_with_the_next_shard(
    tmp_path,
) -> None:
    archive = openwebtext(tmp_path / "a.tar", make_pages(100), a_shard=10)
    tokenizer, out = ByteTokenizer(), tmp_path / "out"
    plan = make_plan(find_shards([archive]), tokenizer, "Pages", held_out=0.2)
    steps = prepare(plan, tokenizer, out)
    for _ in range(6):
        next(steps)
    steps.close()
    assert not list(out.glob("*.tokens"))
    with pytest.raises(UserError, match=r"its preparation is not finished: run the same `prepare`"):
        PreparedTokens.open(out)
    rest = list(prepare(plan, tokenizer, out))
    assert [step.number for step in rest if not step.before] == [6, 7, 8, 9]
    PreparedTokens.open(out).verify()


@pytest.mark.parametrize("moment", ["train joined", "half of train joined", "manifest missing"])
def test_killed_while_joining_it_goes_on(tmp_path, monkeypatch, moment) -> None:
    archive = openwebtext(tmp_path / "a.tar", make_pages(100), a_shard=10)
    tokenizer = ByteTokenizer()
    plan = make_plan(find_shards([archive]), tokenizer, "Pages", held_out=0.2)
    list(prepare(plan, tokenizer, tmp_path / "straight"))

    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    from bhushgpt.data import preparation

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        if moment == "manifest missing":
            patch.setattr(preparation, "write_tokens_manifest", die)
        elif moment == "train joined":
            join = preparation.join_shards
            patch.setattr(
                preparation,
                "join_shards",
                lambda f, p, *a: die() if p != "train" else join(f, p, *a),
            )
        else:
            copied, copy = [], preparation._copy
            patch.setattr(preparation, "SYNCED", 1000)
            patch.setattr(
                preparation,
                "_copy",
                lambda *a: die() if len(copied) == 5 else copied.append(1) or copy(*a),
            )
        with pytest.raises(Killed):
            list(prepare(plan, tokenizer, out))
    with pytest.raises(UserError, match="is not finished"):
        PreparedTokens.open(out)
    list(prepare(plan, tokenizer, out))
    for name in ("train.tokens", "held_out.tokens", "manifest.json"):
        assert (out / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    assert sorted(p.name for p in out.iterdir()) == sorted(
        p.name for p in (tmp_path / "straight").iterdir()
    )
