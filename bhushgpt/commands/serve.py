"""The command `serve`: a page on this machine that writes with a trained model.

Lesson: notebook 17.
"""

import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from bhushgpt.commands.flags import FOLDER, WHOLE, Device, Flag
from bhushgpt.cpu_settings import threads_for
from bhushgpt.devices import pick_device
from bhushgpt.interop import Server
from bhushgpt.language_model import LanguageModel
from bhushgpt.storage import load_checkpoint


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Show a page on this machine that writes with a trained model; Ctrl-C ends it."""

    run_folder: Annotated[Path, FOLDER, arg(name="run")]
    """Folder of a run."""
    port: Annotated[int, WHOLE] = 8000
    """Where to listen; 0 takes any port that is free."""
    open: Flag = False
    """Open the page in the browser, too."""
    device: Device = "auto"
    """Where to compute."""

    def run(self) -> int:
        """Serve until Ctrl-C; return the exit status."""
        checkpoint = load_checkpoint(self.run_folder, pick_device(self.device), optimizer=False)
        model = checkpoint.state.model
        assert isinstance(model, LanguageModel)
        title = f"A small GPT ({checkpoint.config.preset})"
        few = threads_for(2 * model.parameter_count())
        with few, Server(model, checkpoint.tokenizer, title=title, port=self.port) as server:
            print(f"Open {server.address} in a browser. Ctrl-C ends it.", flush=True)
            if self.open:
                webbrowser.open(server.address)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print()
        return 0
