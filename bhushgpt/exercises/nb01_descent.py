"""Exercise of notebook 01: a slope by gradient descent.

Lesson: notebook 01.
"""

import torch
from torch import Tensor

from bhushgpt.exercises.exercise import Exercise


def _fitted(x: Tensor, y: Tensor, rate: float, steps: int) -> float:
    w = torch.tensor(0.0, requires_grad=True)
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(((w * x - y) ** 2).mean(), w)
        with torch.no_grad():
            w -= rate * gradient
    return w.item()


def _paths(x: Tensor, y: Tensor, rate: float, steps: int) -> dict[str, float]:
    """What each misconception ends at."""

    def walk(rate=rate, steps=steps, keep=0.0, w=0.0, slope=lambda e, x: 2 * e * x, x=x, y=y):
        collected = 0.0
        for _ in range(steps):
            collected = keep * collected + float(slope(w * x - y, x).mean())
            w -= rate * collected
        return w

    def walk_by_example(w: float = 0.0) -> float:
        for a, b in list(zip(x.tolist(), y.tolist(), strict=True)) * steps:
            w -= rate * 2 * (w * a - b) * a
        return w

    return {
        "w is still at its start; take `steps` steps.": 0.0,
        "w walks uphill: subtract rate * gradient.": walk(-rate),
        "gradients pile up in .grad: clear it before each backward.": walk(keep=1.0),
        "that is a single step; repeat it `steps` times.": walk(steps=1),
        "that is one step too many.": walk(steps=steps + 1),
        "that is one step too few.": walk(steps=steps - 1),
        "the loss is the mean over the examples, you took the sum.": walk(rate * len(x)),
        "the gradient is half of what it should be: the loss is the square.": walk(rate / 2),
        "start at w = 0, not at 1.": walk(w=1.0),
        "the derivative of w * x is x: multiply by it, the chain rule.": (
            walk(slope=lambda e, x: 2 * e)
        ),
        "you subtract the loss; subtract rate * its gradient.": walk(slope=lambda e, x: e**2),
        "the rate plays no part: each step goes rate * gradient far.": walk(1.0),
        "w moves after every single example; take the mean over all, then one step.": (
            walk_by_example()
        ),
        "only the first example was looked at.": walk(x=x[:1], y=y[:1]),
        "only the last example was looked at.": walk(x=x[-1:], y=y[-1:]),
        "that is where endless descent arrives; stop after `steps` steps.": float(x @ y / (x @ x)),
        "that is the loss; the slope w is wanted.": float(((walk() * x - y) ** 2).mean()),
    }


def _number(w: Tensor | float) -> float:
    # A w that still requires a gradient is a right answer, too.
    return float(w.detach() if isinstance(w, Tensor) else w)


def _check_fit(answer) -> str | None:
    setting = torch.tensor([1.0, 2.0, -1.0]), torch.tensor([3.0, 7.0, -2.0]), 0.05, 4
    came, right = _number(answer(*setting)), _fitted(*setting)
    for sentence, wrong in _paths(*setting).items():
        if abs(came - wrong) < 1e-4:
            return sentence
    if abs(came - right) > 1e-4:
        return f"after 4 steps with rate 0.05, w should be {right:.4f}, but it is {came:.4f}."
    if abs(_number(answer(*setting[:3], 0))) > 1e-6:
        return "with steps = 0 no step is taken, and w is still 0."
    return None


fit_slope = Exercise(
    name="fit_slope",
    question="Return w after `steps` steps of descent on the mean of (w * x - y)**2 from w = 0.",
    hints=(
        "w = torch.tensor(0.0, requires_grad=True), and in a loop: loss, backward, change w.",
        "Change w inside `with torch.no_grad():`, by w -= rate * w.grad.",
        "Clear the gradient in each turn: w.grad = None.",
    ),
    reference=_fitted,
    checks=_check_fit,
    praise="downhill, one clean gradient at a time.",
)
