import numpy as np

SIZES = {"N": 13, "K": 17}


def drive(m, s):
    counters = m.Counters(s.N, bits=12)
    contexts = np.random.default_rng(0).integers(0, 2**60, (s.K, s.N)).astype(np.uint64)
    counters.predict(contexts, np.arange(s.K))
    counters.learn(np.arange(s.K) % 2)
