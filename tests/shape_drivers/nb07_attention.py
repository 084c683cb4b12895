"""The functions and classes of notebook 07, each at the course's sizes."""

import torch

from bhushgpt.attention import CausalSelfAttention
from bhushgpt.positions import learned_positions


def drive(nb, s):
    x = torch.randn(s.B, s.T, s.C)
    q, k, v = torch.randn(3, s.B, s.T, s.D)
    nb.head_by_loop(q[0], k[0], v[0])
    nb.attend(q, k, v)
    nb.one_query(q[0, -1], k[0], v[0])
    nb.turn_all(q[0])
    nb.choice(s.D, scale=1)
    nb.shifted(x)
    nb.masked_too_late(x)
    nb.mask = torch.zeros(4, 4)
    nb.table(causal=True)
    nb.ListOfHeads(s.C, s.H)(x)
    nb.view_without_transpose(x, s.H)
    nb.HandMadeAttention(s.C, s.H)(x)
    nb.waves_by_loop(s.T, s.C)
    nb.RepeatedWords(seed=0)[0]
    attention = nb.HandMadeAttention(s.C, s.H)
    model = nb.OneLayer(s.V, attention, s.C, learned_positions(s.T, s.C))
    model(torch.zeros(s.B, s.T, dtype=torch.long))
    packaged = CausalSelfAttention(s.C, s.H)
    model = nb.OneLayer(s.V, packaged, s.C, learned_positions(s.T, s.C))
    nb.weights_of(model, torch.zeros(s.B, s.T, dtype=torch.long))
