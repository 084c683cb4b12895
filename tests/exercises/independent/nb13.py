"""Answers to the exercises of notebook 13, written from its cards alone."""

from collections import Counter
from itertools import chain, pairwise


def _merge(ids, pair, new):
    out, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == tuple(pair):
            out.append(new)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out


def encode_piece__right__ranks(ids, merges):
    rank = {tuple(pair): n for n, pair in enumerate(merges)}
    ids = list(ids)
    while found := [rank[p] for p in pairwise(ids) if p in rank]:
        n = min(found)
        ids = _merge(ids, merges[n], 256 + n)
    return ids


def encode_piece__right__recursion(ids, merges):
    pairs = set(pairwise(ids))
    for n, pair in enumerate(merges):
        if tuple(pair) in pairs:
            return encode_piece__right__recursion(_merge(ids, pair, 256 + n), merges)
    return list(ids)


def encode_piece__wrong__from_the_left(ids, merges):
    rank, ids = {p: n for n, p in enumerate(merges)}, list(ids)
    while found := [p for p in pairwise(ids) if p in rank]:
        ids = _merge(ids, found[0], 256 + rank[found[0]])
    return ids


def encode_piece__wrong__last_learned_first(ids, merges):
    rank, ids = {p: n for n, p in enumerate(merges)}, list(ids)
    while found := [rank[p] for p in pairwise(ids) if p in rank]:
        ids = _merge(ids, merges[max(found)], 256 + max(found))
    return ids


def encode_piece__wrong__one_merge(ids, merges):
    rank, ids = {p: n for n, p in enumerate(merges)}, list(ids)
    if found := [rank[p] for p in pairwise(ids) if p in rank]:
        ids = _merge(ids, merges[min(found)], 256 + min(found))
    return ids


def encode_piece__wrong__not_256(ids, merges):
    ids = list(ids)
    for n, pair in enumerate(merges):
        ids = _merge(ids, pair, 255 + n)
    return ids


def encode_piece__wrong__commonest_first(ids, merges):
    rank, ids = {p: n for n, p in enumerate(merges)}, list(ids)
    while found := [p for p in pairwise(ids) if p in rank]:
        best = max(found, key=found.count)
        ids = _merge(ids, best, 256 + rank[best])
    return ids


def encode_piece__wrong__changes_ids(ids, merges):
    rank = {p: n for n, p in enumerate(merges)}
    while found := [rank[p] for p in pairwise(ids) if p in rank]:
        ids[:] = _merge(ids, merges[min(found)], 256 + min(found))
    return ids


def encode_piece__wrong__unchanged(ids, merges):
    return list(ids)


def encode_piece__wrong__pair_in_any_order(ids, merges):
    rank, ids = {p: n for n, p in enumerate(merges)}, list(ids)
    rank |= {(b, a): n for (a, b), n in rank.items()}
    while found := [p for p in pairwise(ids) if p in rank]:
        best = min(found, key=rank.get)
        ids = _merge(ids, best, 256 + rank[best])
    return ids


def bytes_per_token__right__sums(texts, encode):
    return sum(len(t.encode()) for t in texts) / sum(len(encode(t)) for t in texts)


def bytes_per_token__right__loop(texts, encode):
    n_bytes = n_tokens = 0
    for text in texts:
        n_bytes += len(bytes(text, "utf-8"))
        n_tokens += len(list(encode(text)))
    return n_bytes / n_tokens


def bytes_per_token__wrong__mean_of_means(texts, encode):
    return sum(len(t.encode()) / len(encode(t)) for t in texts) / len(texts)


def bytes_per_token__wrong__characters(texts, encode):
    return sum(map(len, texts)) / sum(len(encode(t)) for t in texts)


def bytes_per_token__wrong__upside_down(texts, encode):
    return sum(len(encode(t)) for t in texts) / sum(len(t.encode()) for t in texts)


def bytes_per_token__wrong__joined_with_spaces(texts, encode):
    text = " ".join(texts)
    return len(text.encode()) / len(encode(text))


