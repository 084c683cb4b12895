"""Runs every shape comment of `lora`: a layer, and a model with additions, merged."""

import torch
from torch import nn

SIZES = {"I": 6, "O": 13, "R": 2}


def drive(m, s):
    layer = m.LoRA(nn.Linear(s.I, s.O), rank=s.R)
    layer(torch.zeros(s.B, s.T, s.I))
    layer.merged_weight()
