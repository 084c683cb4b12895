import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bhushgpt.bpe import BPETokenizer
from bhushgpt.errors import UserError
from bhushgpt.generation import (
    Sampling,
    complete_text,
    decode_stream,
    generate,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    next_ids,
    sampling_logits,
)
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.language_model import LanguageModel, sample
from bhushgpt.tokenizers import ByteTokenizer, CharTokenizer
from tests.chains import CHAIN, chain_model, chain_tokenizer


class Recorder(LanguageModel):
    """Gives every position the same logits and remembers what it was asked."""

    def __init__(self, logits: list[float], context_length: int = 4) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)
        self.context_length = context_length
        self.asked: list[list[int]] = []
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, ids: Tensor) -> Tensor:
        self.asked.append(ids[0].tolist())
        self.modes.append((self.training, torch.is_grad_enabled()))
        return self.logits.expand(*ids.shape, -1)


def trained_looking_gpt(**changes) -> GPT:
    torch.manual_seed(0)
    settings = {"vocab_size": 11, "context_length": 8, "n_layer": 2, "n_head": 2, "n_embd": 16}
    model = GPT(GPTConfig(**{**settings, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def drawn(model: LanguageModel, ids: Tensor, n_tokens: int, sampling: Sampling | None = None):
    return torch.cat([ids, *generate(model, ids, n_tokens, sampling)], dim=1)


def kept(logits: Tensor) -> list[list[int]]:
    return [row.isfinite().nonzero().flatten().tolist() for row in logits]


# What is drawn


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "rotary"])
@pytest.mark.parametrize("n_prompts", [1, 2])
def test_generate_equals_the_plain_sampling_loop_beyond_the_context(position, n_prompts) -> None:
    model = trained_looking_gpt(position=position)
    prompts = torch.randint(11, (n_prompts, 3))
    for seed in range(3):
        expected = sample(model, prompts, 20, seed=seed)
        assert torch.equal(drawn(model, prompts, 20, Sampling(seed=seed)), expected)


def test_greedy_equals_argmax_step_by_step() -> None:
    model = trained_looking_gpt().eval()
    ids = torch.tensor([[1, 2], [3, 4]])
    expected = ids
    for _ in range(12):
        with torch.no_grad():
            best = model(expected[:, -8:])[:, -1].argmax(dim=-1, keepdim=True)
        expected = torch.cat([expected, best], dim=1)
    assert torch.equal(drawn(model, ids, 12, Sampling(temperature=0)), expected)
    assert torch.equal(drawn(model, ids, 12, Sampling(temperature=0, seed=9)), expected)


@pytest.mark.parametrize("tiny", [1e-3, 2e-38])
def test_a_tiny_temperature_is_nearly_greedy(tiny) -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0], [50.0, -50.0, 49.0]])
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        assert next_ids(logits, Sampling(temperature=tiny), generator).tolist() == [[1], [0]]


def test_top_k_of_one_is_greedy_at_every_temperature() -> None:
    model = trained_looking_gpt()
    ids = torch.tensor([[5]])
    greedy = drawn(model, ids, 15, Sampling(temperature=0))
    assert torch.equal(drawn(model, ids, 15, Sampling(temperature=2.0, top_k=1)), greedy)
    assert torch.equal(drawn(model, ids, 15, Sampling(temperature=2.0, top_p=1e-9)), greedy)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_approach_the_softmax_of_logits_over_temperature(temperature) -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -3.0])
    n = 40_000
    ids = next_ids(
        logits.expand(n, -1), Sampling(temperature=temperature), torch.Generator().manual_seed(0)
    )
    shares = torch.bincount(ids.flatten(), minlength=5) / n
    expected = (logits / temperature).softmax(dim=-1)
    # Five standard deviations of a share; a temperature that is multiplied is off by hundreds.
    allowed = 5 * (expected * (1 - expected) / n).sqrt()
    assert ((shares - expected).abs() < allowed).all()


def test_the_filters_see_the_scores_after_the_temperature() -> None:
    # At temperature 1 the first token has 0.67; at 2 it has 0.51, so two are needed for 0.6.
    logits = torch.tensor([2.0, 1.0, 0.0]).expand(2000, -1)
    generator = torch.Generator().manual_seed(0)
    cool = next_ids(logits, Sampling(temperature=1.0, top_p=0.6), generator)
    warm = next_ids(logits, Sampling(temperature=2.0, top_p=0.6), generator)
    assert set(cool.flatten().tolist()) == {0} and set(warm.flatten().tolist()) == {0, 1}


