"""Fault 25: a prompt longer than the context is cropped with a notice, an empty one is started."""

import torch

from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.generation import Sampling, complete_text, generate, prompt_ids
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.tokenizers import CharTokenizer
from tests.faults.trained import CONTEXT, complete

LONG = "the cat sat on the mat and the dog sat on the log\n" * 3


def test_a_long_prompt_is_kept_in_the_text_and_cropped_with_a_notice(trained_run, capsys) -> None:
    status, out, err = complete(trained_run, capsys, "--prompt", LONG)
    assert status == 0
    assert out.startswith(LONG)
    assert f"The prompt has {len(LONG)} tokens; the model looks at the last {CONTEXT}." in err
    again = complete(trained_run, capsys, "--prompt", LONG)
    assert again == (status, out, err)
    # Only what the model can see decides.
    _, cropped, quiet = complete(trained_run, capsys, "--prompt", LONG[-CONTEXT:])
    assert quiet == ""
    assert out == LONG[:-CONTEXT] + cropped


def test_a_prompt_of_exactly_the_context_needs_no_notice(trained_run, capsys) -> None:
    assert complete(trained_run, capsys, "--prompt", LONG[:CONTEXT])[2] == ""


def test_an_empty_prompt_starts_where_texts_start(trained_run, capsys) -> None:
    status, out, _ = complete(trained_run, capsys, "--prompt", "")
    _, after_newline, _ = complete(trained_run, capsys, "--prompt", "\n")
    assert status == 0
    assert "\n" + out == after_newline


def test_a_prompt_of_which_nothing_is_left_is_an_empty_one(trained_run, capsys) -> None:
    empty = complete(trained_run, capsys, "--prompt", "")
    assert complete(trained_run, capsys, "--prompt", "€€€", "--unknown", "skip") == empty


def test_a_text_without_a_newline_starts_somewhere_all_the_same() -> None:
    assert prompt_ids(CharTokenizer("ab"), "") == [0]
    model = GPT(GPTConfig(vocab_size=2, context_length=4, n_layer=1, n_head=1, n_embd=4))
    written = "".join(complete_text(model, CharTokenizer("ab"), "", 6, Sampling(seed=1)))
    assert len(written) == 6


def test_in_a_notebook_the_window_slides_and_the_prompt_stays_whole() -> None:
    model = Bigram(BigramConfig(vocab_size=5, context_length=3))
    prompt = torch.tensor([[0, 1, 2, 3, 4, 0]])
    one, other = (
        torch.cat(list(generate(model, ids, 5, Sampling(seed=2))), dim=1)
        for ids in (prompt, prompt[:, -3:])
    )
    assert torch.equal(one, other)
