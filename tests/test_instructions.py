"""Exchanges as rows: what is masked and what is not, what is refused, and what counts as right."""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.errors import UserError
from bhushgpt.generation import Sampling, complete_text
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.instructions import (
    NOT_LEARNED,
    ChatTemplate,
    Exchange,
    InstructionBatches,
    answer_loss,
    answered_right,
    instruction_rows,
    read_exchanges,
)
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer
from bhushgpt.training import TrainState, train
from bhushgpt.training_config import TrainingConfig

TOKENIZER = CharTokenizer("\n :?AQabcdefg")
SOME = [Exchange("ab?", "b"), Exchange("cdefg?", "gfe"), Exchange("f?", "ff")]


def shown(ids: torch.Tensor) -> str:
    """Return targets as text, a dot for each that is not learned."""
    characters = TOKENIZER.characters
    return "".join("." if i == NOT_LEARNED else characters[i] for i in ids.tolist())


def test_the_answer_and_its_end_are_learned_and_nothing_else() -> None:
    inputs, targets = instruction_rows(SOME, TOKENIZER)
    assert [shown(row) for row in inputs] == [
        "Q: ab?\nA: b" + 5 * "\n",
        "Q: cdefg?\nA: gfe",
        "Q: f?\nA: ff" + 5 * "\n",
    ]
    assert [shown(row) for row in targets] == [
        9 * "." + "b\n" + 5 * ".",
        12 * "." + "gfe\n",
        8 * "." + "ff\n" + 5 * ".",
    ]


def test_the_answers_own_characters_in_the_question_stay_masked() -> None:
    _, targets = instruction_rows([Exchange("bbb?", "b")], TOKENIZER)
    assert shown(targets[0]) == "..........b\n"


def test_the_loss_is_the_mean_over_answer_tokens_of_all_rows() -> None:
    model = GPT(GPTConfig(vocab_size=13, context_length=20, n_layer=1, n_head=2, n_embd=8))
    inputs, targets = instruction_rows(SOME, TOKENIZER)
    log_p = model(inputs).log_softmax(dim=-1)
    wanted = [
        -log_p[row, t, targets[row, t]]
        for row in range(3)
        for t in range(targets.shape[1])
        if targets[row, t] != NOT_LEARNED
    ]
    assert len(wanted) == 2 + 4 + 3
    loss = answer_loss(model, inputs, targets)
    torch.testing.assert_close(loss, torch.stack(wanted).mean())
    library = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), ignore_index=-100)
    torch.testing.assert_close(loss, library)


def test_what_is_not_learned_gets_no_gradient_and_cannot_change_the_loss() -> None:
    model = Bigram(BigramConfig(vocab_size=13))
    inputs, targets = instruction_rows(SOME[:1], TOKENIZER)
    answer_loss(model, inputs, targets).backward()
    (table,) = (p.grad for p in model.parameters())
    assert table is not None
    asked = {TOKENIZER.encode(c)[0] for c in " b"}  # what stands before "b" and before the end
    assert {i for i in range(13) if table[i].abs().sum() > 0} == asked


def test_batches_depend_on_seed_and_number_alone() -> None:
    one = InstructionBatches(SOME, TOKENIZER, 4, seed=3)
    other = InstructionBatches(SOME, TOKENIZER, 4, seed=3)
    _ = one[8]
    assert all(torch.equal(a, b) for a, b in zip(one[5], other[5], strict=True))
    assert any(not torch.equal(one[5][0], one[n][0]) for n in range(6, 10))


def learned_by_heart() -> GPT:
    torch.manual_seed(1)
    model = GPT(GPTConfig(vocab_size=13, context_length=24, n_layer=1, n_head=2, n_embd=16))
    config = TrainingConfig(steps=60, batch_size=12, learning_rate=1e-2)
    batches = InstructionBatches(SOME[:2], TOKENIZER, 12)
    reports = list(train(TrainState.fresh(model, config), batches, config, answer_loss))
    assert reports[-1].loss < 0.2
    return model


