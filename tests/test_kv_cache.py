import pytest
import torch
from torch import Tensor

from bhushgpt import attention, kv_cache
from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.generation import Sampling, generate
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.kv_cache import Cached, LayerCache
from bhushgpt.language_model import sample
from bhushgpt.positions import Positions, Rotary
from bhushgpt.speed import FastCached

POSITIONS = ("learned", "sinusoidal", "rotary")
FORMS = ("explicit", "fused")
CONTEXT = 8


def make_gpt(**changes) -> GPT:
    torch.manual_seed(0)
    sizes = {"vocab_size": 11, "context_length": CONTEXT, "n_layer": 2, "n_head": 2, "n_embd": 16}
    model = GPT(GPTConfig(**{**sizes, **changes}))
    with torch.no_grad():  # weights of a trained size, so that a mistake shows in the tokens
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def drawn(model, ids: Tensor, n_tokens: int, **sampling) -> Tensor:
    return torch.cat([ids, *generate(model, ids, n_tokens, Sampling(**sampling))], dim=1)


def prompts(n_prompts: int, length: int) -> Tensor:
    return torch.randint(11, (n_prompts, length), generator=torch.Generator().manual_seed(5))


# Cached equals plain


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("form", FORMS)
def test_cached_logits_equal_plain_logits_for_every_way_of_cutting(position, form) -> None:
    model = make_gpt(position=position, attention_form=form)
    ids = prompts(3, CONTEXT)
    with torch.no_grad():
        whole = model(ids)
    for cuts in ([8], [1, 2, 3, 4, 5, 6, 7, 8], [3, 8], [5, 6, 8], [7, 8]):
        cached = Cached(model)
        parts = [cached(ids[:, :end]) for end in cuts]
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n_prompts", [1, 2])
@pytest.mark.parametrize("length", [1, 3, CONTEXT, CONTEXT + 3])
def test_cached_draws_the_plain_tokens_beyond_the_context(
    position, form, n_prompts, length
) -> None:
    model = make_gpt(position=position, attention_form=form)
    start = prompts(n_prompts, length)
    expected = sample(model, start, 20, seed=1)
    assert torch.equal(drawn(Cached(model), start, 20, seed=1), expected)
    assert torch.equal(drawn(model, start, 20, seed=1), expected)


@pytest.mark.parametrize("capacity", [1, 4, CONTEXT])
def test_a_smaller_cache_changes_no_token(capacity) -> None:
    model, start = make_gpt(), prompts(2, 3)
    cached = Cached(model, capacity=capacity)
    assert torch.equal(drawn(cached, start, 12), drawn(model, start, 12))
    assert cached.memory_bytes <= 2 * 2 * 2 * capacity * 16 * 4  # 2 L B capacity C floats


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"top_k": 3}, {"top_p": 0.7}])
def test_cached_draws_the_plain_tokens_under_every_setting(sampling) -> None:
    model = make_gpt()
    start = prompts(2, 2)
    assert torch.equal(
        drawn(Cached(model), start, 15, **sampling), drawn(model, start, 15, **sampling)
    )


def test_only_the_new_tokens_are_computed_until_the_window_slides() -> None:
    model = make_gpt()
    lengths: list[int] = []
    model.tokens.register_forward_hook(lambda module, args, out: lengths.append(args[0].shape[1]))
    drawn(Cached(model), prompts(1, 3), 9)
    assert lengths == [3, 1, 1, 1, 1, 1, 8, 8, 8]


def test_a_bigram_behind_a_cache_draws_the_same_tokens() -> None:
    torch.manual_seed(0)
    model = Bigram(BigramConfig(vocab_size=11))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    start = prompts(2, 3)
    assert torch.equal(drawn(Cached(model), start, 10), drawn(model, start, 10))


# Starting again


def test_another_prompt_starts_the_cache_again() -> None:
    model = make_gpt()
    cached = Cached(model)
    first, second = prompts(1, 3), prompts(1, 5).flip(1)
    assert not torch.equal(second[:, :3], first)
    drawn(cached, first, 3)
    for start in (second, first, prompts(2, 4), first[:, :1]):
        assert torch.equal(drawn(cached, start, 10), drawn(model, start, 10))


