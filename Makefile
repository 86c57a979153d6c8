# Slipway's commands; `make` alone lists them.
SHELL := /bin/bash
PYTHON ?= python3
PY := .venv/bin/python
WORKERS ?= 4
.DEFAULT_GOAL := help
# With it, every process of ours would compile all that it imports again: seconds at every start.
unexport PYTHONDONTWRITEBYTECODE

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

up: ## start Slipway here, in the foreground; the first time it also deploys the sample
	@$(PYTHON) studio/up/bootstrap.py && exec $(PY) -m studio.up

smoke: ## do the same in a throw-away home, score one request, print a line of JSON, stop everything
	@$(PYTHON) studio/up/bootstrap.py >&2 && exec $(PY) -m studio.up --smoke

password: ## make a new password for the user of make up
	@$(PYTHON) studio/up/bootstrap.py && exec $(PY) manage.py reset_password

dev: ## make .venv with what tests and linters need
	@$(PYTHON) studio/up/bootstrap.py --dev

test: dev ## run every test but the slow ones (installs Debian's headless Chromium if it is missing)
	@$(PY) tests/prepare.py
	$(PY) -m pytest -m "not slow" -n $(WORKERS) --no-loadscope-reorder --timeout 240

test-slow: dev ## run the soaks and whole-machine tests
	@$(PY) tests/prepare.py --slow
	$(PY) -m pytest -m slow

pictures: dev ## make the README's pictures again, by the browser test
	@$(PY) tests/prepare.py
	SLIPWAY_TEST_PICTURES=docs/images $(PY) -m pytest -q tests/browser/test_main_job.py -k form

bench-embedded: dev ## measure the embedded cluster: 5,000 pods, watches, memory, idle CPU; prints a line of JSON
	@$(PY) -m benchmarks.embedded

conformance: dev ## run the conformance suite on any cluster: make conformance SLIPWAY_TEST_KUBECONFIG=FILE
	$(PY) -m pytest tests/conformance

bench-router: dev ## measure routerd against a bare HAProxy (installs Debian's wrk if it is missing); under 9 minutes
	@command -v wrk >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get install -qq -y wrk >&2; } || \
		{ echo "wrk is missing: apt-get install wrk" >&2; exit 1; }
	@$(PY) -m benchmarks.router

soak-router: dev ## an hour's worth of change in five minutes: what is lost, and why; prints a line of JSON
	@$(PY) -m benchmarks.soak_router

image: dev ## make dist/slipway-routerd-VERSION.tar, an OCI archive of the router (installs Debian's mmdebstrap if it is missing)
	@command -v mmdebstrap >/dev/null || { [ "$$(id -u)" = 0 ] && \
		apt-get install -qq -y --no-install-recommends mmdebstrap >&2; } || \
		{ echo "mmdebstrap is missing: apt-get install mmdebstrap" >&2; exit 1; }
	@$(PY) deploy/images/build.py

lint: dev ## ruff, mypy (strict) and the import contracts
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	SLIPWAY_HOME=$$(mktemp -d) $(PY) -m mypy
	.venv/bin/lint-imports --no-cache

format: dev ## let ruff format and mend what it can
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

UV_COMPILE := .venv/bin/uv pip compile --quiet --generate-hashes --no-emit-index-url --python-version 3.11 \
	--custom-compile-command "make lock"
lock: dev ## make the locked requirements again from pyproject.toml (UPGRADE=--upgrade takes newer versions)
	$(UV_COMPILE) $(UPGRADE) pyproject.toml -o requirements/slipway.txt
	$(UV_COMPILE) $(UPGRADE) --extra dev -c requirements/slipway.txt pyproject.toml -o requirements/dev.txt
	$(UV_COMPILE) -c requirements/slipway.txt deploy/images/routerd.in -o requirements/routerd.txt
	echo uv | $(UV_COMPILE) -c requirements/slipway.txt - -o requirements/bootstrap.txt

.PHONY: help up smoke password dev test test-slow pictures lint format lock conformance bench-embedded bench-router \
	soak-router image
