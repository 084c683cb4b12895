"""A vote of all that was counted: predictions that learn at once.

A token is told by a few yes-or-no decisions along a code tree. For each decision the counters'
answers are mixed with the GPT's by a small network, which sees what came, and learns. Everything
scores first and learns after, so a decoder can do the same.

Letters: K decisions made at once (rows), N counters, X inputs of the mixer, S sets of weights,
L lanes, V vocabulary.

Lesson: notebook 19. Source: Mahoney, "Adaptive weighing of context models for lossless data
compression", 2005 (PAQ).
"""

from collections.abc import Sequence

import numpy as np

from bhushgpt.online_counters import CodeTree, Contexts, Counters, Matches, squash, stretch

CERTAIN = 12.0  # no prediction is surer than 1 in e^12: one surprise would cost too many bits


class Mixer:
    """A vote by log-odds: sigmoid of w . x, with weights chosen by what matters and learned online.

    S sets of weights answer, each chosen by another property of the decision; a second, smaller
    vote mixes the S answers. Both follow the gradient of the code length, (bit - p) x, after each
    decision.

    Args:
        sizes: How many weights each of the S sets chooses from.
        start: The weights' first values (X,), for X inputs.
        rate: Step size at last.
        first_rate: Step size at first; it falls as 1 / (1 + decisions / 9000).
        second_rate: Step size of the second vote.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        start: np.ndarray,
        *,
        rate: float = 0.001,
        first_rate: float = 0.02,
        second_rate: float = 0.001,
    ) -> None:
        self.first = np.cumsum([0, *sizes[:-1]])  # (S,)
        self.weights = np.tile(start, (sum(sizes), 1))
        self.second = np.full((sizes[0], len(sizes)), 1 / len(sizes))
        self.rate, self.first_rate, self.second_rate = rate, first_rate, second_rate
        self.decisions = 0

    def predict(self, x: np.ndarray, choices: np.ndarray) -> np.ndarray:
        """Return log-odds (K,) from inputs (K, X), the weights chosen by choices (K, S)."""
        rows = choices + self.first  # (K, S)
        # einsum, since a product of matrices may add in another order with other threads
        answers = np.einsum("ksx,kx->ks", self.weights[rows], x)  # (K, S)
        answers = np.clip(answers, -CERTAIN, CERTAIN)
        second = self.second[choices[:, 0]]  # (K, S)
        mixed = np.clip((second * answers).sum(axis=1), -CERTAIN, CERTAIN)  # (K,)
        self._asked = x, rows, answers, choices[:, 0], mixed
        return mixed

    def learn(self, bits: np.ndarray) -> None:
        """Move the weights that were asked last towards what came (K,)."""
        x, rows, answers, nodes, mixed = self._asked
        fresh = (self.first_rate - self.rate) / (1 + self.decisions / 9000)
        self.decisions += len(bits)
        errors = (self.rate + fresh) * (bits[:, None] - squash(answers))  # (K, S)
        _add(
            self.weights, rows.ravel(), (errors[:, :, None] * x[:, None, :]).reshape(-1, x.shape[1])
        )
        _add(self.second, nodes, self.second_rate * (bits - squash(mixed))[:, None] * answers)


def _add(table: np.ndarray, rows: np.ndarray, changes: np.ndarray) -> None:
    """Add changes to rows of a table, in order, a row that is named twice twice."""
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    firsts = np.flatnonzero(np.append(True, rows[1:] != rows[:-1]))
    table[rows[firsts]] += np.add.reduceat(changes[order], firsts, axis=0)


class Refinement:
    """What a probability was really worth, in a small context: learned from how it turned out.

    Between 33 log-odds from -8 to 8 the answer is interpolated. (PAQ calls it APM or SSE.)
    """

    def __init__(self, contexts: int, *, rate: float = 0.02) -> None:
        self.table = np.tile(squash(np.linspace(-8, 8, 33)), (contexts, 1))
        self.rate = rate

    def predict(self, odds: np.ndarray, contexts: np.ndarray) -> np.ndarray:
        """Return probabilities (K,) for log-odds (K,) in contexts (K,)."""
        position = (np.clip(odds, -7.999, 7.999) + 8) * 2
        left = position.astype(np.int64)
        share = position - left
        self._asked = contexts, left + (share > 0.5)
        return self.table[contexts, left] * (1 - share) + self.table[contexts, left + 1] * share

    def learn(self, bits: np.ndarray) -> None:
        """Move the nearer of the two entries towards what came (K,)."""
        contexts, nearer = self._asked
        self.table[contexts, nearer] += (bits - self.table[contexts, nearer]) * self.rate


class MixedPredictor:
    """Counters, matches and perhaps a model's distribution, mixed; for several lanes at once.

    Args:
        tree: How tokens are told by decisions.
        is_letter: (V,) whether a token is part of a word.
        lower: (V,) the token for the same letter in lower case.
        with_model: Whether a model's distribution comes with each prediction.
        table_bits: Size of the counters' table, 2^table_bits.
    """

    REFINED = 1 << 16
    LETTERS = 10  # a word's letters beyond these are not counted

    def __init__(
        self,
        tree: CodeTree,
        is_letter: np.ndarray,
        lower: np.ndarray,
        *,
        with_model: bool,
        table_bits: int = 22,
    ) -> None:
        self.tree, self.with_model = tree, with_model
        self._letters = is_letter, lower
        kinds = len(Contexts.NAMES)
        self.counters = Counters(kinds, bits=table_bits)
        self.trust = np.linspace(0.5, 0.95, Matches.LONGEST + 1)  # in a match of each length
        self.trust_looks = np.zeros(Matches.LONGEST + 1)
        start = np.full(2 * kinds + 2 + with_model + 1, 0.15)
        if with_model:
            start[-2] = 0.4
        nodes = max(1, len(tree.bounds))
        orders = len(Contexts.ORDERS)
        # Whom to trust depends on the node, the match, the last tokens, and on how many orders
        # have met their context, early in a word or late.
        sets = [nodes, Matches.LONGEST + 2, 256, 256, orders * (self.LETTERS + 1)]
        self.mixer = Mixer(sets, start)
        self.refinements = Refinement(self.REFINED), Refinement(self.REFINED)
        self.matches = Matches(0)

    def expect_model(self) -> None:
        """Leave room for the model's voice in weights that were learned without it."""
        if self.with_model:
            self.mixer.weights[:, :-2] *= 0.7
            self.mixer.weights[:, -2] = 0.5

    def restart(self, lanes: int, past: np.ndarray | None = None) -> None:
        """Begin `lanes` texts; all that was learned stays. `past`, ids, stands before each."""
        self.contexts = Contexts(lanes, *self._letters)
        self.matches.restart(lanes)
        for token in [] if past is None else past[-64:]:
            self.contexts.push(np.full(lanes, token))

    def start_token(self, model_bounds: np.ndarray | None) -> None:
        """Prepare the decisions of the next token; model_bounds (lanes, V+1) adds up by place."""
        self._fingerprints = self.contexts.fingerprints()
        self._model = model_bounds
        self._last = self.contexts.last[:, :2].astype(np.int64)

    def predict(self, lanes: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """Return the probabilities of a 1 (K,) at one node for each of the lanes (K,) named."""
        first, middle, end = self.tree.bounds[nodes].T  # 3 x (K,)
        odds = self.counters.predict(self._fingerprints[lanes], nodes)  # (K, 2*N)
        place = self.tree.place[self.matches.expected[lanes]]
        agreed = self.matches.agreed[lanes]
        agreed = np.where((first <= place) & (place < end), agreed, 0)  # the paths have parted?
        says = np.where(agreed > 0, np.where(place >= middle, 1.0, -1.0), 0.0)  # (K,)
        columns = [
            odds,
            (says * stretch(self.trust[agreed]))[:, None],
            (says * agreed / 32)[:, None],
        ]
        if self._model is not None:
            below, half, above = (self._model[lanes, at] for at in (first, middle, end))
            tiny = 1e-7
            share = (above - half + tiny) / (above - below + 2 * tiny)
            columns.append(stretch(share)[:, None])
        elif self.with_model:  # only the counters are reading, ahead of the text
            columns.append(np.zeros((len(lanes), 1)))
        columns.append(np.full((len(lanes), 1), 0.3))
        x = np.concatenate(columns, axis=1)  # (K, X)
        last, before = self._last[lanes].T
        # Answers of 0 come from contexts that are new; the order 0, first in line, always knows.
        known = np.count_nonzero(odds[:, 1 : len(Contexts.ORDERS)], axis=1)
        letters = np.minimum(self.contexts.letters[lanes], self.LETTERS)
        choices = [
            nodes,
            np.where(says != 0, agreed + 1, 0),
            last % 256,
            before % 256,
            known * (self.LETTERS + 1) + letters,
        ]
        choices = np.stack(choices, axis=1)  # (K, S)
        mixed = self.mixer.predict(x, choices)
        near = (last * 40503 + nodes) % self.REFINED
        far = ((last * 131 + before) * 2654435761 // 128 + nodes * 40503) % self.REFINED
        refined = [r.predict(mixed, c) for r, c in zip(self.refinements, (near, far), strict=True)]
        self._asked = agreed, says
        p = 0.3 * squash(mixed) + 0.35 * refined[0] + 0.35 * refined[1]
        return np.clip(p, 1 / 65536, 1 - 1 / 65536)

    def learn(self, bits: np.ndarray) -> None:
        """Take in what the decisions predicted last (K,) turned out to be."""
        self.counters.learn(bits)
        self.mixer.learn(bits)
        for refinement in self.refinements:
            refinement.learn(bits)
        agreed, says = self._asked
        believed = says != 0
        if believed.any():
            length = agreed[believed]
            right = (bits[believed] == 1) == (says[believed] > 0)
            change = (right - self.trust[length]) / (self.trust_looks[length] + 1.5)
            self.trust[length] = np.clip(self.trust[length] + change, 0.01, 0.9998)
            self.trust_looks[length] = np.minimum(self.trust_looks[length] + 1, 400)

    def finish_token(self, tokens: np.ndarray, reading: np.ndarray) -> None:
        """Let the lanes read their token (lanes,); lanes at their end (`reading` False) read on."""
        self.contexts.push(tokens)
        self.matches.push(tokens.tolist(), reading.tolist())
