# Two commands do everything on a fresh Debian or Ubuntu machine: `make run` and `make test`.
# They install what they need (as root, or through sudo), into the system from Debian and into .venv from PyPI.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ISO := build/rescue.iso
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
PYTEST := $(BIN)/pytest -q

.PHONY: run try test test-unit test-engine test-vm test-long lint setup bytecode iso bench lock clean

run: iso  ## build the ISO if needed and boot it in QEMU, with a scratch disk to rescue and a disk for images
	image-build/run-qemu $(ISO)

try: bytecode  ## the TUI at once, on scratch disk files
	image-build/try

test: lint test-unit test-engine test-vm  ## all that CI runs

test-unit: bytecode
	$(PYTEST) tests/unit -n 2

test-engine: bytecode .cache/packages-tests
	$(SUDO) $(PYTEST) tests/engine -m 'engine and not long' -n 2 --dist loadfile

test-vm: .cache/setup .cache/packages-tests iso
	$(SUDO) env RESCUE_ISO=$(ISO) $(PYTEST) tests/vm -m 'vm and not long'

test-long: bytecode .cache/packages-tests .cache/packages-bench iso  ## matrices, kill campaigns; resumable; results in docs/test-report.md
	env RESCUE_MANY_EXAMPLES=1 $(PYTEST) tests/unit -n 2
	$(SUDO) env RESCUE_ISO=$(ISO) $(BIN)/python -m tests.long

lint: .cache/setup
	$(BIN)/ruff check . image-build/build-iso live-config/console-font/make-font
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

iso: .cache/setup .cache/packages-iso  ## build/rescue.iso, from caches where its inputs did not change
	$(SUDO) image-build/build-iso $(ISO)

bench: .cache/setup .cache/packages-tests .cache/packages-bench  ## against Clonezilla, restic and borg, each in the same run; writes docs/benchmarks.md
	$(SUDO) $(BIN)/python -m bench.bench
	$(SUDO) $(BIN)/python -m bench.second

setup: .cache/setup

bytecode: .cache/setup  ## where the environment keeps Python from storing it, every start of the program would compile it all
	@$(BIN)/python -m compileall -q rescue

.cache/setup: pyproject.toml requirements.lock requirements-dev.lock | .cache/packages-setup
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-build-isolation --no-deps --config-settings editable_mode=compat -e .
	@touch $@

.cache/packages-setup: | .cache
	image-build/install-packages python3-venv dosfstools e2fsprogs fdisk
	@touch $@

.cache/packages-tests: tests/packages.txt | .cache
	image-build/install-packages $$(grep -v '^\#' $<)
	@touch $@

.cache/packages-iso: image-build/packages.txt | .cache
	image-build/install-packages $$(grep -v '^\#' $<)
	@touch $@

.cache/packages-bench: bench/packages.txt | .cache
	image-build/install-packages $$(grep -v '^\#' $<)
	@touch $@

.cache:
	mkdir -p $@

lock:  ## resolve the dependencies anew
	$(PYTHON) -m venv .cache/lock && .cache/lock/bin/pip install -q uv
	.cache/lock/bin/uv pip compile pyproject.toml --universal --generate-hashes --no-annotate --no-header --python-version 3.11 -o requirements.lock
	.cache/lock/bin/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-annotate --no-header --python-version 3.11 -c requirements.lock -o requirements-dev.lock

clean:
	rm -rf build .cache $(VENV)
