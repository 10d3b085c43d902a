# Every target does its own set-up: `make parity` and `make test` work in a fresh clone.
PYTHON ?= python3
VENV ?= .venv
MODEL ?=
BIN := $(VENV)/bin

.PHONY: parity test clients bench lint mutants format clean

# Prove that the numbers equal transformers': generated checkpoints, or MODEL=albert/albert-base-v2 (a name or a directory).
parity: $(VENV)/.installed
	$(BIN)/albert-torch parity $(MODEL) $(ARGS)

# Lint, types, tests: a file of tests for each core at a time.
test: lint
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(ARGS)

# The real packages that take a transformers ALBERT take ours: HF Trainer, accelerate, PEFT, sentence-transformers, ...
clients: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dev,clients]' --constraint constraints.txt
	$(BIN)/python -m pip install --quiet --no-deps kokoro loguru attrs  # its text front end is large and not needed
	$(BIN)/python -m pytest tests/clients $(ARGS)

# How fast: interleaved with transformers, ONNX Runtime and OpenVINO on the same weights. Let nothing else run meanwhile.
bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[bench]' --constraint constraints.txt
	$(BIN)/python scripts/bench.py $(ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

# Put in deliberate faults, one at a time: the tests must notice each.
mutants: $(VENV)/.installed
	$(BIN)/python scripts/mutants.py $(ARGS)

format: $(VENV)/.installed
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch --constraint constraints.txt
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --constraint constraints.txt
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
