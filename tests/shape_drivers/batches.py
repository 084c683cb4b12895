import numpy as np


def drive(m, s):
    m.Batches(np.arange(50), batch_size=s.B, context_length=s.T, vocab_size=50)[0]
