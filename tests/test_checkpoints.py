"""Saved = loaded, resumed = uninterrupted, damaged = refused."""

import dataclasses
import errno
import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bhushgpt import kinds
from bhushgpt.batches import Batches
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT
from bhushgpt.presets import RunConfig, build_model, preset
from bhushgpt.storage import run_folder
from bhushgpt.storage.checkpoints import (
    MODEL,
    OPTIMIZER,
    SETTINGS,
    load_checkpoint,
    save_checkpoint,
)
from bhushgpt.storage.checkpoints import TOKENIZER as TOKENIZER_FILE
from bhushgpt.storage.run_folder import (
    MANIFEST,
    latest_checkpoint,
    list_checkpoints,
    write_manifest,
)
from bhushgpt.storage.tensors import optimizer_parts, write_tensors
from bhushgpt.tokenizers import CharTokenizer
from bhushgpt.training import TrainState, train
from bhushgpt.training_config import TrainingConfig

TOKENIZER = CharTokenizer("\n abcdefgh")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fresh(name="gpt-v1-smoke", steps=6) -> tuple[RunConfig, TrainState, Batches]:
    config = preset(name, TOKENIZER.vocab_size, steps=steps)
    state = TrainState.fresh(build_model(config), config.training)
    tokens = np.random.default_rng(0).integers(0, TOKENIZER.vocab_size, 2000)
    batches = Batches(tokens, config.training.batch_size, config.model.context_length)
    return config, state, batches


@pytest.fixture
def saved(tmp_path):
    config, state, batches = fresh()
    for report in train(state, batches, config.training):
        if report.step == 3:
            break
    return save_checkpoint(tmp_path, state, config, TOKENIZER)


@pytest.mark.parametrize("name", ["gpt-v1-smoke", "bigram"])
def test_resumed_equals_uninterrupted_bit_for_bit(name, tmp_path):
    config, state, batches = fresh(name)
    losses = []
    for report in train(state, batches, config.training):
        losses.append(report.loss)
        if report.step == 3:
            save_checkpoint(tmp_path, state, config, TOKENIZER)
    loaded = load_checkpoint(tmp_path)
    resumed = [report.loss for report in train(loaded.state, batches, loaded.config.training)]
    assert resumed == losses[3:]
    for ours, theirs in zip(state.model.parameters(), loaded.state.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("forgotten", ["optimizer", "step", "weights"])
def test_leaving_out_a_part_of_the_state_changes_the_run(forgotten, saved):
    def rest(state, config):
        _, _, batches = fresh()
        return [report.loss for report in train(state, batches, config.training)]

    whole = load_checkpoint(saved)
    expected = rest(whole.state, whole.config)
    part = load_checkpoint(saved)
    if forgotten == "optimizer":
        part.state.optimizer = TrainState.fresh(part.state.model, part.config.training).optimizer
    elif forgotten == "step":
        part.state.step = 2
    else:
        part.state.model.load_state_dict(build_model(part.config).state_dict())
    assert rest(part.state, part.config)[-3:] != expected


def test_settings_and_tokenizer_come_back(saved):
    config, _, _ = fresh()
    loaded = load_checkpoint(saved)
    assert loaded.config == config
    assert loaded.tokenizer.digest == TOKENIZER.digest
    assert loaded.state.step == 3


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "rotary"])
def test_every_kind_of_positions_comes_back(position, tmp_path):
    config, _, _ = fresh()
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, position=position))
    state = TrainState.fresh(build_model(config), config.training)
    loaded = load_checkpoint(save_checkpoint(tmp_path, state, config, TOKENIZER))
    for name, tensor in state.model.state_dict().items():
        assert torch.equal(tensor, loaded.state.model.state_dict()[name])


def test_the_tied_weight_stays_tied(saved):
    model = load_checkpoint(saved).state.model
    assert isinstance(model, GPT)
    assert model.head.weight is model.tokens.weight


def test_the_newest_complete_checkpoint_is_taken(saved):
    run = saved.parent
    (run / "step_00000009").mkdir()  # no manifest: a save that was killed
    assert latest_checkpoint(run) == saved
    assert not list(run.glob(".*.tmp"))


