# `make help` lists the targets. Every target makes the virtual environment that it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS := $(VENV)/.docs

.DEFAULT_GOAL := help
.PHONY: help venv train test test-all sanitize stress lint format types docs dist clean
.PHONY: benchmark-outliers benchmark-outliers-quick
.PHONY: paper table1 table2 fig2 fig3 fig4 fig5 fig6 fig7 fig8 report paper-quick

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

paper: venv ## run what the paper's tables and figures still need, write experiments/report (PAPER="--seeds 2 --jobs 4")
	$(BIN)/python -m experiments.paper paper $(PAPER)

table1 table2 fig2 fig3 fig4 fig5 fig6 fig7 fig8: venv ## the same for one of them
	$(BIN)/python -m experiments.paper $@ $(PAPER)

report: venv ## write experiments/report from what has been run
	$(BIN)/python -m experiments.paper report $(PAPER)

paper-quick: venv ## the paper's whole path in two minutes, on the bundled sample, into runs/paper-quick
	rm -rf runs/paper-quick
	$(BIN)/python -m experiments.paper paper --quick $(PAPER)

benchmark-outliers: venv ## outlier detectors on the field's tasks, into experiments/benchmark (BENCHMARK="--seeds 5")
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[benchmark]'
	$(BIN)/python -W ignore -m experiments.benchmark run $(BENCHMARK)

benchmark-outliers-quick: venv ## the same path in half a minute, on the bundled samples, into runs/benchmark-quick
	rm -rf runs/benchmark-quick
	$(BIN)/python -W ignore -m experiments.benchmark run --quick $(BENCHMARK)

test: lint types ## lint, types and the fast tests
	$(BIN)/python -m pytest -n auto --dist worksteal

test-all: lint types ## also the slow tests
	$(BIN)/python -m pytest -n auto --dist worksteal -m ''

# Leaks are Python's own: it frees little at its end. Torch's threads end with the process.
SANITIZE := DCGMM_CXXFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g" \
	ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
	LD_PRELOAD="$(shell g++ -print-file-name=libasan.so) $(shell g++ -print-file-name=libubsan.so)"

sanitize: venv ## the compiled passes under AddressSanitizer and UndefinedBehaviorSanitizer (needs g++)
	$(SANITIZE) $(BIN)/python -m pytest -n 0 -s tests/dcgmm/model tests/dcgmm/training/test_trainer.py --deselect tests/dcgmm/model/native/test_build.py

STRESSED := tests/dcgmm/test_generated.py tests/dcgmm_cli/test_generated.py tests/dcgmm_cli/commands/test_generated.py tests/dcgmm_cli/commands/test_hostile_files.py tests/stress

stress: venv ## 200 kills, hostile files, 50 commands at once, and generated input, STRESS (50) times as much as in `make test` (51 minutes on two cores; STRESS=5 for a look)
	STRESS=$(or $(STRESS),50) $(BIN)/python -m pytest -n auto -m '' $(STRESSED)

lint: venv ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: venv ## check types
	$(BIN)/mypy

format: venv ## rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: venv ## measure speed and memory on this machine (about 5 minutes); DEVICE=cuda on a GPU; OUT=file.json keeps the figures
	$(BIN)/python benchmarks/bench.py $(if $(DEVICE),--device $(DEVICE)) $(if $(OUT),--out $(OUT))

bench-compare: venv ## two result files side by side: make bench-compare OLD=a.json NEW=b.json
	$(BIN)/python benchmarks/bench.py --compare $(OLD) $(NEW)

bench-scale: venv ## steps along images, their size, K, positions, layers, processes (8 minutes), with a picture; OUT=file.json
	$(BIN)/python benchmarks/scale.py $(if $(OUT),--out $(OUT)) $(SCALE)

docs: $(DOCS) ## build the documentation site into build/docs, and look at its pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet -f docs/mkdocs.yml
	$(BIN)/python -m pytest -n 0 -m '' tests/docs
	@echo build/docs/index.html

$(DOCS): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

dist: venv ## build sdist and wheel into dist, check them, install the wheel into a clean environment
	rm -rf dist build/dist
	$(BIN)/python -m pip install --quiet --constraint constraints.txt build twine
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(PYTHON) -m venv build/dist
	build/dist/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	cd build && dist/bin/dcgmm train arch=1L dataset=mnist_sample trainer.epochs=1 runs_dir=dist/runs

clean: ## remove the virtual environment and caches (runs and data stay)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache dist build
