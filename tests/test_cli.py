"""The commands as a person types them: what is printed, what is written, what is refused."""

import dataclasses
import errno
import importlib
import importlib.metadata
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from bhushgpt import figures
from bhushgpt.__main__ import start
from bhushgpt.commands import COMMANDS
from bhushgpt.commands.line import main
from bhushgpt.commands.train import DEFAULT_CORPUS, DEFAULT_PRESET
from bhushgpt.corpus import load_text
from bhushgpt.devices import describe_device
from bhushgpt.environment import command
from bhushgpt.kv_cache import Cached
from bhushgpt.presets import PRESETS
from bhushgpt.runs import report
from bhushgpt.runs.folder import HISTORY, RunFolder
from bhushgpt.runs.report import make_room
from bhushgpt.sources.registry import corpora
from bhushgpt.storage.checkpoints import MODEL, OPTIMIZER, config_from_dict, load_checkpoint
from bhushgpt.storage.run_folder import latest_checkpoint, list_checkpoints
from bhushgpt.training import NonFinite

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


def test_a_picture_that_fails_costs_no_result(own_text, tmp_path, monkeypatch, capsys):
    def broken(figure):
        raise RuntimeError("no font\nat all")

    monkeypatch.setattr(figures, "png_bytes", broken)
    assert train("--corpus", own_text, "--out", tmp_path / "run", preset="bigram", steps=3) == 0
    out = capsys.readouterr().out
    assert "bigram, trained" in out
    assert "curve.png could not be drawn (RuntimeError: no font); everything else is saved." in out
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["held_out"] and (tmp_path / "run" / "ladder.json").is_file()


def test_training_leaves_a_whole_run_behind(run):
    assert latest_checkpoint(run).name == "step_00000040"
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert len((run / HISTORY).read_text().splitlines()) == 40
    record = json.loads((run / "run.json").read_text())
    assert record["steps_done"] == 40
    # 1.40 was measured. The unigram has 2.34, an untrained model 2.64, and the bigram, which has
    # counted the whole of a text that repeats one line, 0.79.
    assert 0.8 < record["held_out"]["nats_per_token"] < 1.8


def test_the_record_says_what_was_asked_and_what_came_of_it(run, own_text):
    record = json.loads((run / "run.json").read_text())
    assert set(record) == {
        *("version", "preset", "config", "corpus", "corpus_sha256", "tokens", "machine"),
        *("device", "processes", "options", "matmul_limit"),
        *("steps_done", "seconds", "tokens_per_second", "best"),
        *("held_out", "glances", "ladder", "n_gram_order"),
    }
    assert all(name in (RunFolder.__doc__ or "") for name in record)
    assert config_from_dict(record["config"]) == load_checkpoint(run).config
    assert record["corpus"] == str(own_text.resolve())
    assert record["corpus_sha256"] == load_text(own_text).sha256
    assert record["tokens_per_second"] == pytest.approx(40 * 8 * 32 / record["seconds"])
    assert record["ladder"]["gpt-v1-smoke"] == record["held_out"]["nats_per_token"]
    (middle, nats), (end, last) = record["glances"]
    assert (middle, end) == (25, 40)
    assert last < nats < record["ladder"]["uniform"]
    assert record["best"] == {"step": 40, "held_out": last}


def test_training_says_parameters_memory_and_time_first_and_the_ladder_last(
    own_text, tmp_path, capsys
):
    assert train("--corpus", own_text, "--out", tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert "parameters, about" in out.split("uniform")[0]
    assert "iB with Python and torch" in out.split("uniform")[0]
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


def test_beyond_the_context_the_exact_way_is_there_on_demand(run, capsys, monkeypatch):
    calls = []
    start = Cached.__init__

    def noted(self, model, **more):
        calls.append(more["exact"])
        start(self, model, **more)

    monkeypatch.setattr(Cached, "__init__", noted)
    long = ("--prompt", "the cat", "--tokens", "120", "--seed", "3")
    fast, exact = complete(run, capsys, *long)[1], complete(run, capsys, *long, "--exact")[1]
    assert calls == [False, True]
    assert fast[:30] == exact[:30] and len(fast) == len(exact) and fast != exact


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
    "words",
    [
        ("complete", "--prompt", "a", "--run"),
        ("evaluate", "--run"),
        ("doctor", "--run"),
        ("train", "--resume"),
        ("compress", "mine.txt", "--run"),
    ],
)
def test_a_misspelt_run_gets_the_one_beside_it(words, tmp_path, monkeypatch, capsys):
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "mine.txt").write_text("a text")
    monkeypatch.chdir(tmp_path)
    assert main([*words, "runs/mien"]) == 1
    said = " ".join("".join(capsys.readouterr()).split())
    assert "There is no folder runs/mien. Did you mean 'runs/mine'?" in said


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
        (["evaluate", "--run", __file__], "is a file. Name the folder of a run"),
        (["train", "--corpus", "."], "is a folder"),
        (["train", "--preset", ""], "no preset ''"),
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
        (["--temperature", "nan"], "temperature is nan"),
        (["--top-p", "0"], "top_p is 0.0"),
        (["--tokens", "-1"], "--tokens is -1"),
        (["--seed", "-1"], "--seed is -1"),
        (["--seed", "9" * 30], "--seed is 999"),
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


