"""Two and four processes train as one does, with the same loop, and hand their runs to each other.

Few launches with much in each: to start processes takes far longer than what they do here. Two
processes run in `make test`; four, and a process that is killed, in `make faults`.
"""

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from launched import ALONE, SCENARIOS, TOKENIZER, go_on, losses
from launching import launch

from bhushgpt.batches import Batches
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.speed import distributed
from bhushgpt.speed.acceleration import AcceleratedLoss, Acceleration
from bhushgpt.speed.distributed import RankBatches, World, join_world, sharing_notices, wrap
from bhushgpt.storage.checkpoints import load_checkpoint
from bhushgpt.storage.distributed import load_distributed
from bhushgpt.storage.run_folder import MANIFEST, verify_manifest


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("together")
    (place / "two").mkdir()
    return place


@pytest.fixture(scope="module")
def two(place) -> dict[str, Any]:
    return launch(2, "compare", place / "two")


@pytest.fixture(scope="module")
def four(place, two) -> dict[str, Any]:
    (place / "four").mkdir()
    shutil.copytree(place / "two" / "handed", place / "four" / "handed", symlinks=True)
    return launch(4, "compare", place / "four")  # goes on with the run that two began


@pytest.fixture(params=["two", pytest.param("four", marks=pytest.mark.long)])
def several(request) -> dict[str, Any]:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("name", SCENARIOS)
def test_loss_of_one_process_equals_loss_of_several(name, several):
    alone = losses(ALONE, **SCENARIOS[name])
    exact = "float16" not in name
    for step, expected in zip(several[name], alone, strict=True):
        assert step[0] == pytest.approx(expected[0], rel=1e-6 if exact else 5e-3)
        assert step[1] == pytest.approx(expected[1], rel=1e-5 if exact else 5e-2)
        assert step[2] == expected[2] == 64


def test_another_batch_would_be_noticed(two):
    alone = [step[0] for step in losses(ALONE, "ddp")]
    shifted = [step[0] for step in two["ddp"]][1:]
    assert shifted != pytest.approx(alone[:-1], rel=1e-6)


def test_one_yes_is_a_yes_for_all(several):
    assert several["votes"] == [False, True]


def test_each_process_has_dropout_of_its_own(several):
    alone = losses(ALONE, "ddp", dropout=0.5)
    assert several["dropout"] != alone
    masks = np.array(several["masks"])
    assert np.abs(masks.mean(axis=1) - 0.5).max() < 0.2  # of 512 numbers, or 256
    for number, one in enumerate(masks):
        for other in masks[:number]:  # two that have nothing to do with each other agree in half
            assert abs((one == other).mean() - 0.5) < 0.2


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_bad_number_in_one_process_stops_all_and_is_named(strategy, two):
    message = two[f"bad {strategy}"]
    assert "stopped at step 1" in message and "blocks.1.mlp.activation" in message
    assert message.endswith("(step 0, whole True)")


def test_float16_under_fsdp_is_refused(two):
    assert "--precision bfloat16" in two["float16 under fsdp"]


def test_a_folder_that_cannot_be_written_is_refused_in_every_process(several):
    assert "cannot be written" in several["blocked"] and several["all refused"]


def test_the_parts_of_a_batch_are_the_batch():
    whole = Batches(np.arange(200), batch_size=8, context_length=4)
    for size in (1, 2, 4, 8):
        parts = [RankBatches(whole, rank, size)[3] for rank in range(size)]
        for number in (0, 1):
            assert torch.equal(torch.cat([part[number] for part in parts]), whole[3][number])


def test_a_batch_that_cannot_be_shared_out_is_refused():
    with pytest.raises(UserError, match="batch of 8 windows cannot be shared out among 3"):
        RankBatches(Batches(np.arange(200), 8, 4), 0, 3)[0]


