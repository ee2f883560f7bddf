# Sebago: `make demo` to see it work, `make test` to see that it does.
export UV_PYTHON_DOWNLOADS := never
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup demo test check bench lock fuzz crash clean

setup: $(STAMP)

# uv comes by pip into a folder of its own where the machine has none.
$(STAMP): requirements.lock pyproject.toml
	@command -v uv >/dev/null 2>&1 || test -x .uv/bin/uv || $(PYTHON) -m pip install --quiet --target .uv uv 2>/dev/null || { \
		$(PYTHON) -m venv .uv/venv && .uv/venv/bin/python -m pip install --quiet --target .uv uv; } || { \
		echo 'this needs pip or venv: apt-get install python3-venv' >&2; exit 1; }
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) .venv
	$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q src
	@touch $(STAMP)

demo: setup
	$(BIN)/python -m demo $(DEMO_ARGS)

test: setup
	$(BIN)/python -m pytest $(TEST_ARGS)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m bench $(BENCH_ARGS)

# A longer crash run than the one in the tests: 200 kills.
crash: setup
	$(BIN)/python -m tests.whole.crash $(CRASH_ARGS)

# Coverage-guided fuzzing of the parsers; needs the `atheris` package, which is not in the lock.
fuzz: setup
	$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

# After a change of dependencies in pyproject.toml. The lock names no host.
lock:
	@command -v uv >/dev/null 2>&1 || test -x .uv/bin/uv || $(PYTHON) -m pip install --quiet --target .uv uv 2>/dev/null || { \
		$(PYTHON) -m venv .uv/venv && .uv/venv/bin/python -m pip install --quiet --target .uv uv; } || { \
		echo 'this needs pip or venv: apt-get install python3-venv' >&2; exit 1; }
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-header --quiet --extra dev pyproject.toml -o requirements.lock

clean:
	rm -rf .venv .uv demo-data
