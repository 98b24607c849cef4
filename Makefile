# tocsin: `make demo` and `make test` install everything they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Switches off the telemetry of onnxruntime, also where it trains and measures.
export ORT_DISABLE_TELEMETRY := 1
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types format bench chaos compiled-test deb image-test package-test accuracy firmware train-beats train-vf train-af train-alarms cross-validate-agent cross-validate-alarms schema docs clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-21s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo-stamp ## Replay a real patient's ECG and show its alerts as they arrive over MQTT
	@$(BIN)/tocsin demo

test: $(VENV)/.test-stamp ## Run all checks: format, lint, types, import rules, tests
	@tools/ensure-mosquitto
	@tools/ensure-tools chromium=chromium gcc=gcc g++=g++
	$(MAKE) --no-print-directory check

firmware: ## Build and test the device library in C, print its sizes on Cortex-M
	@tools/ensure-tools gcc=gcc g++=g++ arm-none-eabi-gcc=gcc-arm-none-eabi
	$(MAKE) -C firmware-bridge test examples sizes

# Two or more tests at once, each file in one process; memory limits how many.
check: lint types
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: $(VENV)/.test-stamp ## Check format, lint and import rules without changing files
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/check_words.py
	$(BIN)/python tools/check_structure.py

types: $(VENV)/.test-stamp ## Check the types (mypy strict)
	$(BIN)/mypy

format: $(VENV)/.test-stamp ## Format the code and apply lint fixes
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(VENV)/.test-stamp ## Measure speed, latency and memory on this machine
	$(BIN)/tocsin bench --instructions

CHAOS_SECONDS ?= 300
chaos: $(VENV)/.test-stamp ## Inject faults into real agents, broker and receiver; compare what was committed and shown
	@tools/ensure-mosquitto
	@tools/ensure-tools faketime=faketime openssl=openssl
	@PYTHONPATH=tests $(BIN)/python -m chaos --seconds $(CHAOS_SECONDS)

compiled-test: $(VENV)/.test-stamp ## Build the compiled wheel; compare its beats and alerts with the source to the bit
	@tools/ensure-tools gcc=gcc
	@PYTHON=$(BIN)/python tools/compiled-test

deb: $(VENV)/.test-stamp ## Build the Debian package of a gateway into dist/ (Debian 12: Python 3.11)
	@PYTHON=$(BIN)/python config/gateway/deb/build

image-test: $(VENV)/.test-stamp ## Build the container image from the package and run it (needs root, buildah, mmdebstrap)
	@rm -f dist/tocsin_*.deb
	@$(MAKE) --no-print-directory deb
	@tools/image-test dist/tocsin_*.deb

package-test: $(VENV)/.test-stamp ## Install, use, upgrade and purge the package in a clean Debian (needs root)
	@tools/ensure-tools mmdebstrap=mmdebstrap gcc=gcc
	@rm -f dist/tocsin_*.deb
	@$(MAKE) --no-print-directory deb
	@PYTHONPATH=tests $(BIN)/python -m package dist/tocsin_*.deb

train-beats: $(VENV)/.train-stamp ## Train the beat model from the records and write its card
	$(BIN)/python -m tocsin_training.beats.train

train-vf: $(VENV)/.train-stamp ## Train the model of ventricular fibrillation and write its card
	$(BIN)/python -m tocsin_training.vf.train

train-af: $(VENV)/.train-stamp ## Train the model of atrial fibrillation and write its card
	$(BIN)/python -m tocsin_training.af.train

train-alarms: $(VENV)/.train-stamp ## Train the model that verifies ventricular alarms and write its card
	$(BIN)/python -m tocsin_training.alarms.train

cross-validate-alarms: $(VENV)/.train-stamp ## Judge the alarms with models in folds by record
	$(BIN)/python -m tocsin_training.alarms.cross_validate

cross-validate-agent: $(VENV)/.train-stamp ## Judge the whole agent on held-out training patients
	$(BIN)/python -m tocsin_training.beats.train --cross-validate
	$(BIN)/python -m tocsin_training.agent.cross_validate

accuracy: $(VENV)/.test-stamp ## Judge the agent on mitdb, svdb and part of vfdb, record and publish the result
	$(BIN)/python -m tocsin_agent.lab.studies.record

schema: docs ## Generate the pages of the configuration and the alarms and the message schemas
docs: $(VENV)/.test-stamp
	$(BIN)/python -m tocsin_agent.config.page
	$(BIN)/python -m tocsin_agent.lab.alarm_page
	$(BIN)/python -m tocsin_agent.messages.schema
	$(BIN)/python tools/draw_pictures.py

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "tocsin needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1)." \
	       "Name another: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "the venv module is missing; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
	  rm -rf $(VENV); exit 1; }

# A stamp is newer than pyproject.toml after an installation, so changed dependencies install again.
$(VENV)/.demo-stamp: pyproject.toml | $(VENV)/bin/python
	@echo "Installing tocsin with its demo into $(VENV) (about a minute, once) ..."
	@$(PIP) install --editable '.[demo]'
	@touch $@

$(VENV)/.test-stamp: pyproject.toml | $(VENV)/bin/python
	@echo "Installing tocsin and its development tools into $(VENV) (some minutes, once) ..."
	@$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/.demo-stamp

$(VENV)/.train-stamp: pyproject.toml | $(VENV)/bin/python
	@echo "Installing tocsin with its training tools into $(VENV) (some minutes, once) ..."
	@$(PIP) install --editable '.[train,replay]'
	@touch $@