def bytes_per_token__wrong__first_text(texts, encode):
    return len(texts[0].encode()) / len(encode(texts[0]))


def bytes_per_token__wrong__utf_16(texts, encode):
    return sum(len(t.encode("utf-16")) for t in texts) / sum(len(encode(t)) for t in texts)


def bytes_per_token__wrong__different_tokens(texts, encode):
    return sum(len(t.encode()) for t in texts) / len({i for t in texts for i in encode(t)})


def bytes_per_token__wrong__whole_number(texts, encode):
    return sum(len(t.encode()) for t in texts) // sum(len(encode(t)) for t in texts)


def token_row__right__comprehension(documents, tokenizer):
    return [i for d in documents for i in (*tokenizer.encode(d), tokenizer.eot_id)]


def token_row__right__loop(documents, tokenizer):
    row = []
    for document in documents:
        row.extend(tokenizer.encode(document))
        row.append(tokenizer.eot_id)
    return row


def token_row__wrong__between_only(documents, tokenizer):
    row = []
    for n, document in enumerate(documents):
        row += ([tokenizer.eot_id] if n else []) + list(tokenizer.encode(document))
    return row


def token_row__wrong__before_each(documents, tokenizer):
    return [i for d in documents for i in (tokenizer.eot_id, *tokenizer.encode(d))]


def token_row__wrong__no_marks(documents, tokenizer):
    return [i for d in documents for i in tokenizer.encode(d)]


def token_row__wrong__nested(documents, tokenizer):
    return [[*tokenizer.encode(d), tokenizer.eot_id] for d in documents]


def token_row__wrong__only_the_last(documents, tokenizer):
    return [*tokenizer.encode("".join(documents)), tokenizer.eot_id]


def token_row__wrong__zero(documents, tokenizer):
    return [i for d in documents for i in (*tokenizer.encode(d), 0)]


def token_row__wrong__empty_ones_skipped(documents, tokenizer):
    return [i for d in documents if d for i in (*tokenizer.encode(d), tokenizer.eot_id)]


def token_row__wrong__mark_as_text(documents, tokenizer):
    return [i for d in documents for i in tokenizer.encode(d + "<|endoftext|>")]


def token_row__wrong__stripped(documents, tokenizer):
    return [i for d in documents for i in (*tokenizer.encode(d.strip()), tokenizer.eot_id)]


def token_row__wrong__sorted(documents, tokenizer):
    return [i for d in sorted(documents) for i in (*tokenizer.encode(d), tokenizer.eot_id)]


# The third set.


def _replace(ids, pair, new):
    out, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            out.append(new)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out


def encode_piece__right__lowest_rank_until_none(ids, merges):
    ranks = {tuple(pair): n for n, pair in enumerate(merges)}
    ids = list(ids)
    while True:
        there = [pair for pair in pairwise(ids) if pair in ranks]
        if not there:
            return ids
        first = min(there, key=ranks.get)
        ids = _replace(ids, first, 256 + ranks[first])


def encode_piece__right__recursive_one_place_at_a_time(ids, merges):
    table = {tuple(pair): 256 + n for n, pair in enumerate(merges)}

    def go(row):
        found = [
            (table[row[i], row[i + 1]], i)
            for i in range(len(row) - 1)
            if (row[i], row[i + 1]) in table
        ]
        if not found:
            return row
        new, i = min(found)  # smallest id first, then the leftmost place
        return go((*row[:i], new, *row[i + 2 :]))

    return list(go(tuple(ids)))


# wrong for ids [1, 2, 3], merges [(2, 3), (1, 2)]: [257, 3], should be [1, 256]
def encode_piece__wrong__leftmost_pair_first(ids, merges):
    table = {tuple(pair): 256 + n for n, pair in enumerate(merges)}
    ids = list(ids)
    while True:
        for i, pair in enumerate(pairwise(ids)):
            if pair in table:
                ids[i : i + 2] = [table[pair]]
                break
        else:
            return ids


