"""A model whose matrices have all kinds of sizes."""

from bhushgpt.gpt import GPT, GPTConfig

FREE = {"O", "I"}


def drive(m, s):
    m.page_weights(GPT(GPTConfig(vocab_size=s.V, n_layer=1, n_head=s.H, n_embd=s.C)))
