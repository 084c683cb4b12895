"""Every wrong answer of notebook 13 fails with a message of its own."""

from collections import Counter
from itertools import pairwise

from kill_table import assert_exercise

from bhushgpt.bpe import END_OF_TEXT, BPETokenizer
from bhushgpt.bpe_by_hand import merge, pieces
from bhushgpt.corpus import load_text
from bhushgpt.exercises.nb13_byte_pair_encoding import bytes_per_token, encode_piece, token_row

# --- encode_piece


def piece_stub(ids, merges): ...


def first_pair_from_the_left(ids, merges):
    ids = list(ids)
    learned = {pair: n for n, pair in enumerate(merges)}
    place = 0
    while place < len(ids) - 1:
        pair = tuple(ids[place : place + 2])
        if pair in learned:
            ids[place : place + 2] = [256 + learned[pair]]
            place = 0
        else:
            place += 1
    return ids


def one_merge_only(ids, merges):
    learned = {pair: n for n, pair in enumerate(merges)}
    here = [pair for pair in pairwise(ids) if pair in learned]
    first = min(here, key=learned.__getitem__, default=None)
    return merge(ids, first, 256 + learned[first]) if first else list(ids)


def nothing(ids, merges):
    return list(ids)


def ids_from_nought(ids, merges):
    for number, pair in enumerate(merges):
        ids = merge(ids, pair, number)
    return ids


def last_learned_first(ids, merges):
    ids = list(ids)
    for _ in merges:
        for number, pair in reversed(list(enumerate(merges))):
            ids = merge(ids, pair, 300 + number)
    return ids


def merged_in_place(ids, merges):
    learned = {pair: n for n, pair in enumerate(merges)}
    while here := [pair for pair in pairwise(ids) if pair in learned]:
        first = min(here, key=learned.__getitem__)
        ids[:] = merge(ids, first, 256 + learned[first])
    return ids


def uses_merges_up(ids, merges):
    number = 0
    while merges:
        ids = merge(ids, merges.pop(0), 256 + number)
        number += 1
    return ids


def once_each(ids, merges):
    ids = list(ids)
    for number, pair in enumerate(merges):
        for place, found in enumerate(pairwise(ids)):
            if found == pair:
                ids[place : place + 2] = [256 + number]
                break
    return ids


def last_place_only(ids, merges):
    ids = list(ids)
    for number, pair in enumerate(merges):
        for place in reversed(range(len(ids) - 1)):
            if tuple(ids[place : place + 2]) == pair:
                ids[place : place + 2] = [256 + number]
                break
    return ids


def from_the_right(ids, merges):
    for number, (left, right) in enumerate(merges):
        ids = merge(ids[::-1], (right, left), 256 + number)[::-1]
    return ids


def every_pair_even_overlapping(ids, merges):
    for number, pair in enumerate(merges):
        new, skipped = [], False
        for place, each in enumerate(ids):
            if tuple(ids[place : place + 2]) == pair:
                new.append(256 + number)
                skipped = True
            elif not skipped:
                new.append(each)
            else:
                skipped = False
        ids = new
    return list(ids)


def fails_on_nothing(ids, merges):
    return encode_piece.reference(ids, merges) if len(ids) > 1 else [0]


def the_commonest_first(ids, merges):
    ids, learned = list(ids), {pair: n for n, pair in enumerate(merges)}
    while here := Counter(pair for pair in pairwise(ids) if pair in learned):
        first = max(here, key=lambda pair: (here[pair], -learned[pair]))
        ids = merge(ids, first, 256 + learned[first])
    return ids


def test_the_kill_table_of_encode_piece() -> None:
    assert_exercise(
        encode_piece,
        piece_stub,
        {
            the_commonest_first: "how often a pair comes decides nothing",
            first_pair_from_the_left: "but (2, 3) was learned first",
            one_merge_only: "after a merge look again",
            nothing: "nothing was merged",
            ids_from_nought: "0 to 255 are the bytes",
            last_learned_first: "yours gave [301, 3]",
            merged_in_place: "your code changes `ids`",
            uses_merges_up: "your code changes `merges`",
            once_each: "only the first place was merged",
            last_place_only: "only the last place was merged",
            from_the_right: "go from left to right",
            every_pair_even_overlapping: "each id is used once",
            fails_on_nothing: "a piece of one id, or none",
        },
    )


