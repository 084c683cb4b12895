"""Fault 17: where the random numbers cannot be put back, that is an error, not a line in a log."""

import random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bhushgpt.errors import UserError
from bhushgpt.storage.checkpoints import load_checkpoint, save_checkpoint
from bhushgpt.storage.run_folder import MANIFEST, write_manifest
from bhushgpt.storage.tensors import RandomState
from tests.small_runs import TOKENIZER, fresh_state, small_config

CONFIG = small_config(6)


def draws() -> tuple[float, ...]:
    return (
        random.random(),
        random.gauss(0, 1),
        float(np.random.rand()),
        float(np.random.standard_normal()),
        torch.rand(1).item(),
        torch.randn(1).item(),
    )


def test_all_generators_go_on_where_they_stood(tmp_path) -> None:
    draws()  # so that the halves of normal pairs are waiting
    saved = save_checkpoint(tmp_path, fresh_state(CONFIG), CONFIG, TOKENIZER)
    expected = [draws() for _ in range(3)]
    state = load_checkpoint(saved).random
    assert state is not None
    state.restore()
    assert [draws() for _ in range(3)] == expected


def test_loading_alone_changes_no_random_numbers(tmp_path) -> None:
    saved = save_checkpoint(tmp_path, fresh_state(CONFIG), CONFIG, TOKENIZER)
    state = RandomState.now()
    expected = draws()
    state.restore()
    load_checkpoint(saved)
    assert draws() == expected


DAMAGE = {
    "torch's too short": ("torch", torch.zeros(7, dtype=torch.uint8)),
    "torch's of another kind": ("torch", torch.zeros(5056, dtype=torch.float32)),
    "numpy's too short": ("numpy", torch.zeros(3, dtype=torch.int64)),
    "numpy's place impossible": ("numpy", torch.tensor([0] * 624 + [10**9, 0])),
    "numpy's numbers too large": ("numpy", torch.tensor([2**40] * 624 + [0, 0])),
    "Python's too short": ("python", torch.tensor([3, 1, 2])),
    "Python's of another version": ("python", torch.tensor([99] + [0] * 625)),
    "Python's empty": ("python", torch.zeros(0, dtype=torch.int64)),
}


@pytest.mark.parametrize(("name", "tensor"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_state_that_fits_no_generator_is_an_error(name, tensor, tmp_path) -> None:
    saved = save_checkpoint(tmp_path, fresh_state(CONFIG), CONFIG, TOKENIZER)
    file = saved / "random.safetensors"
    save_file(load_file(file) | {name: tensor}, file)
    (saved / MANIFEST).unlink()
    write_manifest(saved)
    state = load_checkpoint(saved).random
    assert state is not None
    before = RandomState.now()
    expected = draws()
    before.restore()
    with pytest.raises(UserError) as raised:
        state.restore()
    assert "random state of the checkpoint cannot be restored here" in str(raised.value)
    assert "Take another checkpoint, or start a new run." in str(raised.value)
    assert draws() == expected, "what could not be restored changed something"


@pytest.mark.parametrize("name", ["torch", "numpy", "python", "python.normal", "numpy.normal"])
def test_a_state_that_lacks_a_generator_is_an_error(name) -> None:
    tensors = {key: value for key, value in RandomState.now().tensors.items() if key != name}
    with pytest.raises(UserError, match="cannot be restored here"):
        RandomState(tensors).restore()


def test_a_gpu_goes_on_where_it_stood() -> None:
    if not torch.cuda.is_available():
        pytest.skip("There is no CUDA here, so no random numbers of a GPU.")
    torch.rand(1, device="cuda")
    state = RandomState.now()
    expected = torch.rand(3, device="cuda").tolist()
    state.restore("cuda")
    assert torch.rand(3, device="cuda").tolist() == expected


def test_what_was_put_back_before_the_one_that_fails_is_taken_back() -> None:
    """Python's and numpy's come first: they must not stand where the checkpoint left them."""
    wrong = RandomState.now().tensors | {"torch": torch.zeros(7, dtype=torch.uint8)}
    draws()
    before = RandomState.now()
    expected = draws()
    before.restore()
    with pytest.raises(UserError, match="cannot be restored here"):
        RandomState(wrong).restore()
    assert draws() == expected
