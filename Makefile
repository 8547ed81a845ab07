# The two commands: `make run` plays, `make test` proves. Both set up what they need, once.

PYTHON ?= python3.11
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --require-hashes --no-deps --quiet --no-input \
	--disable-pip-version-check --root-user-action=ignore

# Is it a Python 3.11 that works? An environment has pip besides, unless its making broke off.
is_3_11 = $(1) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null
is_whole = $(call is_3_11,$(VENV)/bin/python) && $(VENV)/bin/python -c 'import pip' 2>/dev/null

# An environment is current when the stamp named after its requirements is there.
hash_of = $(shell cat $(1) | sha256sum | cut -c1-16)
RUN_STAMP := $(VENV)/.run-$(call hash_of,requirements/run.txt)
DEV_STAMP := $(VENV)/.dev-$(call hash_of,requirements/dev.txt requirements/run.txt)

# The page's third-party code, bundled once. Without npm on the machine, one comes from PyPI.
WEB := taptrading/web
BUNDLE := $(if $(wildcard $(WEB)/package.json),$(WEB)/static/trader/vendor.js)

# The C code of bet entry, compiled; where that cannot be, bets are read in Python.
NATIVE := taptrading/native/_fast.so

# Figures of benchmarks are kept here. SCALE is ci (seconds), normal or long (as the budget says).
FIGURES := var/bench
SCALE ?= normal

.PHONY: run test lint pytest bench bench-ratios bench-page pictures simulate bank exactly-once \
	crash-points mutants sabotage clean
.DELETE_ON_ERROR:

run: $(RUN_STAMP) $(BUNDLE) $(NATIVE)
	@exec $(VENV)/bin/python manage.py runplatform --stop-with-parent

test: lint pytest

lint: $(DEV_STAMP)
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m mypy --num-workers 2 .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/python manage.py makemigrations --check --dry-run
	$(VENV)/bin/python manage.py spectacular --validate --fail-on-warn --file /dev/null

