# make serve | test | check | docs | demo | bench | soak | page | native | sanitize. The first one that needs it makes .venv (.clients).
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := serve
.PHONY: install clients serve test check docs demo bench soak page native sanitize clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "esm2 needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

serve: install
	$(BIN)/esm2 serve

# Passive: threads that wait do not spin on the cores that the other processes need.
test: install check clients
	OMP_WAIT_POLICY=passive $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

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

# Hours, on all cores; benchmarks/speed/__main__.py says how to run a part, and what rivals need. With FASTA=proteins.fasta.gz,
# of 100,000 records or more, bulk embedding too (beside esm-extract, which is in .venv).
bench: install
	$(BIN)/python benchmarks/memory_model.py
	$(BIN)/python benchmarks/contacts_memory.py
	$(BIN)/python -m benchmarks.over_http
	$(if $(FASTA),$(BIN)/python -m benchmarks.bulk $(FASTA))
	$(BIN)/python -m benchmarks.speed --shapes 8M
	$(BIN)/python -m benchmarks.speed --shapes 35M 150M --workloads mix short --limit 12
	$(BIN)/python -m tools.docs

# Hours of everything at once, and whether anything grows; the other parts: python -m benchmarks.reliability --help
HOURS ?= 8
soak: install
	$(BIN)/python -m benchmarks.reliability soak --hours $(HOURS)
	$(BIN)/python -m tools.docs

# After a change in ui/; what it builds is committed.
page:
	npm ci --prefix ui --no-audit --no-fund
	npm run build --prefix ui

# After a change in src/esm2/engine/native.
native: install
	$(BIN)/python hatch_build.py

# The native library's tests with every access and every undefined operation watched.
sanitize: install
	$(BIN)/python hatch_build.py -fsanitize=address,undefined -fno-sanitize-recover=undefined -g
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
		$(BIN)/pytest -q tests/engine/test_native.py
	$(BIN)/python hatch_build.py

clean:
	rm -rf .venv .clients dist build
