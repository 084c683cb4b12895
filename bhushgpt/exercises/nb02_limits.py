"""Exercises of notebook 02: counted work, and what a product waits for.

Lesson: notebook 02.
"""

from collections.abc import Callable, Sequence
from typing import Any

from bhushgpt.exercises.exercise import Exercise
from bhushgpt.roofline import Limits

Answer = Callable[..., Any]


def _diagnosed(
    answer: Answer, cases: Sequence[tuple], right: Answer, mistakes: dict[str, Answer]
) -> str | None:
    """Run all cases, and name the mistake that gives exactly these answers."""
    came = [answer(*case) for case in cases]
    for message, formula in [(None, right), *mistakes.items()]:
        if came == [formula(*case) for case in cases]:
            return message
    case, wrong = next(pair for pair in zip(cases, came, strict=True) if right(*pair[0]) != pair[1])
    shown = ", ".join(str(value) for value in case if isinstance(value, int))
    return f"for {shown} it is {right(*case)}, yours says {wrong}."


def _reference_mlp_flops(tokens: int, inputs: int, hidden: int, outputs: int) -> int:
    return 2 * tokens * inputs * hidden + 2 * tokens * hidden * outputs


MLP_CASES = [(7, 3, 5, 2), (2, 11, 13, 17)]
MLP_MISTAKES: dict[str, Answer] = {
    "that is half: each product comes with an addition.": lambda t, i, h, o: t * h * (i + o),
    "that is the first layer alone.": lambda t, i, h, o: 2 * t * i * h,
    "that is the second layer alone.": lambda t, i, h, o: 2 * t * h * o,
    "that is one token; each goes through both layers.": lambda t, i, h, o: 2 * h * (i + o),
    "that is the weights; a token uses each of them twice.": lambda t, i, h, o: h * (i + o),
    "that is a training step, three times as much.": lambda t, i, h, o: 6 * t * h * (i + o),
    "one layer runs after the other, so add.": lambda t, i, h, o: 4 * t * i * h * t * h * o,
    "you multiplied all four numbers; add the two products.": lambda t, i, h, o: 2 * t * i * h * o,
    "the tokens go through the second layer, too.": lambda t, i, h, o: 2 * t * i * h + 2 * h * o,
    "tokens counts once in each product.": lambda t, i, h, o: 2 * t * t * h * (i + o),
    "the hidden numbers lie between the two ends.": lambda t, i, h, o: 2 * t * i * o,
}

mlp_flops = Exercise(
    name="mlp_flops",
    question="Return the FLOPs of two layers, (tokens, inputs) to hidden to outputs, forward.",
    hints=(
        "Each layer is one matrix product: (tokens, inputs) @ (inputs, hidden) is the first.",
        "An (m, k) @ (k, n) product takes 2 * m * k * n operations.",
    ),
    praise="a GPT's MLP, C to 4C to C, so takes 16 * tokens * C * C.",
    reference=_reference_mlp_flops,
    checks=lambda answer: _diagnosed(answer, MLP_CASES, _reference_mlp_flops, MLP_MISTAKES),
)


def _reference_bottleneck(n: int, machine: Limits) -> str:
    assert machine.link is not None
    times = {
        "launch": machine.launch,
        "transfer": 3 * n * n * 4 / machine.link,
        "arithmetic": 2 * n**3 / machine.flops,
    }
    return max(times, key=lambda name: times[name])


# Two imagined devices with round numbers; the sizes lie between the places where mistakes turn.
IMAGINED = Limits(flops=10e12, bandwidth=1e12, launch=1e-5, link=10e9)
OTHER = Limits(flops=1e12, bandwidth=5e10, launch=1e-6, link=5e9)
PRODUCTS = [(n, IMAGINED) for n in (4, 50, 80, 100, 1000, 2000, 4000, 5000, 8000, 20000)]
PRODUCTS += [(n, OTHER) for n in (2, 12, 17, 22, 35, 70, 100, 500, 1000, 1500, 2300, 3000)]


def _longest(
    sent: float = 12.0,
    done: float = 2.0,
    rate: str = "link",
    powers: tuple[int, int] = (2, 3),
    choose: Callable[..., Any] = max,
    launches: float = 1.0,
) -> Answer:
    """Return the answer that starts from other numbers than the right ones."""

    def answer(n: int, machine: Limits) -> str:
        transfer = sent * n ** powers[0] / getattr(machine, rate)
        arithmetic = done * n ** powers[1] / machine.flops
        times = (launches * machine.launch, "launch"), (transfer, "transfer")
        return choose(*times, (arithmetic, "arithmetic"))[1]

    return answer


def _amounts(n: int, machine: Limits) -> str:
    times = (machine.launch, "launch"), (12 * n**2, "transfer"), (2 * n**3, "arithmetic")
    return max(times)[1]


WAITING_MISTAKES: dict[str, Answer] = {
    "three matrices cross the link: the result has to come back.": _longest(sent=8.0),
    "one matrix crosses the link in yours; two go there and one comes back.": _longest(sent=4.0),
    "the link is in bytes per second; a float32 has 4 of them.": _longest(sent=3.0),
    "a float32 has 4 bytes, 32 bits; the link counts bytes.": _longest(sent=96.0),
    "8 bytes are a float64; a float32 has half of that.": _longest(sent=24.0),
    "each multiplication comes with an addition.": _longest(done=1.0),
    "a product of n x n matrices takes 2 * n**3 operations, not n**2.": _longest(powers=(2, 2)),
    "an n x n matrix has n * n numbers to send, not n.": _longest(powers=(1, 3)),
    "machine.bandwidth is the device's own memory; use machine.link.": _longest(rate="bandwidth"),
    "you left out machine.launch, which small products wait for.": _longest(launches=0.0),
    "you compared amounts, not times: divide by the rates.": _amounts,
    "that is the shortest; the longest decides.": _longest(choose=min),
    "it is right for one machine only: take the numbers of the machine that is given.": (
        lambda n, machine: _reference_bottleneck(n, IMAGINED)
    ),
    "you always say 'launch'; try n = 20000.": lambda n, machine: "launch",
    "you always say 'arithmetic'; try n = 4.": lambda n, machine: "arithmetic",
    "you always say 'transfer'; try n = 4 and n = 20000.": lambda n, machine: "transfer",
}


def _check_bottleneck(answer: Answer) -> str | None:
    came = answer(*PRODUCTS[0])
    if not isinstance(came, str):
        return "one of the words 'launch', 'transfer', 'arithmetic' is wanted, not the time itself."
    if came not in ("launch", "transfer", "arithmetic"):
        return f"{came!r} is none of the words 'launch', 'transfer', 'arithmetic'."
    return _diagnosed(answer, PRODUCTS, _reference_bottleneck, WAITING_MISTAKES)


bottleneck = Exercise(
    name="bottleneck",
    question="Return what an n x n product waits for: 'launch', 'transfer' or 'arithmetic'.",
    hints=(
        "Three times: machine.launch, bytes / machine.link, operations / machine.flops.",
        "Two matrices go to the device and one comes back: 3 * n * n numbers of 4 bytes.",
        "Put the three into a dict; max(times, key=times.get) returns the longest one's name.",
    ),
    praise="and now you know from which size on a device is worth the way to it.",
    reference=_reference_bottleneck,
    checks=_check_bottleneck,
)
