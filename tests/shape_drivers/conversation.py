"""Runs every shape comment of `conversation`: one reply of a bigram."""

from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.tokenizers import CharTokenizer


def drive(m, s):
    talk = m.Conversation(Bigram(BigramConfig(vocab_size=3)), CharTokenizer("\nab"), n_tokens=1)
    list(talk.reply("a" * (s.T - 1)))
