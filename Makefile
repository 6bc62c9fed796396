# `make help` lists the targets. Every target makes the virtual environment that it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help venv train test test-all lint format types clean

help: ## list the targets
	@grep -hE '^[a-zA-Z0-9_ -]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

venv: $(READY) ## create .venv and install dcgmm in it with its development tools

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 14) else "dcgmm needs Python 3.11 to 3.13 (make PYTHON=python3.x); this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[sweep,dev]'
	@touch $@

train: venv ## the main job: 2L-c on MNIST for the paper's 25 epochs
	$(BIN)/dcgmm train arch=2L-c dataset=mnist

test: lint types ## lint, types and the fast tests
	$(BIN)/python -m pytest -n auto

test-all: lint types ## also the slow tests
	$(BIN)/python -m pytest -n auto -m ''

lint: venv ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: venv ## check types
	$(BIN)/mypy

format: venv ## rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: venv ## measure speed and memory on this machine (about 15 minutes); OUT=file.json keeps the figures
	$(BIN)/python benchmarks/bench.py $(if $(OUT),--out $(OUT))

bench-compare: venv ## two result files side by side: make bench-compare OLD=a.json NEW=b.json
	$(BIN)/python benchmarks/bench.py --compare $(OLD) $(NEW)

clean: ## remove the virtual environment and caches (runs and data stay)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache dist build
