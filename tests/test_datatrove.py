"""The example for a cluster gives the tokens that `prepare` gives (datatrove's local executor)."""

import importlib.util
import sys
import warnings

import pytest

from bhushgpt.data.preparation import make_plan, prepare
from bhushgpt.data.prepared import TOKENIZER, PreparedTokens
from bhushgpt.data.shards import find_shards
from bhushgpt.files import sha256
from bhushgpt.tokenizers import ByteTokenizer
from tests.pages import make_pages, shard
from tools.curriculum import ROOT

PAGES = make_pages(60)


@pytest.fixture
def example():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what other people's packages say while they are loaded
        pytest.importorskip(
            "datatrove", reason="datatrove is not installed; only a cluster needs it."
        )
        file = ROOT / "benchmarks" / "openwebtext_datatrove.py"
        spec = importlib.util.spec_from_file_location("openwebtext_datatrove", file)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    yield module
    del sys.modules["openwebtext_datatrove"]


@pytest.mark.filterwarnings("ignore")
def test_the_pipeline_equals_prepare_to_the_byte(example, tmp_path):
    pages = tmp_path / "pages"
    pages.mkdir()
    for number in range(4):
        (pages / f"{number}.xz").write_bytes(shard(PAGES[number * 15 : number * 15 + 15]))
    (pages / "4.xz").write_bytes(shard(PAGES[:5])[:-200])  # cut off
    (pages / "5.xz").write_bytes(shard(["nul\0", " "]))
    tokenizer = ByteTokenizer()
    plan = make_plan(find_shards([pages]), tokenizer, "Pages", held_out=0.2)
    list(prepare(plan, tokenizer, tmp_path / "prepared"))
    out = tmp_path / "trove"
    out.mkdir()
    tokenizer.save(out / TOKENIZER)
    example.pipeline(plan, out, tasks=3, workers=1).run()
    for part in ("train.tokens", "held_out.tokens", "manifest.json", "tokenizer.json"):
        assert sha256((out / part).read_bytes()) == sha256(
            (tmp_path / "prepared" / part).read_bytes()
        )
    manifest = PreparedTokens.open(out).manifest
    assert sum(manifest["documents"].values()) == 60
    assert list(manifest["refused"]) == ["4.xz"]
    assert manifest["skipped"] == {"holds NUL bytes": 1, "is empty": 1}
