# A bare machine with Python >= 3.11, git and make is enough: every target sets up what it needs.
PYTHON ?= python3
MINOR := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV := .venv-$(MINOR)
BIN := $(VENV)/bin
LOCK := requirements/test-$(MINOR).txt
READY := $(VENV)/.ready

.PHONY: help demo test test-all test-wheels test-arm64 lint bench lock clean

help:  ## what there is to make
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(LOCK):
	@echo "no locked versions for Python $(MINOR): maggjob runs on 3.11 to 3.14; try make PYTHON=python3.12" >&2; exit 1

$(READY): $(LOCK) pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

demo: $(READY)  ## see it work: simulated granules, the whole job, a map
	rm -rf demo
	$(BIN)/maggjob demo demo

test: $(READY)  ## run the tests (at most 5 CPU-minutes)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-all: $(READY)  ## run every test of this machine, the dear proofs too (about 10 CPU-minutes)
	HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
	  -m 'not network and not arm64'

test-wheels: $(READY)  ## fetch the wheels of the Lambda image for aarch64 by their locks, and add them up
	$(BIN)/python -m pytest -m network tests/aws/test_image.py

test-arm64: $(READY)  ## run a Lambda worker on an emulated aarch64, and compare its bytes with those of x86-64
	$(BIN)/python -m pytest -m arm64 tests/arm64

lint: $(READY)  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## measure: figures, not tests
	$(BIN)/python -m benchmarks.statistics_and_cell
	$(BIN)/python -m benchmarks.simulation
	$(BIN)/python -m benchmarks.reading
	$(BIN)/python -m benchmarks.reduce
	$(BIN)/python -m benchmarks.catalog
	$(BIN)/python -m benchmarks.lambda_handler
	$(BIN)/python -m benchmarks.fanout
	$(BIN)/python -m benchmarks.cycle

lock: $(READY)  ## write the locked versions anew, for every minor version of Python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	for minor in 3.11 3.12 3.13 3.14; do \
	  $(BIN)/uv pip compile --quiet --upgrade --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	    --python-version $$minor --extra aws --extra view --extra test pyproject.toml \
	    -o requirements/test-$$minor.txt || exit 1; \
	done
	for minor in 3.12 3.13; do for readers in '' -readers; do \
	  $(BIN)/uv pip compile --quiet --upgrade --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	    --generate-hashes --only-binary :all: --python-platform aarch64-manylinux_2_28 --python-version $$minor \
	    --excludes runtime/excludes.in -c requirements/test-$$minor.txt \
	    runtime/requirements.in $$(test -z "$$readers" || echo runtime/readers.in) \
	    -o runtime/worker$$readers-$$minor.txt || exit 1; \
	done; done

clean:  ## remove what the targets made
	rm -rf .venv-* .arm64 .mypy_cache .pytest_cache .ruff_cache .hypothesis dist build