# What decides about money or moves it.
MONEY_PATH := taptrading/money.py $(wildcard wallet/transfers/*.py) \
	$(patsubst %,wallet/%.py,book writer server inbox telling seals ids nonces keys signing \
		guard player_limits withdrawals deposits custody checkpoints triggers) \
	$(patsubst %,bets/%.py,entry grid rates exposure placing acceptance pricing liabilities \
		resolution settlement settled tasks)

# How much of it, and of everything, the tests have to have run, in percent and with branches.
MONEY_COVERED := 95
ALL_COVERED := 85

comma := ,
space := $(subst ,, )

# The browser's tests run by themselves: its driver keeps an event loop that asyncio's tests mind.
pytest: $(DEV_STAMP) $(BUNDLE) $(NATIVE)
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
		--cov --cov-branch --cov-report= --ignore=tests/browser
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile tests/browser
	$(VENV)/bin/python -m coverage report --skip-covered --fail-under=$(MONEY_COVERED) \
		--include=$(subst $(space),$(comma),$(strip $(MONEY_PATH)))
	@echo "Of everything, in percent:"
	$(VENV)/bin/python -m coverage report --format=total --fail-under=$(ALL_COVERED)

bench: $(DEV_STAMP) $(NATIVE)
	@mkdir -p $(FIGURES)
	$(VENV)/bin/python -m tests.benchmarks --scale $(SCALE) --json $(FIGURES)/bench.json

# The rows whose ratios (to the plain peer, to the machine's own limits) tell a regression.
bench-ratios: $(DEV_STAMP) $(NATIVE)
	@mkdir -p $(FIGURES)
	$(VENV)/bin/python -m tests.benchmarks bets peer writer entry http \
		--scale ci --json $(FIGURES)/ratios.json

# What a trader waits for, in a browser without a GPU.
bench-page: $(DEV_STAMP) $(BUNDLE) $(NATIVE)
	$(VENV)/bin/python -m tests.browser.measure

# The pictures that the documentation shows, taken anew. Look at each before committing it.
pictures: $(DEV_STAMP) $(BUNDLE) $(NATIVE)
	$(VENV)/bin/python -m tests.browser.pictures

bench-%: $(DEV_STAMP) $(NATIVE)
	@mkdir -p $(FIGURES)
	$(VENV)/bin/python -m tests.benchmarks $* --scale $(SCALE) --json $(FIGURES)/$*.json

# Simulated histories of the money path under faults: SEEDS of them, or SEED alone, once more.
SEEDS ?= 1000
SECONDS ?= 8

simulate: $(DEV_STAMP)
	$(VENV)/bin/python -m tests.simulation --seconds $(SECONDS) $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

# Clients that move money while parts of the platform die; SEED plays the same mix again.
WALLETS ?= 8
OPERATIONS ?= 100000
ATTEMPTS ?= 100000

bank: $(DEV_STAMP)
	$(VENV)/bin/python -m tests.bank --wallets $(WALLETS) --operations $(OPERATIONS) $(if $(SEED),--seed $(SEED))

# Each request sent again and again; then more bets at once than the money covers.
exactly-once: $(DEV_STAMP)
	$(VENV)/bin/python -m tests.bank.exactly_once --attempts $(ATTEMPTS) $(if $(SEED),--seed $(SEED))
	$(VENV)/bin/python -m tests.bank.double_spend $(if $(SEED),--seed $(SEED))

# The ledger's process killed, or its disk failing, at POINTS of the writes and fsyncs of a short life.
POINTS ?= 500

crash-points: $(DEV_STAMP)
	$(VENV)/bin/python -m tests.crash --points $(POINTS) $(if $(SEED),--seed $(SEED))

# Defects planted one by one in the code that moves money, or in the FILES of it alone: do its tests
# tell them? Half an hour.
CHILDREN ?= 2

mutants: $(DEV_STAMP)
	$(VENV)/bin/python -m tests.mutation --children $(CHILDREN) $(if $(FILES),--only $(FILES))

# Deliberate defects, or the NAMES of some: every test named with one has to fail because of it.
sabotage: $(DEV_STAMP)
	$(VENV)/bin/python -m tests.sabotage $(NAMES)

clean:
	rm -rf $(VENV) $(NATIVE) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage* htmlcov

ifneq ($(BUNDLE),)
$(BUNDLE): $(WEB)/package-lock.json $(WEB)/vendor/ethereum.js | $(RUN_STAMP)
	@command -v npm >/dev/null || $(PIP) -r requirements/node.txt
	@echo "Bundling the page's third-party code (once) ..."
	@cd $(WEB) && PATH="$$PATH:$(CURDIR)/$(VENV)/bin" && export PATH \
		&& npm ci --silent --no-audit --no-fund && npm run --silent build -- --log-level=warning
	@touch $@
endif

$(NATIVE): taptrading/native/fast.c taptrading/native/build.py | $(RUN_STAMP)
	@$(VENV)/bin/python taptrading/native/build.py

# An environment that is broken (its Python gone, say) or of another Python is made anew.
ifneq ($(shell $(is_whole) && echo whole),whole)
.PHONY: $(RUN_STAMP) $(DEV_STAMP)
endif
define environment
	@$(is_whole) || $(call is_3_11,$(PYTHON)) || { echo "$(PYTHON) is not there, or not Python 3.11:" \
		"try make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(is_whole) || $(PYTHON) -m venv --clear $(VENV)
endef

$(RUN_STAMP): requirements/run.txt
	$(environment)
	@echo "Installing what the platform runs on (once) ..."
	@$(PIP) -r requirements/run.txt
	@rm -f $(VENV)/.run-* && touch $@

# What development needs includes what running needs.
$(DEV_STAMP): requirements/dev.txt requirements/run.txt
	$(environment)
	@echo "Installing what development needs (once) ..."
	@$(PIP) -r requirements/dev.txt
	@rm -f $(VENV)/.run-* $(VENV)/.dev-* && touch $(RUN_STAMP) $@
