# Two commands do all set-up: `make run` and `make test`. They need Python 3.13, Node.js 20 or newer, and make.

PYTHON ?= $(shell command -v python3.13 || command -v python3)
BIN := .venv/bin
WORKERS ?= 2
INSTALLED := .venv/.installed
NODE_INSTALLED := node_modules/.installed

.PHONY: run test check bench simulate images vendor clean

run: $(INSTALLED) $(NODE_INSTALLED)  ## Start the local cloud and sync the sample tenant; ARGS are passed on
	@$(BIN)/python -m local run $(ARGS)

test: $(INSTALLED) $(NODE_INSTALLED)  ## Run all tests on two cores (WORKERS=0: one after the other); ARGS are passed on to pytest
	@PYTHONHASHSEED=0 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

check: $(INSTALLED)  ## Lint, types, import directions
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

bench: $(INSTALLED) $(NODE_INSTALLED)  ## Print the benchmarks
	@$(BIN)/python -m benchmarks

simulate: $(INSTALLED) $(NODE_INSTALLED)  ## Days in the life of random connections: SEED=1 DAYS=4 SEEDS=20
	@$(BIN)/python -m tests.simulation --seed $(or $(SEED),1) --days $(or $(DAYS),4) --seeds $(or $(SEEDS),20)

images: $(INSTALLED) $(NODE_INSTALLED)  ## Take the pictures in docs/images anew; needs Chromium
	@WRITE_IMAGES=1 $(BIN)/python -m pytest tests/browser $(ARGS)

vendor: $(NODE_INSTALLED)  ## Copy htmx from its npm package into the console
	@mkdir -p console/static
	cp node_modules/htmx.org/dist/htmx.min.js console/static/htmx.min.js
	cp node_modules/htmx.org/LICENSE console/static/htmx.LICENSE

clean:  ## Remove everything that was installed or made here
	rm -rf .venv node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(INSTALLED): requirements.txt requirements-dev.txt
	@test -n "$(PYTHON)" || { echo "Python 3.13 is needed, and there is no python3 on the PATH."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null || { \
	  echo "Python 3.13 is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another one: make PYTHON=/path/to/python3.13"; \
	  exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(NODE_INSTALLED): package.json package-lock.json
	@command -v node >/dev/null || { echo "Node.js 20 or newer is needed, and there is no node on the PATH."; exit 1; }
	@node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' || { \
	  echo "Node.js 20 or newer is needed; this is $$(node --version)."; exit 1; }
	npm ci --no-audit --no-fund --loglevel=error
	@touch $@
