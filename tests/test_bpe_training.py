"""The fast trainer equals the naive one, and both equal Hugging Face `tokenizers`."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from bhushgpt import bpe_training
from bhushgpt.bpe import BPETokenizer
from bhushgpt.bpe_by_hand import (
    BYTE_ORDER,
    Merge,
    byte_ids,
    count_pairs,
    count_pieces,
    encode_naively,
    learn_merges_naively,
    merge,
    pieces,
)
from bhushgpt.bpe_training import learn_merges
from bhushgpt.corpus import load_text
from bhushgpt.errors import UserError

# Texts of few characters have many ties and runs: where a trainer goes wrong.
FEW = st.lists(st.text(st.sampled_from("ab c\né"), max_size=30), min_size=1, max_size=4)


def fast(texts: list[str], n_merges: int) -> list[Merge]:
    return list(learn_merges(count_pieces(texts), n_merges))


def library(texts: list[str], n_merges: int) -> list[Merge]:
    """Return the merges of Hugging Face `tokenizers`, as pairs of ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore
    trainer = trainers.BpeTrainer(
        vocab_size=256 + n_merges,  # type: ignore
        show_progress=False,  # type: ignore
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),  # type: ignore
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return [(model["vocab"][left], model["vocab"][right]) for left, right in model["merges"]]


def test_the_example_everyone_shows() -> None:
    a, b, c, d = byte_ids("abcd")
    merges = learn_merges_naively(["aaabdaaabac"], n_merges=3)
    # aa = Z; then ab and Za occur twice each, and ab has the smaller ids; then Z ab.
    assert merges == [(a, a), (a, b), (256, 257)]
    assert encode_naively("aaabdaaabac", merges) == [258, d, 258, a, c]


def test_merge_goes_from_left_to_right() -> None:
    assert merge([7, 7, 7, 7, 7], (7, 7), 300) == [300, 300, 7]
    assert merge([1, 2, 1, 2, 2], (1, 2), 300) == [300, 300, 2]
    assert merge([], (1, 2), 300) == []


def test_pairs_do_not_cross_words() -> None:
    assert count_pairs([[1, 2], [2, 1], []]) == {(1, 2): 1, (2, 1): 1}


@given(FEW, st.integers(0, 40))
def test_fast_equals_naive(texts: list[str], n_merges: int) -> None:
    merges = fast(texts, n_merges)
    assert merges == learn_merges_naively(texts, n_merges)
    BPETokenizer(merges)  # refuses merges that make a token twice: training never does


@given(FEW, st.integers(0, 40))
def test_fast_equals_the_tokenizers_library(texts: list[str], n_merges: int) -> None:
    assert fast(texts, n_merges) == library(texts, n_merges)


def test_naive_equals_fast_on_a_chapter() -> None:
    text = load_text().text[:20_000]
    assert learn_merges_naively([text], 60) == fast([text], 60)


def test_fast_equals_the_tokenizers_library_on_the_book() -> None:
    book = load_text().text
    merges = fast([book], 3000)
    assert merges == library([book], 3000)
    assert len(set(merges)) == 3000


def test_counts_only_sink_so_that_the_first_in_the_queue_is_the_best() -> None:
    """Replay the merges and recount before each: what was taken is the best there is."""
    texts = ["abab ababab abba baab", "aaaa aaa bb"]
    words = [byte_ids(piece.decode()) for piece in count_pieces(texts).elements()]
    for number, best in enumerate(fast(texts, 30)):
        counts = count_pairs(words)
        assert counts[best] == max(counts.values())
        assert best == min(pair for pair in counts if counts[pair] == counts[best])
        words = [merge(word, best, 256 + number) for word in words]


def test_training_ends_when_every_piece_is_one_token() -> None:
    assert fast(["ab ab"], 10) == learn_merges_naively(["ab ab"], 10)
    assert len(fast(["ab ab"], 10)) == 2
    assert fast([""], 10) == fast([], 10) == learn_merges_naively([""], 10) == []


def test_texts_may_be_an_iterator() -> None:
    assert fast(["ab"], 1) == list(learn_merges(count_pieces(t for t in ["ab"]), 1))


def test_half_a_surrogate_pair_is_refused_with_its_place() -> None:
    for train in (fast, learn_merges_naively):
        with pytest.raises(UserError, match=r"'\\ud83d' at position 1: half of a surrogate pair"):
            train(["a\ud83d"], 3)


def learn_with(words: list[list[int]], better: Callable[..., tuple[int, ...]]) -> list[Merge]:
    """Train naively on words that are there already, with any rule for the best pair."""
    merges: list[Merge] = []
    while len(merges) < 12 and (counts := count_pairs(words)):
        merges.append(min(counts, key=lambda pair, counts=counts: better(counts[pair], pair)))
        words = [merge(word, merges[-1], 255 + len(merges)) for word in words]
    return merges


def test_each_mistake_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparisons above can fail: each wrong trainer differs from the right one."""
    texts = ["aaabdaaabac aab bda", "bab abab cab"]
    right = learn_merges_naively(texts, 12)
    whole = [byte_ids(text) for text in texts]
    words = [byte_ids(piece) for text in texts for piece in pieces(text)]
    assert learn_with(words, lambda count, pair: (-count, pair)) == right
    assert learn_with(whole, lambda count, pair: (-count, pair)) != right  # across the pieces
    assert learn_with(words, lambda count, pair: (-count,)) != right  # of equals the first one seen
    assert learn_with(words, lambda count, pair: (-count, -pair[0], -pair[1])) != right

    real = bpe_training._merge

    def forgets(words, weights, counts, homes, pair, new):
        before = dict(counts)
        found = real(words, weights, counts, homes, pair, new)
        counts.update(before)  # what the merge took away is still counted
        return found

    monkeypatch.setattr(bpe_training, "_merge", forgets)
    assert fast(texts, 12) != right


def test_a_token_is_the_bytes_of_its_pair() -> None:
    tokens = [bytes([byte]) for byte in BYTE_ORDER]
    for left, right in fast(["the cat sat on the mat the cat"], 20):
        tokens.append(tokens[left] + tokens[right])
    assert b" cat" in tokens
