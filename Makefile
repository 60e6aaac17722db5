# make figures: set everything up and draw the published charts. make test: set everything up and run every test.
# Nothing is written outside this folder. PYTHON=python3.12 chooses another interpreter.

SHELL := /bin/bash
PYTHON ?= python3

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
# Wheels alone, so that nothing is run to build them; argon2-cffi-bindings has none for a Mac with an Intel processor.
export UV_NO_BUILD ?= $(if $(filter Darwin.x86_64,$(shell uname -s).$(shell uname -m)),0,1)
export UV_SYSTEM_CERTS ?= $(if $(wildcard /etc/ssl/certs/ca-certificates.crt),true,false)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport JUPYTER_PATH JUPYTER_PREFER_ENV_PATH MPLBACKEND PYTHONPATH PYTHONHOME VIRTUAL_ENV CONDA_PREFIX UV_PROJECT_ENVIRONMENT

BIN := .venv/bin
DIST := dist
READY := .venv/.ready
# As the lock says, each file by its hash. The project is built by the locked build group, not by what is newest today.
SYNC = $(BIN)/uv sync -q --frozen --inexact --compile-bytecode --no-build-isolation-package roofline-workbench --extra all --group build --python $(BIN)/python

.PHONY: help figures check test lint audit audit-deps sbom screenshots explore lab notebooks docs serving bench clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-11s %s\n", $$1, $$2}'

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

audit-deps: $(READY)  ## look for known vulnerabilities of the locked packages; with network
	@.ci/audit-deps

sbom: $(READY)  ## list what [all] installs as CycloneDX, dist/sbom.cdx.json; the same lock, the same bytes
	@mkdir -p $(DIST)
	@$(BIN)/uv export -q --frozen --all-extras --no-default-groups --format cyclonedx1.5 -o $(DIST)/.sbom.json >/dev/null
	@sed -e '/^  "serialNumber": /d' -e '/^    "timestamp": /d' $(DIST)/.sbom.json >$(DIST)/sbom.cdx.json && rm $(DIST)/.sbom.json

screenshots: $(READY)  ## take the documentation's pictures of the explorer again, every tab light and dark
	@$(BIN)/python tests/screenshots.py $(TABS)

explore: $(READY)  ## open the explorer in a browser
	@$(BIN)/workbench explore

lab: $(READY)  ## open JupyterLab on the notebooks
	@$(BIN)/jupyter lab --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate notebooks

NOTEBOOKS ?= $(wildcard notebooks/*.ipynb)
notebooks: $(READY)  ## run all notebooks and store their outputs in place
	@$(BIN)/jupyter nbconvert --log-level WARN --to notebook --inplace --execute --ExecutePreprocessor.record_timing=False --ExecutePreprocessor.store_widget_state=False $(NOTEBOOKS)

docs: $(READY)  ## build the documentation, docs/_build/html/index.html; every internal link must hold
	@$(SYNC) --group docs
	@rm -rf docs/_build docs/generated  # pages of modules that are gone would stay, with dead links
	@$(BIN)/sphinx-build -q -n -W --keep-going -j auto -b html docs docs/_build/html
	@$(BIN)/python docs/links.py docs/_build/html

serving: $(READY)  ## simulate every published serving benchmark again (minutes); then its claims, README's table, chart and notebook
	@$(BIN)/python tests/record_serving.py
	@$(BIN)/workbench figures serving-benchmarks
	@$(MAKE) -s notebooks NOTEBOOKS='notebooks/serving_benchmarks.ipynb notebooks/audit.ipynb'

bench: $(READY)  ## grids beside this machine's copy bandwidth and the batch beside papermill, into workbench/data/benchmarks.csv; a simulation; the explorer
	@$(BIN)/python -m pytest -o addopts= -o python_functions='bench_*' tests/bench_grid.py tests/bench_figures.py --benchmark-json .cache/benchmarks.json --benchmark-storage file://.cache/benchmarks
	@$(BIN)/python tests/bench_record.py .cache/benchmarks.json workbench/data/benchmarks.csv
	@$(BIN)/python tests/bench_simulation.py
	@$(BIN)/python tests/bench_explorer.py

clean:  ## remove the environment and the caches; the figures stay
	rm -rf .venv .cache $(DIST)/sbom.cdx.json figures/.state docs/_build docs/generated

$(READY): pyproject.toml uv.lock Makefile .ci/uv.txt
	@command -v $(PYTHON) >/dev/null || { echo "workbench: no $(PYTHON) on this machine: install Python 3.11 or newer (Debian: apt install python3 python3-venv)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "workbench: $$($(PYTHON) --version) is too old: Python 3.11 or newer is needed (choose one with make PYTHON=python3.12)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "workbench: $(PYTHON) cannot make virtual environments: install its venv module (Debian: apt install python3-venv)" >&2; exit 1; }
	@test -x $(BIN)/python && $(BIN)/python -c 'import pip' 2>/dev/null || { rm -rf .venv; $(PYTHON) -m venv .venv; }
	@mkdir -p $(CACHE)
	@echo "workbench: preparing .venv (a minute the first time)"
	@$(BIN)/python -m pip install -q --require-hashes --only-binary :all: -r .ci/uv.txt
	@$(SYNC)
	@touch $@
