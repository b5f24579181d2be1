# `make demo` runs the main job on the embedded sample; `make test` runs every check. Both make .venv first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help demo test test-oldest lint types unit bench sweep docs clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   install into .venv, then train, attack, save and reload a robust model (about 5 minutes)"
	@echo "make test   install into .venv, then ruff, mypy, the tests and the documentation"
	@echo "make test-oldest  the tests on the oldest versions that pyproject.toml allows, in .venv-oldest"
	@echo "make sweep  convert every model of timm, transformers and torchvision and check each (about half an hour)"
	@echo "make bench  what surgery and activations cost, as ratios"
	@echo "make docs   the documentation into site/"

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
# torchattacks, which the tests compare with, pins a version of requests that `datasets` cannot use
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps "torchattacks>=3.5.1,<4"
	@touch $@

demo: $(STAMP)
	$(BIN)/accelerate launch --quiet --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no -m smoothify.train --output runs/demo --overwrite

test: lint types unit docs

test-oldest:
	PIP_CONSTRAINT=$(CURDIR)/tests/oldest.txt $(MAKE) unit VENV=$(VENV)-oldest

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

unit: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadgroup --ignore tests/benchmarks

bench: $(STAMP)
	$(BIN)/python -m pytest -s tests/benchmarks --benchmark-columns=median --benchmark-group-by=group
	$(BIN)/python tests/benchmarks/activation_cost.py

sweep: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.conformance.sweep --workers 2 --out sweep.jsonl

docs: $(STAMP)
	$(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) $(VENV)-oldest site .pytest_cache .mypy_cache .ruff_cache
