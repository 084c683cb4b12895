"""What is written is readable while it is drawn, and a prompt is read as a text is."""

import itertools
import unicodedata

import pytest
import torch

from bhushgpt.bpe import BPETokenizer
from bhushgpt.generation import (
    Sampling,
    as_in_texts,
    complete_text,
    decode_stream,
    prompt_ids,
)
from bhushgpt.language_model import LanguageModel
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer

SIGNS = "é山🙂 Straße\u0301 한국어 👩‍🚀"


class Reciter(LanguageModel):
    """A model that is sure of one text, token by token."""

    context_length = 1000

    def __init__(self, ids: list[int], vocab_size: int) -> None:
        super().__init__()
        self.ids, self.vocab_size = ids, vocab_size
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(1, ids.shape[1], self.vocab_size)
        logits[0, -1, self.ids[ids.shape[1] - 1]] = 99.0
        return logits


@pytest.mark.parametrize(
    "tokenizer",
    [ByteTokenizer(), BPETokenizer.train([SIGNS * 3], 270)],
    ids=["bytes", "byte pairs"],
)
def test_signs_of_several_tokens_are_printed_whole(tokenizer):
    ids = tokenizer.encode(SIGNS)
    pieces = list(
        complete_text(
            Reciter(ids, tokenizer.vocab_size), tokenizer, "", len(ids), Sampling(temperature=0)
        )
    )
    assert "".join(pieces) == SIGNS
    assert not any("\ufffd" in piece for piece in pieces)
    assert len(pieces) == len(ids)  # one as each token comes
    assert pieces[0] or len(SIGNS[0].encode()) > 1


def test_what_never_becomes_a_sign_is_shown_as_that_at_the_end_and_between():
    tokenizer = ByteTokenizer()
    for data in (b"ab\xc3", b"\xe5\xb1", b"a\xffb", b"\xf0\x9f\x99\xc3\xa9", bytes(range(256))):
        assert "".join(decode_stream(tokenizer, data)) == tokenizer.decode(data)
    # In whatever way some of 300 bytes are put together.
    for data in itertools.product(b"a\xc3\xa9\xf0\x9f", repeat=4):
        assert "".join(decode_stream(tokenizer, data)) == tokenizer.decode(list(data))


def test_a_sample_of_a_run_holds_the_signs_too(tmp_path):
    tokenizer = ByteTokenizer()
    model = Reciter(tokenizer.encode("山" * 20), 256)
    pieces = complete_text(model, tokenizer, "", 60, Sampling(temperature=0))
    assert "".join(pieces) == "山" * 20


COMPOSED, APART = "Le caf\u00e9 ou\u0300", unicodedata.normalize("NFD", "Le café où")


@pytest.mark.parametrize(
    ("alphabet", "prompt", "expected"),
    [
        ("Le café\n", "Le cafe\u0301", "Le caf\u00e9"),  # composed in the text, apart in the prompt
        (APART, "Le caf\u00e9 où", APART),  # the other way round
        ("e\u0301 à", "\u00e9 a\u0300", "e\u0301 à"),  # both ways in one text
        ("The\ncat", "The\r\ncat\r", "The\ncat\n"),
        ("The\ncat", "\ufeffThe", "The"),
        ("각", "\u1100\u1161\u11a8", "\uac01"),  # a Korean syllable from its parts
    ],
)
def test_a_prompt_is_written_as_the_text_was(alphabet, prompt, expected):
    tokenizer = CharTokenizer.from_text(alphabet)
    assert as_in_texts(tokenizer, prompt) == expected
    assert tokenizer.decode(prompt_ids(tokenizer, prompt)) == expected


def test_a_prompt_with_a_sign_of_another_alphabet_stays_as_it_is():
    tokenizer = CharTokenizer("abc")
    assert as_in_texts(tokenizer, "abж") == "abж"


def test_the_command_takes_a_prompt_from_windows_and_from_a_mac(run, said):
    for prompt in ("The cafe\u0301", "\ufeffThe caf\u00e9", "The caf\u00e9\r\n"):
        code, text = said("complete", "--run", run, "--prompt", prompt, "--tokens", 3)
        assert code == 0 and text.startswith("The café"), text


def test_an_unknown_sign_of_the_prompt_is_named_as_before(run, said):
    code, text = said("complete", "--run", run, "--prompt", "Ж", "--tokens", 3)
    assert code == 1 and "'Ж'" in text and "--unknown skip" in text


def test_special_tokens_of_a_text_in_parts_are_found_wherever_it_is_cut():
    tokenizer = BPETokenizer.train(
        ["the cat sat on the mat"] * 3, 268, ("<|endoftext|>", "<|end|>")
    )
    text = "the cat<|endoftext|>sat <|end|><|endoftext|on the mat<|endoftext|>"
    whole = tokenizer.encode(text, allowed_special="all")
    assert sum(token >= 266 for token in whole) == 3
    for size in (1, 2, 5, 13, 100):
        parts = [text[n : n + size] for n in range(0, len(text), size)]
        assert list(tokenizer.encode_iterable(parts, allowed_special="all")) == whole
        assert list(tokenizer.encode_iterable(parts)) == tokenizer.encode(text)
