import torch

from bhushgpt.gpt import GPT, GPTConfig

SIZES = {"N": 35}


def drive(m, s):
    model = GPT(GPTConfig(vocab_size=s.V, context_length=s.T, n_layer=1, n_head=s.H, n_embd=s.C))
    ids = torch.zeros(s.B, s.T, dtype=torch.long)
    m.accelerate(model, m.Acceleration(chunk_tokens=4))(model, ids, ids)