def encode_piece__wrong__most_frequent_pair_first(ids, merges):
    ranks = {tuple(pair): n for n, pair in enumerate(merges)}
    ids = list(ids)
    while True:
        counts = Counter(pair for pair in pairwise(ids) if pair in ranks)
        if not counts:
            return ids
        best = max(counts, key=lambda pair: (counts[pair], -ranks[pair]))
        ids = _replace(ids, best, 256 + ranks[best])


# wrong for ids [7, 7, 7], merges [(7, 7)]: [7, 256], should be [256, 7]
def encode_piece__wrong__replaces_from_the_right(ids, merges):
    ranks = {tuple(pair): n for n, pair in enumerate(merges)}
    ids = list(ids)
    while True:
        there = [pair for pair in pairwise(ids) if pair in ranks]
        if not there:
            return ids
        first = min(there, key=ranks.get)
        i = len(ids) - 2
        while i >= 0:
            if (ids[i], ids[i + 1]) == first:
                ids[i : i + 2] = [256 + ranks[first]]
                i -= 1
            i -= 1


def encode_piece__wrong__merges_in_the_given_list(ids, merges):
    ranks = {tuple(pair): n for n, pair in enumerate(merges)}
    while True:
        there = [pair for pair in pairwise(ids) if pair in ranks]
        if not there:
            return ids
        first = min(there, key=ranks.get)
        i = 0
        while i < len(ids) - 1:
            if (ids[i], ids[i + 1]) == first:
                ids[i : i + 2] = [256 + ranks[first]]
            i += 1


def bytes_per_token__right__two_sums(texts, encode):
    n_bytes = sum(len(text.encode("utf-8")) for text in texts)
    return n_bytes / sum(len(encode(text)) for text in texts)


def bytes_per_token__right__mean_weighted_by_tokens(texts, encode):
    mean, seen = 0.0, 0
    for text in texts:
        n = len(encode(text))
        seen += n
        if seen:
            mean += (len(bytes(text, "utf-8")) - n * mean) / seen
    return mean


# wrong for texts of 4 bytes in 1 token and 3 bytes in 3 tokens: (4 + 1) / 2, should be 7 / 4
def bytes_per_token__wrong__third_mean_of_means(texts, encode):
    ratios = [len(text.encode("utf-8")) / len(encode(text)) for text in texts]
    return sum(ratios) / len(ratios)


# wrong for ["é"] in one token: 1, should be 2
def bytes_per_token__wrong__third_characters(texts, encode):
    return sum(map(len, texts)) / sum(len(encode(text)) for text in texts)


def bytes_per_token__wrong__all_texts_joined(texts, encode):
    whole = "".join(texts)
    return len(whole.encode("utf-8")) / len(encode(whole))


# wrong for a text that is there twice, ["ab", "ab", "c"]: counts it once, should count it twice
def bytes_per_token__wrong__same_text_counted_once(texts, encode):
    tokens = {text: len(encode(text)) for text in texts}
    return sum(len(text.encode("utf-8")) for text in tokens) / sum(tokens.values())


def token_row__right__chain_of_pairs(documents, tokenizer):
    end = [tokenizer.eot_id]
    return list(chain.from_iterable([*tokenizer.encode(d), *end] for d in documents))


# wrong for any documents: the last one has no eot_id after it
def token_row__wrong__only_between_documents(documents, tokenizer):
    row = []
    for i, document in enumerate(documents):
        if i > 0:
            row.append(tokenizer.eot_id)
        row += tokenizer.encode(document)
    return row


def token_row__wrong__mark_written_into_the_text(documents, tokenizer):
    whole = "".join(document + "<|endoftext|>" for document in documents)
    return list(tokenizer.encode(whole, allowed_special="all"))


# wrong for ["a", "", "b"]: one end mark is missing, the empty document has one, too
def token_row__wrong__empty_documents_skipped(documents, tokenizer):
    row = []
    for document in documents:
        if document:
            row += [*tokenizer.encode(document), tokenizer.eot_id]
    return row


# wrong for any documents: eot_id stands before each of them, should stand after
def token_row__wrong__mark_in_front(documents, tokenizer):
    row = []
    for document in documents:
        row += [tokenizer.eot_id, *list(tokenizer.encode(document))]
    return row
