# make figures: set everything up and draw the published charts. make test: set everything up and run every test.
# Nothing is written outside this folder. PYTHON=python3.12 chooses another interpreter.

SHELL := /bin/bash
PYTHON ?= python3
UV_VERSION := 0.13.8

# Everything that tools keep goes below .cache, and a kernel is always this environment's own.
CACHE := $(CURDIR)/.cache
export UV_CACHE_DIR ?= $(CACHE)/uv
export PIP_CACHE_DIR ?= $(CACHE)/pip
export MPLCONFIGDIR := $(CACHE)/matplotlib
export IPYTHONDIR := $(CACHE)/ipython
export JUPYTER_CONFIG_DIR := $(CACHE)/jupyter/config
export JUPYTER_DATA_DIR := $(CACHE)/jupyter/data
export JUPYTER_RUNTIME_DIR := $(CACHE)/jupyter/runtime
export JUPYTERLAB_SETTINGS_DIR := $(CACHE)/jupyter/lab
export JUPYTERLAB_WORKSPACES_DIR := $(CACHE)/jupyter/workspaces
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS ?= $(if $(wildcard /etc/ssl/certs/ca-certificates.crt),true,false)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport JUPYTER_PATH JUPYTER_PREFER_ENV_PATH MPLBACKEND PYTHONPATH PYTHONHOME VIRTUAL_ENV CONDA_PREFIX UV_PROJECT_ENVIRONMENT

BIN := .venv/bin
READY := .venv/.ready

.PHONY: help figures check test lint audit screenshots explore lab notebooks docs bench clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-11s %s\n", $$1, $$2}'

figures: $(READY)  ## set up, then draw every published chart that is not up to date
	@$(BIN)/workbench figures

check: $(READY)  ## recompute the charts and compare their numbers with figures/
	@$(BIN)/workbench figures --check

test: $(READY) lint  ## set up, then run every test
	@$(BIN)/python -m pytest

lint: $(READY)
	@$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check . && $(BIN)/mypy

audit: $(READY)  ## recompute every published number
	@$(BIN)/workbench audit

screenshots: $(READY)  ## take the README's pictures of the explorer again
	@$(BIN)/python -m pytest -n 0 tests/test_browser.py
	@cp .cache/screenshots/explorer-{first,compare,published}.png docs/screenshots/

explore: $(READY)  ## open the explorer in a browser
	@$(BIN)/workbench explore

lab: $(READY)  ## open JupyterLab on the notebooks
	@$(BIN)/jupyter lab notebooks

notebooks: $(READY)  ## run all notebooks but the explorer's and store their outputs in place
	@$(BIN)/jupyter nbconvert --log-level WARN --to notebook --inplace --execute --ExecutePreprocessor.record_timing=False $(filter-out notebooks/explorer.ipynb,$(wildcard notebooks/*.ipynb))

docs: $(READY)  ## build the documentation, docs/_build/html/index.html; every internal link must hold
	@$(BIN)/uv sync -q --frozen --inexact --compile-bytecode --extra all --group docs --python $(BIN)/python
	@$(BIN)/sphinx-build -q -n -W --keep-going -b html docs docs/_build/html

bench: $(READY)  ## grids beside this machine's copy bandwidth and the batch beside papermill, into workbench/data/benchmarks.csv; a simulation; the explorer
	@$(BIN)/python -m pytest -o addopts= -o python_functions='bench_*' tests/bench_grid.py tests/bench_figures.py --benchmark-json .cache/benchmarks.json --benchmark-storage file://.cache/benchmarks
	@$(BIN)/python tests/bench_record.py .cache/benchmarks.json workbench/data/benchmarks.csv
	@$(BIN)/python tests/bench_simulation.py
	@$(BIN)/python tests/bench_explorer.py

clean:  ## remove the environment and the caches; the figures stay
	rm -rf .venv .cache figures/.state docs/_build docs/generated

$(READY): pyproject.toml uv.lock Makefile
	@command -v $(PYTHON) >/dev/null || { echo "workbench: no $(PYTHON) on this machine: install Python 3.11 or newer (Debian: apt install python3 python3-venv)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "workbench: $$($(PYTHON) --version) is too old: Python 3.11 or newer is needed (choose one with make PYTHON=python3.12)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "workbench: $(PYTHON) cannot make virtual environments: install its venv module (Debian: apt install python3-venv)" >&2; exit 1; }
	@test -x $(BIN)/python && $(BIN)/python -c 'import pip' 2>/dev/null || { rm -rf .venv; $(PYTHON) -m venv .venv; }
	@mkdir -p $(CACHE)
	@echo "workbench: preparing .venv (a minute the first time)"
	@$(BIN)/python -m pip install -q "uv==$(UV_VERSION)"
	@$(BIN)/uv sync -q --frozen --inexact --compile-bytecode --extra all --python $(BIN)/python
	@touch $@