@pytest.mark.parametrize("name", [MODEL, OPTIMIZER, SETTINGS])
def test_one_flipped_bit_is_refused_by_name(name, saved):
    file = saved / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(UserError, match=rf"{name} is damaged.*no earlier checkpoint"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("tokens.weight.exp_avg"), r"tokens\.weight\.exp_avg: is missing"),
        (lambda t: t.update({"x.step": torch.zeros(1)}), "x.step: the optimizer keeps no such"),
        (
            lambda t: t.update({"tokens.weight.exp_avg": torch.zeros(2, 2)}),
            r"tokens\.weight\.exp_avg: has \(2, 2\), the optimizer \(10, ",
        ),
    ],
)
def test_an_optimizer_that_is_not_the_models_is_refused(change, message, saved):
    tensors = load_file(saved / OPTIMIZER)
    change(tensors)
    save_file(tensors, saved / OPTIMIZER)
    (saved / MANIFEST).unlink()
    write_manifest(saved)
    with pytest.raises(UserError, match=message):
        load_checkpoint(saved)


def test_a_missing_file_is_named(saved):
    (saved / OPTIMIZER).unlink()
    with pytest.raises(UserError, match=rf"{OPTIMIZER} is missing"):
        load_checkpoint(saved)


def test_another_format_version_is_refused_by_number(saved):
    manifest = json.loads((saved / MANIFEST).read_text())
    (saved / MANIFEST).write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(UserError, match=r"format 99.*reads 1\."):
        load_checkpoint(saved)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', "\x00"])
def test_a_damaged_manifest_is_refused(text, saved):
    (saved / MANIFEST).write_text(text)
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(saved)


def test_an_empty_folder_says_how_to_make_a_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"no checkpoint.*-m bhushgpt train$"):
        load_checkpoint(tmp_path)


def changed(saved, path, value):
    """Change one setting of a checkpoint, the manifest with it, as a careful forger would."""
    file = saved / (
        TOKENIZER_FILE if path in ("characters", "tokenizer", "tokenizer_kind") else SETTINGS
    )
    settings = json.loads(file.read_text())
    *way, last = path.removeprefix("tokenizer_").split(".")
    place = settings
    for name in way:
        place = place[name]
    place[last] = value
    settings = value if path == "tokenizer" else settings
    file.write_text(json.dumps(settings))
    (saved / MANIFEST).unlink()
    write_manifest(saved)
    return saved


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("config.model.n_embd", "abc", r"Expected `int`, got `str` - at `\$\.n_embd`"),
        ("config.model.n_layer", True, r"Expected `int`, got `bool` - at `\$\.n_layer`"),
        ("config.training.steps", 2.5, r"Expected `int`, got `float` - at `\$\.training\.steps`"),
        ("config.held_out", 5, "held_out is 5"),
        ("config.preset", 7, r"Expected `str`, got `int` - at `\$\.preset`"),
        ("config.model.n_layer", 10**9, "do not have the sizes"),
        ("config.model.n_embd", 10**9, "do not have the sizes"),
        ("config.model.n_embd", 64, "do not have the sizes"),
        ("config.model.context_length", 10**12, "do not have the sizes"),
        ("config.model.vocab_size", 10**12, "do not belong together"),
        ("config.model", "x", r"config\.json.*Expected `object`, got `str` - at `\$\.model`"),
        ("config.kind", "gtp", "no kind of model 'gtp' here. Did you mean 'gpt'"),
        ("config.kind", 7, "no kind of model 7 here. There are: bigram, gpt"),
        ("config.training_kind", "lion", "no kind of training 'lion' here. There are: adamw"),
        ("config.model.n_embed", 8, "setting 'n_embed' that this .* Did you mean 'n_embd'"),
        ("config.training.clip", 1, "setting 'clip' that this version of bhushgpt does not know"),
        ("config.seeds", 1, "setting 'seeds' that .* does not know.*update bhushgpt"),
        ("later", 1, "setting 'later' that this version of bhushgpt does not know"),
        ("config.training.betas", 3, r"Expected `array`, got `int` - at `\$\.training\.betas`"),
        ("config", [], r"Expected `object`, got `array` - at `\$\.config`"),
        ("optimizer_groups", [], "settings in the checkpoint are of another optimizer"),
        ("step", -5, "says step -5 of 6"),
        ("step", 10**9, "says step 1000000000 of 6"),
        ("step", "x", r"Expected `int`, got `str` - at `\$\.step`"),
        ("tokenizer_kind", "bep", "a tokenizer of kind 'bep'; .* Did you mean 'bpe'"),
        ("characters", "abc", "does not fit its fingerprint"),
        ("tokenizer", CharTokenizer("ab").to_dict(), "tokenizer in .* has 2 tokens, its model 10"),
    ],
)
def test_settings_that_were_changed_are_refused_before_anything_is_built(
    path, value, message, saved
):
    with pytest.raises(UserError, match=message):
        load_checkpoint(changed(saved, path, value))


