# The two commands: `make run` plays, `make test` proves. Both set up what they need, once.

PYTHON ?= python3.11
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --require-hashes --no-deps --quiet --no-input \
	--disable-pip-version-check --root-user-action=ignore

# An environment is current when the stamp named after its requirements is there.
hash_of = $(shell cat $(1) | sha256sum | cut -c1-16)
RUN_STAMP := $(VENV)/.run-$(call hash_of,requirements/run.txt)
DEV_STAMP := $(VENV)/.dev-$(call hash_of,requirements/dev.txt requirements/run.txt)

.PHONY: run test lint pytest bench clean
.DELETE_ON_ERROR:

run: $(RUN_STAMP)
	@exec $(VENV)/bin/python manage.py runplatform --stop-with-parent

test: lint pytest

lint: $(DEV_STAMP)
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m mypy .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/python manage.py makemigrations --check --dry-run
	$(VENV)/bin/python manage.py spectacular --validate --fail-on-warn --file /dev/null

pytest: $(DEV_STAMP)
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --cov --cov-branch --cov-report=term:skip-covered

bench: $(DEV_STAMP)
	$(VENV)/bin/python -m tests.benchmarks.place_bets

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage* htmlcov

# A broken environment (its Python gone, say) is made anew.
define environment
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv --clear $(VENV)
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
