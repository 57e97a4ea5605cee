# make serve | test | check | docs | demo | bench. The first one that needs it makes .venv (.clients).
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := serve
.PHONY: install clients serve test check docs demo bench clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "esm2 needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

serve: install
	$(BIN)/esm2 serve

test: install check clients
	$(BIN)/pytest

clients: install
	$(BIN)/python tools/clients.py

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_architecture.py
	$(BIN)/python -m tools.docs --check

docs: install clients
	$(BIN)/python -m tools.docs
	$(BIN)/pytest -q tests/clients --write-table

# The checkpoint inside the package, from the proteins in $(DATA); hours, resumed when interrupted.
demo: install
	$(BIN)/python -m training $(DATA) build/training --ship

bench: install
	$(BIN)/python benchmarks/memory_model.py
	$(BIN)/python benchmarks/contacts_memory.py

clean:
	rm -rf .venv .clients dist build
