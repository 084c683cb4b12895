import numpy as np

SIZES = {"N": 31}
FREE = ("N", "K")  # tokens and contexts: another number in every call


def drive(m, s):
    text = np.random.default_rng(0).integers(0, s.V, 100)
    counter = m.NGramCounter(3, s.V).fit(text)
    counter.loss(text[:31])
    counter.probabilities([1, 2])
