# Every command sets the course up first (tools/install.py); where that is done it takes a moment.
# Windows without make: README.md shows the same commands for PowerShell.

PYTHON ?= python3
VENV_PYTHON := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup demo bench test faults mutants check lab notebooks site site-check browser rot

help: ## this list
	@echo "make demo        train GPT-v1 on a book and let it write, in minutes"
	@echo "make bench       measure this machine, and the course's speed on it (ARGS=--peers: and of others)"
	@echo "make lab         open notebooks of your own, copies, in JupyterLab"
	@echo "make test        check everything: lint, types, unit tests, all notebooks"
	@echo "make faults      attack it for minutes: kills, bit flips, full disks, malicious files"
	@echo "make mutants     plant mistakes one at a time, and see whether a test notices each"
	@echo "make check       lint and types alone"
	@echo "make notebooks   run the notebooks and store what they print"
	@echo "make site        make the web site of the course; make site-check looks at it in a browser"
	@echo "make browser     run notebooks in JupyterLab in a browser, as a learner does"
	@echo "make rot         try the newest PyTorch, NumPy, Jupyter and Python: what do they break?"
	@echo "make setup       set up only (.venv, libraries, book); the others do it by themselves"
	@echo "Another Python:  make demo PYTHON=python3.12"
	@echo "More arguments:  make notebooks ARGS=04_bigram; make lab ARGS=--allow-root"

setup:
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { \
	  echo "There is no $(PYTHON) on this machine. Install Python 3.11 or newer, or name yours:" \
	    "make demo PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" tools/install.py

demo: setup
	@$(VENV_PYTHON) -m bhushgpt demo $(ARGS)

test: setup
	@$(VENV_PYTHON) tools/test.py $(ARGS)

faults: setup
	@$(VENV_PYTHON) -m tools.faults $(ARGS)

mutants: setup
	@$(VENV_PYTHON) -m tools.mutants $(ARGS)

check: setup
	@$(VENV_PYTHON) tools/test.py check

bench: setup
	@$(VENV_PYTHON) -m bhushgpt bench $(ARGS)

lab: setup
	@$(VENV_PYTHON) tools/lab.py $(ARGS)

notebooks: setup
	@$(VENV_PYTHON) tools/notebooks.py $(ARGS)

site: setup
	@$(VENV_PYTHON) -m tools.website $(ARGS)

site-check: setup
	@$(VENV_PYTHON) -m tools.site_check $(ARGS)

browser: setup
	@$(VENV_PYTHON) -m tools.browser $(ARGS)

rot: setup
	@$(VENV_PYTHON) -m tools.rot $(ARGS)