def test_a_context_that_fits_the_weights_but_not_the_memory_is_refused(tmp_path):
    config, _, _ = fresh()
    rotary = dataclasses.replace(config.model, position="rotary")
    config = dataclasses.replace(config, model=rotary)
    state = TrainState.fresh(build_model(config), config.training)
    saved = save_checkpoint(tmp_path, state, config, TOKENIZER)
    assert load_checkpoint(saved).config == config
    with pytest.raises(UserError, match="iB of memory"):
        load_checkpoint(changed(saved, "config.model.context_length", 10**12))


def test_the_last_two_checkpoints_are_kept(tmp_path):
    config, state, _ = fresh()
    for state.step in (0, 2, 4, 6):
        save_checkpoint(tmp_path, state, config, TOKENIZER)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_00000004", "step_00000006"]


def test_what_a_killed_save_left_is_swept_by_the_next(saved):
    left = saved.parent / ".step_00000003.99999.new.tmp"
    left.mkdir()
    (left / MODEL).write_bytes(b"half")
    config, state, _ = fresh()
    save_checkpoint(saved.parent, state, config, TOKENIZER)
    assert names(saved.parent) == ["last", "step_00000000", "step_00000003"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_save_that_fails_leaves_the_one_before_and_nothing_else(error, saved, monkeypatch):
    def fail(folder, **_):
        raise error

    monkeypatch.setattr("bhushgpt.storage.run_folder.write_manifest", fail)
    config, state, _ = fresh()
    with pytest.raises((UserError, KeyboardInterrupt)) as raised:
        save_checkpoint(saved.parent, state, config, TOKENIZER)
    if raised.type is UserError:
        assert "The disk is full: the checkpoint of step 0 needs 0." in str(raised.value)
        assert "free. Earlier checkpoints are as they were" in str(raised.value)
    assert names(saved.parent) == ["last", "step_00000003"]
    assert load_checkpoint(saved).state.step == 3


def test_saving_the_same_step_again_replaces_it(saved):
    loaded = load_checkpoint(saved)
    (saved / MODEL).write_bytes(b"damaged")
    save_checkpoint(saved.parent, loaded.state, loaded.config, TOKENIZER)
    assert load_checkpoint(saved.parent).state.step == 3
    assert names(saved.parent) == ["last", "step_00000003"]


def test_weights_alone_are_read_without_the_optimizer(saved, monkeypatch):
    whole = load_checkpoint(saved)
    (saved / OPTIMIZER).write_bytes(b"damaged, and not looked at")
    loaded = load_checkpoint(saved, optimizer=False)
    assert not loaded.state.optimizer.state
    assert (loaded.state.step, loaded.config) == (3, whole.config)
    for ours, theirs in zip(
        loaded.state.model.parameters(), whole.state.model.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)
    with pytest.raises(UserError, match=rf"{OPTIMIZER} is damaged"):
        load_checkpoint(saved)


def test_no_weights_are_drawn_to_be_thrown_away(saved, monkeypatch):
    drawn = []
    for name in ("normal_", "uniform_"):
        draw = getattr(torch.Tensor, name)

        def watched(tensor, *given, draw=draw, **more):
            drawn.append(tensor.device.type)
            return draw(tensor, *given, **more)

        monkeypatch.setattr(torch.Tensor, name, watched)
    load_checkpoint(saved)
    assert set(drawn) <= {"meta"}
    build_model(preset("gpt-v1-smoke", 10))
    assert "cpu" in drawn, "the watch would notice none"


@pytest.fixture
def read(monkeypatch):
    """Names of the files whose every byte is read to be hashed, in their order."""
    seen = []
    fingerprint = run_folder.fingerprint
    monkeypatch.setattr(
        run_folder, "fingerprint", lambda file: seen.append(file.name) or fingerprint(file)
    )
    return seen


def test_a_save_hashes_tensors_while_it_writes_them_and_reads_them_once(tmp_path, read):
    config, state, batches = fresh()
    next(train(state, batches, config.training))
    save_checkpoint(tmp_path, state, config, TOKENIZER)
    # Once to see that the new checkpoint is whole, before an old one may go.
    assert (read.count(MODEL), read.count(OPTIMIZER)) == (1, 1)


def test_what_is_written_piece_by_piece_is_what_the_library_reads(tmp_path):
    tensors = {
        "half": torch.randn(3, 5).bfloat16(),
        "number": torch.tensor(7),
        "turned": torch.randn(4, 6).T,
        "none": torch.empty(0, 3),
        "flags": torch.tensor([True, False]),
        "kürzer": torch.randn(4).half(),
        "wide": torch.randn(2, 2, dtype=torch.float64),
    }
    facts = write_tensors(tensors, tmp_path / MODEL)
    found = load_file(tmp_path / MODEL)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert facts == run_folder.fingerprint(tmp_path / MODEL)
    save_file({**tensors, "turned": tensors["turned"].contiguous()}, tmp_path / "theirs")
    assert (tmp_path / MODEL).read_bytes() == (tmp_path / "theirs").read_bytes()


def test_a_loaded_checkpoint_holds_no_file_open_and_its_numbers_are_aligned(saved):
    """A memory that begins anywhere is slower, and sums in it may be rounded otherwise."""
    state = load_checkpoint(saved).state
    kept = [t for entry in state.optimizer.state.values() for t in entry.values()]
    for tensor in [*state.model.state_dict().values(), *kept]:
        assert tensor.data_ptr() % 64 == 0
        assert tensor.untyped_storage().nbytes() == tensor.nbytes


@dataclass(frozen=True, kw_only=True)
class OtherTraining(TrainingConfig):
    """Settings of a later lesson, which bring an optimizer of their own."""

    rule: str = "sgd"

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        if self.rule == "muon":  # which is for matrices
            for weight in model.parameters():
                weight.requires_grad_(weight.dim() == 2)
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        return {
            "sgd": lambda: torch.optim.SGD(weights, lr=0.1, momentum=0.9),
            "plain sgd": lambda: torch.optim.SGD(weights, lr=0.1),
            "amsgrad": lambda: torch.optim.AdamW(weights, amsgrad=True),
            "nadam": lambda: torch.optim.NAdam(weights),
            "adafactor": lambda: torch.optim.Adafactor(weights),
            "muon": lambda: torch.optim.Muon(weights),
        }[self.rule]()


@pytest.mark.parametrize("rule", ["sgd", "plain sgd", "amsgrad", "nadam", "adafactor", "muon"])
@pytest.mark.parametrize("stop", [0, 3])
def test_whatever_the_optimizer_the_run_goes_on_as_if_it_had_not_stopped(
    rule, stop, tmp_path, monkeypatch
):
    monkeypatch.setitem(kinds.TRAININGS, "other", OtherTraining)
    config, _, batches = fresh()
    training = OtherTraining(**dataclasses.asdict(config.training), rule=rule)
    config = dataclasses.replace(config, training=training)
    state = TrainState.fresh(build_model(config), training)
    if stop == 0:
        save_checkpoint(tmp_path, state, config, TOKENIZER)
    losses = []
    for report in train(state, batches, training):
        losses.append(report.loss)
        if report.step == stop:
            save_checkpoint(tmp_path, state, config, TOKENIZER)
    loaded = load_checkpoint(tmp_path)
    assert loaded.config == config
    assert type(loaded.state.optimizer) is type(state.optimizer)
    assert [r.loss for r in train(loaded.state, batches, loaded.config.training)] == losses[stop:]
    for ours, theirs in zip(state.model.parameters(), loaded.state.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_weight_that_was_never_trained_stays_without_a_state(tmp_path):
    config, state, batches = fresh("bigram")
    (weight,) = state.model.parameters()
    spare = nn.Parameter(torch.zeros(3))
    state.model.register_parameter("spare", spare)
    state.optimizer.add_param_group({"params": [spare]})
    next(train(state, batches, config.training))
    tensors, groups = optimizer_parts(state)
    assert not any(name.startswith("spare") for name in tensors)
    assert [group["params"] for group in groups][-1] == ["spare"]
    assert spare not in state.optimizer.state and weight in state.optimizer.state


def test_an_optimizer_of_another_kind_is_refused_by_name(saved, monkeypatch):
    monkeypatch.setitem(kinds.TRAININGS, "other", OtherTraining)
    with pytest.raises(UserError, match=r"exp_avg: the optimizer keeps no such numbers"):
        load_checkpoint(changed(saved, "config.training_kind", "other"))


def test_settings_without_a_name_are_not_saved(tmp_path):
    config, state, _ = fresh()
    training = OtherTraining(**dataclasses.asdict(config.training))
    config = dataclasses.replace(config, training=training)
    with pytest.raises(UserError, match=r"TRAININGS\['my-training'\] = OtherTraining"):
        save_checkpoint(tmp_path, state, config, TOKENIZER)
    assert not list_checkpoints(tmp_path)


@pytest.mark.parametrize("name", [TOKENIZER_FILE, SETTINGS, MODEL, OPTIMIZER])
def test_a_folder_that_vouches_for_too_little_is_no_checkpoint(name, saved):
    (saved / name).unlink()
    (saved / MANIFEST).unlink()
    write_manifest(saved)
    with pytest.raises(UserError, match=rf"is not a checkpoint of a run: it has no {name}"):
        load_checkpoint(saved)


def test_a_save_before_the_first_step_changes_nothing(tmp_path):
    losses = []
    for folder in (None, tmp_path):
        config, state, batches = fresh()
        if folder:
            assert optimizer_parts(state) == ({}, []) and not state.optimizer.state
            save_checkpoint(folder, state, config, TOKENIZER)
        losses.append([report.loss for report in train(state, batches, config.training)])
    assert losses[0] == losses[1]


def test_counts_of_steps_come_back_in_the_optimizers_own_shape(saved):
    entries = load_checkpoint(saved).state.optimizer.state.values()
    assert {entry["step"].shape for entry in entries} == {torch.Size([])}


def test_an_optimizer_of_other_weights_is_refused(saved):
    settings = json.loads((saved / SETTINGS).read_text())
    groups = settings["optimizer_groups"]
    groups[0]["params"][0] = "another.weight"
    with pytest.raises(UserError, match="settings in the checkpoint are of another model"):
        load_checkpoint(changed(saved, "optimizer_groups", groups))


def test_whole_numbers_are_no_weights(saved):
    tensors = load_file(saved / MODEL)
    name = next(iter(tensors))
    save_file(tensors | {name: tensors[name].to(torch.int32)}, saved / MODEL)
    (saved / MANIFEST).unlink()
    write_manifest(saved)
    with pytest.raises(UserError, match=rf"{name}: the checkpoint has torch\.int32, the model"):
        load_checkpoint(saved)


@pytest.mark.parametrize("name", ["a", "ab", "abc", "a longer name"])
def test_numbers_begin_where_numbers_of_their_width_may(name, tmp_path):
    """Else whoever maps the file into memory must copy them first."""
    kinds = (torch.int8, torch.float64, torch.int16, torch.float32)
    tensors = {f"{name}.{kind}": torch.arange(3).to(kind) for kind in kinds}
    write_tensors(tensors, tmp_path / MODEL)
    data = (tmp_path / MODEL).read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    for key, facts in json.loads(data[8 : 8 + length]).items():
        assert facts["data_offsets"][0] % tensors[key].element_size() == 0
    assert all(torch.equal(tensors[key], t) for key, t in load_file(tmp_path / MODEL).items())
