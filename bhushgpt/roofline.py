"""What a machine can do at most, and so how good a measured time is.

An operation does arithmetic (FLOPs) and moves numbers (bytes). A machine has a limit for each, and
the slower of the two decides: the roofline model (Williams, Waterman and Patterson, 2009,
https://doi.org/10.1145/1498765.1498785). Measured limits go into a JSON file (`MachineRecord`), so
that machines can be laid side by side.

Lesson: notebook 02.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta

from bhushgpt.devices import abilities, describe_device, machine_card
from bhushgpt.errors import UserError
from bhushgpt.files import read_json, write_json
from bhushgpt.timing import Timing, measure

CPU_SIZES, GPU_SIZES = (256, 512, 1024, 2048), (2048, 4096, 8192)


def matmul_flops(m: int, k: int, n: int) -> int:
    """Return the multiplications and additions of an (m, k) by (k, n) matrix product.

    Each of the m * n results takes k multiplications and k additions (the first is to zero).

    >>> matmul_flops(2, 3, 4)
    48
    """
    return 2 * m * k * n


def matmul_bytes(m: int, k: int, n: int, dtype: torch.dtype = torch.float32) -> int:
    """Return the bytes of both operands and of the result: the least that must be moved.

    >>> matmul_bytes(2, 3, 4)  # (6 + 12 + 8) numbers of 4 bytes
    104
    """
    return (m * k + k * n + m * n) * dtype.itemsize


def intensity(flops: float, moved: float) -> float:
    """Return the arithmetic intensity: FLOPs for each byte that is moved.

    >>> intensity(matmul_flops(600, 600, 600), matmul_bytes(600, 600, 600))
    100.0
    """
    return flops / moved


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a machine can do at most, for one dtype.

    >>> machine = Limits(flops=100e9, bandwidth=10e9)
    >>> machine.ridge
    10.0
    >>> machine.seconds(matmul_flops(1000, 1000, 1000), matmul_bytes(1000, 1000, 1000))
    0.02
    """

    flops: float
    """FLOP/s of a large matrix product."""

    bandwidth: float
    """Bytes/s that the device reads and writes in its own memory."""

    launch: float = 0.0
    """Seconds that handing over one operation takes, however small it is."""

    link: float | None = None
    """Bytes/s from the computer's memory to the device's; None where they are the same memory."""

    @property
    def ridge(self) -> float:
        """The intensity, in FLOPs per byte, from which on arithmetic is the limit."""
        return self.flops / self.bandwidth

    def seconds(self, flops: float, moved: float, transferred: float = 0.0) -> float:
        """Return the predicted time of one operation.

        `moved` is what it reads and writes in the device's memory, `transferred` what has to come
        to the device first or go back afterwards, both in bytes.
        """
        # Arithmetic and the device's own memory work at the same time; the link comes before.
        transfer = transferred / self.link if self.link else 0.0
        return self.launch + transfer + max(flops / self.flops, moved / self.bandwidth)


def attainable(flops_per_byte: float, limits: Limits) -> float:
    """Return the FLOP/s that an operation of this intensity can reach at most.

    >>> attainable(2.0, Limits(flops=100e9, bandwidth=10e9))
    20000000000.0
    """
    return min(limits.flops, flops_per_byte * limits.bandwidth)


