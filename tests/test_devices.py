import json
import platform
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bhushgpt import devices
from bhushgpt.devices import describe_device, machine_card, pick_device, synchronize
from bhushgpt.errors import UserError


@pytest.fixture
def machine(monkeypatch):
    """Pretend to be a machine with these GPUs, on which the first operation may fail."""

    real = torch.ones

    def pretend(cuda: int = 0, mps: bool = False, failure: str = ""):
        def ones(size, device):
            if device != "cpu" and failure:
                raise RuntimeError(failure)
            return real(size)

        monkeypatch.setattr(devices.torch, "ones", ones)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    pretend()
    return pretend


# Choosing.


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(0, False, "cpu"), (0, True, "mps"), (1, False, "cuda"), (2, True, "cuda")],
)
def test_auto_takes_the_fastest_kind_there_is(machine, cuda, mps, expected):
    machine(cuda=cuda, mps=mps)
    assert pick_device() == torch.device(expected)


def test_a_present_device_is_taken_by_its_name(machine):
    machine(cuda=2, mps=True)
    for name in ("cpu", "cuda", "cuda:1", "mps"):
        assert pick_device(name) == torch.device(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda", r"'cuda' is not available: .* no NVIDIA card.*device 'cpu'.*notebook 00"),
        ("cuda:0", r"'cuda:0' is not available: .* no NVIDIA card"),
        ("mps", r"'mps' is not available: .* Mac with an Apple chip.*device 'cpu'"),
    ],
)
def test_an_absent_device_is_refused_with_the_way_out(machine, name, message):
    with pytest.raises(UserError, match=message):
        pick_device(name)


def test_a_card_that_is_seen_but_too_old_is_left_for_the_cpu(machine):
    machine(cuda=1, failure="CUDA error: no kernel image is available\nmore lines")
    assert pick_device() == torch.device("cpu")
    with pytest.raises(UserError, match=r"cannot compute on it \(CUDA error: no kernel image is"):
        pick_device("cuda")


def test_a_card_beyond_the_last_is_refused(machine):
    machine(cuda=2)
    with pytest.raises(UserError, match=r"'cuda:2' does not exist\. The last one is 'cuda:1'"):
        pick_device("cuda:2")


@pytest.mark.parametrize("name", ["", "gpu", "cuad", "cuda:", "cuda:x", "cuda:-1", "cuda:0:1"])
def test_another_word_is_refused_with_the_words_there_are(machine, name):
    machine(cuda=1)
    with pytest.raises(UserError, match=r"no device .*There are: auto, cpu, cuda, mps"):
        pick_device(name)


def test_a_misspelt_device_is_guessed(machine):
    with pytest.raises(UserError, match="Did you mean 'cuda'"):
        pick_device("cuad")


# Waiting.


def test_synchronize_waits_for_the_device_it_is_given(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: waited.append(str(device)))
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    synchronize("cpu")
    assert waited == []
    synchronize(torch.device("cuda:1"))
    synchronize("mps")
    assert waited == ["cuda:1", "mps"]


# Describing.


def test_the_cpu_card_says_what_python_and_torch_say():
    card = describe_device("cpu")
    assert card.kind == "cpu" and card.name
    assert card.threads == torch.get_num_threads()
    assert card.python == platform.python_version()
    assert card.torch == torch.__version__
    assert card.bfloat16 == ("bfloat16" in card.dtypes)
    assert f"{card.memory_bytes / 2**30:.1f} GiB" in str(card) and card.name in str(card)


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((6, 1), ("float64", "float32")),
        ((7, 5), ("float64", "float32", "float16")),
        ((9, 0), ("float64", "float32", "float16", "bfloat16")),
    ],
)
def test_bfloat16_counts_on_cuda_only_from_ampere_on(monkeypatch, capability, expected):
    properties = SimpleNamespace(name="Card", multi_processor_count=20, total_memory=2**33)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    card = describe_device("cuda:0")
    assert card.dtypes == expected
    assert (card.name, card.kind, card.cores, card.memory_bytes) == ("Card", "cuda", 20, 2**33)


def test_mps_has_no_float64(monkeypatch):
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 2**34)
    card = describe_device("mps")
    assert "float64" not in card.dtypes and card.memory_bytes == 2**34
    assert "cores unknown" in str(card)


def test_the_machine_card_survives_json_and_names_no_person_host_or_folder():
    card = machine_card(date="2025-01-31")
    text = json.dumps(card)
    assert json.loads(text) == card
    assert card["date"] == "2025-01-31"
    assert card["devices"][0]["name"] == describe_device("cpu").name
    keys = {"date", "system", "cores", "memory_bytes", "devices", "python", "torch", "numpy"}
    assert set(card) == keys
    assert set(card["devices"][0]) == {"name", "kind", "memory_bytes", "dtypes"}
    assert str(Path.home()) not in text and str(Path.cwd()) not in text


def test_the_machine_card_is_dated_today_if_nothing_is_said():
    assert machine_card()["date"] == devices.datetime.date.today().isoformat()


def test_the_machine_card_describes_the_gpu_too(machine, monkeypatch):
    machine(mps=True)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 2**34)
    assert [device["kind"] for device in machine_card()["devices"]] == ["cpu", "mps"]


# The processor.


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"avx2": True, "avx512_bf16": False}, ("float64", "float32")),
        ({"avx512_bf16": True}, ("float64", "float32", "bfloat16")),
        ({"amx_bf16": True, "amx_fp16": True}, ("float64", "float32", "float16", "bfloat16")),
        ({"neon": True, "bf16": True, "sve_max_length": 1}, ("float64", "float32", "bfloat16")),
    ],
)
def test_a_cpu_has_the_types_it_has_instructions_for(monkeypatch, flags, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    assert devices.cpu_dtypes() == expected


def test_an_older_torch_is_asked_by_the_older_names(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert devices.cpu_dtypes() == ("float64", "float32", "bfloat16")
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    assert devices.cpu_dtypes() == ("float64", "float32")


def test_a_containers_memory_limit_counts(monkeypatch, tmp_path):
    whole = devices.usable_memory()
    (tmp_path / "limit").write_text("1048576\n")
    (tmp_path / "none").write_text("max\n")
    files = (tmp_path / "none", tmp_path / "missing")
    monkeypatch.setattr(devices, "LIMIT_FILES", files)
    assert devices.usable_memory() >= whole
    monkeypatch.setattr(devices, "LIMIT_FILES", (*files, tmp_path / "limit"))
    assert devices.usable_memory() == 2**20


def test_the_cpu_has_a_name_on_every_system(monkeypatch, tmp_path):
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(devices, "CPU_FILE", file)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    assert devices.cpu_name() == "aarch64"
    file.write_text("processor: 0\nmodel name\t: Fast  Chip\nmodel name\t: Fast  Chip\n")
    assert devices.cpu_name() == "Fast Chip"
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    monkeypatch.setattr(platform, "processor", lambda: "Intel64 Family 6")
    assert devices.cpu_name() == "Intel64 Family 6"
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    answer = SimpleNamespace(stdout="Apple M2\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: answer)
    assert devices.cpu_name() == "Apple M2"

    def missing(*args, **kwargs):
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", missing)
    assert devices.cpu_name() == "aarch64"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card")
def test_a_real_card_is_described_as_torch_sees_it():
    card = describe_device(pick_device("cuda"))
    assert card.name == torch.cuda.get_device_name()
    assert card.bfloat16 == torch.cuda.is_bf16_supported(including_emulation=False)
    synchronize("cuda")
