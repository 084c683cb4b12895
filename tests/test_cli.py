"""The commands as a person types them: what is printed, what is written, what is refused."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from bhushgpt.checkpoints import latest_checkpoint
from bhushgpt.cli import main
from bhushgpt.demo import make_room
from bhushgpt.registry import corpora
from bhushgpt.runs import HISTORY

TEXT = "the cat sat on the mat and the dog sat on the log\n" * 60


@pytest.fixture(scope="module")
def own_text(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "cats.txt"
    file.write_text(TEXT, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def run(own_text, tmp_path_factory):
    """A small model trained on a text of the user's own."""
    folder = tmp_path_factory.mktemp("runs") / "cats"
    assert train("--corpus", own_text, "--out", folder) == 0
    return folder


def train(*flags, preset="gpt-v1-smoke", steps=40):
    return main(["train", "--preset", preset, "--steps", str(steps), *map(str, flags)])


def test_training_leaves_a_whole_run_behind(run):
    assert latest_checkpoint(run).name == "step_00000040"
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert len((run / HISTORY).read_text().splitlines()) == 40
    record = json.loads((run / "run.json").read_text())
    assert record["steps_done"] == 40
    assert record["held_out"]["nats_per_token"] < 2.9


def test_training_says_parameters_memory_and_time_first_and_the_ladder_last(
    own_text, tmp_path, capsys
):
    assert train("--corpus", own_text, "--out", tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert "parameters, about" in out.split("uniform")[0]
    assert "MiB" in out.split("uniform")[0]
    assert "tokens/s" in out.split("uniform")[0]
    assert "gpt-v1-smoke" in out.split("n-gram")[-1]
    assert "bhushgpt complete --run" in out


def test_evaluating_twice_gives_the_same_number_to_the_last_digit(run, capsys):
    printed = []
    for _ in range(2):
        assert main(["evaluate", "--run", str(run), "--json"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    facts = json.loads(printed[0])
    assert set(facts) == {"nats_per_token", "perplexity", "bits_per_byte", "tokens"}
    assert facts["tokens"] == len(TEXT) // 10 - 1


def test_evaluate_prints_a_table_for_people(run, capsys):
    assert main(["evaluate", "--run", str(run)]) == 0
    assert "perplexity" in capsys.readouterr().out


def complete(run, capsys, *flags):
    status = main(["complete", "--run", str(run), *flags])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_completion_keeps_the_prompt_and_repeats_with_its_seed(run, capsys):
    texts = [
        complete(run, capsys, "--prompt", "the cat", "--tokens", "30", "--seed", seed)[1]
        for seed in ("1", "1", "2")
    ]
    assert texts[0].startswith("the cat")
    assert len(texts[0]) == len("the cat") + 30 + 1
    assert texts[0] == texts[1] != texts[2]


def test_temperature_zero_is_greedy_whatever_the_seed(run, capsys):
    texts = {
        complete(run, capsys, "--prompt", "the", "--temperature", "0", "--seed", seed)[1]
        for seed in ("1", "2", "3")
    }
    assert len(texts) == 1


def test_top_k_above_the_vocabulary_is_clipped(run, capsys):
    plain = complete(run, capsys, "--prompt", "the")
    clipped = complete(run, capsys, "--prompt", "the", "--top-k", "9999")
    assert plain == clipped


def test_an_empty_prompt_starts_from_a_newline(run, capsys):
    status, out, _ = complete(run, capsys, "--prompt", "", "--tokens", "12")
    _, after_newline, _ = complete(run, capsys, "--prompt", "\n", "--tokens", "12")
    assert status == 0
    assert after_newline == "\n" + out


def test_a_long_prompt_is_cropped_with_a_notice_and_kept_in_the_text(run, capsys):
    prompt = "the cat sat on the mat " * 4
    status, out, err = complete(run, capsys, "--prompt", prompt, "--tokens", "5")
    assert status == 0
    assert out.startswith(prompt)
    assert "looks at the last 32" in err


def test_an_unknown_character_is_named_with_the_choices(run, capsys):
    status, out, err = complete(run, capsys, "--prompt", "the €")
    assert (status, out) == (1, "")
    assert "'€' at position 4" in err
    assert "--unknown skip" in err
    assert complete(run, capsys, "--prompt", "the €", "--unknown", "skip")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--preset", "gpt-v11"], "Did you mean 'gpt-v1'"),
        (["train", "--corpus", "sherlok"], "Did you mean 'sherlock'"),
        (["train", "--corpus", "nowhere/my.txt"], "no file"),
        (["train", "--steps", "-5"], "steps is -5"),
        (["complete", "--run", "nowhere", "--prompt", "a"], "no checkpoint in nowhere"),
        (["evaluate", "--run", "nowhere"], "no run in nowhere"),
        (["train", "--resume", "nowhere"], "no run in nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(arguments, message, capsys):
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("bhushgpt: ")
    assert "Traceback" not in captured.err + captured.out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--temperature", "-1"], "temperature is -1.0"),
        (["--top-k", "0"], "top_k is 0"),
        (["--top-p", "1.5"], "top_p is 1.5"),
        (["--tokens", "-1"], "--tokens is -1"),
    ],
)
def test_senseless_sampling_settings_are_refused(flags, message, run, capsys):
    status, out, err = complete(run, capsys, "--prompt", "the", *flags)
    assert (status, out) == (1, "")
    assert message in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"too short", "needs"),
        (b"a much longer text " * 10, "held-out part has 19 tokens"),
        (b"caf\xe9 " * 400, "UTF-8"),
    ],
)
def test_a_text_that_cannot_be_used_says_what_was_found(content, message, tmp_path, capsys):
    file = tmp_path / "text.txt"
    file.write_bytes(content)
    assert train("--corpus", file, "--out", tmp_path / "run") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_folder_with_a_run_is_not_overwritten(run, own_text, capsys):
    before = (run / "run.json").read_bytes()
    assert train("--corpus", own_text, "--out", run) == 1
    assert "holds another run" in capsys.readouterr().err
    assert (run / "run.json").read_bytes() == before