def numbers(folder):
    """Return the history without what is measured with a clock."""
    clock = {"seconds", "tokens_per_second", "mfu"}
    return [
        {name: value for name, value in line.items() if name not in clock}
        for line in RunFolder.open(folder).history()
    ]


def interrupt_after(step, times=1):
    """Return a stand-in for `RunFolder.log` that presses Ctrl-C when a step is logged."""
    log = RunFolder.log

    def log_and_press(self, line):
        log(self, line)
        if line["step"] == step:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    return log_and_press


def test_control_c_saves_and_the_resumed_run_equals_the_uninterrupted_one(
    run, own_text, tmp_path, monkeypatch, capfd
):
    broken = tmp_path / "broken run"
    monkeypatch.setattr(RunFolder, "log", interrupt_after(step=23))
    assert train("--corpus", own_text, "--out", broken) == 130
    err = capfd.readouterr().err
    assert "Ctrl-C: finishing this step and saving" in err
    assert f"step_00000023 of {broken} is saved" in err
    assert f"--resume '{broken}'" in err
    assert "Traceback" not in err
    assert json.loads((broken / "run.json").read_text())["steps_done"] == 23

    monkeypatch.undo()
    said = complete(broken, capfd, "--prompt", "the ", "--tokens", "3")[2]
    assert said == "The model is the one after step 23 of 40.\n"
    assert main(["train", "--resume", str(broken)]) == 0
    assert "start   after step 23 of 40" in capfd.readouterr().out
    assert complete(broken, capfd, "--prompt", "the ", "--tokens", "3")[2] == ""
    assert numbers(broken) == numbers(run)
    for name in (MODEL, OPTIMIZER):
        ours, theirs = (latest_checkpoint(folder) / name for folder in (broken, run))
        assert ours.read_bytes() == theirs.read_bytes()


