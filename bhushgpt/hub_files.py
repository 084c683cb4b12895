"""One file of a model on the Hugging Face hub, kept on the disk after the first time.

Lesson: notebook 15.
"""

import re
from pathlib import Path

from bhushgpt.errors import UserError

# What the hub allows: "gpt2" or "owner/name".
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")


def hub_file(name: str, file: str, revision: str | None = None) -> Path | None:
    """Return where a file of a model lies after it was fetched, None if the model has no such file.

    Args:
        name: The model's name on the hub, such as "openai-community/gpt2".
        file: A file in it.
        revision: A branch, tag or commit; the newest state of the main branch if left out.

    Raises:
        UserError: If huggingface_hub is not installed, the hub cannot be reached, or there is no
            such model.

    Lesson: notebook 15.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError:
        raise UserError(
            f"{name!r} is no folder here, and to look for it on the hub the library "
            "huggingface_hub is missing: python -m pip install huggingface_hub"
        ) from None
    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except LocalEntryNotFoundError:  # a kind of EntryNotFoundError: first
        reason = "the hub cannot be reached, and it is not in the cache"
    except EntryNotFoundError:
        return None
    except (RepositoryNotFoundError, HFValidationError):
        reason = "the hub has no model of that name that may be read without a password"
    except RevisionNotFoundError:
        reason = f"the model has no revision {revision!r}"
    except (HfHubHTTPError, OSError) as error:
        reason = f"the hub did not give it ({type(error).__name__})"
    raise UserError(
        f"{name!r} cannot be had: {reason}. Name a folder with config.json and model.safetensors, "
        "or try again with a network."
    )
