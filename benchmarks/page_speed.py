"""How fast a model writes in a browser, and whether it writes what PyTorch writes.

    python benchmarks/page_speed.py runs/demo
    python benchmarks/page_speed.py runs/demo --json benchmarks/page_speed.json

Exports the run as a page, opens the file in Chromium, lets it write 100 tokens greedily, then three
times 3,000 as fast as it can, and compares the greedy ones with PyTorch's, which computes with the
same int8 weights. The page's own display is the clock. Wants an idle machine.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from bhushgpt.devices import machine_card
from bhushgpt.generation import Sampling, generate
from bhushgpt.interop.page import page_weights, write_page
from bhushgpt.kv_cache import Cached
from bhushgpt.storage import load_checkpoint
from tools.chromium import chromium

PROMPT, GREEDY, LONG, ROUNDS = "The ", 100, 3_000, 3


def written(tab: Any, n_tokens: int) -> tuple[str, float]:
    """Press Write, and return the text with its prompt and the tokens per second that are shown."""
    tab.locator("#pace").select_option("as fast as it can")
    tab.locator("#length").fill(str(n_tokens))
    tab.locator("#write").click()
    tab.get_by_role("button", name="Write", exact=True).wait_for()
    shown = tab.locator("#speed").inner_text()
    speed = float(shown.split(" tokens/s")[0].split()[-1].replace(",", ""))
    return tab.locator("#written").evaluate("node => node.textContent"), speed


def measured(run: Path) -> dict[str, Any]:
    """Return what was found of a run's page."""
    found = load_checkpoint(run, optimizer=False)
    model, tokenizer = found.state.model.eval(), found.tokenizer
    requests: list[str] = []
    errors: list[str] = []
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        page = write_page(model, tokenizer, Path(folder, "page.html"))
        tab = browser.new_page()
        tab.set_default_timeout(300_000)
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("console", lambda message: errors.append(message.text))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(page.as_uri())
        tab.locator("#prompt").fill(PROMPT)
        tab.locator("#temperature").fill("0")
        text, _ = written(tab, GREEDY)
        tab.locator("#temperature").fill("0.8")
        speeds = [written(tab, LONG)[1] for _ in range(ROUNDS)]
        size = page.stat().st_size
    ids = torch.tensor([list(tokenizer.encode(PROMPT))])
    same = Cached(page_weights(model))
    expected = [int(new) for new in generate(same, ids, GREEDY, Sampling(temperature=0))]
    return {
        "measured_by": f"python benchmarks/page_speed.py {run.name}",
        "machine": machine_card(),
        "parameters": model.parameter_count(),
        "bytes": size,
        "tokens_per_second": statistics.median(speeds),
        "readings": speeds,
        "greedy_as_pytorch": text == PROMPT + tokenizer.decode(expected),
        "requests_elsewhere": [url for url in requests if not url.startswith(("file:", "data:"))],
        "console": errors,
    }


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description="Measure a model's page in Chromium.")
    parser.add_argument("run", type=Path, help="the folder of a run")
    parser.add_argument("--json", type=Path, help="where the record goes")
    asked = parser.parse_args()
    text = json.dumps(measured(asked.run), indent=1)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