def test_control_c_twice_stops_at_once_and_names_the_last_checkpoint(
    own_text, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(RunFolder, "log", interrupt_after(step=30, times=2))
    assert train("--corpus", own_text, "--out", tmp_path / "run") == 130
    err = capfd.readouterr().err
    assert f"step_00000025 of {tmp_path / 'run'} is saved" in err
    assert latest_checkpoint(tmp_path / "run").name == "step_00000025"


def test_control_c_after_training_leaves_a_run_whose_results_can_be_had_later(
    own_text, tmp_path, monkeypatch, capsys
):
    def press(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("bhushgpt.runs.training_text.count_floors", press)
    folder = tmp_path / "run"
    assert train("--corpus", own_text, "--out", folder, steps=3) == 130
    assert f"step_00000003 of {folder} is saved" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(["train", "--resume", str(folder)]) == 0
    assert "n-gram" in capsys.readouterr().out
    assert "ladder" in json.loads((folder / "run.json").read_text())


def test_control_c_while_the_libraries_load_ends_quietly(monkeypatch, capsys):
    def press(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("bhushgpt.commands.line.main", press)
    assert start() == 130
    assert capsys.readouterr().err == "\nStopped.\n"


def test_an_error_of_our_own_goes_to_a_file_instead_of_the_screen(monkeypatch, capsys):
    def fail(name):
        raise KeyError("planted")

    monkeypatch.setattr("bhushgpt.devices.describe_device", fail)
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


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("trian", "There is no command 'trian'. Did you mean 'train'?"),
        ("--trian", "There is no option '--trian'."),
        ("", "There is no command ''."),
    ],
)
def test_a_command_that_does_not_exist_is_answered_with_those_that_do(typed, said, capsys):
    assert main([typed]) == 2
    err = capsys.readouterr().err
    assert err.startswith(said) and "doctor" in err and command("--help") in err


@pytest.mark.parametrize("typed", [[], ["--help"], ["-h"]])
def test_help_lists_every_command_with_what_it_is_for(typed, capsys):
    assert main(typed) == 0
    out = capsys.readouterr().out
    for name, (place, says) in COMMANDS.items():
        assert f"  {name}" in out and says in out
        module, kind = place.split(":")
        command = getattr(importlib.import_module(f"bhushgpt.commands.{module}"), kind)
        assert callable(command.run)
    assert max(map(len, out.splitlines())) <= 80


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"bhushgpt {importlib.metadata.version('bhushgpt')}\n"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["train", "--steps", "abc"], "'abc' is not a whole number"),
        (["train", "--steps", "1e3"], "'1e3' is not a whole number"),
        (["train", "--out", ""], "folder's name is empty"),
        (["train", "--corpus", ""], "corpus has no name"),
        (["train", "--out", "~no-such-person/x"], "is not known"),
        (["complete", "--run", "x", "--prompt", "a", "--seed", "x"], "'x' is not a whole number"),
        (["complete", "--run", "x", "--prompt", "a", "--top-p", "0,9"], "'0,9' is not a number"),
        (["train", "--device", "tpu"], "'cuda', 'mps'"),
        (["complete", "--prompt", "x"], "--run DIR"),
    ],
)
def test_a_wrong_flag_is_answered_in_plain_words_with_status_2(flags, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(flags)
    assert stopped.value.code == 2
    words = " ".join(capsys.readouterr().err.replace("\u2502", " ").split())
    assert message in words
    assert "instantiated" not in words
    assert "--help" in words


def test_the_help_lists_every_preset(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--help"])
    assert stopped.value.code == 0
    words = " ".join(capsys.readouterr().out.replace("\u2502", " ").split())
    assert ", ".join(PRESETS) in words


def test_the_home_folder_may_be_written_as_a_tilde(own_text, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    shutil.copy(own_text, tmp_path / "cats.txt")
    assert train("--corpus", "~/cats.txt", "--out", "~/a run", steps=2) == 0
    assert main(["evaluate", "--run", "~/a run"]) == 0
    assert (tmp_path / "a run" / "run.json").is_file()


def test_a_folder_with_other_files_is_left_alone(own_text, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("precious")
    assert train("--corpus", own_text, "--out", tmp_path) == 1
    assert "is not empty: it holds 'thesis.txt'" in capsys.readouterr().err
    assert main(["demo", "--out", str(tmp_path)]) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_damaged_newest_checkpoint_names_the_way_to_the_one_before(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "copy", symlinks=True)
    older, newest = list_checkpoints(copy)
    (newest / MODEL).write_bytes(b"")
    assert main(["evaluate", "--run", str(copy)]) == 1
    err = capsys.readouterr().err
    assert f"Use the checkpoint before it instead: {older}." in err
    shutil.rmtree(newest)
    assert main(["evaluate", "--run", str(copy)]) == 0
    assert main(["train", "--resume", str(copy)]) == 0
    assert numbers(copy) == numbers(run)


def test_one_checkpoint_can_be_named_instead_of_the_run(run, capsys):
    oldest = list_checkpoints(run)[0]
    printed = []
    for folder in (run, oldest):
        assert main(["evaluate", "--run", str(folder), "--json"]) == 0
        printed.append(json.loads(capsys.readouterr().out)["nats_per_token"])
    assert printed[0] < printed[1]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, "does not say which text"),
        ({"corpus": 3}, "does not say which text"),
        ({"corpus": "gone/text.txt"}, "trained on is needed.*say where: --corpus FILE"),
    ],
)
def test_a_run_whose_text_cannot_be_found_says_so(record, message, run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "copy", symlinks=True)
    (copy / "run.json").write_text(json.dumps(record))
    assert main(["evaluate", "--run", str(copy)]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert main(["complete", "--run", str(copy), "--prompt", "the", "--tokens", "2"]) == 0


def test_the_trained_bigram_does_not_hide_the_counted_one(own_text, tmp_path, capsys):
    folder = tmp_path / "run"
    assert train("--corpus", own_text, "--out", folder, preset="bigram", steps=2) == 0
    ladder = json.loads((folder / "ladder.json").read_text())
    assert ladder["bigram"] < 1 < ladder["bigram, trained"]


def test_a_vocabulary_that_cannot_fit_is_refused_before_it_is_allocated(
    tmp_path, monkeypatch, capsys
):
    file = tmp_path / "text.txt"
    file.write_text("".join(map(chr, range(0x4E00, 0x4E00 + 20_000))), encoding="utf-8")
    card = dataclasses.replace(describe_device("cpu"), memory_bytes=2**30)
    monkeypatch.setattr("bhushgpt.forecast.describe_device", lambda device: card)
    assert train("--corpus", file, "--out", tmp_path / "run", preset="bigram") == 1
    assert "cpu has 1.0 GiB. The vocabulary has 20,000 tokens" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "a/b cannot be used"),
        (MemoryError(), "The memory is full"),
        (torch.OutOfMemoryError("CUDA out of memory."), "The memory is full"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "The memory is full"),
    ],
)
def test_a_full_machine_is_no_mistake_of_the_program_and_loses_nothing(
    error, message, own_text, tmp_path, monkeypatch, capsys
):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(RunFolder, "log", fail)
    assert train("--corpus", own_text, "--out", tmp_path / "run") == 1
    err = capsys.readouterr().err
    assert f"bhushgpt: {message}" in err
    assert "step_00000000" in err
    assert "--resume" in err