def test_the_same_text_asked_twice_gets_the_same_logits() -> None:
    model = make_gpt()
    cached = Cached(model)
    ids = prompts(1, 4)
    assert torch.equal(cached(ids), cached(ids))
    assert cached(ids).shape == (1, 4, 11)


def test_a_text_with_another_beginning_is_not_taken_for_a_longer_one() -> None:
    model = make_gpt()
    cached = Cached(model)
    ids = prompts(1, 6)
    cached(ids[:, :4])
    other = ids.clone()
    other[0, 1] = (other[0, 1] + 1) % 11
    with torch.no_grad():
        torch.testing.assert_close(cached(other), model(other))


# The wrapped model


def test_the_wrapped_model_is_left_as_it_was() -> None:
    model = make_gpt()
    ids = prompts(1, 5)
    with torch.no_grad():
        before = model(ids)
    keys = list(model.state_dict())
    cached = Cached(model)
    for new in generate(cached, ids, 3):
        assert new.shape == (1, 1)
    with torch.no_grad():
        assert torch.equal(model(ids), before)
    assert list(model.state_dict()) == keys


def test_an_error_in_the_middle_leaves_the_model_alone_and_the_cache_right() -> None:
    model = make_gpt()
    cached = Cached(model)
    ids = prompts(1, 6)
    expected = drawn(model, ids, 6)
    cached(ids[:, :4])

    def fail(*args) -> None:
        raise RuntimeError("in the middle")

    # The first layer has stored the new keys by then, the second has not.
    hook = model.blocks[1].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        cached(ids[:, :5])
    hook.remove()
    assert torch.equal(drawn(cached, ids, 6), expected)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_taken_over_and_restored(training) -> None:
    model = make_gpt(dropout=0.5).train(training)
    cached = Cached(model)
    assert cached.training is training
    for _ in generate(cached, prompts(1, 2), 5):
        break
    assert model.training is training and cached.training is training
    ids = prompts(1, 3)
    assert torch.equal(drawn(cached, ids, 10), drawn(model, ids, 10))


def test_no_gradient_is_kept() -> None:
    model = make_gpt()
    cached = Cached(model)
    ids = prompts(1, 4)
    assert not cached(ids[:, :3]).requires_grad and not cached(ids).requires_grad


# The store


def test_a_layer_keeps_what_it_is_given_in_order() -> None:
    layer = LayerCache(capacity=5)
    keys, values = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)
    for start, end in ((0, 2), (2, 3), (3, 5)):
        all_keys, all_values = layer.append(keys[:, :, start:end], values[:, :, start:end])
        assert torch.equal(all_keys, keys[:, :, :end])
        assert torch.equal(all_values, values[:, :, :end])
        assert layer.length == end
    with pytest.raises(AssertionError):
        layer.append(keys[:, :, :1], values[:, :, :1])


def test_a_layer_sets_memory_aside_once_and_of_the_type_it_is_given() -> None:
    layer = LayerCache(capacity=5)
    one = torch.randn(1, 1, 1, 4, dtype=torch.bfloat16)
    places = {layer.append(one, one)[0].data_ptr() for _ in range(5)}
    assert len(places) == 1
    assert layer.append(one[:, :, :0], one[:, :, :0])[0].dtype == torch.bfloat16


def test_the_memory_of_a_cache_equals_the_formula() -> None:
    for layers, heads, width, batch in ((1, 2, 16, 1), (3, 4, 24, 2)):
        cached = Cached(make_gpt(n_layer=layers, n_head=heads, n_embd=width))
        assert cached.memory_bytes == 0
        cached(prompts(batch, 2))
        # keys and values, for every layer, prompt, channel and position, in 4 bytes each
        assert cached.memory_bytes == 2 * layers * batch * width * CONTEXT * 4


# Planted mistakes: each is caught by the comparison that the tests above make


def equal_to_plain(model: GPT) -> bool:
    """Whether the cache draws the plain tokens, judged with the model's own plain pass."""
    start = prompts(2, 2)
    torch.manual_seed(0)
    return torch.equal(drawn(Cached(model), start, 5), drawn(model, start, 5))


