"""The fast ways draw the plain model's tokens: static step, prompts together, recorded on a GPU."""

import pytest
import torch
from torch import nn

from bhushgpt.errors import UserError
from bhushgpt.generation import Sampling, generate
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.kv_cache import Cached
from bhushgpt.language_model import eval_mode
from bhushgpt.positions import Rotary
from bhushgpt.speed.static_generation import (
    FastCached,
    RecordedStep,
    StaticStep,
    generate_together,
    knows,
    make_step,
    plain_function,
    turned,
)
from bhushgpt.transformer import MLP

POSITIONS = ("learned", "sinusoidal", "rotary")
CONTEXT = 12


def make_gpt(**changes) -> GPT:
    torch.manual_seed(0)
    sizes = {"vocab_size": 11, "context_length": CONTEXT, "n_layer": 2, "n_head": 2, "n_embd": 16}
    model = GPT(GPTConfig(**{**sizes, **changes}))
    with torch.no_grad():  # weights of a trained size, so that a mistake shows in the tokens
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def drawn(model, ids, n_tokens, **sampling):
    return torch.cat([ids, *generate(model, ids, n_tokens, Sampling(**sampling))], dim=1)


def prompts(n_prompts, length):
    return torch.randint(11, (n_prompts, length), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("n_prompts", [1, 3])
@pytest.mark.parametrize("length", [1, 4, CONTEXT, CONTEXT + 2])
def test_fast_draws_the_plain_tokens_beyond_the_context(position, n_prompts, length):
    model, start = make_gpt(position=position), prompts(n_prompts, length)
    fast = FastCached(model)
    for sampling in ({"seed": 1}, {"temperature": 0}):  # the second text reuses the memory
        expected = drawn(model, start, 18, **sampling)
        assert torch.equal(drawn(fast, start, 18, **sampling), expected)


@pytest.mark.parametrize("capacity", [5, 8, 100])
def test_a_smaller_cache_changes_no_token(capacity):
    model, start = make_gpt(), prompts(2, 3)
    assert torch.equal(
        drawn(FastCached(model, capacity=capacity), start, 15), drawn(model, start, 15)
    )


def test_another_text_is_not_taken_for_the_next_token():
    model = make_gpt()
    fast = FastCached(model)
    first = prompts(1, 4)
    other = (first + 1) % 11
    fast(first)
    longer = torch.cat([other, first[:, :1]], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(fast(longer)[:, -1], model(longer)[:, -1])


def test_a_model_in_train_mode_is_left_in_it_and_drops_nothing():
    model = make_gpt(dropout=0.5)
    start = prompts(1, 3)
    expected = drawn(model, start, 8)
    model.train()
    fast = FastCached(model)
    assert torch.equal(drawn(fast, start, 8), expected)
    assert model.training
    again = torch.cat([start, torch.zeros(1, 1, dtype=torch.long)], dim=1)
    fast(start)
    with eval_mode(model):
        exact = model(again)[:, -1:]
    torch.testing.assert_close(fast(again), exact, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("places", [[4, 4], [2, 4]])
def test_reading_only_what_is_filled_changes_nothing(position, places):
    """What lies behind the filled places is planted, so that reading it shows."""
    model, ids, at = make_gpt(position=position), prompts(2, 1), torch.tensor(places)
    stores = [torch.randn(2, 2, 2, CONTEXT, 8) for _ in model.blocks]
    with torch.no_grad():
        whole = StaticStep(model, [store.clone() for store in stores])(ids, at)
        for store in stores:
            store[:, :, :, 5:] = torch.nan
        filled = StaticStep(model, stores, filled_only=True)(ids, at)
    torch.testing.assert_close(filled, whole)


def test_only_the_step_on_a_cpu_reads_what_is_filled(monkeypatch):
    monkeypatch.setattr(StaticStep, "compile", lambda self, **how: None)  # it takes a minute
    model, stores = make_gpt(), [torch.zeros(2, 1, 2, 4, 8)] * 2
    assert make_step(model, stores).filled_only
    assert not make_step(model, stores, compiled=True).filled_only


def test_scores_of_a_step_may_be_changed_and_are_not_overwritten():
    fast, ids = FastCached(make_gpt()), prompts(1, 6)
    fast(ids[:, :4])
    scores = fast(ids[:, :5])
    scores[..., 3] = -torch.inf  # a tensor of inference mode would refuse
    kept = scores.clone()
    fast(ids)
    assert torch.equal(scores, kept)


@pytest.mark.parametrize(
    "module", [nn.LayerNorm(8), nn.Linear(8, 6), nn.Linear(8, 6, bias=False), MLP(8).activation]
)
def test_plain_functions_compute_what_their_modules_do(module):
    x = torch.randn(3, 8)
    function = plain_function(module, 3)
    assert function is not module and torch.equal(function(x), module(x))


def test_a_module_that_is_not_known_is_called_itself():
    class Doubled(nn.Linear):
        def forward(self, input):
            return 2 * super().forward(input)

    module = Doubled(4, 4)
    assert plain_function(module, 1) is module


def test_a_used_cache_has_no_submodule_to_walk_through():
    fast = FastCached(make_gpt())
    drawn(fast, prompts(1, 3), 3)
    assert list(fast.modules()) == [fast]


def test_one_step_computes_one_position():
    model, lengths = make_gpt(), []
    model.head.register_forward_hook(lambda module, args, out: lengths.append(out[..., 0].numel()))
    drawn(FastCached(model), prompts(1, 3), 6)
    assert lengths == [3, 1, 1, 1, 1, 1]


@pytest.mark.filterwarnings("ignore")  # what torch's compiler warns about is its own code
@pytest.mark.parametrize("position", ["learned", "rotary"])
def test_the_static_step_is_captured_once_and_whole(position):
    """What compiling needs: no break in the graph, and one program for all places."""
    torch._dynamo.reset()
    model = make_gpt(position=position)
    cached, ids = Cached(model), prompts(2, 6)
    cached(ids[:, :3])
    step = torch.compile(
        StaticStep(model, cached.stores), backend="eager", fullgraph=True, dynamic=False
    )
    with torch.no_grad(), torch._dynamo.config.patch(error_on_recompile=True):
        whole = model(ids)
        for place in (3, 4, 5):
            logits = step(ids[:, place : place + 1], torch.full((2,), place))
            torch.testing.assert_close(logits, whole[:, place], atol=1e-5, rtol=1e-5)


def test_rows_turned_at_their_own_places_equal_rotary():
    rotary, x = Rotary(CONTEXT, 8), torch.randn(2, 2, 8)
    at = torch.tensor([7, 2])
    for row, place in enumerate(at.tolist()):
        expected = rotary(x[row, None, :, None], place)[0, :, 0]
        torch.testing.assert_close(turned(rotary, x, at)[row], expected)


# Prompts of different lengths


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"seed": 3}, {"top_k": 4, "seed": 1}])
def test_together_equals_one_by_one(position, sampling):
    model = make_gpt(position=position)
    texts = [[1, 2, 3, 4, 5], [7], [3, 1, 4]]
    together = torch.cat(list(generate_together(model, texts, 6, Sampling(**sampling))), dim=1)
    for text, row in zip(texts, together, strict=True):
        alone = drawn(model, torch.tensor([text]), 6, **sampling)
        assert alone[0, len(text) :].tolist() == row.tolist()


