"""Machine records: what is written can be read, what cannot be read is named."""

import json

import pytest

from bhushgpt.environment import project_root
from bhushgpt.errors import UserError
from bhushgpt.roofline import Limits, MachineRecord, load_records, matmul_flops, record_machine


def made_up() -> MachineRecord:
    return MachineRecord(
        label="A made-up machine, 2 cores",
        device="cpu",
        threads=2,
        measured_by="by hand",
        machine={"date": "2026-01-31", "system": "Linux", "devices": [], "torch": "2.13.0"},
        matmul_seconds={"float32": {16: (1.0, 2.0, 3.0), 32: (4.0, 8.0, 9.0)}},
        bytes_per_second=10.0,
        launch_seconds=0.5,
        link_bytes_per_second=None,
    )


def written(tmp_path, **changes) -> str:
    """Save the made-up record with other or (None) without some keys, and load the folder."""
    path = made_up().save(tmp_path)
    data = json.loads(path.read_text(encoding="utf-8")) | changes
    data = {key: value for key, value in data.items() if value != "left out"}
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_records(tmp_path)
    return str(caught.value)


def test_saved_equals_loaded(tmp_path):
    path = made_up().save(tmp_path)
    assert path.name == "matmul_a-made-up-machine-2-cores_cpu.json"
    assert load_records(tmp_path) == [made_up()]


def test_no_file_is_no_record(tmp_path):
    (tmp_path / "bench_other.json").write_text("{}", encoding="utf-8")
    assert load_records(tmp_path) == []


def test_rates_come_from_the_median(tmp_path):
    assert made_up().flops_per_second() == {
        16: matmul_flops(16, 16, 16) / 2.0,
        32: matmul_flops(32, 32, 32) / 8.0,
    }
    assert made_up().flops_per_second("bfloat16") == {}


def test_limits_are_the_fastest_product_and_the_measured_rates():
    best = matmul_flops(32, 32, 32) / 4.0
    assert made_up().limits() == Limits(flops=best, bandwidth=10.0, launch=0.5, link=None)


def test_limits_of_a_dtype_that_was_not_measured_are_refused():
    with pytest.raises(UserError, match="not measured in bfloat16, only in float32"):
        made_up().limits("bfloat16")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"label": "left out"}, "`label`"),
        ({"launch_seconds": "two"}, "$.launch_seconds"),
        ({"threads": 1.5}, "$.threads"),
        ({"colour": "blue"}, "'colour'"),
        (
            {"machine": {"system": "Linux", "devices": []}},
            "A machine record lacks machine.date, machine.torch",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, change, part):
    message = written(tmp_path, **change)
    assert "matmul_a-made-up-machine-2-cores_cpu.json" in message and part in message
    assert message.endswith("Measure it again, see benchmarks/README.md.")


@pytest.mark.parametrize(
    "sweep", [{}, {"16": []}, {"16": [1.0]}, {"16": [1.0, -1.0]}, {"big": [1.0, 1.0]}, {"16": 1.0}]
)
def test_times_that_are_no_times_are_named(tmp_path, sweep):
    message = written(tmp_path, matmul_seconds={"float32": sweep})
    assert "matmul_a-made-up-machine-2-cores_cpu.json" in message
    assert "matmul_seconds" in message


def test_text_that_is_no_json_is_named(tmp_path):
    (tmp_path / "matmul_x_cpu.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"matmul_x_cpu.json .* is not JSON.*Measure it again"):
        load_records(tmp_path)


def test_a_list_is_no_record(tmp_path):
    (tmp_path / "matmul_x_cpu.json").write_text("[]", encoding="utf-8")
    with pytest.raises(UserError, match=r"matmul_x_cpu.json cannot be used: Expected `object`"):
        load_records(tmp_path)


def test_a_measured_record_survives_the_file(tmp_path):
    record = record_machine("cpu", label="Test machine", sizes=(8, 16))
    record.save(tmp_path)
    assert load_records(tmp_path) == [record]
    assert record.device == "cpu"
    assert record.link_bytes_per_second is None
    assert set(record.matmul_seconds["float32"]) == {8, 16}
    assert "label='Test machine'" in record.measured_by


def test_the_recorded_machines_of_the_project_can_be_read():
    records = load_records(project_root() / "benchmarks")
    assert records, "benchmarks/ holds no matmul_*.json"
    for record in records:
        assert record.limits("float32").flops > 1e9
        assert record.measured_by.startswith("python ")
