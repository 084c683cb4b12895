"""The command `export`: a run's checkpoint becomes a folder that transformers opens."""

import pytest
import torch

from bhushgpt.bpe import BPETokenizer
from bhushgpt.commands.line import main
from bhushgpt.interop.gpt2 import from_hf
from bhushgpt.presets import build_model, preset
from bhushgpt.storage.checkpoints import save_checkpoint
from bhushgpt.tokenizers import CharTokenizer
from bhushgpt.training import TrainState

TEXT = "the cat sat on the mat. " * 20


@pytest.fixture
def run(tmp_path):
    """A run's folder with one checkpoint of a tiny GPT-2, and its model."""
    tokenizer = BPETokenizer.train([TEXT], vocab_size=265)
    config = preset("gpt-v1-smoke", tokenizer.vocab_size)
    state = TrainState.fresh(build_model(config), config.training)
    save_checkpoint(tmp_path / "run", state, config, tokenizer)
    return tmp_path / "run", state.model


def test_a_run_becomes_a_page(run, tmp_path, capsys):
    folder, _ = run
    out = tmp_path / "for others.html"
    assert main(["export", "--run", str(folder), "--to", "page", str(out)]) == 0
    said = capsys.readouterr().out
    assert str(out) in said and "double click" in said
    page = out.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and "A small GPT (gpt-v1-smoke)" in page


@pytest.mark.filterwarnings("ignore")  # transformers' own
def test_a_run_opens_in_transformers_with_its_tokenizer(run, tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    folder, model = run
    out = tmp_path / "for others"
    assert main(["export", "--run", str(folder), "--to", "hf", str(out)]) == 0
    said = capsys.readouterr().out
    assert str(out) in said and "model.safetensors" in said and "from_pretrained" in said
    theirs, found = transformers.AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not any(found.values())
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    ids = tokenizer("the cat", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, model(ids), atol=1e-5, rtol=1e-5)
    assert torch.equal(from_hf(out)(ids), model(ids))


def test_a_folder_that_holds_something_is_refused_before_the_run_is_read(tmp_path, capsys):
    (tmp_path / "mine.txt").touch()
    assert main(["export", "--run", str(tmp_path / "none"), "--to", "hf", str(tmp_path)]) == 1
    assert "is not empty: it holds 'mine.txt'" in capsys.readouterr().err


def test_a_folder_without_a_run_is_named(tmp_path, capsys):
    none, out = str(tmp_path / "none"), str(tmp_path / "out")
    assert main(["export", "--run", none, "--to", "hf", out]) == 1
    assert "checkpoint" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_rotary_model_is_refused_by_name(tmp_path, capsys):
    config = preset("gpt-v1", 4)
    state = TrainState.fresh(build_model(config), config.training)
    save_checkpoint(tmp_path / "run", state, config, CharTokenizer("abcd"))
    assert main(["export", "--run", str(tmp_path / "run"), str(tmp_path / "out")]) == 1
    assert "its positions are rotary" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_form_is_refused_with_those_that_there_are(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["export", "--run", "r", "--to", "onnx", str(tmp_path / "out")])
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert "hf" in said.err + said.out
