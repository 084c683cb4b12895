"""Runs every shape comment of `kv_cache`: a call that fills it and one that adds to it."""

import torch

from bhushgpt.gpt import GPT, GPTConfig


def drive(m, s):
    config = GPTConfig(vocab_size=s.V, context_length=s.T + 1, n_layer=1, n_head=s.H, n_embd=s.C)
    cached = m.Cached(GPT(config).eval())
    prompts = torch.randint(s.V, (s.B, s.T + 1))
    cached(prompts[:, : s.T])
    cached(prompts)
