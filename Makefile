# Everything a newcomer needs: each target makes .venv by itself on a bare Python 3.11+.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 2

# matplotlib's font list stays in the clone too: nothing outside it is touched but pip's cache
export MPLCONFIGDIR := $(CURDIR)/$(VENV)/matplotlib

.PHONY: demo test lint types docs bench clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: $(STAMP)  ## drawn people end to end, one HTML report
	$(BIN)/hyperarc demo

test: export OMP_NUM_THREADS ?= 1
test: $(STAMP)  ## the test suite with coverage, in JOBS processes; HYPERARC_FULL=1 runs the long ones too
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --cov --cov-report=term:skip-covered --cov-fail-under=90

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	$(BIN)/mkdocs build --strict

bench: $(STAMP)  ## tables of benchmarks/; see benchmarks/README.md
	for one in benchmarks/*.py; do $(BIN)/python $$one || exit 1; done

clean:
	rm -rf $(VENV) site dist .coverage* .mypy_cache .ruff_cache
