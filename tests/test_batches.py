"""Batches: pure functions of (seed, step), cut without a copy of the text."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bhushgpt.batches import Batches, split_tokens
from bhushgpt.errors import UserError

TEXT = np.arange(1000)


@given(
    length=st.integers(10, 60),
    context=st.integers(1, 8),
    seed=st.integers(0, 9),
    step=st.integers(0, 99),
)
def test_targets_are_the_inputs_one_token_later(length, context, seed, step):
    inputs, targets = Batches(np.arange(length), 3, context, seed=seed)[step]
    assert inputs.shape == targets.shape == (3, context)
    assert inputs.dtype == targets.dtype == torch.int64
    assert torch.equal(targets, inputs + 1)
    assert torch.equal(inputs, inputs[:, :1] + torch.arange(context))
    assert 0 <= inputs.min() and targets.max() < length


def test_a_batch_is_the_same_in_any_order_of_asking():
    one, other = Batches(TEXT, 4, 8), Batches(TEXT, 4, 8)
    forwards = [one[n] for n in range(5)]
    backwards = [other[n] for n in reversed(range(5))][::-1]
    for (x, y), (x2, y2) in zip(forwards, backwards, strict=True):
        assert torch.equal(x, x2) and torch.equal(y, y2)


def test_steps_and_seeds_give_different_batches():
    firsts = {
        tuple(Batches(TEXT, 8, 4, seed=seed)[step][0][:, 0].tolist())
        for seed in range(5)
        for step in range(5)
    }
    assert len(firsts) == 25


def test_global_random_numbers_neither_matter_nor_change():
    batches = Batches(TEXT, 4, 8)
    before = batches[3][0]
    torch.manual_seed(5)
    np.random.seed(5)
    torch_state, numpy_state = torch.get_rng_state(), repr(np.random.get_state())
    assert torch.equal(batches[3][0], before)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert repr(np.random.get_state()) == numpy_state


def test_every_window_of_the_text_can_come_and_all_alike():
    batches = Batches(np.arange(7), 4000, 4)
    starts = np.bincount(batches.offsets(0), minlength=3)
    assert len(starts) == 3  # windows begin at 0, 1 and 2; the last target is token 6
    assert (abs(starts - 4000 / 3) < 5 * np.sqrt(4000 * 2 / 9)).all()


def test_the_shortest_text_is_one_window():
    inputs, targets = Batches(np.arange(5), 2, 4)[0]
    assert inputs.tolist() == [[0, 1, 2, 3]] * 2
    assert targets.tolist() == [[1, 2, 3, 4]] * 2


@pytest.mark.parametrize("kind", [np.uint16, np.uint32, np.int64])
def test_any_integer_type_gives_the_same_batch(kind):
    assert torch.equal(Batches(TEXT.astype(kind), 2, 4)[0][1], Batches(TEXT, 2, 4)[0][1])


def test_tensors_and_lists_give_the_same_batch():
    expected = Batches(TEXT, 2, 4)[1][0]
    assert torch.equal(Batches(torch.from_numpy(TEXT), 2, 4)[1][0], expected)
    assert torch.equal(Batches(TEXT.tolist(), 2, 4)[1][0], expected)


def test_a_memory_map_is_read_in_place(tmp_path: Path):
    file = tmp_path / "tokens.bin"
    TEXT.astype(np.uint16).tofile(file)
    mapped = np.memmap(file, dtype=np.uint16, mode="r")
    batches = Batches(mapped, 2, 4)
    assert torch.equal(batches[0][0], Batches(TEXT, 2, 4)[0][0])
    assert np.shares_memory(batches.tokens, mapped)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((0, 4, 1), ["batch_size is 0, it must be at least 1"]),
        ((2, 0, 1), ["context_length is 0, it must be at least 1"]),
        ((-1, 4, -7), ["batch_size is -1", "seed is -7, it must be at least 0"]),
    ],
)
def test_sizes_that_cannot_be_are_all_named(arguments, parts):
    with pytest.raises(UserError, match="These batches cannot be made") as error:
        Batches(TEXT, *arguments)
    assert all(part in str(error.value) for part in parts)


def test_a_text_shorter_than_a_window_and_its_target_is_refused():
    with pytest.raises(UserError, match=r"has 64 tokens.* needs 65: context length 64.*longer"):
        Batches(np.arange(64), 2, 64)
    assert Batches(np.arange(65), 2, 64)[0][0].shape == (2, 64)


@given(length=st.integers(2, 300), held_out=st.floats(0.05, 0.5))
def test_the_two_parts_are_the_text_and_do_not_overlap(length, held_out):
    if int(length * held_out) < 2 or length - int(length * held_out) < 2:
        return
    train, test = split_tokens(np.arange(length), held_out)
    assert np.concatenate([train, test]).tolist() == list(range(length))
    assert len(test) == int(length * held_out)


def test_the_parts_are_views():
    train, test = split_tokens(TEXT)
    assert len(train) == 900
    assert np.shares_memory(train, TEXT) and np.shares_memory(test, TEXT)


@pytest.mark.parametrize("held_out", [0.0, 1.0, -0.1, 10.0])
def test_a_share_outside_0_to_1_is_refused(held_out):
    with pytest.raises(UserError, match=f"held_out is {held_out}.* between 0 and 1"):
        split_tokens(TEXT, held_out)


def test_a_part_shorter_than_a_context_is_refused():
    with pytest.raises(UserError, match=r"held-out part has 50 tokens.*needs 65"):
        split_tokens(np.arange(500), context_length=64)
    assert len(split_tokens(np.arange(650), context_length=64)[1]) == 65


def test_a_batch_that_is_left_out_is_not_its_neighbour_a_second_time():
    tokens = np.arange(5000)
    plain, skipped = Batches(tokens, 4, 8), Batches(tokens, 4, 8, skip=[3])
    assert not any(torch.equal(skipped[3][0], plain[step][0]) for step in range(50))
    assert all(torch.equal(skipped[step][0], plain[step][0]) for step in (2, 4))


@pytest.mark.parametrize(
    ("tokens", "settings", "part"),
    [
        (np.ones(100), {}, "one row of whole numbers"),
        (np.arange(100), {"skip": [4, -1]}, "a batch to skip is -1"),
    ],
)
def test_what_no_batch_can_be_made_of_is_refused(tokens, settings, part):
    with pytest.raises(UserError, match=part):
        Batches(tokens, 4, 8, **settings)


def test_an_id_outside_the_vocabulary_is_found_when_it_comes():
    with pytest.raises(UserError, match="holds the token id 9, but a vocabulary of 9"):
        Batches(np.arange(100) % 10, 8, 20, vocab_size=9)[0]
