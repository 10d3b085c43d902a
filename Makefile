# Every target does its own set-up: each works in a fresh clone with nothing done before.
#
#   PYTHON=python3.12   the interpreter that .venv is made with
#   ARGS="..."          more arguments for the program that a target runs
#   MODEL=NAME          the checkpoint that `make parity` compares: a Hub name or a directory
PYTHON ?= python3
VENV ?= .venv
MODEL ?=
ARGS ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.PHONY: help test lint types format parity clients docs docs-serve bench mutants dist clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

test: lint types  ## Run the linter, the type checker and the tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(ARGS)

lint: $(VENV)/.dev  ## Check the style and the format of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## Check the types of the package
	$(BIN)/mypy

format: $(VENV)/.dev  ## Format the code and fix what the linter can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

parity: $(VENV)/.dev  ## Compare every number with transformers
	$(BIN)/albert-torch parity $(MODEL) $(ARGS)

clients: $(VENV)/.clients  ## Test with the real packages that take an ALBERT
	$(BIN)/python -m pytest tests/clients tests/docs $(ARGS)

docs: $(VENV)/.docs  ## Build the documentation into site/
	$(BIN)/mkdocs build --strict $(ARGS)

docs-serve: $(VENV)/.docs  ## Show the documentation in a browser while you write it
	$(BIN)/mkdocs serve $(ARGS)

bench: $(VENV)/.bench  ## Measure the speed; let nothing else run meanwhile
	$(BIN)/python scripts/bench.py $(ARGS)

mutants: $(VENV)/.dev  ## Apply each deliberate fault and see whether the tests notice it
	$(BIN)/python scripts/mutants.py $(ARGS)

dist: $(VENV)/.release  ## Build the source distribution and the wheel, and check them
	rm -rf dist build
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

clean:  ## Delete everything that the other targets made
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache

# torch comes first and alone, so that pip takes the build that the configured index prefers.
$(VENV)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable '.[dev]'
	touch $@

# kokoro's own dependencies include a large text front end that the test does not need.
$(VENV)/.clients: $(VENV)/.dev
	$(PIP) --editable '.[dev,clients]'
	$(PIP) --no-deps kokoro loguru attrs
	touch $@

$(VENV)/.docs $(VENV)/.bench $(VENV)/.release: $(VENV)/.dev
	$(PIP) --editable '.[$(patsubst .%,%,$(notdir $@))]'
	touch $@
