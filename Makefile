# One entry a task; continuous integration calls only these.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt

# Workers and the processes that tests start find each module compiled, whatever the caller's environment says.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: test test-subjects subjects test-optimised test-exhaustive mutants demo lint format examples notes gallery readings corpus bench docs clean

# torch is pinned without a local suffix: where the package index offers a CPU build (2.13.0+cpu), pip takes it.
.venv: .venv/.installed
.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) pip hatchling editables
	$(PIP) --no-build-isolation --editable '.[torch,docs]' --group dev
	touch $@

# Each worker begins with a stretch of its own, so that what the tests of a file share is made once.
TESTS := $(BIN)/python -m pytest --numprocesses auto --dist worksteal

test: .venv/.installed
	$(TESTS)

# Every mutant of the generated code, and of the guards of the audit, and the site built and looked at: about an hour.
test-exhaustive: .venv/.installed
	$(TESTS) -m exhaustive

# Premises are checked with raise, so nothing may change when assert statements are compiled away.
test-optimised: .venv/.installed
	PYTHONOPTIMIZE=1 $(TESTS) -m "not slow and not exhaustive" -W ignore::pytest.PytestConfigWarning

# Each mistake of a list in each formula and all generated code, against every check; writes docs/mutants. About an hour.
mutants: .venv/.installed
	$(BIN)/python -m docs.mutants.study --results build/mutants

# Ask every judge about every statement of tests/corpus; writes docs/corpus.md, and fails if one is wrong. Some minutes.
corpus: .venv/.installed
	$(BIN)/python -m tests.corpus.page

# Audit every law and every sampler; writes docs/audit_laws.md, and fails if a verdict is wrong. Half an hour.
laws: .venv/.installed
	$(BIN)/python -m tests.laws.page

# Other people's libraries, audited: they are many and large, so they have an environment of their own.
SUBJECTS := .venv-subjects/bin/python
SUBJECT_PIP := $(SUBJECTS) -m pip install --quiet --constraint constraints.txt --use-pep517 --no-build-isolation
SUBJECT_PATH := PYTHONPATH=.:tests OMP_NUM_THREADS=1

# verl and openrlhf ask for versions that exclude each other and those pinned here, and for CUDA; what we call of them needs neither.
.venv-subjects/.installed: pyproject.toml constraints.txt
	test -x $(SUBJECTS) || $(PYTHON) -m venv .venv-subjects
	$(SUBJECTS) -m pip install --quiet --constraint constraints.txt pip setuptools hatchling editables
	$(SUBJECT_PIP) --editable '.[torch]' --group test --group subjects
	$(SUBJECT_PIP) --no-deps verl openrlhf
	touch $@

# One process a library, since some change torch when they are imported.
test-subjects: .venv-subjects/.installed
	set -e; for file in tests/subjects/test_*.py; do $(SUBJECT_PATH) $(SUBJECTS) -m pytest -p no:cacheprovider $$file; done

# Measure every subject and every loss of a library, and write docs/subjects.md and docs/gallery; tests compare.
subjects: .venv-subjects/.installed
	$(SUBJECT_PATH) $(SUBJECTS) -m subjects.page
	$(SUBJECT_PATH) $(SUBJECTS) -m subjects.losses
	$(SUBJECT_PATH) $(SUBJECTS) -m docs.gallery.page --results build/gallery

demo: .venv/.installed
	$(BIN)/python docs/examples/demo.py

# Every public name of a package has a type that checkers need not guess; those of other packages, the standard library's Fraction
# among them, are not ours to complete. Prints what is missing, and nothing else.
define typed
	@found=$$(PATH=$(abspath $(BIN)):$$PATH basedpyright --verifytypes $(1) --ignoreexternal) || { echo "$$found"; exit 1; }

endef

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	$(foreach package,derive gradproof numeric,$(call typed,$(package)))

format: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Judge every statement of the five notes anew and write their pages; a test compares.
notes: .venv/.installed
	$(BIN)/python -m docs.notes.pages

# Measure every row of the gallery and write its pages; a test compares.
gallery: .venv/.installed
	$(BIN)/python -m docs.gallery.page --results build/gallery

# Put the whole catalogue through the four readings, and write docs/readings; a test compares.
readings: .venv/.installed
	$(BIN)/python -m docs.readings.page

# Write what the commands in README.md and docs/ print under them, and what the cells of notebooks show; tests compare.
examples: .venv/.installed
	$(BIN)/python docs/refresh_examples.py
	$(BIN)/python docs/notebooks.py

# The site, into build/site/html: every page gathered or generated, every warning an error. Some minutes.
docs: .venv/.installed
	$(BIN)/python -m docs.site

# Ratios to other libraries, which have an environment of their own, to code by hand, and to the goals; OPTIONS=--quick takes two
# minutes, OPTIONS=--write puts what was measured among the results.
PEERS := .venv-peers/bin/python
PEER_PIP := $(PEERS) -m pip install --quiet --constraint constraints.txt

.venv-peers/.installed: pyproject.toml constraints.txt
	test -x $(PEERS) || $(PYTHON) -m venv .venv-peers
	$(PEER_PIP) pip setuptools hatchling editables
	$(PEER_PIP) --use-pep517 --no-build-isolation --editable '.[torch,docs]' --group peers
	touch $@

bench: .venv-peers/.installed
	$(PEERS) -m benchmarks $(OPTIONS)

clean:
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find derive numeric tests docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
