"""Runs every shape comment of `static_step`: with rotary positions and with learned ones."""

import torch

from bhushgpt.gpt import GPT, GPTConfig

SIZES = {"S": 13}


def drive(m, s):
    sizes = {"vocab_size": s.V, "context_length": s.S, "n_head": s.H, "n_embd": s.C}
    at = torch.arange(s.B)
    for position in ("learned", "rotary"):
        model = GPT(GPTConfig(n_layer=1, position=position, **sizes)).eval()
        step = m.StaticStep(model, [torch.zeros(2, s.B, s.H, s.S, s.D)])
        with torch.no_grad():
            step(torch.zeros(s.B, 1, dtype=torch.long), at)
