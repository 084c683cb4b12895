"""How fast a page with a model in it writes, and whether it writes what PyTorch does.

    python -m benchmarks.page_speed                 the page of runs/demo
    python -m benchmarks.page_speed --run RUN       of another run
    python -m benchmarks.page_speed --json FILE     the numbers, to keep

The page is made as `export --to page` makes it, and opened from a file in a headless Chromium. It
is measured twice: its model alone, and what a reader gets who presses Write, with bars, attention
and text drawn meanwhile. The greedy tokens come from that button, too. The machine should be idle;
where it is not, tokens for a second of the browser's processor time say more than those for a
second of the clock.
The exit status is 1 if the page asked anyone for anything, complained, or wrote something else than
PyTorch with the same int8 weights.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from bhushgpt.errors import UserError
from bhushgpt.generation import Sampling, generate
from bhushgpt.interop import page_weights, write_page
from bhushgpt.kv_cache import Cached
from bhushgpt.runs import plain_model
from bhushgpt.storage import load_checkpoint
from tools.chromium import chromium

GREEDY = 100  # tokens that must be equal
# How the window moves on when it is full.
WINDOWS = {"within the context": None, "beyond it, by half": "half", "beyond it, by 1 token": "1"}
# The model as the page asks it, from the prompt on, or from a text longer than the context.
ALONE = """async ([count, stride]) => {
  const settings = { temperature: 0.8, top_k: Infinity, top_p: 1, min_p: 0 };
  const text = tokenizer.encode(content.prompt);
  model.stride = stride ?? "1";
  if (stride) while (text.length < 2 * config.context_length) text.push(...text);
  const begun = performance.now();
  for await (const id of model.write(text, settings, count)) text.push(id);
  return (performance.now() - begun) / 1000;
}"""
PRESSED = """async ([count, stride]) => {
  at("stride").value = stride;
  at("stride").dispatchEvent(new Event("change"));
  at("pace").value = "Infinity";
  at("length").value = count;
  const begun = performance.now();
  at("write").click();
  while (writing) await new Promise(requestAnimationFrame);
  return (performance.now() - begun) / 1000;
}"""


class Tab:
    """One page in a browser, with all that it asks for and says.

    Attributes:
        asked: Addresses, without the page's own.
        said: Lines on the console, and errors.
    """

    def __init__(self, browser: Any, page: Path) -> None:
        self.asked: list[str] = []
        self.said: list[str] = []
        self._page = page.as_uri()
        self._tab = browser.new_page()
        self._tab.on("request", self._note)
        self._tab.on("console", lambda message: self.said.append(message.text))
        self._tab.on("pageerror", lambda error: self.said.append(str(error)))
        self._tab.goto(self._page)
        self.evaluate = self._tab.evaluate
        self._inside = self._tab.context.new_cdp_session(self._tab)
        self._inside.send("Performance.enable")

    def _note(self, request: Any) -> None:
        if request.url != self._page and not request.url.startswith("data:"):
            self.asked.append(request.url)

    def set(self, slider: str, value: str) -> None:
        """Move a slider of the page."""
        self._tab.locator(f"#{slider}").fill(value)

    def speed(self, code: str, count: int, stride: str | None) -> tuple[float, float]:
        """Return tokens for a second of the clock, and for one of processor time."""
        before = self._processor_seconds()
        seconds = self.evaluate(code, [count, stride])
        return count / seconds, count / (self._processor_seconds() - before)

    def _processor_seconds(self) -> float:
        metrics = self._inside.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in metrics if one["name"] == "ProcessTime")


def measure(browser: Any, page: Path, repeats: int) -> dict[str, Any]:
    """Return speeds, what the page wrote greedily, what it asked for, and what it complained of."""
    tab = Tab(browser, page)
    context, prompt = tab.evaluate("config.context_length"), tab.evaluate("ids")
    tab.set("temperature", "0")
    tab.speed(PRESSED, GREEDY, "1")
    greedy = tab.evaluate("ids.slice(given)")
    tab.set("temperature", "0.8")
    counts = {None: context - len(prompt), "half": 4 * context, "1": context // 2}
    speeds = {
        name: [tab.speed(ALONE, counts[stride], stride) for _ in range(repeats)]
        for name, stride in WINDOWS.items()
    }
    speeds["by half, and drawn"] = [
        tab.speed(PRESSED, 2000, "half") for _ in range(max(1, repeats // 4))
    ]
    return {
        "browser": browser.version,
        "tokens_per_second": speeds,
        "prompt": prompt,
        "greedy": greedy,
        "requests": tab.asked,
        "console": tab.said,
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="page_speed", description="How fast a page writes.")
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), metavar="DIR")
    parser.add_argument("--repeats", type=int, default=20, metavar="N", help="readings of each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the numbers")
    asked = parser.parse_args(arguments)
    try:
        checkpoint = load_checkpoint(asked.run, "cpu", optimizer=False)
        model, tokenizer = plain_model(checkpoint.state.model), checkpoint.tokenizer
        with tempfile.TemporaryDirectory() as folder, chromium() as browser:
            page = write_page(model, tokenizer, Path(folder) / "page.html", prompt="The ")
            size = page.stat().st_size
            found = measure(browser, page, max(1, asked.repeats))
    except UserError as error:
        print(error)
        return 1
    begin = torch.tensor([found.pop("prompt")])
    steps = generate(Cached(page_weights(model)), begin, GREEDY, Sampling(temperature=0))
    written = found.pop("greedy")
    same = sum(int(new) == id for new, id in zip(steps, written, strict=True))

    print(f"page                       {size:>9,} bytes; Chromium {found['browser']}")
    print(f"greedy tokens as PyTorch's {same:>9} of {GREEDY}")
    for name, readings in found["tokens_per_second"].items():
        clock, processor = zip(*readings, strict=True)
        print(
            f"{name:<26} {statistics.median(clock):>9,.0f} tokens/s ({min(clock):,.0f} to "
            f"{max(clock):,.0f} in {len(clock)} readings); "
            f"{statistics.median(processor):,.0f} for a second of processor time"
        )
    print(f"requests                   {len(found['requests']):>9}", *found["requests"])
    print(f"lines on the console       {len(found['console']):>9}", *found["console"])
    if asked.json:
        kept = {"page_bytes": size, "same_greedy_tokens": same, **found}
        asked.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return int(same < GREEDY or bool(found["requests"]) or bool(found["console"]))


if __name__ == "__main__":
    sys.exit(main())
