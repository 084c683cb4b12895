"""Runs every shape comment of `gpt`: positions that are added and positions that are turned."""

import torch


def drive(m, s):
    for position in ("learned", "rotary"):
        config = m.GPTConfig(
            vocab_size=s.V,
            context_length=s.T,
            n_layer=1,
            n_head=s.H,
            n_embd=s.C,
            position=position,
        )
        m.GPT(config)(torch.randint(s.V, (s.B, s.T)))
