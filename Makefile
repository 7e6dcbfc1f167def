# Everything that is done to this project, by name. `make` alone lists it.
# Needs Python 3.11 or later with its venv module, and make. All else is installed into .venv, from hash-locked files.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PROTO_VENV := .venv-proto
FUZZ_VENV := .venv-fuzz
BIN := $(VENV)/bin

# For two cores: a quarter of its time a worker waits for a deadline, or for a process to start.
PYTEST_WORKERS ?= 3
PYTEST_ARGS ?=
ARGS ?=
FUZZ_SECONDS ?= 60

PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --require-hashes -r
# The build backend is in every lock that the project is installed beside, so no unlocked one has to be fetched.
INSTALL_PROJECT := -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .

.PHONY: help run example-fastapi example-flask example-django example-django-wsgi test test-forks lint format types \
	mypy pyright proto proto-check proto-baseline lock fuzz bench image sbom clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.sidecar ## Start a sidecar to try things out. Options: make run ARGS="--listen 127.0.0.1:0"
	@$(BIN)/sidegate dev $(ARGS)

# The services of clients/python/examples. SIDEGATE_TARGET says where they ask; by default that is where `run` listens.
example-%: export SIDEGATE_TARGET ?= 127.0.0.1:7311
EXAMPLES := clients/python/examples

example-fastapi: PORT ?= 8001
example-fastapi: $(VENV)/.examples ## Start the FastAPI example beside `make run`, on PORT (8001)
	@$(BIN)/uvicorn --app-dir $(EXAMPLES)/fastapi_app --port $(PORT) --workers 2 app:app

example-flask: PORT ?= 8002
example-flask: $(VENV)/.examples ## The same with Flask, on PORT (8002)
	@$(BIN)/gunicorn --chdir $(EXAMPLES)/flask_app --bind 127.0.0.1:$(PORT) --workers 3 --preload app:app

example-django: PORT ?= 8003
example-django: $(VENV)/.examples ## The same with Django under ASGI, on PORT (8003)
	@$(BIN)/uvicorn --app-dir $(EXAMPLES)/django_app --port $(PORT) --workers 2 project:asgi

example-django-wsgi: PORT ?= 8003
example-django-wsgi: $(VENV)/.examples ## The same with Django under WSGI, on PORT (8003)
	@$(BIN)/gunicorn --chdir $(EXAMPLES)/django_app --bind 127.0.0.1:$(PORT) --workers 3 --preload project:wsgi

test: ## Run all that CI runs: checks, two at a time, then every test
	@$(MAKE) --no-print-directory --jobs 2 pyright mypy lint proto-check
	$(BIN)/pytest -n $(PYTEST_WORKERS) $(PYTEST_ARGS)

test-forks: $(VENV)/.dev ## Fork processes that have used the client, FORKS times (20) in each way; `make test` does 3
	FORKS=$${FORKS:-20} $(BIN)/pytest -n $(PYTEST_WORKERS) tests/unit/client/test_forking.py \
		tests/unit/client/test_forking_mid_batch.py tests/integration/clients/test_preload.py $(PYTEST_ARGS)

lint: $(VENV)/.dev ## Check style, formatting, which module imports which, and that what is imported is declared
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-cache
	$(BIN)/deptry sidecar clients k8s/injector

format: $(VENV)/.dev ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/buf format protos --write

types: mypy pyright ## Check the types, with both type checkers

mypy: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/mypy tools

pyright: $(VENV)/.dev
	$(BIN)/pyright

proto: $(PROTO_VENV)/.installed ## Regenerate the client's code from the protos
	$(PROTO_VENV)/bin/python tools/protos.py generate

proto-check: $(VENV)/.dev $(PROTO_VENV)/.installed ## Check the protos: format, lint, compatibility, generated code
	$(PROTO_VENV)/bin/python tools/protos.py check --buf $(BIN)/buf

proto-baseline: $(PROTO_VENV)/.installed ## Make today's protos the ones to stay compatible with
	$(PROTO_VENV)/bin/python tools/protos.py baseline

# Universal: one lock for every Python and platform. No address of a registry is written. UPGRADE=--upgrade moves pins.
UPGRADE ?=
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-header --no-annotate $(UPGRADE)
lock: $(VENV)/.dev ## Regenerate the lock files from what pyproject.toml and proto.in ask for
	$(COMPILE) pyproject.toml --all-extras --group dev -o requirements/dev.lock
	$(COMPILE) pyproject.toml --extra sidecar --group build -c requirements/dev.lock -o requirements/sidecar.lock
	$(COMPILE) pyproject.toml --extra fastapi --extra flask --extra django --group examples \
		-c requirements/dev.lock -o requirements/examples.lock
	$(COMPILE) pyproject.toml --extra sidecar --extra injector -c requirements/dev.lock -o requirements/image.lock
	$(COMPILE) pyproject.toml --extra sidecar --group fuzz -c requirements/dev.lock -o requirements/fuzz.lock
	$(COMPILE) requirements/proto.in -o requirements/proto.lock