def test_top_p_counts_only_what_top_k_left() -> None:
    # Of all five the first has 0.3; of the two that top_k leaves it has 0.6.
    logits = torch.tensor([0.3, 0.2, 0.2, 0.15, 0.15]).log().expand(2000, -1)
    generator = torch.Generator().manual_seed(0)
    ids = next_ids(logits, Sampling(top_k=2, top_p=0.55), generator)
    assert set(ids.flatten().tolist()) == {0}


def test_the_same_seed_gives_the_same_text_and_another_seed_another() -> None:
    model = trained_looking_gpt()
    ids = torch.tensor([[1]])
    one, again, other = (drawn(model, ids, 30, Sampling(seed=seed)) for seed in (7, 7, 8))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_generating_neither_reads_nor_moves_torchs_own_random_numbers() -> None:
    model = trained_looking_gpt()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = drawn(model, torch.tensor([[1]]), 5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(drawn(model, torch.tensor([[1]]), 5), first)


def test_a_row_of_minus_infinity_scores_is_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0]]).expand(500, -1)
    for sampling in (Sampling(), Sampling(top_k=4), Sampling(top_p=0.9), Sampling(temperature=0)):
        ids = next_ids(logits, sampling, torch.Generator().manual_seed(0))
        assert set(ids.flatten().tolist()) <= {1, 3}


# The filters


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=8),  # so few values that ties are common
    st.integers(1, 10),
)
def test_top_k_keeps_exactly_k_of_the_highest_under_ties(scores, k) -> None:
    logits = torch.tensor([scores], dtype=torch.float)
    result = keep_top_k(logits, k)
    (left,) = kept(result)
    assert len(left) == min(k, len(scores))
    assert torch.equal(result[0, left], logits[0, left])
    dropped = [score for i, score in enumerate(scores) if i not in left]
    assert not dropped or min(scores[i] for i in left) >= max(dropped)


def test_top_k_of_one_keeps_exactly_one_of_equal_scores() -> None:
    assert len(kept(keep_top_k(torch.zeros(1, 50), 1))[0]) == 1


def test_a_top_k_above_the_vocabulary_changes_nothing() -> None:
    logits = torch.randn(2, 5)
    assert torch.equal(keep_top_k(logits, 99), logits)
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    assert torch.equal(
        next_ids(logits, Sampling(top_k=99), generators[0]),
        next_ids(logits, Sampling(), generators[1]),
    )


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=7),
    st.integers(1, 100),
)
def test_top_p_keeps_the_smallest_set_that_reaches_p(weights, percent) -> None:
    total = sum(weights)
    # A p between the sums that the weights can have, so that rounding decides nothing.
    p = min(1.0, percent / 100 - 0.003 / total)
    logits = torch.tensor([weights], dtype=torch.double).log()
    (left,) = kept(keep_top_p(logits, p))
    need = p * total
    sizes = [
        size
        for size in range(1, len(weights) + 1)
        for chosen in itertools.combinations(weights, size)
        if sum(chosen) >= need
    ]
    assert len(left) == min(sizes)
    assert sum(weights[i] for i in left) >= need
    assert min(weights[i] for i in left) >= max(
        (w for i, w in enumerate(weights) if i not in left), default=0
    )


def test_top_p_keeps_the_token_that_crosses_p() -> None:
    logits = torch.tensor([[0.1, 0.5, 0.25, 0.15]]).log()
    assert kept(keep_top_p(logits, 0.6)) == [[1, 2]]
    assert kept(keep_top_p(logits, 0.8)) == [[1, 2, 3]]
    assert kept(keep_top_p(logits, 0.0001)) == [[1]]
    # Of four equal chances exactly two reach one half.
    assert len(kept(keep_top_p(torch.zeros(1, 4), 0.5))[0]) == 2


def test_top_p_of_one_keeps_all_even_a_tail_below_rounding() -> None:
    logits = torch.cat([torch.zeros(1, 1), torch.full((1, 60_000), -60.0)], dim=1)
    assert torch.equal(keep_top_p(logits, 1.0), logits)


def test_the_filters_take_each_row_by_itself() -> None:
    rows = torch.randn(4, 9)
    assert torch.equal(keep_top_k(rows, 3), torch.cat([keep_top_k(r[None], 3) for r in rows]))
    assert torch.equal(keep_top_p(rows, 0.7), torch.cat([keep_top_p(r[None], 0.7) for r in rows]))


def test_the_filters_leave_their_input_as_it_was() -> None:
    logits = torch.randn(2, 9)
    before = logits.clone()
    keep_top_k(logits, 2)
    keep_top_p(logits, 0.5)
    next_ids(logits, Sampling(temperature=0.5, top_k=2, top_p=0.5), torch.Generator())
    assert torch.equal(logits, before)


# The loop


