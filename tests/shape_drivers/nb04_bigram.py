import numpy as np
import torch


def drive(nb, s):
    tokens = np.arange(60) % s.V
    nb.get_batch(tokens, 0, s.B, s.T)
    nb.pair_counts(tokens, s.V)
    model = nb.TableModel(s.V)
    model(torch.zeros(s.B, s.T, dtype=torch.long))
    model.context_length = s.T
    nb.generate(model, torch.zeros(s.B, s.T, dtype=torch.long), 2, seed=0)
