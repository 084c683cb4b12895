"""What went wrong, where it began, and what to try first.

Opened by notebook 12. To be read in this order: findings, loss_curves, memory, non_finite,
verbatim, text_floors, verdicts; with notebook 17 machine.
"""

from bhushgpt.diagnosis.findings import Finding, Mark, gigabytes, total, without_names
from bhushgpt.diagnosis.loss_curves import LossCurve, SpikeDetector
from bhushgpt.diagnosis.machine import (
    check_archives,
    check_book,
    check_cache,
    check_card,
    check_compiler,
    check_free_disk,
    check_free_memory,
    check_kernel,
    check_libraries,
    check_names,
    check_processor,
    check_python,
    check_results,
    check_settings,
    check_torch,
    device_notices,
)
from bhushgpt.diagnosis.memory import is_memory_error, memory_explained
from bhushgpt.diagnosis.non_finite import explain_non_finite
from bhushgpt.diagnosis.text_floors import TextFloors, ppmd_loss
from bhushgpt.diagnosis.verbatim import memorised, share_found
from bhushgpt.diagnosis.verdicts import Verdict, explain
