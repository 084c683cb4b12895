"""Which candidates meet in which group, and for how long each group is measured.

Lesson: notebook 13.
"""

from dataclasses import dataclass, replace

from bhushgpt.bench.jobs import PACKED, TRAINING_SHAPES, Job, Number
from bhushgpt.bench.peers import HUGGING_FACE, LLAMA_CPP, PEERS
from bhushgpt.devices import abilities, describe_device

OURS = "bhushgpt"
WIDE_SHAPES = {"A": (256, 128), "B": (512, 64), "C": (512, 1024)}  # enough to fill a card
# GPT-2 was trained on 0.5 M tokens a step. Six processes share a card, so 8 rows at a time.
WIDE_PARTS = 64
DRAWN = {"A": 96, "C": 32}  # tokens of a generation call


@dataclass(frozen=True, kw_only=True)
class Group:
    """Jobs that are measured in turn."""

    title: str
    """For people."""
    jobs: tuple[Job, ...]
    """All are alive together."""
    rounds: int = 7
    """The most readings of each."""
    budget: float = 20.0
    """Seconds for the readings, once there are three."""


def plan_bench(
    device: str,
    *,
    quick: bool = False,
    peers: bool = False,
    compiled: bool = True,
    half: Number = "bfloat16",
) -> list[Group]:
    """Return the groups of a benchmark.

    Args:
        device: cpu, cuda or mps.
        quick: The small model only, a minute or two.
        peers: Whether other libraries take part.
        compiled: Whether torch.compile takes part.
        half: The number type of half the size; float16 for cards that lack bfloat16.

    >>> [group.title for group in plan_bench("cpu", quick=True)]
    ['training B', 'generation B, batch 1']
    """
    groups = _groups(device, quick, peers, compiled)
    return [
        replace(group, jobs=tuple(_in_half(job, half) for job in group.jobs)) for group in groups
    ]


def half_type(device: str) -> Number:
    """Return the number type of half the size to measure on a device.

    >>> half_type("cpu")
    'bfloat16'
    """
    able = describe_device(device).dtypes
    older = not abilities(device).host and "bfloat16" not in able and "float16" in able
    return "float16" if older else "bfloat16"


def _in_half(job: Job, half: Number) -> Job:
    return replace(job, precision=half) if job.precision == "bfloat16" else job


def _groups(device: str, quick: bool, peers: bool, compiled: bool) -> list[Group]:
    if quick:
        groups = [training("B", device, peers, False), generation("B", device, 1, peers, False)]
        return [replace(group, rounds=3, budget=5.0) for group in groups]
    groups = [training(name, device, peers, compiled) for name in TRAINING_SHAPES]
    if peers:
        groups += beside_others(groups[0])
    groups.append(memory(device))
    for name in DRAWN:
        groups += [
            generation(name, device, 1, peers, compiled),
            generation(name, device, 32, peers, False),
        ]
    return [*groups, prefill(device)]


def training(name: str, device: str, peers: bool, compiled: bool) -> Group:
    """Return the training of a model: number types, dropout, compiled, and peers."""
    can = abilities(device)
    rows, tokens = (WIDE_SHAPES if can.wide else TRAINING_SHAPES)[name]
    chunk = 512 if name == "C" else 0
    base = Job(kind="training", who=OURS, model=name, rows=rows, tokens=tokens, device=device)
    if name == "C" and can.wide:
        base = replace(base, accumulation_steps=WIDE_PARTS)
    ours = replace(base, chunk_tokens=chunk)
    half = replace(ours, precision="bfloat16")
    jobs = [ours, half]
    if name != "C":
        jobs.append(replace(half, dropout=0.1))
    if compiled and (name != "C" or can.compiles):  # on a CPU C compiles for minutes
        jobs.append(replace(half, compiled=True))
    if peers:
        jobs += peer_training(base, compiled and can.compiles)
    return Group(title=f"training {name}", jobs=tuple(jobs))


def peer_training(base: Job, compiled: bool, only: str = "") -> list[Job]:
    """Return each peer as shipped, and at equal settings: bfloat16, dropout 0 and 0.1.

    B has the equal settings of Hugging Face only and C no other peer, for the time. A takes up to
    4 GB in every process, so there the others have groups of their own (`beside_others`).
    """
    jobs = []
    for who in PEERS:
        if base.model == "C" and who != HUGGING_FACE:
            continue
        if base.model == "A" and who not in (HUGGING_FACE, only):
            continue
        # Without dropout where the library's own default, or the library, has none.
        default = 0.1 if who in (HUGGING_FACE, "nn.TransformerEncoder") else 0.0
        jobs.append(replace(base, who=who, dropout=default, tuned=False))
        if base.model == "B" and who != HUGGING_FACE:
            continue
        equal = replace(base, who=who, precision="bfloat16")
        jobs.append(equal)
        if base.model != "C" and who != "litgpt":
            jobs.append(replace(equal, dropout=0.1))
        if compiled:
            jobs.append(replace(equal, compiled=True))
    return jobs


def beside_others(group: Group) -> list[Group]:
    """Return for each other peer a group in which it takes turns with ours in bfloat16."""
    ours = [j for j in group.jobs if j.who == OURS and j.precision == "bfloat16" and not j.compiled]
    base = replace(ours[0], precision="float32")
    return [
        Group(
            title=f"training {base.model} beside {who}",
            jobs=(*ours, *(j for j in peer_training(base, False, who) if j.who == who)),
            rounds=4,
        )
        for who in PEERS
        if who != HUGGING_FACE
    ]


def memory(device: str) -> Group:
    """Return the row for the peak of memory: C at 4,096 tokens."""
    job = Job(
        kind="training",
        who=OURS,
        model="C",
        precision="bfloat16",
        rows=16,
        tokens=256,
        chunk_tokens=512,
        device=device,
    )
    return Group(title="memory of C at 4,096 tokens", jobs=(job,), rounds=2)


def generation(name: str, device: str, rows: int, peers: bool, compiled: bool) -> Group:
    """Return drawing tokens: the ways of ours, number types, and others with their caches."""
    drawn = DRAWN.get(name, 32)
    base = Job(kind="generation", who=OURS, model=name, rows=rows, tokens=drawn, device=device)
    fast = replace(base, way="static cache")
    jobs = [replace(base, way="cached"), fast]
    if abilities(device).host:
        packed = replace(fast, way=fast.way + PACKED)
        jobs += [packed, replace(packed, precision="bfloat16")]
    else:
        jobs.append(replace(fast, precision="bfloat16"))
    if rows == 1:
        jobs.append(replace(fast, precision="int8"))
    if compiled and (name != "C" or abilities(device).compiles):
        jobs.append(replace(fast, compiled=True))
    if peers:
        jobs.append(replace(base, who=HUGGING_FACE, tuned=False))
    if peers and name == "C" and rows == 1:
        numbers: tuple[Number, ...] = ("float32", "bfloat16", "int8")
        jobs += [replace(base, who=LLAMA_CPP, precision=number, tuned=False) for number in numbers]
    return Group(title=f"generation {name}, batch {rows}", jobs=tuple(jobs), budget=12.0)


def prefill(device: str) -> Group:
    """Return reading a prompt as long as a training row, one row."""
    jobs = [
        Job(
            kind="prefill",
            who=OURS,
            model=name,
            precision=number,
            tokens=TRAINING_SHAPES[name][1],
            device=device,
        )
        for name in DRAWN
        for number in ("float32", "bfloat16")
    ]
    return Group(title="reading a prompt", jobs=tuple(jobs), budget=8.0)
