"""A run on disk: whole, or not there at all.

Opened by notebook 11. To be read in this order: run_folder, tensors, checkpoints; with notebook 15
distributed, with 18 adapters.
"""

from bhushgpt.storage.adapters import base_digest, load_adapter, save_adapter
from bhushgpt.storage.checkpoints import (
    Checkpoint,
    config_to_dict,
    load_checkpoint,
    load_weights,
    refuse_other_model,
    save_checkpoint,
)
from bhushgpt.storage.distributed import load_distributed, save_distributed
from bhushgpt.storage.run_folder import (
    BEST,
    LAST,
    LEFT,
    MANIFEST,
    fingerprint,
    followed,
    list_checkpoints,
    newest_good_checkpoint,
    read_manifest,
    set_aside_after,
    sweep,
    verify_manifest,
)
from bhushgpt.storage.tensors import optimizer_parts, read_header, weights_once
