"""Runs the shape comments of the hand-made GPT."""

import torch


def drive(nb, s):
    model = nb.HandMadeGPT(vocab_size=s.V, context_length=s.T, n_layer=2, n_head=s.H, n_embd=s.C)
    model(torch.randint(s.V, (s.B, s.T)))