def test_a_loss_that_is_no_number_stops_with_the_weights_saved(
    own_text, tmp_path, monkeypatch, capsys
):
    log = RunFolder.log

    def spoil(self, line):
        log(self, line)
        if line["step"] == 7:
            raise NonFinite("Training stopped at step 8: the loss is nan.", 7)

    monkeypatch.setattr(RunFolder, "log", spoil)
    assert train("--corpus", own_text, "--out", tmp_path / "run") == 1
    assert "step_00000007" in capsys.readouterr().err


def test_a_reader_that_closes_the_pipe_ends_the_command_quietly(run):
    program = f"{shlex.quote(sys.executable)} -m bhushgpt"
    command = f"{program} complete --run {shlex.quote(str(run))} --prompt the --tokens 3000"
    done = subprocess.run(
        f"{command} | head -c 10", shell=True, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout[:3], done.stderr) == ("the", "")


def test_a_terminal_without_umlauts_gets_question_marks(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("größer als groß\n" * 60, encoding="utf-8")
    assert train("--corpus", file, "--out", tmp_path / "run", steps=2) == 0
    arguments = ["complete", "--run", str(tmp_path / "run"), "--prompt", "ö", "--tokens", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "bhushgpt", *arguments],
        capture_output=True,
        timeout=60,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"?", b"")


def test_help_and_info_do_not_load_the_plotting_library():
    code = (
        "import sys; from bhushgpt.commands.line import main; assert main(['info']) == 0\n"
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# Seconds to load, and a model that only writes needs none of it.
NOT_TO_WRITE = (
    *("torch.distributed.fsdp", "torch.distributed.checkpoint", "torch._dynamo", "sympy"),
    *("matplotlib", "tokenizers", "pyarrow", "bhushgpt.runs"),
    *("bhushgpt.data", "bhushgpt.interop", "bhushgpt.bench"),
)


def test_complete_loads_nothing_that_it_does_not_need(run):
    arguments = ["complete", "--run", str(run), "--prompt", "the", "--tokens", "3"]
    code = (
        f"import sys; from bhushgpt.commands.line import main; assert main({arguments}) == 0\n"
        f"print('LOADED', *[name for name in {NOT_TO_WRITE} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("LOADED")[1].split() == []


def test_wrong_flags_show_how_to_get_help(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--stepz", "3"])
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert "--steps" in captured.err + captured.out


def test_the_demo_is_of_gpt_v1_and_the_default_book():
    assert (report.PRESET, report.BOOK) == ("gpt-v1", "sherlock")
    assert (DEFAULT_PRESET, DEFAULT_CORPUS) == (report.PRESET, report.BOOK)


def test_the_demo_writes_every_promised_file(tmp_path, monkeypatch, capsys):
    book = tmp_path / "book.txt"
    book.write_text(load_text("sherlock").text[:20_000], encoding="utf-8")
    monkeypatch.setattr(report, "BOOK", str(book))
    monkeypatch.setattr(report, "PRESET", "gpt-v1-smoke")
    folder = tmp_path / "demo"
    assert main(["demo", "--steps", "26", "--out", str(folder)]) == 0
    out = capsys.readouterr().out
    number = math.exp(json.loads((folder / "ladder.json").read_text())["gpt-v1-smoke"])
    among, all_of_them = re.findall(r"among ([\d.]+) characters; .* among all (\d+)\.", out)[0]
    assert float(among) == pytest.approx(number, abs=0.06) and number < int(all_of_them)
    first, last = re.findall(r"^  after +(\d+) steps  (\S.*)", out, re.M)
    assert (first[0], last[0]) == ("25", "26")
    for (_, shown), sample in zip((first, last), RunFolder.open(folder).samples(), strict=True):
        assert f"{' '.join((sample['prompt'] + sample['text']).split())} ".startswith(f"{shown} ")
    ladder = json.loads((folder / "ladder.json").read_text())
    assert list(ladder) == ["uniform", "unigram", "bigram", "n-gram", "gpt-v1-smoke"]
    assert ladder["uniform"] > ladder["unigram"] > ladder["bigram"] > ladder["n-gram"]
    assert out.count("--- ") == 3
    for name in ("curve.png", "run.json", HISTORY):
        assert (folder / name).stat().st_size > 0
    assert latest_checkpoint(folder).name == "step_00000026"


def test_an_earlier_demo_is_moved_aside_not_overwritten(tmp_path):
    folder = tmp_path / "demo"
    assert make_room(folder) is None
    for number in (1, 2):
        folder.mkdir()
        (folder / "run.json").write_text(str(number))
        assert make_room(folder) == tmp_path / f"demo-{number}"
    assert (tmp_path / "demo-1" / "run.json").read_text() == "1"
