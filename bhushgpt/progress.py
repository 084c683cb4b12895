"""A line that says how training goes: loss, tokens per second, time left.

Lesson: notebook 05.
"""

from collections.abc import Iterable, Iterator

# The plain-text bar, in notebooks too: it needs no widget and stays readable in a stored notebook.
from tqdm import tqdm

from bhushgpt.training import Report


def progress(reports: Iterable[Report], steps: int, *, start: int = 0) -> Iterator[Report]:
    """Pass reports through and show them as one progress bar on the error stream.

    Args:
        reports: What `train` yields.
        steps: The step that the run ends at (`config.steps`).
        start: The step it starts from (`state.step` before training), for a resumed run.

    Yields:
        The same reports. Leaving the loop early closes the bar.

    Lesson: notebook 05.

    >>> report = Report(step=1, loss=2.5, learning_rate=0.1, grad_norm=1.0, tokens=64)
    >>> [passed is report for passed in progress([report], steps=1)]
    [True]
    """
    form = "{percentage:3.0f}%|{bar:20}| step {n_fmt}/{total_fmt}{postfix}, {remaining} left"
    average: float | None = None
    with tqdm(total=steps, initial=start, bar_format=form, mininterval=0.5) as bar:
        for report in reports:
            # One batch is noisy: show an average over about the last 20.
            average = report.loss if average is None else 0.95 * average + 0.05 * report.loss
            rate = bar.format_dict["rate"]
            speed = f", {rate * report.tokens:,.0f} tokens/s" if rate else ""
            bar.set_postfix_str(f"loss {average:.3f}{speed}", refresh=False)
            bar.update(report.step - bar.n)
            yield report
