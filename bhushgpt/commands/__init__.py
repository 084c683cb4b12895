"""The command line: a table of commands, each loaded when it is typed.

Each command is a frozen dataclass: its fields are the flags, the text under a field is its help,
and `run` calls the same functions that the notebooks call.

Opened by notebook 17.
"""

from bhushgpt.commands.table import COMMANDS, EXAMPLES, WITHOUT_TORCH
