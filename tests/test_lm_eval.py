"""lm-eval measures an exported model as our `evaluate` does.

lm-eval reads a text in windows of T tokens that do not overlap; its first token is predicted from
the end-of-text token, and the last window is filled up with tokens that were counted before. Our
`evaluate` does the same with stride = T and that token in front.
"""

import importlib.util
import json

import numpy as np
import pytest
import torch

from bhushgpt.bpe import BPETokenizer
from bhushgpt.evaluation import evaluate
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.interop.gpt2 import from_hf, to_hf

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of the many libraries that lm-eval brings
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("lm_eval", "accelerate")),
        reason="lm-eval is not installed: pip install -e '.[lm-eval]' (large; in an environment of "
        "its own)",
    ),
]
TEXT = "The cat's 12 hats; the cat sat.\n\n  “Ah,” said é 猫!\t The hat said nothing.\n" * 40


@pytest.fixture(scope="module")
def tokenizer():
    return BPETokenizer.train([TEXT], vocab_size=285)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=285, context_length=32, n_layer=2, n_head=2, n_embd=32))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return to_hf(model, tokenizer, tmp_path_factory.mktemp("lm_eval") / "hf")


def measured_by_lm_eval(folder, text, place, monkeypatch) -> float:
    """Let lm-eval open the folder and measure a text of one document, without any network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(place / "cache"))
    import lm_eval  # pyright: ignore[reportMissingImports]
    from lm_eval.api.task import ConfigurableTask  # pyright: ignore[reportMissingImports]
    from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports]

    (place / "text.jsonl").write_text(json.dumps({"text": text}) + "\n", encoding="utf-8")
    task = ConfigurableTask(
        config={
            "task": "a_local_text",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(place / "text.jsonl")}},
            "test_split": "test",
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "{{text}}",
            "metric_list": [{"metric": "bits_per_byte"}],
        }
    )
    model = HFLM(
        pretrained=str(folder), tokenizer=str(folder), device="cpu", dtype="float32", batch_size=8
    )
    found = lm_eval.simple_evaluate(model=model, tasks=[task], bootstrap_iters=0)
    assert found is not None
    return found["results"]["a_local_text"]["bits_per_byte,none"]


def measured_by_us(folder, text, tokenizer) -> float:
    model = from_hf(folder)
    ids = np.array([tokenizer.eot_id, *tokenizer.encode(text)])
    found = evaluate(
        model, ids, stride=model.context_length, text_bytes=len(text.encode())
    ).bits_per_byte
    assert found is not None
    return found


@pytest.mark.parametrize("cut", [None, 60, 5], ids=["many windows", "two windows", "less than one"])
def test_lm_eval_equals_evaluate(folder, tokenizer, tmp_path, monkeypatch, cut):
    text = TEXT[:cut]
    theirs = measured_by_lm_eval(folder, text, tmp_path, monkeypatch)
    assert measured_by_us(folder, text, tokenizer) == pytest.approx(theirs, rel=1e-6)


def test_a_difference_in_the_fourth_digit_would_be_seen(folder, tokenizer, tmp_path, monkeypatch):
    """The planted mistake: windows that overlap, as ours do by default, measure another number."""
    theirs = measured_by_lm_eval(folder, TEXT, tmp_path, monkeypatch)
    ids = np.array([tokenizer.eot_id, *tokenizer.encode(TEXT)])
    other = evaluate(from_hf(folder), ids, text_bytes=len(TEXT.encode())).bits_per_byte
    assert other is not None and abs(other - theirs) > 1e-4
