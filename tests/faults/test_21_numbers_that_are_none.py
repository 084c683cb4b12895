"""Fault 21: a loss or gradient that is NaN or infinite stops the run with its weights whole."""

import dataclasses
import math

import pytest
import torch

from bhushgpt.diagnosis.loss_curves import SpikeDetector
from bhushgpt.diagnosis.non_finite import explain_non_finite
from bhushgpt.training import NonFinite, batch_loss, train
from tests.small_runs import batches_of, fresh_state, same_weights, small_config

BAD = 4  # the batch that goes wrong


class Poisoned:
    """The usual batches, one of which is told to the loss."""

    def __init__(self, batches):
        self.batches, self.bad = batches, batches[BAD][0]

    def __getitem__(self, step):
        return self.batches[step]

    def loss(self, value, *, backwards=False):
        def spoilt(model, inputs, targets):
            layer = model.blocks[0].mlp.activation
            if not any(torch.equal(part, inputs) for part in self.bad.split(len(inputs))):
                return batch_loss(model, inputs, targets)

            def spoil(module, given, output):
                if backwards:
                    output.register_hook(lambda gradient: gradient * value)
                    return output
                return output * value

            handle = layer.register_forward_hook(spoil, prepend=True)
            try:
                return batch_loss(model, inputs, targets)
            finally:
                handle.remove()

        return spoilt


def poisoned_run():
    config = small_config(8)
    return config, fresh_state(config), Poisoned(batches_of(config))


@pytest.mark.parametrize("backwards", [False, True], ids=["loss", "gradient"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_it_stops_before_the_step_and_names_layer_batch_and_ways_out(value, backwards) -> None:
    config, state, batches = poisoned_run()
    clean_config, clean = small_config(8), fresh_state(small_config(8))
    loss = batches.loss(value, backwards=backwards)
    numbers = torch.get_rng_state()
    with pytest.raises(NonFinite) as raised:
        for _ in train(state, batches, config.training, loss):
            pass
    assert torch.equal(torch.get_rng_state(), numbers)
    assert all(weight.grad is None for weight in state.model.parameters())
    message = f"{raised.value} {explain_non_finite(state, batches, config.training, loss)}"
    assert f"Training stopped at step {BAD + 1}" in message
    assert "blocks.0.mlp" in message  # the layer
    assert f"batch {BAD}" in message
    assert "Lower the learning rate (it was" in message
    assert f"Batches(..., skip=[{BAD}])" in message
    assert "Traceback" not in message
    assert raised.value.step == BAD
    # What is safe: exactly the weights of the steps before.
    assert state.step == BAD
    for report in train(clean, batches_of(clean_config), clean_config.training):
        if report.step == BAD:
            break
    assert same_weights(state, clean)
    assert all(weight.isfinite().all() for weight in state.model.parameters())
    assert all(weight.grad is None for weight in state.model.parameters())


def test_leaving_the_batch_out_as_told_goes_on_to_the_end() -> None:
    config, state, batches = poisoned_run()
    loss = batches.loss(math.nan)
    with pytest.raises(NonFinite):
        list(train(state, batches, config.training, loss))
    rest = list(train(state, batches_of(config, skip=[BAD]), config.training, loss))
    assert [report.step for report in rest] == [5, 6, 7, 8]
    assert all(math.isfinite(report.loss) for report in rest)


def test_a_rate_that_blows_up_stops_or_stays_finite() -> None:
    config = small_config(40)
    senseless = dataclasses.replace(
        config.training, learning_rate=1e30, warmup_steps=0, schedule="constant"
    )
    state = fresh_state(config)
    with pytest.raises(NonFinite, match=r"Lower the learning rate \(it was 1e\+30\)"):
        list(train(state, batches_of(config), senseless))
    assert 0 < state.step < 40


def test_a_spike_is_reported_and_changes_nothing() -> None:
    detector = SpikeDetector(window=20)
    found = [detector.look(step, 9.0 if step == 30 else 2.0 + step % 3 / 50) for step in range(40)]
    spikes = [spike for spike in found if spike]
    assert [spike.step for spike in spikes] == [30]
    assert str(spikes[0]).startswith("step 30: the loss is 9.000, usual is 2.0")
