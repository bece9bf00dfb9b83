# Everything that these write is under .local; the two programs stay in the user's cache folder.
VENV := .local/venv
PYTHON := $(VENV)/bin/python
STACK := local
WORKERS := 6 # more than cores: most of the time, tests/local waits
export PYTHONPYCACHEPREFIX := $(CURDIR)/.local/pycache
export PYTHONDONTWRITEBYTECODE := # off: without bytecode, each command takes three times as long to start
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/.local/hypothesis

.PHONY: help up preview down status snapshot verify watch self-registrations heal drill start-service stop-service test style test-unit test-docker test-monitoring test-templates docs bench scale faults lock

# The first target: what `make` alone does.
help:
	@echo "make up                 deploy the stack and wait until every check has passed (STACK=local)"
	@echo "make preview            show what up would change, field by field"
	@echo "make verify             compare the running cluster with the stack: 0 only if all is well"
	@echo "make status             list the services as the catalog has them"
	@echo "make watch              show the services live"
	@echo "make drill SERVICE=...  stop a service, and time Consul against its promise"
	@echo "make stop-service SERVICE=..., make start-service SERVICE=..."
	@echo "                        stop or start a stand-in of the stack local"
	@echo "make heal               register again what Consul removed"
	@echo "make snapshot           save what the servers hold"
	@echo "make self-registrations show which services still register themselves"
	@echo "make down               destroy the stack, and stop what up started"
	@echo "make test               style, types, and all tests that need no Docker: a quarter of an hour"
	@echo "make test-unit          the unit tests alone: a minute"
	@echo "make test-docker        the tests on a Docker engine: an hour"
	@echo "make test-monitoring    the alerts and the dashboard, on a real Prometheus: twenty minutes"
	@echo "make test-templates     files from templates, with a real nginx: ten minutes"
	@echo "make bench, make scale, make faults"
	@echo "                        measure speed, 4,000 services, and interrupted deployments"
	@echo "make docs               write docs/configuration.md and Pulumi.yaml from settings.py"
	@echo "make lock               pin the dependencies of pyproject.toml"
	@echo
	@echo "Each command on a stack takes STACK=..., and .local/venv/bin/python -m operations --help has the rest."

up preview down status watch self-registrations heal: $(VENV)/up
	@$(PYTHON) -m operations $@ --stack $(STACK)

snapshot: $(VENV)/up
	@$(PYTHON) -m operations snapshot save --stack $(STACK) $(if $(FOLDER),--folder "$(FOLDER)") $(if $(KEEP),--keep $(KEEP))

verify: $(VENV)/up
	@$(PYTHON) -m operations $@ --stack $(STACK) $(if $(WAIT),--wait $(WAIT))

start-service stop-service: $(VENV)/up
	@$(PYTHON) -m operations $@ $(SERVICE) --stack $(STACK)

drill: $(VENV)/up
	@$(PYTHON) -m operations $@ $(SERVICE) --stack $(STACK)

# All that needs no Docker. What has to be quick is measured when nothing else runs.
test: style test-unit
	@$(PYTHON) -m pytest tests/local -m "not alone" -n $(WORKERS) --dist loadfile --no-loadscope-reorder
	@$(PYTHON) -m pytest tests/local -m alone

style: $(VENV)/test
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy .
	@$(VENV)/bin/codespell

test-unit: $(VENV)/test
	@$(PYTHON) -m pytest tests/unit -n auto

test-docker: $(VENV)/test
	@$(PYTHON) -m pytest tests/docker

# Alerts and dashboard, with Prometheus, promtool and consul_exporter: where they are missing, it says how to get them.
test-monitoring: $(VENV)/test
	@$(PYTHON) -m pytest tests/monitoring

# With consul-template and nginx, which have to be on PATH: what a stack with templates deploys.
test-templates: $(VENV)/test
	@$(PYTHON) -m pytest tests/templates

docs: $(VENV)/up
	@$(PYTHON) -m settings_reference

bench: $(VENV)/test
	@$(PYTHON) -m tests.$(if $(filter local,$(STACK)),local,docker).bench

# Breaks deployments at every step, for hours on Docker: how many faults, and how many violations.
faults: $(VENV)/test
	@$(PYTHON) -m tests.$(if $(filter local,$(STACK)),local,docker).fault_injection

scale: $(VENV)/test
	@$(PYTHON) -m tests.local.scale

# Pins of everything, with hashes, from pyproject.toml.
lock: $(VENV)/test
	@$(VENV)/bin/uv pip compile -q --universal --generate-hashes --no-annotate --custom-compile-command "make lock" pyproject.toml -o requirements.txt
	@$(VENV)/bin/uv pip compile -q --universal --generate-hashes --no-annotate --custom-compile-command "make lock" --group dev -c requirements.txt -o requirements-dev.txt

$(VENV)/bin/python:
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: this needs Python 3.11 or newer, and python3 is " + sys.version.split()[0])'
	@echo "python: making $(VENV)"
	@python3 -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/up: requirements.txt | $(VENV)/bin/python
	@echo "python: installing what requirements.txt pins"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/test: requirements-dev.txt $(VENV)/up
	@echo "python: installing what requirements-dev.txt pins"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@
