# make serve | wheel | test | check | docs | demo | bench | soak | page | native | sanitize. The first one that needs it makes .venv (.clients).
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
.DEFAULT_GOAL := serve
.PHONY: install clients serve wheel test check docs demo bench soak page native sanitize clean

install: .venv/.installed

# What serving needs. torch comes first: its CPU build, unless there is an NVIDIA driver, with which PyPI's brings CUDA.
CPU_TORCH := $(shell command -v nvidia-smi >/dev/null || echo https://download.pytorch.org/whl/cpu)
TORCH := $(shell grep ^torch== constraints.txt)
.venv/.serving: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "esm2 needs Python 3.11 or newer: make PYTHON=python3.12")'
	@echo "Installing esm2 into .venv, from constraints.txt: $(TORCH) (about 200 MB) ..."
	@$(PYTHON) -m venv .venv
	@$(if $(CPU_TORCH),$(PIP) --retries 0 --no-deps --index-url $(CPU_TORCH) $(TORCH) 2>/dev/null || )$(PIP) $(TORCH)
	@echo "... esm2 and the libraries that serving, files and pictures need (about 200 MB); its C++ kernels are compiled ..."
	@$(PIP) -e '.[all]'
	@echo "... done: .venv/bin/esm2"
	@touch $@

.venv/.installed: .venv/.serving
	@echo "Installing what the tests need: fair-esm, transformers, mypy, schemathesis, ..."
	@$(PIP) -e '.[dev]'
	@touch $@

serve: .venv/.serving
	$(BIN)/esm2 serve

# One file to install elsewhere; the README says how.
wheel: .venv/.serving
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .
	@echo "pip install --extra-index-url https://download.pytorch.org/whl/cpu '$$(ls -t dist/esm2-*.whl | head -n 1)[all]'"

# Passive: threads that wait do not spin on the cores that the other processes need. Not reordered: the files with the most tests come first
# otherwise, and the last ones are few and long.
PYTEST := OMP_WAIT_POLICY=passive $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# What is computed and what is sent, once more as a CPU without AVX-512 does it; what is computed, as torch does it alone.
ENGINE := $(addprefix tests/engine/test_,company.py native.py parity_fair_esm.py parity_transformers.py weights.py)
SENT := $(addprefix tests/wire/test_,company.py v1.py v2_encode.py v2_predict.py v2_documentation.py v3.py v3_score.py generations.py client.py) \
	tests/unit/test_local.py tests/unit/test_marginals.py tests/clients/test_numbers.py
test: install check clients
	$(PYTEST)
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 $(PYTEST) -q $(ENGINE) $(SENT)
	ATEN_CPU_CAPABILITY=default $(PYTEST) -q $(ENGINE) tests/wire/test_company.py

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
	$(BIN)/python -m benchmarks.queueing
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
