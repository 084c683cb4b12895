"""Every branch that only an accelerator takes is run on every machine: the list, and its keeping.

The list in `accelerators/README.md` says how. Here it is compared with the code, the checks on the
imaginary card are started, and the names of torch's own devices are answered by stand-ins.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

import bhushgpt
from bhushgpt import cpu_settings, devices, roofline
from bhushgpt.bench import work
from bhushgpt.bench.jobs import Job
from bhushgpt.commands import bench as bench_command
from bhushgpt.commands.line import main
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.optimizers import make_optimizer
from bhushgpt.speed import FastCached, World, distributed, static_generation
from bhushgpt.storage.tensors import RandomState
from tools.curriculum import ROOT

PACKAGE = Path(bhushgpt.__file__).parent
HERE = Path(__file__).parent / "accelerators"
NAMES = ("cuda", "mps", "nccl")


def places() -> set[str]:
    """Return "file function" of each place that asks what a device can do, or which it is."""
    found = set()
    for file in PACKAGE.rglob("*.py"):
        if "exercises" not in file.parts:
            tree = ast.parse(file.read_text(encoding="utf-8"))
            found |= {f"{file.relative_to(PACKAGE).as_posix()} {name}" for name in asking(tree)}
    return found


def asking(node: ast.AST, name: str = "-") -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield from asking(child, child.name if name == "-" else f"{name}.{child.name}")
        elif any(map(asks, ast.walk(child))):
            yield name


def asks(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return getattr(node.func, "id", None) == "abilities"
    if isinstance(node, ast.Attribute) and node.attr == "type":
        return "device" in ast.unparse(node.value)
    if isinstance(node, ast.Attribute):
        return node.attr in ("cuda", "mps", "is_cuda")
    return isinstance(node, ast.Constant) and node.value in NAMES


def test_the_list_names_every_place_and_how_it_is_executed():
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \|$", (HERE / "README.md").read_text(), re.M)
    assert {place for place, _ in rows} == places()
    for place, how in rows:  # each names a test that is there
        for name in re.findall(r"`(\w+\.py)`", how):
            assert list(Path(__file__).parent.rglob(name)), (place, name)


@pytest.mark.parametrize("form", ["not long", pytest.param("long", marks=pytest.mark.long)])
def test_on_an_imaginary_card_all_is_as_on_the_cpu(form):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", form]
    done = subprocess.run(
        [*command, HERE / "on_the_card.py"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


# Torch's own names, answered by stand-ins.


class Streams:
    """A torch.cuda that computes at once and writes down what it was asked for."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.current = "cuda:0"

    @contextmanager
    def device(self, device):
        before, self.current = self.current, str(device)
        yield
        self.current = before

    @contextmanager
    def stream(self, stream):
        self.said.append("warm up")
        yield

    @contextmanager
    def graph(self, graph):
        self.said.append(f"record on {self.current}")
        yield

    def Stream(self):
        return SimpleNamespace(wait_stream=lambda other: None)

    current_stream = Stream


@pytest.mark.parametrize("which", [0, 1])
def test_a_step_is_recorded_once_on_its_card_and_replayed(monkeypatch, which):
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=7, context_length=8, n_layer=1, n_head=2, n_embd=8)).eval()
    cuda, made = Streams(), []

    class Graph:
        def replay(self):
            step = made[0]
            step._logits.copy_(step._step(step._ids, step._at))

    for name in ("device", "stream", "graph", "Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, getattr(cuda, name))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    real = static_generation.RecordedStep

    class Recorded(real):
        def _record(self, ids, at):
            made.append(self)

            class Ids(SimpleNamespace):  # where the ids lie, which no tensor here can say
                device = f"cuda:{which}"

                def clone(self):
                    return ids.clone()

            super()._record(cast(Any, Ids()), at)

    monkeypatch.setattr(static_generation, "RecordedStep", Recorded)
    monkeypatch.setitem(devices.ABILITIES, "cpu", devices.Abilities(records=True))
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    fast = FastCached(model)
    with torch.no_grad():
        for length in range(2, 6):
            expected = model(ids[:, :length])[:, -1]
            torch.testing.assert_close(fast(ids[:, :length])[:, -1], expected)
    assert cuda.said == ["warm up", f"record on cuda:{which}"]


@pytest.fixture
def generators(monkeypatch):
    """Stand-ins for the generators of two NVIDIA cards and of a Mac's GPU."""
    states = {"cuda:0": 1, "cuda:1": 2, "mps": 3}
    current = ["cuda:0"]

    @contextmanager
    def device(wanted):
        current.append(str(wanted))
        yield
        current.pop()

    def put(name, number):
        states[name] = number

    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda number: put(current[-1], number))
    monkeypatch.setattr(
        torch.cuda, "get_rng_state", lambda d="cuda:0": torch.tensor(states[str(d)])
    )
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda s, d: put(str(d), int(s)))
    monkeypatch.setattr(torch.mps, "manual_seed", lambda number: put("mps", number))
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: torch.tensor(states["mps"]))
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda s: put("mps", int(s)))
    return states


@pytest.mark.parametrize("name", ["cuda:1", "mps"])
def test_a_device_is_seeded_and_put_back_alone(generators, name):
    before = dict(generators)
    state = devices.random_state(name)
    devices.seed_random(name, 77)
    assert generators == before | {name: 77}
    devices.restore_random(name, state)
    assert generators == before
    devices.restore_random("cpu", state)
    devices.seed_random("cpu", 5)
    assert generators == before and devices.random_state("cpu") is None


