import numpy as np

from bhushgpt.bigram import Bigram, BigramConfig

FREE = ("B",)  # the last batch is smaller


def drive(m, s):
    model = Bigram(BigramConfig(vocab_size=s.V, context_length=s.T))
    m.evaluate(model, np.arange(100) % s.V, batch_size=s.B)