def matmul_timing(
    m: int,
    k: int,
    n: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    repeats: int = 7,
) -> Timing:
    """Measure one (m, k) by (k, n) product of random numbers that are on the device already.

    Raises:
        UserError: If the device cannot multiply numbers of this dtype.

    >>> len(matmul_timing(8, 8, 8, repeats=3).seconds)
    3
    """
    # A clock read around a product of microseconds measures the clock: many calls for each reading.
    calls = max(1, min(100, 10**8 // matmul_flops(m, k, n)))
    try:
        # A generator of its own: measuring must not change the random numbers of a training run.
        # Random numbers and not zeros: some GPUs multiply zeros faster.
        generator = torch.Generator(device).manual_seed(0)
        left = torch.randn(m, k, device=device, generator=generator).to(dtype)
        right = torch.randn(k, n, device=device, generator=generator).to(dtype)
        return measure(lambda: left @ right, device, repeats=repeats, calls=calls)
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"The device {device} cannot multiply {m} x {k} by {k} x {n} in {dtype}: {error}. "
            "Try float32 and smaller matrices."
        ) from error


def matmul_limit(
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    sizes: tuple[int, ...] | None = None,
    repeats: int = 7,
) -> float:
    """Return the FLOP/s of the fastest of some large square matrix products (None: usual sizes).

    The fastest repetition counts, not the median: other programs can only make a product slower.

    Raises:
        UserError: If the device cannot multiply numbers of this dtype.

    >>> matmul_limit(sizes=(64,), repeats=3) > 0
    True
    """
    chosen = sizes or (CPU_SIZES if abilities(device).host else GPU_SIZES)
    runs = {n: matmul_timing(n, n, n, device, dtype, repeats=repeats).seconds for n in chosen}
    return max(matmul_flops(n, n, n) / min(seconds) for n, seconds in runs.items())


def bandwidth_limit(device: torch.device | str = "cpu", *, n_bytes: int = 2**28) -> float:
    """Return the bytes/s, read plus written, of a pass over a tensor too big for the caches.

    In place: each byte is read once and written once. A copy would be counted wrong on most CPUs,
    which read a line of memory before they overwrite it: three bytes for each one, not two.

    >>> bandwidth_limit(n_bytes=2**16) > 0
    True
    """
    numbers = torch.ones(n_bytes // 4, device=device)
    timing = measure(numbers.neg_, device, repeats=7)
    return 2 * numbers.nbytes / min(timing.seconds)


def launch_seconds(device: torch.device | str = "cpu") -> float:
    """Return what the smallest operation costs, one addition: handing it over."""
    one = torch.ones(1, device=device)
    return measure(lambda: one + one, device, calls=1000).median


def transfer_rate(device: torch.device | str, *, pinned: bool = False) -> float | None:
    """Return the bytes/s from the computer's memory to the device's, or None for the CPU itself.

    `pinned` sends from memory that the operating system may not move (CUDA only).
    """
    if abilities(device).host:
        return None
    source = torch.ones(2**24, pin_memory=pinned)  # 64 MiB
    timing = measure(lambda: source.to(device, non_blocking=pinned), device, repeats=7)
    return source.nbytes / timing.median


DTYPES = ("float32", "bfloat16")
RECORDED_CPU_SIZES = tuple(2**power for power in range(4, 12))  # 16 ... 2048
RECORDED_GPU_SIZES = tuple(2**power for power in range(4, 14))  # 16 ... 8192
COMMAND = (
    'python -c "from bhushgpt.roofline import record_machine; '
    "record_machine('{device}', label='{label}').save('benchmarks')\""
)
CARD = ("date", "system", "devices", "torch")  # the least that a machine card must tell
# Checked where a file is read; one time alone has no spread.
Seconds = Annotated[float, Meta(gt=0)]
Repeated = Annotated[tuple[Seconds, ...], Meta(min_length=2)]


@dataclass(frozen=True, kw_only=True)
class MachineRecord:
    """What was measured on one device of one machine, and by which command.

    The fields are the keys of the JSON file.
    """

    label: str
    """The machine's name for people, for example "2-core Xeon with AMX"."""

    device: str
    """cpu, cuda or mps."""

    threads: int
    """CPU threads that torch used."""

    measured_by: str
    """The command that measured it, to be run again."""

    machine: dict[str, Any]
    """The card of `bhushgpt.devices.machine_card`: date, processor, memory, versions."""

    matmul_seconds: dict[str, Annotated[dict[int, Repeated], Meta(min_length=1)]]
    """dtype -> rows of two square matrices -> every measured time of their product."""

    bytes_per_second: float
    """Read plus written in the device's memory."""

    launch_seconds: float
    """Time of the smallest operation."""

    link_bytes_per_second: float | None
    """From the computer's memory to the device's; None where they are the same."""

    def __post_init__(self) -> None:
        """Refuse a card that does not say what was measured.

        Raises:
            UserError: Naming what it lacks.
        """
        missing = [f"machine.{key}" for key in CARD if key not in self.machine]
        if missing:
            raise UserError(f"A machine record lacks {', '.join(missing)}.")

    @property
    def name(self) -> str:
        """The label and the device, as the legend of a plot needs them."""
        return f"{self.label} ({self.device})"

    def flops_per_second(self, dtype: str = "float32") -> dict[int, float]:
        """Return rows of the matrices -> FLOP/s of their product; empty if not measured."""
        times = self.matmul_seconds.get(dtype, {})
        return {n: matmul_flops(n, n, n) / Timing(taken).median for n, taken in times.items()}

    def limits(self, dtype: str = "float32") -> Limits:
        """Return the limits for one dtype; of the products, the fastest repetition counts.

        Raises:
            UserError: If this dtype was not measured.
        """
        times = self.matmul_seconds.get(dtype)
        if not times:
            there = ", ".join(self.matmul_seconds)
            raise UserError(f"{self.name} was not measured in {dtype}, only in {there}.")
        return Limits(
            flops=max(matmul_flops(n, n, n) / min(s) for n, s in times.items()),
            bandwidth=self.bytes_per_second,
            launch=self.launch_seconds,
            link=self.link_bytes_per_second,
        )

    def save(self, folder: Path | str) -> Path:
        """Write the record as JSON into the folder, over an older one, and return its path."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.label.lower()).strip("-")
        path = Path(folder) / f"matmul_{slug}_{self.device}.json"
        write_json(path, self)
        return path


def record_machine(
    device: torch.device | str = "cpu",
    *,
    label: str,
    sizes: tuple[int, ...] | None = None,
    measured_by: str | None = None,
) -> MachineRecord:
    """Measure a device: matrix products by size and dtype, memory, launch and link.

    Dtypes that the hardware does not have are left out. About ten seconds on two CPU cores.

    Args:
        device: What to measure.
        label: The machine's name for people.
        sizes: Rows of the square matrices; left out, powers of two that suit the device.
        measured_by: The command that measures; left out, the one in `COMMAND`.

    >>> record = record_machine("cpu", label="this machine", sizes=(16, 32))
    >>> record.name, sorted(record.flops_per_second())
    ('this machine (cpu)', [16, 32])
    """
    kind = torch.device(device).type
    chosen = sizes or (RECORDED_CPU_SIZES if abilities(device).host else RECORDED_GPU_SIZES)
    native = [dtype for dtype in DTYPES if dtype in describe_device(device).dtypes]
    link = transfer_rate(device)
    return MachineRecord(
        label=label,
        device=kind,
        threads=torch.get_num_threads(),
        measured_by=measured_by or COMMAND.format(device=kind, label=label),
        machine=machine_card(),
        matmul_seconds={dtype: _sweep(device, dtype, chosen) for dtype in native},
        bytes_per_second=_digits(bandwidth_limit(device)),
        launch_seconds=_digits(launch_seconds(device)),
        link_bytes_per_second=None if link is None else _digits(link),
    )


def load_records(folder: Path | str) -> list[MachineRecord]:
    """Return the records of all `matmul_*.json` in a folder, by name; none is an empty list.

    Raises:
        UserError: If a file is not such a record; it names the file and what is wrong.
    """
    try:
        return [
            read_json(path, MachineRecord, deep=True)
            for path in sorted(Path(folder).glob("matmul_*.json"))
        ]
    except UserError as error:
        raise UserError(f"{error} Measure it again, see benchmarks/README.md.") from error


def _sweep(device: torch.device | str, dtype: str, sizes: tuple[int, ...]) -> dict[int, tuple]:
    number = getattr(torch, dtype)
    timings = {n: matmul_timing(n, n, n, device, number) for n in sizes}
    return {n: tuple(_digits(s) for s in timing.seconds) for n, timing in timings.items()}


def _digits(value: float) -> float:
    return float(f"{value:.4g}")  # more would pretend to a precision that no timing has
