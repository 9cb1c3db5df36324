# Two commands on a machine with Python 3.11 or newer and make:
#   make quickstart   an environment, the installation, and the main job: a tiny model learns to work out sums
#   make test         the same with what the tests need, and the tests
# Both can be repeated: the environment is made once, and brought up to date when pyproject.toml changes.

VENV ?= .venv
PYTHON ?= python3
RUNS ?= runs
# What pytest is told: processes, as many as there are cores, or which tests, as in make test ARGS='-m slow'.
ARGS ?= -n auto --dist loadfile

bin := $(abspath $(VENV))/bin

.DELETE_ON_ERROR:
.PHONY: help quickstart test

help:
	@sed -n 's/^#   //p' Makefile

quickstart: $(VENV)/installed
	@name=quickstart; number=2; \
	while [ -e "$(RUNS)/$$name" ]; do name=quickstart-$$number; number=$$((number + 1)); done; \
	echo "$(bin)/reasonrl train quickstart name=$$name run.root=$(RUNS)"; \
	"$(bin)/reasonrl" train quickstart "name=$$name" "run.root=$(RUNS)"

test: $(VENV)/installed-test
	PATH="$(bin):$$PATH" "$(bin)/python" -m pytest $(ARGS)

$(VENV)/installed: packages := .
$(VENV)/installed-test: packages := .[test]
$(VENV)/installed $(VENV)/installed-test: pyproject.toml
	@$(PYTHON) -c pass 2>/dev/null || { \
	  echo "error: there is no $(PYTHON). Install Python 3.11 or newer, or name yours: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1). reasonrl needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "error: $(PYTHON) has no venv. Install it (on Debian and Ubuntu: apt install python3-venv) and try again" >&2; exit 1; }
	$(PYTHON) -m venv "$(VENV)"
	"$(bin)/python" -m pip install --quiet --editable '$(packages)'
	@touch $@
