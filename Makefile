# Everything runs from .venv, which is made from the hash-locked files in requirements/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet

# Empty is unset. A machine may keep Python from writing bytecode, as containers do: then each of the
# hundreds of processes of `make test` compiles all of src again, and pytest all tests.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo install serve test cover mutate soak bench check format docs lock dist image clean
.DEFAULT_GOAL := help

help:  ## Show what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

demo: $(VENV)/installed  ## Play real calls through the service and prove what arrived
	$(BIN)/rtaa-ingest demo

install: $(VENV)/installed  ## Make .venv with the rtaa-ingest command

serve: $(VENV)/installed  ## Run the service for development, on a throw-away broker
	SUPPORT_EXOTEL=$${SUPPORT_EXOTEL:-true} HOST=$${HOST:-127.0.0.1} LOG_FORMAT=$${LOG_FORMAT:-console} $(BIN)/rtaa-ingest serve --embedded

test: $(VENV)/installed-dev  ## Run all tests, nine files at a time: most of them wait
	$(BIN)/pytest -n 9 --dist loadfile --no-loadscope-reorder

cover: $(VENV)/installed-dev  ## Measure which branches of the rules the fast tests take
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -n 2 tests/unit tests/property tests/contract/test_in_memory_store.py
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

mutate: $(VENV)/installed-mutate  ## Break the rules and see the tests fail (MUTATE="src/domain/rebase.py")
	$(BIN)/python tools/mutate.py $(MUTATE)

soak: $(VENV)/installed-dev  ## Break the broker under a million frames and judge (SOAK="--help")
	PYTHONPATH="$$(printf '%s:' "$(CURDIR)"/tests/support/*)$$PYTHONPATH" $(BIN)/python tests/soak/soak.py $(SOAK)

bench: $(VENV)/installed-bench  ## Measure what a frame costs, beside other programs (BENCH="--help")
	$(BIN)/python -m benchmarks $(BENCH)

check: $(VENV)/installed-dev  ## Check format, lint, types, imports, words, and that documents and files fit the code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/plain_words.py
	$(BIN)/pytest $(DRIFT)
# What would drift from the code: documents, deployment files, dashboards, alerts, the reference of metrics.
DRIFT := tests/architecture tests/integration/test_monitoring_files.py tests/integration/test_metrics_reference.py

format: $(VENV)/installed-dev  ## Format the code and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/installed  ## Write the table of variables in docs/configuration.md
	$(BIN)/python tools/configuration_table.py

lock:  ## Renew requirements/ from pyproject.toml (needs uv)
	uv pip compile $(LOCK) pyproject.toml --extra nats -o requirements/runtime.txt
	uv pip compile $(LOCK) pyproject.toml --extra traces --group dev -c requirements/runtime.txt -o requirements/dev.txt
	uv pip compile $(LOCK) pyproject.toml --extra nats --extra traces -c requirements/dev.txt -o requirements/traces.txt
	uv pip compile $(LOCK) requirements/bench.in -c requirements/dev.txt -o requirements/bench.txt
	uv pip compile $(LOCK) requirements/mutate.in -c requirements/dev.txt -o requirements/mutate.txt
	uv pip compile $(LOCK) --group pyproject.toml:build -o requirements/build.txt
	uv pip compile $(LOCK) --group pyproject.toml:sbom -c requirements/runtime.txt -o requirements/sbom.txt
LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

dist: $(VENV)/installed  ## Build the sdist, and the wheel from it, into dist/
	rm -rf $(DIST) && mkdir -p $(DIST)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -c 'import uv_build; uv_build.build_sdist("$(DIST)")'
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) wheel --no-deps --no-build-isolation --wheel-dir $(DIST) $(DIST)/*.tar.gz
DIST := dist

DOCKER ?= docker
image:  ## Build the container image rtaa-ingest:VERSION
	version=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) && \
	$(DOCKER) build --file deploy/Dockerfile --tag "rtaa-ingest:$$version" --tag rtaa-ingest \
		--build-arg VERSION="$$version" --build-arg REVISION="$$(git rev-parse HEAD)" \
		--build-arg CREATED="$$(git show --no-patch --format=%cI)" .

clean:  ## Remove what was made
	rm -rf $(VENV) demo-output dist mutants

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python requirements/runtime.txt requirements/build.txt pyproject.toml
	$(PIP) install --require-hashes -r requirements/runtime.txt
	$(PIP) install --require-hashes -r requirements/build.txt
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements/dev.txt
	$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

# Beside the environment, not in it: what is compared must not change what it is compared with.
$(VENV)/installed-bench: $(VENV)/installed requirements/bench.txt
	rm -rf $(VENV)/bench
	$(PIP) install --require-hashes --target $(VENV)/bench -r requirements/bench.txt
	@touch $@

# Beside it too: nothing else needs it.
$(VENV)/installed-mutate: $(VENV)/installed-dev requirements/mutate.txt
	rm -rf $(VENV)/mutate
	$(PIP) install --require-hashes --target $(VENV)/mutate -r requirements/mutate.txt
	@touch $@
