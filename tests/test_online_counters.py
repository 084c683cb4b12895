import heapq

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bhushgpt.online_counters import CodeTree, Contexts, Counters, Matches, squash, stretch

LETTERS = np.array([True, True, True, True, False])
LOWER = np.array([0, 1, 0, 1, 4])  # tokens 2 and 3 are capitals of 0 and 1, 4 is a space


def decisions(tree: CodeTree, token: int) -> list[int]:
    """Walk to the token's leaf, and check that the children agree with the intervals."""
    bits, node = [], len(tree.children) - 1
    while node >= 0:
        first, middle, end = tree.bounds[node]
        assert first <= tree.place[token] < end
        bits.append(int(tree.place[token] >= middle))
        node = tree.children[node, bits[-1]]
    assert -1 - node == token
    return bits


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=40))
def test_the_tree_reaches_every_token_and_is_as_short_as_huffman_says(counts) -> None:
    tree = CodeTree.of(counts)
    lengths = [len(decisions(tree, token)) for token in range(len(counts))]
    heap, cost = sorted(counts), 0  # the sum of all joined weights is the code's length
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        cost += joined
        heapq.heappush(heap, joined)
    assert sum(n * c for n, c in zip(lengths, counts, strict=True)) == cost
    assert sum(2.0**-n for n in lengths) == 1
    assert sorted(tree.place.tolist()) == list(range(len(counts)))


def test_a_tree_of_one_token_has_nothing_to_decide() -> None:
    assert len(CodeTree.of([3]).children) == 0


def fingerprints(text: list[int]) -> np.ndarray:
    contexts = Contexts(1, LETTERS, LOWER)
    for token in text:
        contexts.push(np.array([token]))
    return contexts.fingerprints()[0]


def test_each_context_sees_its_piece_of_the_past_and_nothing_else() -> None:
    names = list(Contexts.NAMES)
    one = fingerprints([0, 4, 1, 1, 4, 0, 1, 0, 1, 0, 1])
    assert len(one) == len(names) == len(set(one.tolist()))

    def same(text: list[int]) -> set[str]:
        return {name for name, a, b in zip(names, one, fingerprints(text), strict=True) if a == b}

    last = {f"last {n}" for n in Contexts.ORDERS}
    far = same([1, 4, 1, 1, 4, 0, 1, 0, 1, 0, 1])  # the word two before begins otherwise
    assert far == set(names) - {"word and two before", "words without what is between"}
    near = same([0, 4, 1, 1, 4, 0, 1, 0, 1, 0, 0])
    assert near == {"last 0", "2nd and 3rd last", "2nd to 4th last"}
    capital = same([0, 4, 1, 1, 4, 0, 1, 0, 1, 2, 1])
    assert "last 4 in lower case" in capital and not capital & (last - {"last 0", "last 1"})


def test_lanes_do_not_see_each_other() -> None:
    both = Contexts(2, LETTERS, LOWER)
    for pair in ([0, 1], [4, 1], [2, 4], [1, 0]):
        both.push(np.array(pair))
    rows = both.fingerprints()
    assert rows[0].tolist() == fingerprints([0, 4, 2, 1]).tolist()
    assert rows[1].tolist() == fingerprints([1, 1, 4, 0]).tolist()


def test_a_counter_learns_its_context_and_leaves_others_alone() -> None:
    counters = Counters(2, bits=12)
    here, there = np.array([[5, 6]], dtype=np.uint64), np.array([[7, 8]], dtype=np.uint64)
    node = np.array([3])
    assert counters.predict(here, node).tolist() == [[0.0] * 4]
    for _ in range(20):
        counters.predict(here, node)
        counters.learn(np.array([1]))
    assert (counters.predict(here, node) > 2).all()
    assert counters.predict(there, node).tolist() == [[0.0] * 4]
    assert counters.predict(here, node + 1).tolist() == [[0.0] * 4]


def test_what_comes_often_outlives_what_passes_by() -> None:
    counters = Counters(1, bits=6)  # 64 slots
    often, node = np.array([[5]], dtype=np.uint64), np.array([3])
    for _ in range(20):
        counters.predict(often, node)
        counters.learn(np.array([1]))
    for passing in range(100, 600):
        counters.predict(np.array([[passing]], dtype=np.uint64), node)
        counters.learn(np.array([0]))
    assert (counters.predict(often, node) > 2).all()


def test_a_counter_tends_to_the_share_of_ones() -> None:
    counters = Counters(1, bits=10)
    bits = np.random.default_rng(0).random(4000) < 0.8
    where = np.array([[9]], dtype=np.uint64)
    for bit in bits:
        counters.predict(where, np.array([0]))
        counters.learn(np.array([int(bit)]))
    share = squash(counters.predict(where, np.array([0])))[0, 0]
    assert 0.72 < share < 0.88


def test_a_match_names_what_followed_the_same_tokens_before() -> None:
    text = [1, 2, 3, 4, 5, 6, 7, 8]
    matches = Matches(0, length=3)
    matches.restart(1)
    for token in [*text, 9, *text[:3]]:
        matches.push([token], [True])
    assert matches.agreed[0] == 3 and matches.expected[0] == 4
    matches.push([4], [True])
    assert matches.agreed[0] == 4 and matches.expected[0] == 5
    matches.push([9], [True])
    assert matches.agreed[0] == 0


def test_a_match_is_found_in_another_lane_but_never_in_what_is_not_read_yet() -> None:
    matches = Matches(0, length=2)
    matches.restart(2)
    for pair in ([1, 8], [2, 8], [3, 1], [4, 2]):
        matches.push(pair, [True, True])
    assert matches.agreed[1] == 2 and matches.expected[1] == 3
    lone = Matches(0, length=2)
    lone.restart(1)
    for token in (1, 2):
        lone.push([token], [True])
    assert lone.agreed[0] == 0


def test_stretch_undoes_squash() -> None:
    x = np.linspace(-9, 9, 41)
    np.testing.assert_allclose(stretch(squash(x)), x, atol=1e-9)
