# A bare machine with Python >= 3.11, git and make is enough: every target sets up what it needs.
PYTHON ?= python3
MINOR := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV := .venv-$(MINOR)
BIN := $(VENV)/bin
LOCK := requirements/test-$(MINOR).txt
READY := $(VENV)/.ready
DOCS := requirements/docs-$(MINOR).txt
DOCS_READY := $(VENV)/.docs-ready

# Tests start many processes, and each would compile maggjob again if byte code were not kept.
KEEP_BYTE_CODE := PYTHONDONTWRITEBYTECODE=

.PHONY: help demo docs notebooks test test-all browser faults soak sbom test-wheels test-arm64 test-image lint bench lock \
  clean

# "##@" begins a group; "## what it does | what it costs, when to use it" follows a target.
##@ This list
help:  ## list the targets
	@awk 'BEGIN { print "make TARGET [PYTHON=python3.12]" } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { \
	    target = $$0; sub(/:.*/, "", target); text = $$0; sub(/.*## /, "", text); \
	    count = split(text, parts, " [|] "); printf "  %-12s %s\n", target, parts[1]; \
	    if (count > 1) printf "  %-12s %s\n", "", parts[2] }' $(MAKEFILE_LIST)

$(LOCK):
	@echo "no locked versions for Python $(MINOR): maggjob runs on 3.11 to 3.14; try make PYTHON=python3.12" >&2; exit 1

$(READY): $(LOCK) pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(DOCS_READY): $(DOCS) $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(DOCS)
	touch $@

##@ See it work
demo: $(READY)  ## simulate granules, run the whole job, draw demo/map.png | about 20 CPU-seconds; the first thing to try
	rm -rf demo
	$(BIN)/maggjob demo demo

##@ Test
test: $(READY)  ## run the tests | about 5 CPU-minutes; before every commit
	$(KEEP_BYTE_CODE) $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-all: $(DOCS_READY)  ## run the slow tests, too (marked dear) | about 45 CPU-minutes; before a merge, and in continuous integration
	$(KEEP_BYTE_CODE) HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
	  -m 'not network and not arm64 and not image'

browser:  ## install Chromium, which the tests of pages drive | Debian, as root; without it they are skipped
	command -v chromium > /dev/null || { apt-get update -qq && apt-get install -qq -y chromium; }

test-wheels: $(READY)  ## download the locked wheels of the Lambda image, check their hashes and total size | needs the network; after 'make lock'
	$(BIN)/python -m pytest -m network tests/aws/test_image.py

test-arm64: $(READY)  ## run a Lambda worker on an emulated aarch64, compare its bytes with those of x86-64 | 4 minutes, 0.4 GB, needs Debian on x86-64 and the network; when the image or arithmetic changes
	$(BIN)/python -m pytest -m arm64 tests/arm64

test-image: $(READY)  ## build, push, pull and run the image of workers on an emulated aarch64, compare its bytes with a serial run's | 10 to 20 minutes, 10 more at first, 0.1 GB kept in ~/.cache/maggjob-test-image; needs Debian on x86-64 (says what to install), its python3 and the network; when the image changes
	$(BIN)/python -m pytest -m image tests/image

faults: $(READY)  ## runs with faults drawn at random, judged by an independent count: lost, wrong and broken must be 0 | 8 minutes for 40 rounds (ROUNDS=40); when reads, retries, locks, resuming or the ledger change
	$(BIN)/python -m benchmarks.faults --rounds $(or $(ROUNDS),40)

soak: $(READY)  ## the same for half an hour, with what grows: memory, files, processes, sockets, threads | MINUTES=30; before a release
	$(BIN)/python -m benchmarks.faults --minutes $(or $(MINUTES),30)

lint: $(READY)  ## check style (ruff) and types (mypy) | a minute at first, then seconds; before every commit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(DOCS_READY)  ## build the documentation into site/; every warning is an error | seconds; before a commit that changes pages or docstrings
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

notebooks: $(DOCS_READY)  ## run the notebooks and store them with what they give | 2 CPU-minutes; when a notebook changes
	$(BIN)/python docs/site/notebooks.py

##@ Measure
bench: $(READY)  ## run the benchmarks; they print figures and test nothing | long, wants an idle machine; when speed is the subject
	$(BIN)/python -m benchmarks.statistics_and_cell
	$(BIN)/python -m benchmarks.simulation
	$(BIN)/python -m benchmarks.reading
	$(BIN)/python -m benchmarks.waiting
	$(BIN)/python -m benchmarks.reduce
	$(BIN)/python -m benchmarks.catalog
	$(BIN)/python -m benchmarks.lambda_handler
	$(BIN)/python -m benchmarks.cold_import
	$(BIN)/python -m benchmarks.fanout
	$(BIN)/python -m benchmarks.cycle
	$(BIN)/python -m benchmarks.view

##@ Maintain
sbom: $(READY)  ## list what the image of workers consists of, as CycloneDX (sbom/*.json), and look for known weaknesses in all locks | needs the network; before a release
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	mkdir -p sbom
	for lock in runtime/worker*.txt; do \
	  $(BIN)/uv tool run --quiet --from cyclonedx-bom cyclonedx-py requirements $$lock \
	    -o sbom/$$(basename $$lock .txt).json || exit 1; \
	done
	for lock in requirements/*.txt runtime/worker*.txt; do \
	  $(BIN)/uv tool run --quiet pip-audit --disable-pip --no-deps -r $$lock || exit 1; \
	done

lock: $(READY)  ## update the locked versions, for every minor version of Python | needs the network; when dependencies change
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	for minor in 3.11 3.12 3.13 3.14; do \
	  $(BIN)/uv pip compile --quiet --upgrade --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	    --python-version $$minor --extra aws --extra export --extra readers --extra scenes --extra view --extra xdggs --extra test pyproject.toml \
	    -o requirements/test-$$minor.txt || exit 1; \
	  $(BIN)/uv pip compile --quiet --upgrade --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	    --python-version $$minor --extra docs --extra proofs -c requirements/test-$$minor.txt pyproject.toml \
	    -o requirements/docs-$$minor.txt || exit 1; \
	done
	for minor in 3.11 3.12 3.13 3.14; do for readers in '' -readers; do \
	  $(BIN)/uv pip compile --quiet --upgrade --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	    --generate-hashes --only-binary :all: --python-platform aarch64-manylinux_2_28 --python-version $$minor \
	    --excludes runtime/excludes.in -c requirements/test-$$minor.txt \
	    runtime/requirements.in $$(test -z "$$readers" || echo runtime/readers.in) \
	    -o runtime/worker$$readers-$$minor.txt || exit 1; \
	done; done

clean:  ## remove what the targets made, environments included; demo/ stays | no cost
	rm -rf .venv-* .arm64 sbom .mypy_cache .pytest_cache .ruff_cache .hypothesis dist build site
