# make install | audit | test | check | train | gpu | docs | clean; each sets up what it needs. OUT=, ARGS= pass through.
SHELL := /bin/bash
PYTHON ?= python3
UV := $(or $(shell command -v uv 2>/dev/null),.tools/bin/uv)
BIN := .venv/bin
ARGS ?=

.PHONY: install audit test check format train gpu docs wheel constraints clean

install: .venv/.ready

audit: .venv/.ready
	$(BIN)/un0bench audit $(ARGS)

test: .venv/.ready
	$(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile $(ARGS)

check: .venv/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_layers.py

format: .venv/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

train: .venv/.ready
	$(BIN)/un0bench train judge $(ARGS) && $(BIN)/un0bench train dense $(ARGS) && $(BIN)/un0bench train un0 $(ARGS)

gpu:
	STAGE="$(STAGE)" bash un0_model/recipes/gpu.sh

docs: .venv/.ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q --strict

wheel: .venv/.ready
	$(UV) build --wheel --out-dir dist

constraints: .venv/.ready
	$(UV) pip freeze --python $(BIN)/python --exclude-editable > constraints.txt

.venv/.ready: pyproject.toml constraints.txt $(UV)
	test -x $(BIN)/python || $(UV) venv -q --python $(PYTHON) .venv
	$(UV) pip install -q --python $(BIN)/python -c constraints.txt -e '.[dev]'
	touch $@

.tools/bin/uv:
	$(PYTHON) -m venv .tools
	.tools/bin/pip install -q uv

clean:
	rm -rf .venv .tools dist site
