# The two commands are `make site` and `make test`; everything else is a part of them.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
PYINFRA := $(VENV)/bin/pyinfra
PYTEST := $(VENV)/bin/python -m pytest
LAB := tests/lab/lab
RUFF := $(VENV)/bin/ruff
LINT := --line-length 120 --target-version py311 --select E,F,I,B,UP,RET,SIM --ignore SIM105,RET503

ODD_LOG := .lab/log/odd-tests.log
TLS_OFF := tests/drills/test_web.py::test_tls_is_switched_off_while_queries_go_on
# What these look at is the same with TLS as without.
TLS_SITE = $(filter-out $(patsubst %,tests/site/test_%.py,base kernel logs software),$(wildcard tests/site/test_*.py))

export RELEASE ?= current
export PROFILE ?= production
export WEB ?=

.PHONY: site deploy verify test test-tls unit lint lab archives drills bench down

## Hosts, archives, the platform on them, and a table of what stands.
site: lab deploy verify

deploy: $(VENV)/made
	$(PYINFRA) -y inventory.py deploys/site.py

verify: $(VENV)/made
	$(PYINFRA) -y inventory.py deploys/verify.py

## All tests that CI runs: brings up what it needs, with the drill profile's short intervals. Drills mostly wait, so the
## odd hosts, which are no part of the site, have their tests beside them; what those say comes after the drills.
test: export PROFILE = drill
test: lint unit lab deploy verify
	@mkdir -p .lab/log
	$(PYTEST) tests/odd -m "not long" >$(ODD_LOG) 2>&1 & odd=$$!; trap 'kill $$odd 2>/dev/null' INT TERM; \
	$(PYTEST) tests/site tests/drills -m "not long" --durations=20 --deselect $(TLS_OFF); drills=$$?; \
	wait $$odd; odd=$$?; cat $(ODD_LOG); [ $$drills = 0 ] && [ $$odd = 0 ]
	$(MAKE) WEB=tls test-tls

## The suites once more, on the site that the drills left with TLS and a password on every port, and then without again.
## `WEB=tls make drills` has all drills with TLS.
test-tls: deploy verify
	$(PYTEST) $(TLS_SITE) tests/drills/test_noop.py $(TLS_OFF) -m "not long"

## Tests that need no host and no root.
unit: $(VENV)/made
	$(VENV)/bin/python tests/unit/at_once.py

lint: $(VENV)/made
	$(RUFF) check $(LINT) deploys facts tests inventory.py config.py group_data
	$(RUFF) format --check --line-length 100 deploys facts tests inventory.py config.py group_data

lab: $(VENV)/made archives
	$(LAB) up

archives:
	$(PYTHON) tests/lab/archives.py --release $(RELEASE)

## Failures on purpose that are too long for every run, and sites of other hosts.
drills: export PROFILE = drill
drills: lab deploy
	$(PYTEST) tests/drills tests/odd

## What a run without change costs, and what each layer of a query does: on a deployed site, with nothing else running.
bench: export PROFILE = drill
bench: $(VENV)/made
	$(VENV)/bin/python tests/bench/noop.py
	$(VENV)/bin/python -m tests.bench.queries

down:
	$(LAB) down

$(VENV)/made: setup.cfg
	$(PYTHON) -m venv $(VENV) || { apt-get -qq update && apt-get -qq -y install python3-venv && $(PYTHON) -m venv $(VENV); }
	$(VENV)/bin/pip -q install $$($(VENV)/bin/python tests/requirements.py)
	touch $@