def test_encode_piece_agrees_with_tiktoken() -> None:
    tokenizer = BPETokenizer.train([load_text().text[:20_000]], 500)
    for piece in set(pieces(load_text().text[30_000:33_000])):
        ids = [tokenizer.tokens.index(bytes([byte])) for byte in piece.encode()]
        assert encode_piece.reference(ids, tokenizer.merges) == tokenizer.encode(piece)


# --- bytes_per_token


def ratio_stub(texts, encode): ...


def mean_of_ratios(texts, encode):
    return sum(len(t.encode()) / len(encode(t)) for t in texts) / len(texts)


def characters(texts, encode):
    return sum(map(len, texts)) / sum(len(encode(t)) for t in texts)


def upside_down(texts, encode):
    return sum(len(encode(t)) for t in texts) / sum(len(t.encode()) for t in texts)


def bytes_per_text(texts, encode):
    return sum(len(t.encode()) for t in texts) / len(texts)


def only_the_first(texts, encode):
    for text in texts:
        return len(text.encode()) / len(encode(text))


def only_the_last(texts, encode):
    ratio = 0.0
    for text in texts:
        ratio = len(text.encode()) / len(encode(text))
    return ratio


def joined(texts, encode):
    whole = "".join(texts)
    return len(whole.encode()) / len(encode(whole))


def something_else(texts, encode):
    return 1.5


def each_text_once(texts, encode):
    return bytes_per_token.reference(list(set(texts)), encode)


def of_stripped_texts(texts, encode):
    return bytes_per_token.reference([text.strip() for text in texts], encode)


def test_the_kill_table_of_bytes_per_token() -> None:
    assert_exercise(
        bytes_per_token,
        ratio_stub,
        {
            of_stripped_texts: "do not strip the texts",
            each_text_once: "three times counts three times",
            mean_of_ratios: "the mean of the texts' ratios",
            characters: "characters per token",
            upside_down: "upside down",
            bytes_per_text: "the mean length in bytes of a text",
            only_the_first: "only the first text",
            only_the_last: "only the last text",
            joined: "joined before encoding",
            something_else: "yours is 1.5000",
        },
    )


# --- token_row


def row_stub(documents, tokenizer): ...


def rows(documents, tokenizer, end):
    return [i for d in documents for i in [*tokenizer.encode(d), *end]]


def nested(documents, tokenizer):
    return [[*tokenizer.encode(d), tokenizer.eot_id] for d in documents]


def end_as_text(documents, tokenizer):
    return rows(documents, tokenizer, tokenizer.encode(END_OF_TEXT))


def no_end(documents, tokenizer):
    return rows(documents, tokenizer, [])


def everything_special(documents, tokenizer):
    whole = "".join(d + END_OF_TEXT for d in documents)
    return tokenizer.encode(whole, allowed_special="all")


def one_more_in_front(documents, tokenizer):
    return [tokenizer.eot_id, *rows(documents, tokenizer, [tokenizer.eot_id])]


def before_each(documents, tokenizer):
    return [i for d in documents for i in [tokenizer.eot_id, *tokenizer.encode(d)]]


def between_only(documents, tokenizer):
    return rows(documents, tokenizer, [tokenizer.eot_id])[:-1]


def one_at_the_end(documents, tokenizer):
    return [*rows(documents, tokenizer, []), tokenizer.eot_id]


def drops_the_empty(documents, tokenizer):
    return rows([d for d in documents if d], tokenizer, [tokenizer.eot_id])


def strips(documents, tokenizer):
    return rows([d.strip() for d in documents], tokenizer, [tokenizer.eot_id])


def bytes_only(documents, tokenizer):
    return rows(documents, BPETokenizer([], ()), [tokenizer.eot_id])


def each_document_once(documents, tokenizer):
    return token_row.reference(dict.fromkeys(documents), tokenizer)


def test_the_kill_table_of_token_row() -> None:
    assert_exercise(
        token_row,
        row_stub,
        {
            each_document_once: "twice comes twice",
            nested: "lists inside a list",
            end_as_text: "wrote the end of text as text",
            no_end: "no end of text is in the row",
            everything_special: "a document's own <|endoftext|> became the special id",
            one_more_in_front: "none belongs before the first document",
            before_each: "stands before each document",
            between_only: "the last document has no end of text",
            one_at_the_end: "only one end of text is in the row",
            drops_the_empty: "an empty document is a document, too",
            strips: "must be the text of the documents",
            bytes_only: "the row should be",
        },
    )
