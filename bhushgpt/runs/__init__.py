"""A run from its first step to its report: what `train` does, without the command line.

Opened by notebook 17. To be read in this order: interruption, training_text, folder, monitoring,
fine_tuning (which notebook 18 explains), session, start, leaderboard, report; with notebook 20
minutes.
"""

from bhushgpt.runs.fine_tuning import FineTuning, plain_model
from bhushgpt.runs.folder import (
    Place,
    RunFolder,
    RunOptions,
    changed_options,
    find_place,
    run_of,
    text_of,
)
from bhushgpt.runs.interruption import Interruption
from bhushgpt.runs.leaderboard import TRACKS, Entry, enter, entries, verify
from bhushgpt.runs.minutes import MINUTES, minutes_session
from bhushgpt.runs.report import (
    completion_command,
    describe_run,
    results,
    run_demo,
    saved_whatever_happens,
)
from bhushgpt.runs.session import Session, facts
from bhushgpt.runs.start import (
    import_run,
    open_session,
    refuse_other_run,
    resume_session,
    start_fine_tuning,
    start_session,
)
from bhushgpt.runs.training_text import Text
