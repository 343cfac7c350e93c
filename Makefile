# One entry a task; continuous integration calls only these.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: test test-optimised demo lint format examples bench clean

# torch is pinned without a local suffix: where the package index offers a CPU build (2.13.0+cpu), pip takes it.
.venv: .venv/.installed
.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) hatchling editables
	$(PIP) --no-build-isolation --editable '.[torch,test,docs,dev]'
	touch $@

test: .venv/.installed
	$(BIN)/python -m pytest --numprocesses auto

# Premises are checked with raise, so nothing may change when assert statements are compiled away.
test-optimised: .venv/.installed
	PYTHONOPTIMIZE=1 $(BIN)/python -m pytest --numprocesses auto -m "not slow" -W ignore::pytest.PytestConfigWarning

demo: .venv/.installed
	$(BIN)/python docs/examples/demo.py

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.installed
	$(BIN)/ruff check --fix .

# Write what the commands in README.md and docs/ print under them; a test compares.
examples: .venv/.installed
	$(BIN)/python docs/refresh_examples.py

bench: .venv/.installed
	set -e; for file in benchmarks/*.py; do $(BIN)/python $$file; done

clean:
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find derive numeric tests docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
