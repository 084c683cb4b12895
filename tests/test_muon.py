"""Muon by hand is torch's, its matrices come out round, and two optimizers are stored as one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bhushgpt.batches import Batches
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPTConfig
from bhushgpt.muon import Muon, MuonConfig, Together, hidden_matrices, orthogonalised
from bhushgpt.optimizers import AdamW
from bhushgpt.presets import RunConfig
from bhushgpt.storage.checkpoints import load_checkpoint, save_checkpoint
from bhushgpt.tokenizers import CharTokenizer
from bhushgpt.training import TrainState, train
from bhushgpt.training_config import TrainingConfig

SHAPES = ((12, 20), (20, 12), (7, 7))
MODEL = GPTConfig(vocab_size=5, context_length=6, n_layer=2, n_head=2, n_embd=8)


def twins() -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    generator = torch.Generator().manual_seed(3)
    first = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    return first, [nn.Parameter(weight.detach().clone()) for weight in first]


def test_by_hand_is_torch_number_for_number() -> None:
    ours, theirs = twins()
    by_hand = Muon(ours, lr=0.02, momentum=0.9, weight_decay=0.3)
    library = torch.optim.Muon(
        theirs, lr=0.02, momentum=0.9, weight_decay=0.3, adjust_lr_fn="match_rms_adamw"
    )
    generator = torch.Generator().manual_seed(4)
    for _ in range(6):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        by_hand.step()
        library.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_directions_stay_and_lengths_become_alike(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    u, lengths, v = torch.linalg.svd(matrix, full_matrices=False)
    result = u.T @ orthogonalised(matrix, dtype=torch.float32) @ v.T
    assert lengths.max() / lengths.min() > 4
    torch.testing.assert_close(result, result.diag().diag(), atol=1e-4, rtol=0)
    assert 0.6 < result.diag().min() and result.diag().max() < 1.2


def test_a_gradient_of_zeros_moves_nothing_but_the_decay() -> None:
    weight = nn.Parameter(torch.ones(2, 3))
    optimizer = Muon([weight], lr=0.1, weight_decay=0.5)
    weight.grad = torch.zeros(2, 3)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 3), 0.95))


def test_a_vector_is_refused() -> None:
    with pytest.raises(UserError, match=r"shape \(3,\)"):
        Muon([nn.Parameter(torch.ones(3))])


def test_every_weight_belongs_to_one_of_the_two() -> None:
    model = MODEL.build()
    optimizer = MuonConfig(steps=3).optimizer(model)
    given = [id(weight) for group in optimizer.param_groups for weight in group["params"]]
    assert sorted(given) == sorted(id(weight) for weight in model.parameters())
    hidden = {id(weight) for weight in hidden_matrices(model)}
    names = {name for name, weight in model.named_parameters() if id(weight) in hidden}
    layers = ("attention.qkv", "attention.projection", "mlp.widen", "mlp.projection")
    assert names == {f"blocks.{block}.{layer}.weight" for block in (0, 1) for layer in layers}


def test_two_as_one_step_as_the_two_alone() -> None:
    (matrix, *_), (other, *_) = twins()
    vector, also = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    both = Together(Muon([matrix], lr=0.1), AdamW([vector], lr=0.1))
    alone = Muon([other], lr=0.1), AdamW([also], lr=0.1)
    for step in range(3):
        for group in both.param_groups:
            group["lr"] = 0.1 / (step + 1)  # as the training loop sets it
        for optimizer in alone:
            optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
        matrix.grad, vector.grad = torch.ones_like(matrix), torch.arange(4.0)
        other.grad, also.grad = matrix.grad.clone(), vector.grad.clone()
        both.step()
        for optimizer in alone:
            optimizer.step()
    assert torch.equal(matrix, other) and torch.equal(vector, also)


def parts_of(state: TrainState) -> dict[str, Tensor]:
    """Every weight, and what is kept of it, by name."""
    found: dict[str, Tensor] = {}
    for name, weight in state.model.named_parameters():
        kept = {f"{name}.{what}": value for what, value in state.optimizer.state[weight].items()}
        found |= {name: weight} | kept
    return found


def trained(state: TrainState, config: TrainingConfig, steps: int) -> TrainState:
    batches = Batches(np.arange(300) ** 2 % 5, 4, 6)
    for report in train(state, batches, config):
        if report.step == steps:
            break
    return state


def test_resumed_is_uninterrupted_bit_for_bit(tmp_path: Path) -> None:
    config = MuonConfig(steps=12, batch_size=4, learning_rate=1e-2, warmup_steps=2)
    run = RunConfig(preset="x", model=MODEL, training=config)
    torch.manual_seed(0)
    model = MODEL.build()
    torch.manual_seed(0)
    straight = trained(TrainState.fresh(MODEL.build(), config), config, 12)
    half = trained(TrainState.fresh(model, config), config, 5)
    save_checkpoint(tmp_path, half, run, CharTokenizer("abcde"))
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.config == run and isinstance(checkpoint.config.training, MuonConfig)
    resumed = trained(checkpoint.state, config, 12)
    found, wanted = parts_of(resumed), parts_of(straight)
    assert {*found} == {*wanted} and all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert "blocks.0.mlp.widen.weight.momentum_buffer" in found
    assert "tokens.weight.exp_avg_sq" in found


def test_a_momentum_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="momentum is 1"):
        MuonConfig(steps=3, momentum=1)
