"""Settings that cannot be used are refused, all at once and by name."""

import dataclasses
import math

import pytest

from bhushgpt.errors import UserError
from bhushgpt.training_config import TrainingConfig


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"steps": 0}, "steps is 0, it must be at least 1"),
        ({"batch_size": 0}, "batch_size is 0, it must be at least 1"),
        ({"warmup_steps": -1}, "warmup_steps is -1, it must be at least 0"),
        ({"accumulation_steps": 0}, "accumulation_steps is 0, it must be at least 1"),
        ({"learning_rate": -0.1}, "learning_rate is -0.1, it must be at least 0"),
        ({"learning_rate": math.nan}, "learning_rate is nan, it must be at least 0"),
        ({"min_learning_rate": -1.0}, "min_learning_rate is -1.0, it must be at least 0"),
        (
            {"learning_rate": 0.1, "min_learning_rate": 0.2},
            "min_learning_rate 0.2 is above learning_rate 0.1",
        ),
        ({"weight_decay": -1.0}, "weight_decay is -1.0, it must be at least 0"),
        ({"betas": (0.9, 1.0)}, r"betas are \(0.9, 1.0\), each must be at least 0 and below 1"),
        ({"max_grad_norm": 0.0}, "max_grad_norm is 0.0, it must be above 0"),
        ({"schedule": "up"}, "schedule is 'up', there are constant, linear, cosine"),
        (
            {"batch_size": 6, "accumulation_steps": 4},
            "batch_size 6 cannot be cut into 4 equal parts",
        ),
    ],
)
def test_each_setting_out_of_range_is_refused_by_name(setting, sentence):
    with pytest.raises(UserError, match=f"These training settings cannot be used: {sentence}"):
        TrainingConfig(**{"steps": 10, **setting})


def test_all_problems_are_named_at_once():
    with pytest.raises(UserError) as error:
        TrainingConfig(steps=-1, weight_decay=-1, schedule="up")  # type: ignore[arg-type]
    assert str(error.value).count(";") == 2


def test_the_edges_are_allowed():
    TrainingConfig(steps=1, batch_size=1, learning_rate=0, weight_decay=0, betas=(0, 0))
    TrainingConfig(steps=1, max_grad_norm=math.inf, min_learning_rate=3e-3)


def test_a_run_cannot_be_changed_under_way():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainingConfig(steps=1).steps = 2  # type: ignore[misc]


def test_decay_steps_belong_to_wsd_alone():
    with pytest.raises(UserError, match="decay_steps is 5, but only the schedule wsd"):
        TrainingConfig(steps=10, schedule="cosine", decay_steps=5)
    assert TrainingConfig(steps=10, schedule="wsd", decay_steps=5).decay_steps == 5