def test_a_filling_that_is_looked_at_is_caught(monkeypatch):
    """The planted mistake: every row goes on where the longest one does."""
    model, texts = make_gpt(), [[1, 2, 3, 4, 5], [7]]
    right = torch.cat(list(generate_together(model, texts, 6, Sampling(temperature=0))), dim=1)

    def at_the_end_of_the_longest(model, stores, *, compiled=False):
        step = StaticStep(model, stores)
        return lambda ids, at: step(ids, at.max().expand(len(at)))

    monkeypatch.setattr("bhushgpt.speed.static_generation.make_step", at_the_end_of_the_longest)
    wrong = torch.cat(list(generate_together(model, texts, 6, Sampling(temperature=0))), dim=1)
    assert torch.equal(wrong[0], right[0]) and not torch.equal(wrong[1], right[1])


@pytest.mark.parametrize(
    ("texts", "n_tokens", "part"),
    [
        ([], 1, "there is no prompt"),
        ([[1], []], 1, "prompt 2 has no token"),
        ([[1] * 10], 3, "10 tokens and 3 new ones are wanted, but the model sees 12"),
        ([[1]], -1, "-1 new ones"),
    ],
)
def test_what_cannot_be_continued_together_is_refused(texts, n_tokens, part):
    with pytest.raises(UserError, match=part):
        next(generate_together(make_gpt(), texts, n_tokens))


# Recorded on a GPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need an NVIDIA GPU")
def test_a_recorded_step_draws_the_plain_tokens():
    model, start = make_gpt().cuda(), prompts(2, 3).cuda()
    fast = FastCached(model)
    assert torch.equal(drawn(fast, start, 8), drawn(model, start, 8))
    assert fast._kept is not None and isinstance(fast._kept[1], RecordedStep)


def test_without_a_gpu_the_step_is_not_recorded():
    model = make_gpt()
    assert isinstance(make_step(model, [torch.zeros(2, 1, 2, 4, 8)] * 2), StaticStep)


def test_after_an_error_in_a_prompt_the_cache_starts_afresh():
    model = make_gpt()
    fast, ids = FastCached(model), prompts(1, 6)
    fast(ids[:, :4])

    def fail(module, given):
        raise RuntimeError("out of memory")

    handle = model.blocks[1].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError):
        fast((ids[:, :5] + 1) % 11)  # the first block's keys are another text's by then
    handle.remove()
    with torch.no_grad():
        for length in (5, 6):
            expected = model(ids[:, :length])[:, -1]
            torch.testing.assert_close(fast(ids[:, :length])[:, -1], expected)


def test_more_texts_than_before_get_a_cache_of_their_own():
    model = make_gpt()
    fast = FastCached(model)
    for n_prompts in (1, 3, 2):
        start = prompts(n_prompts, 4)
        expected = drawn(model, start, 6, temperature=0)
        assert torch.equal(drawn(fast, start, 6, temperature=0), expected)


def test_a_kind_of_gpt_that_computes_something_else_is_asked_itself():
    class Turned(GPT):
        def forward(self, ids, past=None):
            return -super().forward(ids, past)

    torch.manual_seed(0)
    model = Turned(make_gpt().config).eval()
    assert not knows(model)
    start = prompts(2, 4)
    expected = drawn(model, start, 6, temperature=0)
    assert torch.equal(drawn(FastCached(model), start, 6, temperature=0), expected)
