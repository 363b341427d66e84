# The two commands are `make site` and `make test`; everything else is a part of them.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
PYINFRA := $(VENV)/bin/pyinfra
PYTEST := $(VENV)/bin/python -m pytest
LAB := tests/lab/lab
RUFF := $(VENV)/bin/ruff
SOURCES := deploys facts templates prometheus_ha tests docs inventory.py config.py group_data

# A copy of this checkout, and so a lab of its own: drills mostly wait, and those of two labs never meet.
BESIDE := .beside
NOT_COPIED := $(BESIDE) .git .mypy_cache .lab .venv .runs .hypothesis secrets

TLS_ON := tests/drills/test_web.py::test_tls_is_switched_on_while_queries_go_on
# What these look at is the same with TLS as without: some suites, and some of what holds for every daemon.
SAME_WITH_TLS := unit_belongs_to_root or runs_the_wanted_binary or runs_as_the_service_user or has_the_wanted_limits or data_directory
TLS_SITE = $(filter-out $(patsubst %,tests/site/test_%.py,base kernel logs software),$(wildcard tests/site/test_*.py))
# The drills of the second lab, about half of the time; the first one has all others.
DRILLS_BESIDE := $(patsubst %,tests/drills/test_%.py,storage rule_receive remote_write blackbox federation lock)
# What the drill of a release change needs of an older one, and what is compiled in a minute.
SOON_BUILT := --only alertmanager --only node_exporter
# The first lab's, in this order: the platform's own drill waits until no alert is left, as many drills leave one.
QUIET := $(patsubst %,tests/drills/test_%.py,noop offline plan tools)
DRILLS = $(QUIET) $(filter-out $(QUIET) $(DRILLS_BESIDE) tests/drills/test_web.py,$(wildcard tests/drills/test_*.py))

export RELEASE ?= current
export PROFILE ?= production
export WEB ?=

.PHONY: site deploy verify test test-first test-beside beside unit lint lab archives drills bench down

## Hosts, archives, the platform on them, and a table of what stands.
site: lab deploy verify

deploy: $(VENV)/made
	$(PYINFRA) -y inventory.py deploys/site.py

verify: $(VENV)/made
	$(PYINFRA) -y inventory.py deploys/verify.py

## All tests that CI runs: brings up what it needs, with the drill profile's short intervals.
test: export PROFILE = drill
test: lab beside
	$(PYTHON) tests/side_by_side.py first="$(MAKE) test-first" beside="$(MAKE) -C $(BESIDE) test-beside" \
		--idly lint="$(MAKE) lint" unit="$(MAKE) unit" rules="$(PYTEST) tests/rules -m 'not long'" older="$(VENV)/bin/python tests/lab/archives.py --release migration $(SOON_BUILT)"

## A site without TLS, its suites, and drills.
test-first: deploy verify
	$(PYTEST) tests/site $(DRILLS) -m "not long" --durations=20

## A site that begins with TLS and a password on every port: the suites, the drills of TLS down to where it is switched
## off, and then other drills without it, and on again, beside the odd hosts, which are no part of a site.
test-beside: lab
	$(MAKE) WEB=tls deploy verify
	WEB=tls $(PYTEST) $(TLS_SITE) tests/drills/test_noop.py tests/drills/test_web.py --deselect $(TLS_ON) -m "not long" \
		-k "not ($(SAME_WITH_TLS))" --durations=10
	$(PYTHON) tests/side_by_side.py drills='$(PYTEST) $(DRILLS_BESIDE) $(TLS_ON) -m "not long" --durations=20' \
		odd='$(PYTEST) tests/odd -m "not long" --durations=10'
	# The other one is at work for longer, and idle daemons take a quarter of a small machine.
	$(LAB) down

beside: $(VENV)/made
	if [ -d $(BESIDE) ]; then $(MAKE) -C $(BESIDE) down; rm -r $(BESIDE); fi
	mkdir $(BESIDE)
	tar -c $(NOT_COPIED:%=--exclude=./%) . | tar -x -C $(BESIDE)
	ln -s ../$(VENV) $(BESIDE)/$(VENV)

## Tests that need no host and no root, in one process more than there are cores, as some of them wait.
unit: $(VENV)/made
	UNIT_PROCESSES=$$(($$(nproc) + 1)) $(PYTEST) tests/unit -q -o console_output_style=count

lint: $(VENV)/made
	$(RUFF) check $(SOURCES)
	$(RUFF) format --check $(SOURCES)
	$(VENV)/bin/mypy

lab: $(VENV)/made archives
	$(LAB) up

## What the lab is made from: minutes on a new machine, of which both say how many.
archives: $(VENV)/made
	$(PYTHON) tests/side_by_side.py archives="$(VENV)/bin/python tests/lab/archives.py --release $(RELEASE)" trees="$(LAB) trees"

## Failures on purpose that are too long for every run, and sites of other hosts.
drills: export PROFILE = drill
drills: lab deploy
	$(VENV)/bin/python tests/lab/archives.py --release reference --release migration --only prometheus
	$(PYTEST) tests/drills tests/odd tests/rules

## What a run without change costs, and what each layer of a query does: on a deployed site, with nothing else running.
bench: export PROFILE = drill
bench: $(VENV)/made
	$(VENV)/bin/python tests/bench/noop.py
	$(VENV)/bin/python -m tests.bench.queries

down:
	if [ -d $(BESIDE) ]; then $(MAKE) -C $(BESIDE) down && rm -r $(BESIDE); fi
	[ ! -e $(VENV)/made ] || $(LAB) down

$(VENV)/made: setup.cfg
	$(PYTHON) -m venv $(VENV) || { apt-get -qq update && apt-get -qq -y install python3-venv && $(PYTHON) -m venv $(VENV); }
	$(VENV)/bin/pip -q install $$($(VENV)/bin/python tests/requirements.py)
	# Once, also where Python is told to write none: hundreds of runs follow.
	$(VENV)/bin/python -m compileall -q prometheus_ha tests
	touch $@