fuzz: $(FUZZ_VENV)/.installed ## Fuzz each target for FUZZ_SECONDS (60)
	@set -e; for target in fuzz/*_fuzz.py; do \
		test -e "$$target" || { echo "no target in fuzz/"; exit 1; }; \
		echo "$$target"; \
		$(FUZZ_VENV)/bin/python "$$target" -max_total_time=$(FUZZ_SECONDS); \
	done

bench: $(VENV)/.dev ## Run the benchmarks
	@set -e; for benchmark in benchmarks/*.py; do \
		test -e "$$benchmark" || { echo "no benchmark in benchmarks/"; exit 1; }; \
		echo "$$benchmark"; \
		PYTHONPATH=. $(BIN)/python "$$benchmark"; \
	done

# docs/kubernetes.md says what is in it. Never part of `make test`, which needs nothing but Python.
IMAGE ?= sidegate:$(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)
PYTHON_IMAGE ?= $(shell sed -n 's/^ARG PYTHON_IMAGE=//p' sidecar/Dockerfile)
image: ## Build the image with buildah, as IMAGE, from PYTHON_IMAGE
	@command -v buildah >/dev/null || { \
		echo "make image needs buildah, which is not on the path. On Debian and Ubuntu: apt install buildah." >&2; \
		echo "Any other builder will do: docker build -f sidecar/Dockerfile -t $(IMAGE) ." >&2; exit 1; }
	buildah build --isolation chroot --ignorefile sidecar/Dockerfile.dockerignore \
		--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE) --file sidecar/Dockerfile --tag $(IMAGE) .

sbom: $(VENV)/.dev ## Write what the image is made of to dist/sidegate.cdx.json (CycloneDX)
	@mkdir -p dist
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-format JSON \
		--output-file dist/sidegate.cdx.json requirements/image.lock

clean: ## Remove the environments and all that was built; .sidegate, the state of `make run`, stays
	rm -rf $(VENV) $(PROTO_VENV) $(FUZZ_VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis \
		.import_linter_cache
	find sidecar clients k8s tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# Environments. A stamp says that its lock is installed; a newer lock or pyproject.toml makes it stale.

# `make run` and `make example-flask` at the same moment: one pip at a time, where there is a flock.
$(VENV)/.%: SHELL := $(if $(shell command -v flock),flock $(firstword $(MAKEFILE_LIST)) )/bin/sh

# What dev.lock installs includes what the two smaller ones do, at the same versions: `make lock` sees to that.
$(VENV)/.sidecar: requirements/sidecar.lock pyproject.toml | $(VENV)/.created
	$(BIN)/python $(PIP_INSTALL) requirements/sidecar.lock
	$(BIN)/python $(INSTALL_PROJECT)
	@touch $@

$(VENV)/.examples: requirements/examples.lock $(VENV)/.sidecar
	$(BIN)/python $(PIP_INSTALL) requirements/examples.lock
	@touch $@

$(VENV)/.dev: requirements/dev.lock pyproject.toml | $(VENV)/.created
	$(BIN)/python $(PIP_INSTALL) requirements/dev.lock
	$(BIN)/python $(INSTALL_PROJECT)
	@touch $(VENV)/.sidecar $(VENV)/.examples $@

$(PROTO_VENV)/.installed: requirements/proto.lock | $(PROTO_VENV)/.created
	$(PROTO_VENV)/bin/python $(PIP_INSTALL) requirements/proto.lock
	@touch $@

$(FUZZ_VENV)/.installed: requirements/fuzz.lock pyproject.toml | $(FUZZ_VENV)/.created
	$(FUZZ_VENV)/bin/python $(PIP_INSTALL) requirements/fuzz.lock
	$(FUZZ_VENV)/bin/python $(INSTALL_PROJECT)
	@touch $@

# PYTHON=... chooses one; otherwise the first that is new enough. A name on the path proves nothing: version managers put
# shims there that do not run.
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11 python,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $(name))))

%/.created:
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "sidegate needs Python 3.11 or later, and found none. Install one, or name it: make PYTHON=/path/to/python"; \
		exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) lacks its venv module. On Debian and Ubuntu: apt install python3-venv"; exit 1; } >&2
	$(PYTHON) -m venv $*
	@touch $@
