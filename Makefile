# Everything a person needs, on a machine with only Python 3.11+, venv and make.
# `make` alone lists the targets. Set PYTHON to choose the interpreter of the first set-up.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
SECONDS ?= 60
ARGS    ?=
# What is tested on every kind of Redis, and with every broker.
ANY_SERVER := tests/crashes tests/gate tests/judges tests/transport tests/venue tests/worker
ANY_BROKER := tests/venue tests/worker

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all chaos check format bench pictures lock tables reliability wheel clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements/all.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("permitwait needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; choose another: make PYTHON=python3.12 setup" if sys.version_info < (3, 11) else 0)'
	@echo "setting up $(VENV) (once, and after a change of dependencies)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if command -v uv >/dev/null 2>&1; then \
	  uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/all.txt && \
	  uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . ; \
	else \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/all.txt && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . ; \
	fi
	@touch $@

setup: $(STAMP) ## make .venv with everything in it

demo: $(STAMP) ## server, worker, permits and paper orders on this machine, then the checklist
	@$(BIN)/permitwait demo

test: $(STAMP) ## the tests, with a real server and real worker processes
	@$(BIN)/python -m pytest -n 3 --dist worksteal -m "not long"

test-all: $(STAMP) ## also the long suites, and the gate and the workers on Redis 7 and with RabbitMQ
	@failed=0; \
	$(BIN)/python -m pytest -n 2 --dist worksteal --record || failed=1; \
	$(BIN)/python -m pytest -n 2 --dist worksteal --record -m "not long" --server=redis $(ANY_SERVER) || failed=1; \
	$(BIN)/python -m pytest -n 2 --dist worksteal --record -m "not long" --broker=rabbitmq $(ANY_BROKER) || failed=1; \
	exit $$failed

chaos: $(STAMP) ## break workers and servers at random for SECONDS, then count (SEED=… repeats; ONE=1 one server; FAR=1 bad venue)
	@$(BIN)/python -m tests.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(ONE),--one-server) $(if $(FAR),--far-venue)

check: $(STAMP) ## formatter, linter, type checker, generated documents
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m ops.tables --check
	@$(BIN)/python -m tests.matrix --check

format: $(STAMP) ## format the code, fix what the linter can fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMP) ## every workload against a stock Celery task: table here, JSON in bench/results/ (ARGS="wait --runs 5")
	@$(BIN)/python -m bench $(ARGS)

tables: $(STAMP) ## write the generated parts of the documents (JSON Schema, tables, fault matrix)
	@$(BIN)/python -m ops.tables
	@$(BIN)/python -m tests.matrix

reliability: $(STAMP) ## put the results of the last test-all into the fault matrix of docs/reliability.md
	@$(BIN)/python -m tests.matrix --take

pictures: $(STAMP) ## take the pictures of the dashboard for docs/ (needs Debian's chromium and chromium-driver)
	@$(BIN)/python -m tests.browser.pictures docs/pictures

lock: $(STAMP) ## resolve the dependencies again into requirements/ (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  pyproject.toml -o requirements/run.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra flower pyproject.toml -o requirements/flower.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --all-extras pyproject.toml -o requirements/all.txt

wheel: $(STAMP) ## build what is installed in production into dist/ (docs/deploy.md)
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

clean: ## remove everything make has made
	rm -rf $(VENV) bench/results dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
