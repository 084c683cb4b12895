import numpy as np

from bhushgpt.bigram import Bigram, BigramConfig

FREE = ("T", "K", "L")  # the window grows, and the first call has one lane


def drive(m, s):
    model = Bigram(BigramConfig(vocab_size=s.V, context_length=4))
    reader = m.ModelReader(model, s.V, learning_rate=0.1)
    reader.restart(3)
    wanted = np.arange(30) % s.V  # three lanes of ten: K stays
    for _ in m.code_symbols(m.Listener(), len(wanted), 3, wanted=wanted, reader=reader):
        pass
