# Everything a developer or a first user types. Python 3.11 or newer; the virtual environment lives in .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: run test check bench soak fuzz audit services lock clean

run: .venv/.runtime
	$(BIN)/gateway demo $(ARGS)

test: .venv/.dev services
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell README.md CHANGELOG.md docs gateway mappings adapters tests

bench: .venv/.dev services
	$(BIN)/python -m tests.bench $(ARGS)

# Random kills and failing servers under load, 20 minutes at most; ARGS='--minutes 4 --seed 7' for less.
soak: .venv/.dev services
	$(BIN)/python -m tests.soak $(ARGS)

# Bad input, ten minutes of it; ARGS='--seconds 60' for less. What breaks something is written to a file.
fuzz: .venv/.dev
	$(BIN)/python -m tests.fuzzing $(ARGS)

# Known vulnerabilities (needs the network), secrets in tracked files, licences. The tools are kept apart from ours.
audit: .venv/audit/.made .venv/.runtime
	.venv/audit/bin/python tests/audit.py "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

# The tests start private servers from these installed programs; they never touch one that happens to run.
services:
	@sh tests/servers/install.sh

lock:
	for set in build runtime dev audit; do \
	  uv pip compile --python-version 3.11 --universal --quiet --no-emit-index-url --no-emit-find-links \
	    --generate-hashes --no-header requirements/$$set.in -o requirements/$$set.txt || exit 1; done

clean:
	rm -rf .venv build dist *.egg-info

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv

.venv/.runtime: requirements/runtime.txt requirements/build.txt pyproject.toml | .venv/bin/python
	$(PIP) install --require-hashes -r requirements/runtime.txt
	$(PIP) install --require-hashes -r requirements/build.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

.venv/.dev: requirements/dev.txt .venv/.runtime
	$(PIP) install --require-hashes -r requirements/dev.txt
	touch $@

.venv/audit/.made: requirements/audit.txt | .venv/bin/python
	$(BIN)/python -m venv .venv/audit
	.venv/audit/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/audit.txt
	touch $@