def test_a_changed_text_is_noticed(tmp_path, capsys):
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    assert train("--corpus", file, "--out", tmp_path / "run", steps=2) == 0
    file.write_text(TEXT + "and one more line\n")
    capsys.readouterr()
    assert main(["evaluate", "--run", str(tmp_path / "run")]) == 1
    assert "has changed since" in capsys.readouterr().err


def test_a_finished_run_is_not_trained_again(run, capsys):
    assert main(["train", "--resume", str(run)]) == 0
    assert "is finished: all 40 steps" in capsys.readouterr().out


def test_control_c_saves_and_the_resumed_run_equals_the_uninterrupted_one(own_text, tmp_path):
    flags = ["--preset", "gpt-v1-smoke", "--steps", "400", "--corpus", str(own_text)]
    command = [sys.executable, "-m", "bhushgpt", "train"]
    process = subprocess.Popen(
        [*command, *flags, "--out", str(tmp_path / "broken")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    history = tmp_path / "broken" / HISTORY
    while not (history.exists() and history.read_text().count("\n") > 20):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "is saved" in err
    assert "--resume" in err
    assert "Traceback" not in err
    done = json.loads((tmp_path / "broken" / "run.json").read_text())["steps_done"]
    assert 20 < done < 400

    assert main(["train", "--resume", str(tmp_path / "broken")]) == 0
    assert train("--corpus", own_text, "--out", tmp_path / "whole", steps=400) == 0
    assert history.read_text() == (tmp_path / "whole" / HISTORY).read_text()


def test_an_error_of_our_own_goes_to_a_file_instead_of_the_screen(monkeypatch, capsys):
    def fail(name):
        raise KeyError("planted")

    monkeypatch.setattr("bhushgpt.information_commands.pick_device", fail)
    assert main(["info"]) == 70
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert "error.log" in captured.err
    file = captured.err.split("The details are in ")[1].split(";")[0]
    with open(file, encoding="utf-8") as stream:
        assert "KeyError: 'planted'" in stream.read()


def test_info_names_device_memory_types_and_versions(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for word in ("cpu", "GiB", "float32", "python", "torch", "numpy", "--device auto"):
        assert word in out


def test_corpora_gives_source_and_licence_of_each(capsys):
    assert main(["corpora"]) == 0
    out = capsys.readouterr().out
    assert "sherlock\n  The Adventures of Sherlock Holmes" in out
    for name, entry in corpora().items():
        part = out.split(f"{name}\n")[1].split("\n\n")[0]
        assert entry.licence in part
        assert entry.sources[0].address in part


def test_wrong_flags_show_how_to_get_help(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--stepz", "3"])
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert "--steps" in captured.err + captured.out


def test_the_demo_writes_every_promised_file(tmp_path, capsys):
    folder = tmp_path / "demo"
    assert main(["demo", "--steps", "12", "--out", str(folder)]) == 0
    out = capsys.readouterr().out
    ladder = json.loads((folder / "ladder.json").read_text())
    assert list(ladder) == ["uniform", "unigram", "bigram", "n-gram", "gpt-v1"]
    assert ladder["uniform"] > ladder["unigram"] > ladder["bigram"] > ladder["n-gram"]
    assert ladder["n-gram"] == pytest.approx(1.392, abs=0.001)
    assert out.count("--- ") == 3
    for name in ("curve.png", "run.json", HISTORY):
        assert (folder / name).stat().st_size > 0
    assert latest_checkpoint(folder).name == "step_00000012"


def test_an_earlier_demo_is_moved_aside_not_overwritten(tmp_path):
    folder = tmp_path / "demo"
    assert make_room(folder) is None
    for number in (1, 2):
        folder.mkdir()
        (folder / "run.json").write_text(str(number))
        assert make_room(folder) == tmp_path / f"demo-{number}"
    assert (tmp_path / "demo-1" / "run.json").read_text() == "1"
