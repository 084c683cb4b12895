import numpy as np

SIZES = {"R": 5 * 7 + 2}


def drive(m, s):
    m.frequencies(np.random.default_rng(0).random((s.R, s.V)))
