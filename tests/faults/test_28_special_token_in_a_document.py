"""Fault 28: "<|endoftext|>" inside a document stays text, on every way from text to ids."""

import json

from bhushgpt.bpe import BPETokenizer
from bhushgpt.corpus import load_text
from bhushgpt.interop.tokenizer_json import fast_tokenizer
from bhushgpt.tokenizers import tokenizer_from_dict

DOCUMENT = "GPT-2 puts <|endoftext|> between documents.<|endoftext|>\n<|endoftext|>"


def ways(tokenizer: BPETokenizer) -> dict[str, list[int]]:
    """Return the ids of the document by each way of encoding that takes no one's word for it."""
    halves = [DOCUMENT[:20], DOCUMENT[20:]]  # the cut goes through the name
    again = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    return {
        "encode": tokenizer.encode(DOCUMENT),
        "encode_ordinary": tokenizer.encode_ordinary(DOCUMENT),
        "encode_to_numpy": tokenizer.encode_to_numpy(DOCUMENT).tolist(),
        "encode_iterable": list(tokenizer.encode_iterable(halves)),
        "stored and loaded": again.encode(DOCUMENT),
        "unknown": tokenizer.encode(DOCUMENT, unknown="replace"),
    }


def test_the_end_of_text_in_a_document_is_not_the_end_of_the_document() -> None:
    trained = BPETokenizer.train([load_text().text[:50_000], DOCUMENT * 50], vocab_size=400)
    for tokenizer in (BPETokenizer.from_gpt2(), trained):
        for way, ids in ways(tokenizer).items():
            assert tokenizer.eot_id not in ids, way
            assert max(ids) < 256 + len(tokenizer.merges), way
            assert tokenizer.decode(ids) == DOCUMENT, way
        # Only who names it gets it; so this test would notice if it came unasked.
        asked = tokenizer.encode(DOCUMENT, allowed_special="all")
        assert asked.count(tokenizer.eot_id) == 3
        assert tokenizer.decode(asked) == DOCUMENT


def test_other_libraries_do_it_by_default() -> None:
    """Why the rule is needed: the same vocabulary elsewhere ends the document in the middle."""
    gpt2 = BPETokenizer.from_gpt2()
    theirs = fast_tokenizer(gpt2)
    assert theirs.encode(DOCUMENT).ids.count(gpt2.eot_id) == 3
    theirs.encode_special_tokens = True
    assert theirs.encode(DOCUMENT).ids == gpt2.encode(DOCUMENT)