def test_the_prompt_is_kept_whole_and_only_the_context_is_cropped() -> None:
    model = Recorder([0.0, 0.0, 9.0], context_length=4)
    prompt = torch.tensor([[0, 1, 0, 1, 0, 1]])
    text = drawn(model, prompt, 3, Sampling(temperature=0))
    assert text.tolist() == [[0, 1, 0, 1, 0, 1, 2, 2, 2]]
    assert model.asked == [[0, 1, 0, 1], [1, 0, 1, 2], [0, 1, 2, 2]]


def test_a_short_prompt_is_seen_whole_and_the_view_grows() -> None:
    model = Recorder([9.0, 0.0], context_length=4)
    list(generate(model, torch.tensor([[1]]), 3, Sampling(temperature=0)))
    assert model.asked == [[1], [1, 0], [1, 0, 0]]


def test_no_tokens_are_drawn_when_none_are_asked_for() -> None:
    model = Recorder([0.0, 1.0])
    assert list(generate(model, torch.tensor([[1]]), 0)) == []
    assert model.asked == []


def test_the_iterator_computes_only_what_is_read_and_can_be_stopped() -> None:
    model = Recorder([0.0, 1.0]).train()
    steps = generate(model, torch.tensor([[1]]), 1_000_000_000)
    assert model.asked == []  # nothing before the first token is asked for
    for new in itertools.islice(steps, 3):
        assert new.shape == (1, 1)
    assert len(model.asked) == 3


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_in_eval_mode_inside_and_as_it_was_outside(training) -> None:
    model = Recorder([0.0, 1.0]).train(training)
    for _ in generate(model, torch.tensor([[1]]), 3):
        # Between two tokens too: the caller may train here.
        assert model.training is training and torch.is_grad_enabled()
        if len(model.asked) == 2:
            break
    assert model.training is training and torch.is_grad_enabled()
    assert model.modes == [(False, False)] * 2


def test_the_mode_is_restored_after_an_error_in_the_model() -> None:
    class Failing(Recorder):
        def forward(self, ids: Tensor) -> Tensor:
            if len(self.asked) == 2:
                raise RuntimeError("in the middle")
            return super().forward(ids)

    model = Failing([0.0, 1.0]).train()
    with pytest.raises(RuntimeError, match="in the middle"):
        list(generate(model, torch.tensor([[1]]), 5))
    assert model.training and torch.is_grad_enabled()


def test_dropout_does_not_reach_the_text() -> None:
    model = trained_looking_gpt(dropout=0.5).train()
    ids = torch.tensor([[1, 2]])
    assert torch.equal(drawn(model, ids, 12), drawn(model, ids, 12))


# What cannot be used


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"temperature": -0.5}, "temperature is -0.5: 0 is greedy"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_k": 2.5}, "top_k is 2.5: it is a whole number"),
        ({"top_p": 0.0}, "top_p is 0.0: it is a share, above 0 and at most 1"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"top_p": math.nan}, "top_p is nan"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, part) -> None:
    with pytest.raises(UserError) as caught:
        Sampling(**changes)
    assert part in str(caught.value)


def test_all_wrong_settings_come_at_once() -> None:
    with pytest.raises(UserError) as caught:
        Sampling(temperature=-1, top_k=0, top_p=2)
    assert all(name in str(caught.value) for name in ("temperature is", "top_k is", "top_p is"))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    ("row", "name"),
    [
        ([0.0, math.nan, 1.0], "nan"),
        ([0.0, math.inf, 1.0], "inf"),
        ([-math.inf, -math.inf, -math.inf], "-inf"),
    ],
)
def test_scores_that_are_no_numbers_are_named(row, name, temperature) -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0], row])  # one good row does not hide the bad one
    with pytest.raises(UserError, match=f"highest score is {name}, so no token can be chosen"):
        next_ids(logits, Sampling(temperature=temperature), torch.Generator())


def test_a_model_with_spoilt_weights_is_told_so() -> None:
    model = trained_looking_gpt()
    with torch.no_grad():
        model.blocks[0].mlp.widen.weight[0, 0] = math.nan  # type: ignore[union-attr, operator]
    with pytest.raises(UserError, match=r"diverged training run\. Load an earlier checkpoint"):
        next(generate(model, torch.tensor([[1]]), 1))


