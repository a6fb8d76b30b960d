# Everything a person runs. Each target makes its own .venv from the committed development lock; nothing else need be prepared.
PYTHON ?= python3
BIN := .venv/bin
WORLDS ?= 4 # a world is a database, a Valkey and a control plane (1.5 GB) of its own; its tests wait more than they compute
UPGRADE ?= --upgrade
COMPILE = $(BIN)/uv pip compile pyproject.toml --generate-hashes --universal --python-version 3.11 --no-emit-index-url \
	--no-emit-find-links --quiet $(UPGRADE)

.PHONY: demo test check cluster lock format clean

demo: .venv/ready ## run the main job here, on a simulated cluster
	$(BIN)/argosy demo

test: .venv/ready ## the whole test suite, on the simulator, a real control plane and a real node
	$(BIN)/python -m clusters.local build --node
	$(BIN)/python -m pytest --numprocesses $(WORLDS) --dist loadscope

check: .venv/ready ## format, lint, types, import order
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

cluster: .venv/ready ## build (once) and start a real control plane, with NODE=1 and a real node; Ctrl-C stops it
	$(BIN)/python -m clusters.local up $(if $(NODE),--node)

format: .venv/ready ## mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: .venv/ready ## renew both locks from pyproject.toml; `make lock UPGRADE=` only adds what is new there
	$(COMPILE) --extra api --output-file requirements.lock
	$(COMPILE) --extra api --extra demo --group dev --constraint requirements.lock --output-file requirements-dev.lock

clean: ## remove what the targets made here
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/ready: requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "argosy needs Python 3.11 or newer; set PYTHON=…")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