def test_right_is_what_greedy_writing_would_give() -> None:
    model, chat = learned_by_heart(), ChatTemplate()
    asked = [*SOME, Exchange("ab?", "ba"), Exchange("ab?", "bb"), Exchange("cdefg?", "gf")]
    written = []
    for exchange in asked:
        prompt = chat.prompt(exchange.question)
        pieces = complete_text(model, TOKENIZER, prompt, 6, Sampling(temperature=0))
        written.append("".join(pieces).startswith(chat.completion(exchange.answer)))
    assert answered_right(model, asked, TOKENIZER, batch_size=4) == written
    assert written[:2] == [True, True] and not any(written[3:])


def test_an_untrained_model_is_right_nowhere_and_the_loss_is_that_of_guessing() -> None:
    model = Bigram(BigramConfig(vocab_size=13))
    assert not any(answered_right(model, SOME, TOKENIZER))
    loss = answer_loss(model, *instruction_rows(SOME, TOKENIZER)).item()
    assert math.isclose(loss, math.log(13), rel_tol=1e-5)


@pytest.mark.parametrize(
    ("question", "answer", "missing"),
    [("What", "", "no answer beside 'What'"), ("", "yes", "no question beside 'yes'")],
)
def test_a_pair_with_a_half_missing_is_refused(question, answer, missing) -> None:
    with pytest.raises(UserError, match=f"There is {missing}"):
        Exchange(question, answer)


def test_the_end_mark_inside_an_exchange_is_refused() -> None:
    with pytest.raises(UserError, match="holds the end mark"):
        instruction_rows([Exchange("ab?", "a\nb")], TOKENIZER)
    other = ChatTemplate(end="g")
    assert instruction_rows([Exchange("ab?", "a\nb")], TOKENIZER, other)[0].shape == (1, 13)


def test_an_exchange_longer_than_the_context_is_refused() -> None:
    with pytest.raises(UserError, match=r"has 16 tokens .* looks at 15"):
        InstructionBatches(SOME, TOKENIZER, 2, context_length=15)
    assert len(InstructionBatches(SOME, TOKENIZER, 2, context_length=16).rows[0]) == 3


def test_no_exchanges_are_refused() -> None:
    with pytest.raises(UserError, match="no exchange"):
        InstructionBatches([], TOKENIZER, 2)


def write_lines(file: Path, *lines: object) -> Path:
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    file.write_text("\n".join(texts), encoding="utf-8")
    return file


def test_a_file_of_pairs_is_read(tmp_path: Path) -> None:
    pairs = [{"question": "1+1?", "answer": "2"}, "", {"question": "é?", "answer": "e"}]
    found = read_exchanges(write_lines(tmp_path / "pairs.jsonl", *pairs))
    assert found == [Exchange("1+1?", "2"), Exchange("é?", "e")]
    assert len(instruction_rows(found, ByteTokenizer())[0]) == 2


def test_a_byte_order_mark_and_marks_within_a_text_are_no_trouble(tmp_path: Path) -> None:
    pair = '{"question": "one\u2028two?", "answer": "2"}'
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(("\ufeff" + pair + "\r\n" + pair).encode("utf-8"))
    assert read_exchanges(file) == 2 * [Exchange("one\u2028two?", "2")]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([{"question": "1+1?"}], r"line 1: There is no answer beside '1\+1\?'"),
        (
            [{"question": "1+1?", "answer": "2"}, {"question": "2?", "answer": " "}],
            "line 2: .*no a",
        ),
        ([{"question": "1+1?", "answer": 2}], "line 1: There is no answer"),
        ([{"question": "1+1?", "answer": None}], "line 1: There is no answer"),
        ([{"answer": "2"}], "line 1: There is no question beside '2'"),
        (["what is 1 + 1?"], "line 1 is not a JSON object"),
        (["[1, 2]"], "line 1 is not a JSON object"),
        (["[" * 100_000], "line 1 is not a JSON object"),
        ([""], "is empty"),
    ],
)
def test_a_file_without_answers_is_refused_by_line(lines, why, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=why + r'.*"question": "What is 1 \+ 1'):
        read_exchanges(write_lines(tmp_path / "pairs.jsonl", *lines))


def test_the_seed_decides_the_batches() -> None:
    exchanges = [Exchange(f"{a}{b}?", a) for a in "abcdefg" for b in "abcdefg"]
    batches = [InstructionBatches(exchanges, TOKENIZER, 8, seed=seed) for seed in (1, 1, 2)]
    one, same, other = (each[3][0] for each in batches)
    assert torch.equal(one, same) and not torch.equal(one, other)