@pytest.mark.parametrize("name", ["cuda:0", "mps"])
def test_a_checkpoint_keeps_the_random_numbers_of_the_card_it_was_trained_on(
    generators, monkeypatch, name
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: name == "cuda:0")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: name == "mps")
    before = dict(generators)
    saved = RandomState.now()
    assert name.partition(":")[0] in saved.tensors
    generators[name] = 9
    saved.restore("cpu")  # a run that goes on on the CPU has nothing to do there
    assert generators[name] == 9
    saved.restore(name)
    assert generators == before


def test_what_is_free_and_was_held_is_asked_of_the_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5, 9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 4)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 100)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 30)
    assert devices.free_memory("cuda") == 7 and devices.free_memory("mps") == 70
    assert devices.process_memory("cuda") == 0 < devices.process_memory("cpu")
    assert devices.peak_memory("cuda") == 4 and devices.peak_memory("mps") is None


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True)])
def test_tf32_is_for_cards_from_ampere_on(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert devices.has_tf32("cuda") is expected and not devices.has_tf32("mps")


@pytest.mark.parametrize(("chip", "expected"), [("Apple M1 Pro", False), ("Apple M3", True)])
def test_bfloat16_is_native_on_apples_later_chips(monkeypatch, chip, expected):
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 2**34)
    monkeypatch.setattr(devices, "cpu_name", lambda: chip)
    assert devices.describe_device("mps").bfloat16 is expected


def test_an_optimizer_in_one_pass_is_for_devices_that_have_it():
    layer = torch.nn.Linear(2, 2)
    settings = {"learning_rate": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.0}
    assert make_optimizer(layer, **settings).defaults["fused"] is True
    assert make_optimizer(layer.to("meta"), **settings).defaults["fused"] is False


def test_under_torchrun_each_process_has_its_card(monkeypatch):
    taken = []
    monkeypatch.setattr(distributed, "pick_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    assert distributed._own_device("auto", local_rank=1) == torch.device("cuda:1")
    assert taken == [torch.device("cuda:1")]
    assert devices.abilities("cuda").together == "nccl"


def test_under_torchrun_a_mac_computes_on_its_cpu(monkeypatch):
    monkeypatch.setattr(distributed, "pick_device", lambda name: torch.device("mps"))
    assert distributed._own_device("auto", local_rank=0) == torch.device("cpu")
    assert devices.abilities("cpu").together == "gloo"
    with pytest.raises(UserError, match="cannot compute together on mps"):
        distributed._own_device("mps", local_rank=0)


@pytest.mark.parametrize(("name", "cards"), [("cuda:1", [torch.device("cuda:1")]), ("cpu", None)])
def test_a_wrapped_model_says_on_which_card_it_is(monkeypatch, name, cards):
    given = []

    def wrapped(module, device_ids):
        given.append(device_ids)
        return module

    monkeypatch.setattr(distributed, "DistributedDataParallel", wrapped)
    world = World(device=torch.device(name), size=2)
    distributed.wrap(torch.nn.Linear(2, 2), distributed.Acceleration(), world)
    assert given == [cards]


def test_a_record_of_a_card_names_its_driver(monkeypatch):
    monkeypatch.setattr(bench_command, "machine_card", lambda: {})
    monkeypatch.setattr(bench_command, "_driver", lambda: "580.1")
    assert bench_command._card("cuda") == {"cuda": torch.version.cuda, "driver": "580.1"}
    assert bench_command._card("cpu") == {}


@pytest.fixture
def other_kind(monkeypatch):
    """Let the CPU pass for a device of another kind, of which nothing is known."""
    monkeypatch.setitem(devices.ABILITIES, "cpu", devices.Abilities())


def test_the_settings_of_a_cpu_are_left_alone_for_a_card():
    settings = cpu_settings._settings()
    before = None if settings is None else settings.fp32_precision
    assert not cpu_settings.fast_float32_products("cuda")
    assert not cpu_settings.keep_freed_memory("cuda")
    assert settings is None or settings.fp32_precision == before


def test_a_card_is_measured_with_larger_matrices_and_its_link(monkeypatch, other_kind):
    monkeypatch.setattr(roofline, "GPU_SIZES", (24,))
    monkeypatch.setattr(roofline, "RECORDED_GPU_SIZES", (16, 24))
    for name in ("CPU_SIZES", "RECORDED_CPU_SIZES"):
        monkeypatch.setattr(roofline, name, ())
    roofline.matmul_limit.cache_clear() if hasattr(roofline.matmul_limit, "cache_clear") else None
    assert roofline.matmul_limit("cpu", torch.float32) > 0
    record = roofline.record_machine("cpu", label="a card")
    assert list(record.matmul_seconds["float32"]) == [16, 24]
    assert record.link_bytes_per_second and record.link_bytes_per_second > 0


def test_a_job_for_a_card_leaves_the_quick_forms_of_a_cpu_out(monkeypatch, other_kind):
    taken = []
    real = work.accelerate
    monkeypatch.setattr(work, "accelerate", lambda m, how: taken.append(how) or real(m, how))
    job = Job(kind="training", who="bhushgpt", model="B", rows=1, tokens=8, dropout=0.1)
    work.our_work(job)()
    assert not taken[0].quick_layers and not taken[0].cheap_dropout


def test_info_names_the_card_beside_the_processor(monkeypatch, capsys):
    card = SimpleNamespace(name="Card", memory_bytes=2**34, cores=132, dtypes=("float32",))
    real = devices.describe_device
    monkeypatch.setattr(devices, "best_kind", lambda: "cuda")
    monkeypatch.setattr(devices, "describe_device", lambda k: card if k == "cuda" else real(k))
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    assert "cuda    Card, 16.0 GiB  <- used by --device auto" in said
    assert said.startswith("cpu ") and "absent  mps" in said
