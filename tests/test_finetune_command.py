"""`finetune` as a person types it: both texts measured, replay, LoRA, going on, and refusals."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from bhushgpt.commands.line import main
from bhushgpt.interop.gpt2 import from_hf
from bhushgpt.lora import LoRAConfig, additions, merged
from bhushgpt.runs import FineTuning, start_fine_tuning
from bhushgpt.runs.fine_tuning import held_out_loss
from bhushgpt.runs.start import resume_session
from bhushgpt.speed import World
from bhushgpt.storage import load_adapter, load_checkpoint
from bhushgpt.training import train as steps_of
from tests.interrupted_runs import train

FOXES = "a fox jumps over the log and a dog lies on the moss\n" * 60
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def foxes(tmp_path_factory) -> Path:
    """The second text; its characters j, v, x and others are not in the first."""
    file = tmp_path_factory.mktemp("second") / "foxes.txt"
    file.write_text(FOXES, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def base(text, tmp_path_factory) -> Path:
    """A run on the cats and dogs of the fixture `text`."""
    folder = tmp_path_factory.mktemp("runs") / "base"
    assert train(text, folder) == 0
    return folder


def finetune(base: Path, corpus: Path, out: Path, *flags: str, steps: int = 12) -> int:
    words = ["--run", base, "--corpus", corpus, "--out", out, "--steps", steps, *flags]
    return main(["finetune", *map(str, words)])


@pytest.fixture(scope="module")
def tuned(base, foxes, tmp_path_factory) -> Path:
    """All weights fine-tuned, with replay."""
    out = tmp_path_factory.mktemp("tuned") / "run"
    assert finetune(base, foxes, out, "--unknown", "skip", "--replay", "0.5") == 0
    return out


@pytest.fixture(scope="module")
def with_additions(base, foxes, tmp_path_factory) -> Path:
    """Additions of rank 3 fine-tuned, without replay."""
    out = tmp_path_factory.mktemp("lora") / "run"
    flags = ("--unknown", "skip", "--lora", "3", "--replay", "0")
    assert finetune(base, foxes, out, *flags) == 0
    return out


def record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def test_both_losses_before_and_after_are_true_and_written_down(tuned, base, foxes) -> None:
    facts = record(tuned)["fine_tuning"]
    session = resume_session(tuned, World(device=CPU))
    assert session.origin is not None
    before = load_checkpoint(base).state.model
    for name, model in (("before", before), ("after", session.model)):
        assert facts[f"old_{name}"] == held_out_loss(model, session.origin.old)  # type: ignore
        assert facts[f"new_{name}"] == held_out_loss(model, session.text)  # type: ignore
    assert facts["new_after"] < facts["new_before"] - 0.1
    assert facts["old_after"] != facts["old_before"]
    assert facts["base"] == str(next(base.glob("step_*30")).absolute())
    assert (facts["replay"], facts["unknown"], facts["lora"]) == (0.5, "skip", None)


def test_it_prints_both_texts_and_what_was_left_out(base, foxes, tmp_path, capsys) -> None:
    finetune(base, foxes, tmp_path / "run", "--unknown", "replace", steps=2)
    out = capsys.readouterr().out
    assert re.search(r"cats\.txt +\d\.\d{4} +\d\.\d{4} +[+-]\d\.\d{4}\n", out)
    assert re.search(r"foxes\.txt +\d\.\d{4} +\d\.\d{4} +-\d\.\d{4}\n", out)
    assert "characters that the model has never seen are read as ' ': 'f', 'i', 'j'" in out
    assert "all weights are trained, 50% of a batch is cats.txt" in out
    assert f"complete --run {tmp_path / 'run'}" in out


def test_the_first_run_is_left_as_it_was(base, tuned, with_additions) -> None:
    assert "fine_tuning" not in record(base)
    assert not (base / "adapter.safetensors").exists()


def test_replay_windows_are_of_the_old_text(tuned) -> None:
    session = resume_session(tuned, World(device=CPU))
    inputs, _ = session.batches[3]
    texts = [session.text.tokenizer.decode(row) for row in inputs]
    cats = Path(record(tuned)["fine_tuning"]["old"]["corpus"]).read_text()
    foxes = "".join(c for c in FOXES if c in cats)
    assert [row in cats for row in texts] == [False] * 4 + [True] * 4
    assert all(row in foxes for row in texts[:4])


def test_only_additions_are_trained_and_their_file_is_small(with_additions, base) -> None:
    checkpoint, before = load_checkpoint(with_additions), load_checkpoint(base)
    assert isinstance(checkpoint.config.model, LoRAConfig) and checkpoint.config.model.rank == 3
    model, first = checkpoint.state.model, before.state.model
    plain = first.state_dict()
    for name, weight in model.state_dict().items():
        if name not in additions(model):
            assert torch.equal(weight, plain[name.replace(".base.", ".")])
    again = load_adapter(first, with_additions / "adapter.safetensors")  # type: ignore
    ids = torch.arange(9)[None]
    assert torch.equal(again(ids), model(ids)) and not torch.equal(again(ids), first(ids))
    assert (with_additions / "adapter.safetensors").stat().st_size < 0.4 * (
        next(base.glob("step_*30")) / "model.safetensors"
    ).stat().st_size


def test_the_adapter_completes_on_the_base_as_the_run_does(with_additions, base, capsys) -> None:
    said = []
    adapter = ["--adapter", str(with_additions / "adapter.safetensors")]
    for flags in (["--run", str(with_additions)], ["--run", str(base), *adapter]):
        assert main(["complete", "--prompt", "the ", "--tokens", "30", *flags]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert main(["complete", "--prompt", "the ", "--tokens", "30", "--run", str(base)]) == 0
    assert capsys.readouterr().out != said[0]


def test_an_adapter_for_another_model_is_a_sentence(with_additions, tuned, capsys) -> None:
    adapter = str(with_additions / "adapter.safetensors")
    assert main(["complete", "--run", str(tuned), "--prompt", "a", "--adapter", adapter]) == 1
    assert "was made for another model: the sizes fit, but" in capsys.readouterr().err


def test_a_run_with_additions_is_exported_merged(with_additions, tmp_path) -> None:
    assert main(["export", "--run", str(with_additions), str(tmp_path / "hf")]) == 0
    model = merged(load_checkpoint(with_additions).state.model)  # type: ignore
    ids = torch.arange(9)[None]
    assert torch.allclose(from_hf(tmp_path / "hf")(ids), model(ids), atol=1e-5)


def test_a_stopped_run_goes_on_to_the_same_weights(base, foxes, tmp_path) -> None:
    settings, weights = FineTuning(steps=8, unknown="skip", lora=2, replay=0.5), []
    for name, part in (("whole", 8), ("stopped", 3)):
        session = start_fine_tuning(base, str(foxes), World(device=CPU), tmp_path / name, settings)
        training = session.config.training
        for report in steps_of(session.state, session.batches, training, session.loss):
            if report.step == part:
                break
        session.save()
        if name == "stopped":
            assert main(["train", "--resume", str(tmp_path / name)]) == 0
        weights.append(load_checkpoint(tmp_path / name).state.model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert "new_after" in record(tmp_path / "stopped")["fine_tuning"]
    assert (tmp_path / "stopped" / "adapter.safetensors").is_file()


def test_a_fine_tuned_run_can_be_fine_tuned_again(with_additions, text, tmp_path) -> None:
    assert finetune(with_additions, text, tmp_path / "again", "--lora", "2", steps=2) == 0
    config = load_checkpoint(tmp_path / "again").config
    assert config.preset == "gpt-v1-smoke-finetuned" and config.model.rank == 2  # type: ignore
    facts = record(tmp_path / "again")["fine_tuning"]
    after = record(with_additions)["fine_tuning"]
    assert abs(facts["old_before"] - after["new_after"]) < 1e-5  # merged now


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), r"The character 'f' at position 2 .*--unknown skip or --unknown replace"),
        (("--unknown", "skip", "--replay", "1"), "--replay is 1.0, it is a share from 0"),
        (("--unknown", "skip", "--lora", "0", "--steps", "0"), "--lora is 0, .*--steps is 0"),
        (("--unknown", "skip", "--lora", "99"), "rank is 99, .* from 1 to n_embd 32"),
        (("--unknown", "skip", "--learning-rate", "-1"), "--learning-rate is -1.0"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    flags, said, base, foxes, tmp_path, capsys
) -> None:
    words = ["--run", base, "--corpus", foxes, "--out", tmp_path / "run", *flags]
    assert main(["finetune", *map(str, words)]) == 1
    assert re.search(said, capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_a_changed_first_text_is_noticed(base, foxes, tmp_path, capsys) -> None:
    other = shutil.copytree(base, tmp_path / "base")
    facts = record(base) | {"corpus_sha256": "of another text"}
    (other / "run.json").write_text(json.dumps(facts))
    assert finetune(other, foxes, tmp_path / "out", "--unknown", "skip") == 1
    assert "has changed since" in capsys.readouterr().err


def test_a_damaged_origin_is_a_sentence(tuned, tmp_path, capsys) -> None:
    facts = record(tuned)
    file = tuned / "run.json"
    whole = file.read_text()
    try:
        for wrong in ([], {"old": 3}, {"old": {}, "replay": "x"}):
            file.write_text(json.dumps(facts | {"fine_tuning": wrong}))
            assert main(["train", "--resume", str(tuned)]) == 1
            assert "fine-tuned, but not from what" in capsys.readouterr().err
    finally:
        file.write_text(whole)
