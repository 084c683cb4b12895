"""A conversation is one text: what was said stays, whole characters come, and a reply ends."""

import pytest
import torch

from bhushgpt.conversation import Conversation
from bhushgpt.errors import UserError
from bhushgpt.generation import Sampling, generate
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.language_model import LanguageModel
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer
from tests.chains import CHAIN, chain_model, chain_tokenizer

GREEDY = Sampling(temperature=0)


def small_gpt(vocab_size: int) -> GPT:
    torch.manual_seed(4)
    model = GPT(GPTConfig(vocab_size=vocab_size, context_length=12, n_layer=2, n_head=2, n_embd=16))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


@pytest.mark.parametrize("tokenizer", [chain_tokenizer(), ByteTokenizer()], ids=lambda t: t.kind)
def test_characters_of_many_bytes_come_whole(tokenizer):
    text = CHAIN if tokenizer.kind == "bpe" else "é🙂!\n"
    talk = Conversation(chain_model(tokenizer, text), tokenizer, GREEDY)
    pieces = list(talk.reply("x\n"))
    assert "".join(pieces) == text[:-1]
    assert [piece for piece in pieces if piece] == list(text[:-1])
    assert talk.text == "x\n\n" + text


def test_a_character_that_was_never_finished_is_one_sign_and_not_three():
    tokenizer = ByteTokenizer()
    talk = Conversation(chain_model(tokenizer, "🙂!\n"), tokenizer, GREEDY, n_tokens=3)
    assert "".join(talk.reply("x")) == "\ufffd"
    assert talk.ids[-3:] == [0xF0, 0x9F, 0x99]


def test_replies_are_those_of_generate_on_all_that_was_said():
    tokenizer = CharTokenizer("\nabcdefg")
    model = small_gpt(tokenizer.vocab_size)
    talk = Conversation(model, tokenizer, Sampling(seed=5), n_tokens=9)
    said: list[int] = []
    for number, line in enumerate(["abc", "", "gfedcba", "a"]):
        unended = said and said[-1] != 0  # the reply before came to its limit, not to a line's end
        said += tokenizer.encode(("\n" if unended and line else "") + line + "\n")
        list(talk.reply(line))
        steps = generate(model, torch.tensor([said]), 9, Sampling(seed=5 + number))
        expected = [int(one) for one in steps]
        drawn = talk.ids[len(said) :]
        assert drawn == expected[: len(drawn)] and (len(drawn) == 9 or drawn[-1] == 0)
        said = list(talk.ids)
    assert len(said) > model.context_length


class Counting(LanguageModel):
    """Remembers what it was asked."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.context_length = 100
        self.weight = torch.nn.Parameter(torch.zeros(vocab_size))
        self.asked: list[list[int]] = []

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        self.asked.append(ids[0].tolist())
        return self.weight.expand(*ids.shape, -1)


def test_the_context_holds_both_sides_until_reset():
    tokenizer = CharTokenizer("a\nb")
    model = Counting(3)
    talk = Conversation(model, tokenizer, GREEDY, n_tokens=2)  # of equal scores the first: "a"
    assert "".join(talk.reply("b")) == "aa"
    list(talk.reply("bb"))
    assert tokenizer.decode(model.asked[-1]) == "b\naa\nbb\na"  # a line of its own
    talk.reset()
    list(talk.reply("bb"))
    assert tokenizer.decode(model.asked[-1]) == "bb\na"


def test_a_reply_ends_with_the_line_and_with_the_document():
    tokenizer = chain_tokenizer()
    model = chain_model(tokenizer)
    talk = Conversation(model, tokenizer, GREEDY, n_tokens=50)
    list(talk.reply("x"))
    assert talk.text == "x\n" + CHAIN
    with torch.no_grad():
        start, end = tokenizer.encode("é")[0], tokenizer.special_ids["<|endoftext|>"]
        model.table.weight[start, end] = 200
    assert "".join(talk.reply("x")) == "\ufffd"  # half an é, then the end
    assert end not in talk.ids


def test_a_stopped_reply_stays_in_the_text():
    tokenizer = chain_tokenizer()
    talk = Conversation(chain_model(tokenizer), tokenizer, GREEDY)
    reply = talk.reply("x")
    assert next(reply) + next(reply) == "é"
    del reply
    assert talk.text == "x\né"
    assert "".join(talk.reply("")) == CHAIN[:-1]
    assert talk.text == "x\né\n" + CHAIN  # the empty line ended the stopped one, and no more


def test_the_next_line_after_a_stopped_reply_is_a_line_of_its_own():
    tokenizer = chain_tokenizer()
    talk = Conversation(chain_model(tokenizer), tokenizer, GREEDY, n_tokens=1)
    list(talk.reply("x"))
    list(talk.reply("y"))
    assert tokenizer.decode_bytes(talk.ids) == b"x\n\xc3\ny\n\xc3"  # half an é each time


def test_unknown_characters_are_named_once_and_left_out():
    tokenizer = CharTokenizer("\nab")
    talk = Conversation(small_gpt(3), tokenizer, GREEDY, n_tokens=1)
    assert talk.unknown("aéb\0éb山") == ["é", "\0", "山"]
    list(talk.reply("aéb山"))
    assert tokenizer.decode(talk.ids[:3]) == "ab\n"
    assert Conversation(small_gpt(256), ByteTokenizer()).unknown("é山\0") == []


def test_an_alphabet_without_a_line_end_starts_from_its_first_character():
    talk = Conversation(small_gpt(2), CharTokenizer("ab"), GREEDY, n_tokens=3)
    assert len("".join(talk.reply("é"))) == 3
    assert talk.ids[0] == 0


def test_a_reply_of_no_token_is_refused():
    with pytest.raises(UserError, match="n_tokens is 0: a reply has at least 1 token"):
        Conversation(small_gpt(2), CharTokenizer("ab"), n_tokens=0)
