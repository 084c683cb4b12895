"""What is advised when the memory is full fits by the same formula, and is said in words."""

import dataclasses

import pytest
import torch

from bhushgpt.devices import free_memory
from bhushgpt.diagnosis.memory import (
    SPARE,
    is_memory_error,
    knobs,
    largest_batch,
    memory_advice,
    memory_explained,
)
from bhushgpt.errors import UserError
from bhushgpt.forecast import grown, training_memory
from bhushgpt.presets import preset
from bhushgpt.speed import Acceleration
from tests.small_runs import with_model

CONFIG = with_model(preset("gpt-v1-large", 79), n_layer=1, context_length=32, n_embd=64)
CPU = torch.device("cpu")
SMALL = preset("gpt-v1-smoke", 79)


def needed(config, *how):
    return grown(training_memory(config, *how), *how[:1])


def with_rows(rows):
    training = dataclasses.replace(CONFIG.training, batch_size=rows, accumulation_steps=1)
    return dataclasses.replace(CONFIG, training=training)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_batch_that_is_advised_fits_and_one_more_does_not(share):
    room = round(share * needed(CONFIG))
    most = largest_batch(CONFIG, room)
    assert needed(with_rows(most)) <= room * (1 - SPARE)
    assert needed(with_rows(most + 1)) > room * (1 - SPARE)


def test_two_of_three_windows_fit():
    room = round(needed(with_rows(2)) / (1 - SPARE)) + 1
    assert largest_batch(with_rows(3), room) == 2


def test_every_knob_is_turned_no_further_than_needed():
    room = needed(CONFIG) // 2
    found = {knob.name: knob for knob in knobs(CONFIG, room)}
    assert set(found) == {"batch", "context", "width", "precision"}
    parts = int(found["batch"].setting.partition("=")[2])
    assert CONFIG.training.batch_size % parts == 0
    in_parts = changed(CONFIG, {"accumulation_steps": parts})
    assert found["batch"].memory_bytes == needed(in_parts)
    assert needed(with_rows(64 // (parts // 2))) > room * (1 - SPARE)
    for knob in found.values():
        assert knob.fits == (knob.memory_bytes <= room * (1 - SPARE))


def test_a_knob_that_is_not_enough_is_called_too_large():
    advice = memory_advice(CONFIG, 2**20, "cuda")
    assert advice.count("too large") == 4
    assert "Not even a batch of one window fits: take a smaller preset" in advice


def test_a_table_of_pairs_has_no_width_to_change():
    names = [knob.name for knob in knobs(preset("bigram", 79), 2**20)]
    assert names == ["batch", "context", "precision"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
    ],
)
def test_full_memory_becomes_the_table_whatever_the_device_calls_it(error):
    assert is_memory_error(error)
    with pytest.raises(UserError, match=r"(?s)The memory is full.*accumulation_steps=.*fits"):
        with memory_explained(CONFIG, CPU):
            raise error


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), KeyError("x"), UserError("y")])
def test_other_errors_pass_unchanged(error):
    with pytest.raises(type(error)) as caught, memory_explained(CONFIG, CPU):
        raise error
    assert caught.value is error


def test_advice_after_a_failure_stays_below_what_failed():
    # This small run fits by the formula; if it failed all the same, more of it is no advice.
    config = preset("gpt-v1-smoke", 79)
    with pytest.raises(UserError) as caught, memory_explained(config, CPU):
        raise MemoryError
    assert "accumulation_steps=1 " not in str(caught.value)


def test_a_limit_on_the_address_space_counts(monkeypatch):
    resource = pytest.importorskip("resource", reason="Windows has no such limits")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2**40, 2**40))
    assert free_memory(CPU) > 2**20
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2**20, 2**20))
    assert free_memory(CPU) == 0


def changed(config, training=None, **model):
    return dataclasses.replace(
        config,
        training=dataclasses.replace(config.training, **(training or {})),
        model=dataclasses.replace(config.model, **model),
    )


def test_a_run_in_parts_is_never_told_to_take_fewer():
    whole = changed(SMALL, {"batch_size": 64})
    config = changed(whole, {"accumulation_steps": 4})
    (batch,) = (knob for knob in knobs(config, 2**40) if knob.name == "batch")
    assert batch.setting == "accumulation_steps=4"
    assert (batch.memory_bytes, batch.fits) == (needed(config), True)
    # What fits at a time is not changed by how the batch was cut before.
    room = needed(whole)
    assert 16 < largest_batch(config, room) == largest_batch(whole, room) < 64


def test_a_width_that_is_advised_can_be_built_with_rotary_positions_too():
    """Heads of 9 channels cannot be turned in pairs; heads of 18 can."""
    config = changed(SMALL, n_head=4, n_embd=144)
    for position, widths in (("learned", [72, 36]), ("rotary", [72])):
        turned = changed(config, position=position)
        found = {knob.name: knob for knob in knobs(turned, 2**20)}
        assert found["width"].setting == f"n_embd={widths[-1]}"
        narrow = changed(turned, n_embd=widths[-1])
        assert found["width"].memory_bytes == needed(narrow)


def test_the_figure_of_a_table_of_pairs_is_the_one_by_hand():
    """Each weight has two means and, at the end, its gradient: 16 bytes."""
    config = changed(preset("bigram", 100), {"batch_size": 2}, context_length=4)
    # Then there are the ids, the slope of each score, and AdamW's step, the loss and its slope.
    ids, slopes, numbers = 8 * 8, 8 * 100 * 4, 3 * 4
    assert training_memory(config) == 16 * 100 * 100 + ids + slopes + numbers


def test_the_knob_of_the_precision_says_what_bfloat16_takes():
    (half,) = (knob for knob in knobs(SMALL, 2**30) if knob.name == "precision")
    how = Acceleration(precision="bfloat16")
    assert half.memory_bytes == needed(SMALL, "cpu", how) != needed(SMALL)


def test_what_fits_leaves_a_share_free():
    half = needed(changed(SMALL, context_length=16))
    for share, context in ((0.84, 16), (0.86, 8)):  # of the memory, what 16 tokens take
        (knob,) = (knob for knob in knobs(SMALL, round(half / share)) if knob.name == "context")
        assert knob.setting == f"context_length={context}"


def test_where_even_counting_finds_no_room_there_is_a_sentence(monkeypatch):
    def no_room(*given):
        raise MemoryError

    monkeypatch.setattr("bhushgpt.diagnosis.memory.memory_advice", no_room)
    with pytest.raises(UserError, match="Compute each batch in more parts"):
        with memory_explained(CONFIG, "cpu"):
            raise MemoryError
