# Everything a person runs. Each target makes its own .venv from the committed development lock; nothing else need be prepared.
PYTHON ?= python3
BIN := .venv/bin
WORLDS ?= 4 # a world is a database, a Valkey and a control plane (1.5 GB) of its own; its tests wait more than they compute
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE ?= argosy:$(VERSION)
BUILDER ?= $(firstword $(foreach each,docker podman buildah,$(shell command -v $(each))))
UPGRADE ?= --upgrade
COMPILE = $(BIN)/uv pip compile --generate-hashes --universal --python-version 3.11 --no-emit-index-url \
	--no-emit-find-links --quiet $(UPGRADE)

.PHONY: demo test check cluster lock format readme image sbom audit clean

demo: .venv/ready ## run the main job here, on a simulated cluster
	$(BIN)/argosy demo

test: .venv/ready ## the whole test suite, on the simulator, a real control plane and a real node
	$(BIN)/python -m clusters.local build --node
	$(BIN)/python -m pytest --numprocesses $(WORLDS) --dist loadscope

check: .venv/ready ## format, lint, types, import order, Dockerfile
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

cluster: .venv/ready ## build (once) and start a real control plane, with NODE=1 and a real node; Ctrl-C stops it
	$(BIN)/python -m clusters.local up $(if $(NODE),--node)

format: .venv/ready ## mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: .venv/ready ## renew the locks from pyproject.toml; `make lock UPGRADE=` only adds what is new there
	$(COMPILE) pyproject.toml --extra worker --extra api --output-file requirements.lock
	$(COMPILE) --group build --constraint requirements.lock --output-file requirements-build.lock
	$(COMPILE) pyproject.toml --extra worker --extra api --extra demo --group dev --constraint requirements.lock --constraint requirements-build.lock \
		--output-file requirements-dev.lock

readme: .venv/ready ## renew the chart's table of values from its schema
	$(BIN)/python -m helm.table

image: sbom ## build the image with docker, podman or buildah: IMAGE=…, BASE=… for another base, BUILD=… for the builder's own options
	$(BUILDER) build $(BUILD) $(if $(BASE),--build-arg BASE=$(BASE)) --build-arg VERSION=$(VERSION) \
		--build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null) --tag $(IMAGE) .

sbom: .venv/ready ## what is in the image besides its base, with licences, as CycloneDX: build/argosy.cdx.json
	$(PYTHON) -m venv --clear --without-pip build/runtime
	$(BIN)/uv pip install --quiet --python build/runtime --python-version 3.11 --require-hashes --requirement requirements.lock
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
		--output-file build/argosy.cdx.json build/runtime/bin/python
	$(BIN)/python .ci/sbom.py build/argosy.cdx.json
	rm -rf build/runtime

audit: .venv/ready ## known holes in what the image runs; exit code 2 where no advisory database can be reached
	@$(BIN)/python .ci/audit.py

clean: ## remove what the targets made here
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/ready: requirements-dev.lock pyproject.toml
	@echo 'making .venv, once: about a minute'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "argosy needs Python 3.11 or newer; set PYTHON=…")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