@pytest.mark.parametrize("position", ["learned", "sinusoidal"])
def test_a_cache_that_forgets_the_position_is_caught(position, monkeypatch) -> None:
    model = make_gpt(position=position)
    assert equal_to_plain(model)
    look_up = Positions.forward
    monkeypatch.setattr(Positions, "forward", lambda self, length, start=0: look_up(self, length))
    assert not equal_to_plain(model)


def test_a_cache_that_turns_every_key_as_the_first_is_caught(monkeypatch) -> None:
    model = make_gpt(position="rotary")
    assert equal_to_plain(model)
    turn = Rotary.forward
    monkeypatch.setattr(Rotary, "forward", lambda self, x, start=0: turn(self, x, 0))
    assert not equal_to_plain(model)


@pytest.mark.parametrize("form", FORMS)
def test_a_mask_lined_up_with_the_first_key_is_caught(form, monkeypatch) -> None:
    model = make_gpt(attention_form=form)
    assert equal_to_plain(model)

    def from_the_first_key(n_queries, n_keys, device=None):
        return torch.full((n_queries, n_keys), -torch.inf, device=device).triu(1)

    monkeypatch.setattr(attention, "causal_mask", from_the_first_key)
    assert not equal_to_plain(model)


def test_a_cache_that_keeps_the_values_of_another_prompt_is_caught(monkeypatch) -> None:
    model = make_gpt()
    cached = Cached(model)
    first, second = prompts(1, 3), prompts(1, 5).flip(1)
    monkeypatch.setattr(
        kv_cache, "known_ids", lambda ids, seen, slides: 0 if seen is None else seen.shape[1]
    )
    cached(first)
    with torch.no_grad():
        assert not torch.allclose(cached(second)[:, -1], model(second)[:, -1], atol=1e-3)


def in_half_windows(model: GPT, start: torch.Tensor, n_tokens: int) -> torch.Tensor:
    """Greedy tokens by hand: a full window is given up for its later half."""
    text, window = start, start[:, -CONTEXT:]
    for _ in range(n_tokens):
        with torch.no_grad():
            new = model(window)[:, -1].argmax(-1, keepdim=True)
        text = torch.cat([text, new], dim=1)
        full = window.shape[1] == CONTEXT
        window = text[:, -(CONTEXT // 2) :] if full else torch.cat([window, new], dim=1)
    return text


@pytest.mark.parametrize("kind", [Cached, FastCached])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("length", [1, CONTEXT - 1, CONTEXT, CONTEXT + 3])
def test_a_full_cache_that_is_not_exact_keeps_half_a_window(kind, position, length) -> None:
    model, start = make_gpt(position=position), prompts(2, length)
    expected = in_half_windows(model, start, 4 * CONTEXT)
    assert torch.equal(drawn(kind(model, exact=False), start, 4 * CONTEXT, temperature=0), expected)
    assert not torch.equal(drawn(kind(model), start, 4 * CONTEXT, temperature=0), expected)


@pytest.mark.parametrize("kind", [Cached, FastCached])
def test_beyond_the_context_a_token_costs_less_than_two_positions(kind) -> None:
    model, positions = make_gpt(), []
    model.tokens.register_forward_hook(lambda _, ids, __: positions.append(ids[0].numel()))
    steps = 20 * CONTEXT
    drawn(kind(model, exact=False), prompts(1, CONTEXT), steps, temperature=0)
    assert sum(positions) < 2.2 * steps


def test_a_token_that_was_changed_in_place_is_noticed() -> None:
    model = make_gpt()
    cached, ids = Cached(model), torch.tensor([[1, 2, 3, 4]])
    cached(ids[:, :3])
    ids[0, 1] = 5  # what the cache holds is of another text now
    with torch.no_grad():
        torch.testing.assert_close(cached(ids)[:, -1], model(ids)[:, -1])


@pytest.mark.parametrize("kind", [Cached, FastCached])
def test_a_full_window_of_another_text_is_not_taken_for_one_that_slid(kind) -> None:
    model = make_gpt()
    cached = kind(model, exact=False)
    first = torch.arange(model.context_length)[None] % 7
    cached(first)
    other = first.flip(1)
    with torch.no_grad():
        torch.testing.assert_close(cached(other)[:, -1], model(other)[:, -1])
