"""Runs every shape comment of `interop.server`: a look at a small GPT."""

from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.tokenizers import CharTokenizer


def drive(m, s):
    sizes = {"vocab_size": s.V, "context_length": s.T, "n_layer": 1}
    model = GPT(GPTConfig(**sizes, n_head=s.H, n_embd=4 * s.H))
    tokenizer = CharTokenizer("".join(map(chr, range(65, 65 + s.V))))
    with m.Server(model, tokenizer) as server:
        server.look(m._Look(ids=[0] * s.T))
