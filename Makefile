# Each target sets up what it needs in .venv; a second run does no work twice.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= runs/demo

.PHONY: help demo test test-ray test-browser test-slow docs docs-serve lint types format check benchmarks clean

help:
	@echo "make demo          set up, generate a small data set, run everything on it (OUT=$(OUT))"
	@echo "make test          set up and run the tests"
	@echo "make test-ray      the tests of the engine ray, which sets up Ray too"
	@echo "make test-browser  the report and exported clips in Chromium, which must be installed"
	@echo "make test-slow     several processes, and what is built from the package: minutes"
	@echo "make docs          build the pages into site/; make docs-serve shows them"
	@echo "make check         tests, lint and types: what CI runs"
	@echo "make benchmarks    run the benchmarks"
	@echo "make format        format the code"
	@echo "make clean         remove .venv and caches"

demo: .venv/installed
	$(BIN)/l2a demo --out $(OUT)

# One process for each core; each computes on one thread, so that results do not depend on cores.
test: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test-ray: .venv/installed-ray
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ray

test-browser: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser

test-slow: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed-dev
	$(BIN)/mypy

docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open site/index.html"

docs-serve: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: test lint types

benchmarks: .venv/installed-dev
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv build site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Learn2Augment needs Python 3.11 or newer; set PYTHON=/path/to/it."; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

.venv/installed: .venv/created pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

.venv/installed-ray: .venv/installed-dev
	$(BIN)/python -m pip install --quiet --editable '.[dev,ray]'
	@touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@
