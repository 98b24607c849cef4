# tocsin: `make demo` and `make test` set everything up by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types format bench accuracy firmware train-beats train-vf train-af cross-validate-agent schema docs clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo-stamp ## A real patient's ECG rings alarms at an MQTT broker, before your eyes
	@$(BIN)/tocsin demo

test: $(VENV)/.test-stamp ## Everything that must pass: format, lint, types, import rules, tests
	@tools/ensure-mosquitto
	@tools/ensure-tools gcc=gcc g++=g++
	$(MAKE) --no-print-directory check

firmware: ## Build and test the device library in C; sizes on Cortex-M
	@tools/ensure-tools gcc=gcc g++=g++ arm-none-eabi-gcc=gcc-arm-none-eabi
	$(MAKE) -C firmware-bridge test examples sizes

check: lint types
	$(BIN)/python -m pytest

lint: $(VENV)/.test-stamp ## Format and lint, changing nothing
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports --no-cache

types: $(VENV)/.test-stamp ## Type-check, strictly
	$(BIN)/mypy

format: $(VENV)/.test-stamp ## Format the code and mend what lint can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(VENV)/.test-stamp ## Measure speed, latency and weight on this machine
	$(BIN)/tocsin bench

train-beats: $(VENV)/.train-stamp ## Make the beat model again from the records, with its card
	$(BIN)/python -m tocsin_training.beats.train

train-vf: $(VENV)/.train-stamp ## Make the model of ventricular fibrillation again, with its card
	$(BIN)/python -m tocsin_training.vf.train

train-af: $(VENV)/.train-stamp ## Make the model of atrial fibrillation again, with its card
	$(BIN)/python -m tocsin_training.af.train

cross-validate-agent: $(VENV)/.train-stamp ## Judge the whole agent on training patients whom its models did not see
	$(BIN)/python -m tocsin_training.beats.train --cross-validate
	$(BIN)/python -m tocsin_training.agent.cross_validate

accuracy: $(VENV)/.test-stamp ## Judge the agent on mitdb, svdb and some of vfdb, record and publish it
	$(BIN)/python tests/accuracy/record.py

schema: docs ## Generate what is generated: configuration page and example, message schemas
docs: $(VENV)/.test-stamp
	$(BIN)/python -m tocsin_agent.config.page
	$(BIN)/python -m tocsin_agent.messages.schema

clean: ## Remove the virtual environment and what tools left behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "tocsin needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1)." \
	       "Name another: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "the venv module is missing; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
	  rm -rf $(VENV); exit 1; }

# A stamp is younger than its environment, so a change of dependencies installs again.
$(VENV)/.demo-stamp: pyproject.toml | $(VENV)/bin/python
	@echo "Installing tocsin and its demo into $(VENV) (about a minute, once) ..."
	@$(PIP) install --editable '.[demo]'
	@touch $@

$(VENV)/.test-stamp: pyproject.toml | $(VENV)/bin/python
	@echo "Installing tocsin and its development tools into $(VENV) (some minutes, once) ..."
	@$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/.demo-stamp

$(VENV)/.train-stamp: pyproject.toml | $(VENV)/bin/python
	@echo "Installing tocsin and what trains its models into $(VENV) (some minutes, once) ..."
	@$(PIP) install --editable '.[train,replay]'
	@touch $@
