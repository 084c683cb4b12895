import numpy as np

from bhushgpt.online_counters import CodeTree, Contexts

FREE = ("S",)  # five sets of weights, as many as another letter stands for
SIZES = {"N": len(Contexts.NAMES), "K": 17, "X": 2 * len(Contexts.NAMES) + 4}


def drive(m, s):
    tree = CodeTree.of(np.arange(1, s.V + 1))
    mixed = m.MixedPredictor(
        tree, np.ones(s.V, dtype=bool), np.arange(s.V), with_model=True, table_bits=12
    )
    mixed.restart(s.K)
    mixed.start_token(np.tile(np.linspace(0, 1, s.V + 1), (s.K, 1)))
    mixed.predict(np.arange(s.K), np.full(s.K, s.V - 2))
    mixed.learn(np.arange(s.K) % 2)
