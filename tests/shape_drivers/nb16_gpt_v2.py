"""Compares a GPT of the course part by part with one of transformers of the same sizes."""

import torch
import transformers

from bhushgpt.gpt import GPTConfig


def drive(nb, s):
    sizes = {"n_layer": 1, "n_head": 1, "n_embd": s.C, "vocab_size": s.V}
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_positions=s.T, bos_token_id=0, eos_token_id=0, **sizes)
    )
    ours = GPTConfig(context_length=s.T, **sizes).build()
    list(nb.part_by_part(theirs.eval(), ours.eval(), torch.zeros(s.B, s.T, dtype=torch.long)))
