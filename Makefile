# The commands of this project. `make run` and `make test` need Python 3.11 or newer and
# nothing else; what they need beyond it they install into .venv, once.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/installed

.DEFAULT_GOAL = help
.PHONY: help install run test test-fast browsers browsers-quick fuzz faults faults-quick abuse abuse-quick bench bench-quick bench-promises bench-scale login-timing check openapi errors postman client format migrate lock

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED) ## make .venv and install everything into it

$(INSTALLED): requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Installing into $(VENV); this is done once."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

# The tools of npm: what makes and checks the documents, and what the clients are tested with.
NPM = node_modules/.installed

$(NPM): package-lock.json
	@command -v npm >/dev/null || { echo "Node 20 or newer and its npm are needed for this."; exit 1; }
	@npm ci --no-audit --no-fund --silent
	@touch $@

run: $(INSTALLED) ## start PostgreSQL, migrate, serve; Ctrl-C stops all of it
	@exec $(BIN)/python -m taskapi

test: $(INSTALLED) ## run the tests on a real PostgreSQL (TEST_DATABASE_URL names another)
	@exec $(BIN)/pytest --numprocesses 3 --dist loadfile -m "not faults and not browsers and not abuse" $(ARGS)

test-fast: $(INSTALLED) ## run the tests that start no service and no browser; under ninety seconds
	@exec $(BIN)/pytest --numprocesses 3 --dist loadfile -m "not service and not faults and not browsers and not abuse" $(ARGS)

browsers: $(INSTALLED) $(NPM) ## open pages in Chromium at length; screenshots are in var/screenshots
	@AT_LENGTH=1 exec $(BIN)/pytest -m browsers $(ARGS)

browsers-quick: $(INSTALLED) $(NPM) ## the same in two minutes
	@exec $(BIN)/pytest --numprocesses 3 --dist loadfile -m browsers $(ARGS)

fuzz: $(INSTALLED) ## search for faults at length: thousands of made-up requests and of tasks
	@$(BIN)/python -m tests.mutate_fields
	@AT_LENGTH=1 exec $(BIN)/pytest tests/docs/test_openapi_conformance.py tests/docs/test_openapi_stateful.py tests/server/test_end_to_end.py tests/api/test_model.py -rP $(ARGS)

FAULTS = tests/server/test_faults.py tests/server/test_outages.py tests/server/test_reloads.py

faults: $(INSTALLED) ## break and reload everything under load, at length; takes ten minutes
	@AT_LENGTH=1 exec $(BIN)/pytest $(FAULTS) --no-cov -rP $(ARGS)

faults-quick: $(INSTALLED) ## the same for a second each
	@exec $(BIN)/pytest tests/server/test_faults.py tests/server/test_reloads.py --no-cov -rP $(ARGS)

abuse: $(INSTALLED) ## let one account do its worst while another must not notice; takes ten minutes
	@AT_LENGTH=1 exec $(BIN)/pytest tests/server/test_abuse.py --no-cov -rP $(ARGS)

abuse-quick: $(INSTALLED) ## the same with a few requests each, held to counts alone
	@exec $(BIN)/pytest tests/server/test_abuse.py --no-cov -rP $(ARGS)

bench: .venv-bench/installed ## compare the speed with FastAPI's stack; needs wrk, takes twenty minutes
	@exec $(BIN)/python -m bench.compare --json docs/performance.json --chart docs/performance.svg $(ARGS)

bench-quick: .venv-bench/installed ## the same in under two minutes
	@exec $(BIN)/python -m bench.compare --quick --rounds 2 --seconds 3 $(ARGS)

bench-promises: $(INSTALLED) ## measure what contracts A, B and C promise, with a hundred users; four minutes
	@exec $(BIN)/python -m bench.promises $(ARGS)

bench-scale: $(INSTALLED) ## show what grows with the data and what does not; takes a quarter of an hour
	@exec $(BIN)/python -m bench.scale $(ARGS)

.venv-bench/installed: $(INSTALLED) bench/requirements.txt
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/pip install --quiet --disable-pip-version-check --require-hashes -r bench/requirements.txt
	@touch $@

login-timing: $(INSTALLED) ## measure whether a refused login tells which addresses are known
	@exec $(BIN)/python bench/login_timing.py $(ARGS)

check: $(INSTALLED) $(NPM) ## lint, check types, layers, and that what is generated is up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory lock openapi errors postman client
	git diff --exit-code -- requirements.txt requirements-dev.txt bench/requirements.txt \
	  docs/openapi.json docs/errors.md postman clients/js/openapi.d.ts clients/js/fields.js
	@REDOCLY_SUPPRESS_UPDATE_NOTICE=true REDOCLY_TELEMETRY=off \
	  node_modules/.bin/redocly lint --extends=recommended-strict docs/openapi.json

openapi: $(INSTALLED) ## write docs/openapi.json, from what the routes declare
	@$(BIN)/python -m docs.generate openapi > docs/openapi.json.new
	@mv docs/openapi.json.new docs/openapi.json

errors: $(INSTALLED) ## write docs/errors.md, from the errors and the routes
	@$(BIN)/python -m docs.generate errors > docs/errors.md.new
	@mv docs/errors.md.new docs/errors.md

postman: $(NPM) openapi ## write the Postman collections and their environment, from the documents
	@node postman/build.mjs
	@for contract in b c; do \
	  $(BIN)/python -m docs.generate openapi $$contract | node postman/build.mjs $$contract || exit 1; \
	done

client: $(NPM) openapi ## write the fields and types of the JavaScript client
	@$(BIN)/python -m docs.generate fields > clients/js/fields.js.new
	@mv clients/js/fields.js.new clients/js/fields.js
	@node_modules/.bin/openapi-typescript docs/openapi.json --default-non-nullable false -o clients/js/openapi.d.ts

format: $(INSTALLED) ## format the code and mend what can be mended
	$(BIN)/ruff check --fix-only --exit-zero .
	$(BIN)/ruff format .

migrate: $(INSTALLED) ## bring the database up to date without serving
	@exec $(BIN)/python -m taskapi --migrate-only

# With the extras: pip takes `coverage[toml]` for another requirement than `coverage`, and would
# want the newest of it, for which there is no hash.
lock: $(INSTALLED) ## compile requirements*.in; ARGS=--upgrade takes the newest
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header $(ARGS) requirements.in -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header $(ARGS) requirements-dev.in -o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header $(ARGS) bench/requirements.in -o bench/requirements.txt