@pytest.mark.parametrize(
    ("ids", "n_tokens", "part"),
    [
        (torch.zeros(1, 0, dtype=torch.long), 3, r"prompt has no token. Start from a newline"),
        (torch.tensor([1, 2, 3]), 3, r"shape \(3,\), but \(B, T\) is needed"),
        (torch.tensor([[1]]), -1, "n_tokens is -1"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(ids, n_tokens, part) -> None:
    with pytest.raises(UserError, match=part):
        next(generate(Recorder([0.0, 1.0]), ids, n_tokens))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=7), st.integers(0, 100))
def test_min_p_keeps_what_is_likely_enough_beside_the_likeliest(weights, percent) -> None:
    # A bar between two whole weights, so that rounding decides nothing.
    share = max(0.0, min(1.0, (math.ceil(percent / 100 * max(weights)) - 0.5) / max(weights)))
    logits = torch.tensor([weights], dtype=torch.double).log()
    result = keep_min_p(logits, share)
    (left,) = kept(result)
    assert left == [i for i, weight in enumerate(weights) if weight >= share * max(weights)]
    assert torch.equal(result[0, left], logits[0, left])


def test_min_p_of_zero_keeps_all_and_of_one_the_likeliest() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0, -torch.inf], [0.0, 0.0, -9.0, 0.0]])
    assert torch.equal(keep_min_p(logits, 0), logits)
    assert kept(keep_min_p(logits, 1)) == [[1], [0, 1, 3]]


def test_min_p_comes_after_the_temperature_and_last() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0]])  # as likely as the first: 0.37 and 0.14
    assert kept(sampling_logits(logits, Sampling(min_p=0.2))) == [[0, 1]]
    assert kept(sampling_logits(logits, Sampling(temperature=2, min_p=0.2))) == [[0, 1, 2]]
    assert kept(sampling_logits(logits, Sampling(top_k=1, min_p=0.2))) == [[0]]


def test_chances_are_those_with_which_tokens_are_drawn() -> None:
    logits = torch.tensor([2.0, 1.5, 1.0, 0.0, -2.0])
    settings = Sampling(temperature=0.7, top_k=4, top_p=0.95, min_p=0.1)
    n = 20_000
    ids = next_ids(logits.expand(n, -1), settings, torch.Generator().manual_seed(0))
    shares = torch.bincount(ids.flatten(), minlength=5) / n
    chances = sampling_logits(logits[None], settings).softmax(dim=-1)[0]
    assert ((shares - chances).abs() <= 5 * (chances * (1 - chances) / n).sqrt()).all()
    greedy = sampling_logits(logits[None], Sampling(temperature=0)).softmax(dim=-1)[0]
    assert greedy.tolist() == [1, 0, 0, 0, 0]


# Text, piece by piece

TOKENIZERS = [
    CharTokenizer("\n abcé山🙂"),
    ByteTokenizer(),
    BPETokenizer.train(["é山🙂 abc abc 山山"], vocab_size=264),
]


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda one: one.kind)
def test_streamed_pieces_are_whole_characters_and_make_the_whole_text(tokenizer) -> None:
    text = "abc é山🙂\n🙂🙂山 c"
    ids = tokenizer.encode(text)
    pieces = list(decode_stream(tokenizer, ids))
    assert "".join(pieces) == text and len(pieces) == len(ids)
    assert "\ufffd" not in "".join(pieces)


@given(st.lists(st.integers(0, 255), max_size=12))
def test_bytes_that_are_no_text_are_streamed_as_they_are_decoded(ids) -> None:
    tokenizer = ByteTokenizer()
    assert "".join(decode_stream(tokenizer, ids)) == tokenizer.decode(ids)
    assert tokenizer.decode_bytes(ids) == bytes(ids)


def test_each_piece_comes_before_the_next_id_is_asked_for() -> None:
    asked = []

    def ids():
        for one in "aé".encode():
            asked.append(one)
            yield one

    stream = decode_stream(ByteTokenizer(), ids())
    assert (next(stream), len(asked)) == ("a", 1)


def test_completed_text_never_holds_a_part_of_a_character() -> None:
    tokenizer = chain_tokenizer()
    pieces = list(
        complete_text(chain_model(tokenizer), tokenizer, "\n", 10, Sampling(temperature=0))
    )
    assert "".join(pieces) == CHAIN and len(pieces) == 10
    assert [piece for piece in pieces if piece] == list(CHAIN)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", [{}, {"top_p": 0.8}, {"min_p": 0.1}, {"top_k": 5}])
def test_half_precision_logits_are_drawn_as_the_same_numbers_in_float32(dtype, how):
    logits = (3 * torch.randn(400, 50)).to(dtype)
    settings = Sampling(temperature=0.7, **how)
    drawn = [
        next_ids(scores, settings, torch.Generator().manual_seed(5))
        for scores in (logits, logits.float())
    ]
    assert torch.equal(*drawn)
    chances = [sampling_logits(each, settings).softmax(-1) for each in (logits, logits.float())]
    assert torch.equal(*chances) and chances[0].dtype == torch.float32
