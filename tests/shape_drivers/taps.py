"""Runs every shape comment of `taps`: a silenced head, and the lens."""

import torch

from bhushgpt.gpt import GPT, GPTConfig

SIZES = {"S": 13, "L": 2}


def drive(m, s):
    m.without_heads(1)(torch.rand(s.B, s.H, s.T, s.S))
    sizes = {"vocab_size": s.V, "context_length": s.T, "n_head": s.H, "n_embd": s.C}
    m.logit_lens(GPT(GPTConfig(n_layer=s.L, **sizes)), torch.randint(s.V, (s.B, s.T)))
