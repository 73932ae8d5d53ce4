# headrace: `make` prints what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

# The repository root must never be on the import path: a file would load under two names.
export PYTHONSAFEPATH := 1
export OMP_NUM_THREADS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME VIRTUAL_ENV

BIN := .venv/bin
PIP := $(BIN)/python -m pip install $(if $(MAKE_TERMOUT),,--quiet)
ARGS ?=
PYTHON ?=
FIT := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))

.PHONY: help
help:  ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

$(BIN)/python:
	@for python in $(or $(PYTHON),python3.11 python3.12 python3); do \
	    if $$python -c '$(FIT)' 2>/dev/null; then exec $$python -m venv --clear .venv; fi; \
	done; \
	echo "headrace: asked for Python 3.11 or 3.12 with venv and pip; found$(if $(PYTHON), no such thing in $(PYTHON), none of that kind);" \
	     "install python3.11 (on Debian also python3.11-venv) or run 'make PYTHON=/its/path ...'" >&2; exit 1

# What the sdists of the tree are built with is locked too; so nothing is fetched unseen.
.venv/run.stamp: requirements/build.txt requirements/run.txt pyproject.toml | $(BIN)/python
	@echo "headrace: installing its packages into .venv (minutes the first time)"
	@$(PIP) --require-hashes -r requirements/build.txt
	@$(PIP) --require-hashes --no-build-isolation -r requirements/run.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements/dev.txt
	@echo "headrace: installing its development packages into .venv"
	@$(PIP) --require-hashes --no-build-isolation -r requirements/dev.txt
	@touch $@

.PHONY: setup dev jars demo test fuzz chaos lint fmt cover bench bench-gpu wheel check lock clean distclean
setup: .venv/run.stamp  ## make .venv with everything that headrace runs on

dev: .venv/dev.stamp  ## and with everything that it is developed with

jars: setup  ## fetch and verify the jars of the broker and of Flink
	@$(BIN)/python -m headrace.jobs.machine.java

demo: setup jars  ## a year of flights, from Kafka to a model that learned; ARGS="--days 30"
	@exec $(BIN)/headrace demo $(ARGS)

test: dev jars  ## all tests, two files at a time; ARGS="-m 'not e2e' -k java"
	@exec $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

fuzz: dev jars  ## random expressions and logs against all engines; ARGS="--seed 7"
	@exec $(BIN)/python tests/__main__.py fuzz $(ARGS)

chaos: dev jars  ## kill what runs, damage files, fill disks; ARGS="--seed 7"
	@exec $(BIN)/python tests/__main__.py chaos $(ARGS)

lint: dev  ## ruff, mypy, import-linter, house rules
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/python tests/house_rules.py
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fmt: dev  ## format, and repair what ruff can
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

cover: dev jars  ## all tests, with the coverage of each line and branch
	@exec $(BIN)/pytest --cov --cov-report=term-missing $(ARGS)

bench: setup jars  ## measure side by side, as ratios; ARGS="views --rounds 5"
	@exec $(BIN)/python benchmarks/__main__.py $(ARGS)

bench-gpu: setup  ## the deep models on an accelerator, beside the CPU; ARGS="--rounds 50"
	@exec $(BIN)/python benchmarks/__main__.py gpu $(ARGS)

wheel: dev  ## build dist/headrace-*.whl
	@$(BIN)/python -m build --wheel --no-isolation

check: lint test wheel  ## what CI runs, and the wheel

UV := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet \
      --no-header --no-emit-index-url --no-emit-find-links $(ARGS)
lock: dev  ## resolve requirements/*.txt again; ARGS="--upgrade-package duckdb"
	@$(UV) requirements/build.in -o requirements/build.txt
	@$(UV) pyproject.toml --extra demo --extra deep -o requirements/run.txt
	@$(UV) pyproject.toml --extra demo --extra deep --extra export --extra lake --extra lineage --extra notebook --extra outliers --extra telemetry --extra tune --extra dev -c requirements/run.txt -o requirements/dev.txt
	@for peer in bytewax feast quix river vw; do \
	    $(UV) requirements/peer-$$peer.in -o requirements/peer-$$peer.txt; done

clean:  ## remove what was built and what the demo left; keep .venv and other state
	@rm -rf build dist .headrace/demo .namespace/*.egg-info .coverage .coverage.* htmlcov
	@rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find $(wildcard benchmarks feature_store jobs online_learning operators pipelines tests) -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## and remove .venv
	@rm -rf .venv
