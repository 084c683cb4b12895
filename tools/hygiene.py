"""All checks of a stored notebook's form, by name.

python -m tools.hygiene              every notebook
python -m tools.hygiene 04_bigram    one of them
"""

import sys
from collections.abc import Callable

from tools import notebook_form, notebook_links
from tools.solution_leaks import leaks, references
from tools.stored_notebook import StoredNotebook, stored_notebooks

CHECKS: dict[str, Callable[[StoredNotebook], list[str]]] = {
    "headings": notebook_form.headings,
    "second cell": notebook_form.second_cell,
    "kernel": notebook_form.kernel,
    "execution": notebook_form.execution,
    "ids": notebook_form.identities,
    "tags": notebook_form.known_tags,
    "finished": notebook_form.finished,
    "compared": notebook_form.compared,
    "size": notebook_form.size,
    "outputs": notebook_form.outputs,
    "code cells": notebook_form.code_cells,
    "ideas": notebook_form.ideas,
    "machine traces": notebook_form.machine_traces,
    "exercises": notebook_form.exercises,
    "wording": notebook_form.wording,
    "links": notebook_links.links,
    "onward": notebook_links.onward,
    "pictures": notebook_links.described,
    "local images": notebook_links.local_images,
    "solution leaks": lambda notebook: leaks(notebook, references()),
}


def main(names: list[str]) -> int:
    """Print the complaints about the named notebooks, or about all; return how many there are."""
    count = 0
    for notebook in stored_notebooks():
        if names and not any(notebook.name.startswith(name) for name in names):
            continue
        complaints = [line for check in CHECKS.values() for line in check(notebook)]
        count += len(complaints)
        print(f"{notebook.name}: {len(complaints) or 'no'} complaints")
        for line in complaints:
            print(f"    {line}")
    return min(count, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
