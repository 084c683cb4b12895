"""Answers to the exercises of notebook 13, written from its cards alone."""

from itertools import pairwise


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