def test_without_torchrun_nothing_is_set_up(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with join_world("cpu") as world:
        assert (world.rank, world.size, world.is_main) == (0, 1, True)
        assert not torch.distributed.is_initialized()
        batches = Batches(np.arange(200), 8, 4)
        assert world.batches(batches) is batches
        model = GPT(GPTConfig(vocab_size=5, context_length=4, n_layer=1, n_head=1, n_embd=8))
        assert type(wrap(model, Acceleration(), world)) is AcceleratedLoss


def test_more_processes_than_cards_is_one_sentence(monkeypatch):
    monkeypatch.setattr(distributed, "pick_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="--nproc-per-node 1, or train with --device cpu"):
        distributed._own_device("cuda", local_rank=1)


@pytest.mark.parametrize(
    ("size", "beside", "kind", "said"),
    [(2, 2, "cpu", 1), (2, 1, "cpu", 0), (2, 2, "cuda", 0), (1, 1, "cpu", 0)],
)
def test_processes_that_share_one_computers_cores_are_told_so(
    size, beside, kind, said, monkeypatch
):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(beside))
    notices = sharing_notices(World(device=torch.device(kind), size=size))
    assert len(notices) == said
    assert all("2 processes share this computer's cores" in notice for notice in notices)


def test_a_strategy_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="no strategy 'zero'"):
        wrap(torch.nn.Linear(1, 1), Acceleration(), World(device=torch.device("cpu")), "zero")


@pytest.mark.parametrize(
    ("ways", "step"), [(["two"], 2), pytest.param(["two", "four"], 6, marks=pytest.mark.long)]
)
def test_a_run_handed_from_several_to_one_is_the_unbroken_run(
    ways, step, place, tmp_path, monkeypatch, request
):
    found = [seen for name in ways for seen in request.getfixturevalue(name)["handed over"]]
    expected, run = losses(ALONE, "ddp"), tmp_path / "run"
    shutil.copytree(place / ways[-1] / "handed", run, symlinks=True)
    _is_an_ordinary_checkpoint(run / f"step_{step:08d}", step)

    def refuse(*_args: Any, **_settings: Any) -> None:
        raise AssertionError("a pickle was loaded")

    for name in ("Unpickler", "load", "loads"):
        monkeypatch.setattr(pickle, name, refuse)
    found += go_on(ALONE, run, "ddp", 8)
    for seen, wanted in zip(found, expected, strict=True):
        assert seen[0] == pytest.approx(wanted[0], rel=1e-6)
        assert seen[1] == pytest.approx(wanted[1], rel=1e-5)


def _is_an_ordinary_checkpoint(folder: Path, step: int) -> None:
    names = {path.name for path in folder.rglob("*")}
    assert names == {
        MANIFEST,
        "config.json",
        "model.safetensors",
        "optimizer.safetensors",
        "random.safetensors",
        "tokenizer.json",
    }
    verify_manifest(folder)
    checkpoint = load_checkpoint(folder)
    assert checkpoint.extra == {"note": "fsdp"} and checkpoint.state.step == step
    assert checkpoint.tokenizer.digest == TOKENIZER.digest
    assert not list(folder.parent.glob(".step*"))  # nothing is left over
    counts = [entry["step"] for entry in checkpoint.state.optimizer.state.values()]
    assert all(count.shape == () and count.item() == step for count in counts)
    assert load_distributed(folder, ALONE, "fsdp").state.step == step


@pytest.mark.long  # the short form is the one with a kill in faults/test_20_torchrun.py
def test_a_killed_process_is_started_again_and_the_weights_are_the_same(tmp_path):
    found = launch(2, "killed", tmp_path, "ddp", restarts=1)
    assert found[0][0] == 5  # step 5 was made but not saved, and so is made again
    one, other = (load_checkpoint(tmp_path / name).state for name in ("quiet", "broken"))
    assert one.step == other.step == 8
    for weight, expected in zip(other.model.parameters(), one.model.parameters(), strict=True):
        assert weight.equal(expected)
