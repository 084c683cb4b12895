"""A cached text, prompts together, and a step with rotary and with learned positions."""

import torch

from bhushgpt.gpt import GPT, GPTConfig

SIZES = {"S": 13}
FREE = {"S"}  # only the filled places are looked at


def drive(m, s):
    sizes = {"vocab_size": s.V, "context_length": s.T + 4, "n_head": s.H, "n_embd": s.C}
    model = GPT(GPTConfig(n_layer=1, **sizes)).eval()
    fast, ids = m.FastCached(model), torch.randint(s.V, (s.B, s.T + 1))
    fast(ids[:, :-1])
    fast(ids)
    texts = [list(range(1, 2 + i)) for i in range(s.B - 1)] + [[1] * s.T]
    list(m.generate_together(model, texts, 3))
    sizes["context_length"] = 13
    at = torch.arange(s.B)
    for position in ("learned", "rotary"):
        model = GPT(GPTConfig(n_layer=1, position=position, **sizes)).eval()
        step = m.StaticStep(model, [torch.zeros(2, s.B, s.H, 13, s.D)])
        with torch.no_grad():
            step(torch.zeros(s.B, 1, dtype=torch.long), at)
