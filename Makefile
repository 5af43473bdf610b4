# The verbs of this repository. `make up` and `make test` install what is missing; both need git, make and root.
# Hands back to the owner of a clone what root makes in it.
SHELL := scripts/shell
PYTHON := /usr/bin/python3
UV := .tools/bin/uv
RUN := .venv/bin
ENV ?= local
LANES ?= 2
UV_VERSION := 0.13.9

.DEFAULT_GOAL := help
.PHONY: help keys soak purging hostile kill-lego soak-lego matrix-lego up down purge status test again unit fuzz-ingress e2e check bench docs charts lint types imports environment system reference

help:  ## what each verb does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

environment: .venv/.stamp  ## the Python environment, from uv.lock and the distribution's own python3

.venv/.stamp: uv.lock pyproject.toml scripts/environment
	@scripts/environment $(UV_VERSION)
	@touch $@

system:  ## the Debian packages that a node needs
	@scripts/system-packages

up: system environment charts  ## start the deployment of ENV (default: local) and prove it by a launch
	@$(RUN)/binderops up $(ENV)

down: environment  ## stop it, keep its data
	@$(RUN)/binderops down $(ENV)

purge: environment  ## remove everything that was started or made
	@$(RUN)/binderops purge $(ENV)

status: environment  ## what is running
	@$(RUN)/binderops status

charts: environment  ## pack the charts maintained here into mybinder/charts/
	@$(RUN)/python scripts/charts.py

check: environment  ## formatting, lints, types, layers: everything that needs no root
	@$(RUN)/ruff format --check src tests bench scripts
	@$(RUN)/ruff check src tests bench scripts
	@$(RUN)/mypy
	@$(RUN)/lint-imports --no-cache
	@$(RUN)/python scripts/reference.py --check

unit: system environment charts  ## the tests that need no running deployment
	@scripts/system-packages --tests
	@$(RUN)/pytest tests --ignore=tests/e2e -q

fuzz-ingress: environment  ## 10,000 hostile Ingresses: what is rendered, nginx accepts
	@BINDEROPS_FUZZ_CASES=10000 $(RUN)/pytest tests/ingress/test_ingress_fuzz.py -q --timeout 3600

e2e: system environment charts  ## whole journeys, with real Podman, Helm, nginx and Chromium; needs root
	@scripts/system-packages --tests
	@$(RUN)/pytest tests/e2e -q

test: system environment charts  ## unit and e2e, in LANES lanes beside one another
	@scripts/system-packages --tests
	@$(RUN)/pytest tests -q -n $(LANES) --no-loadscope-reorder --durations 25

again: environment  ## the tests that failed last
	@$(RUN)/pytest tests -q --last-failed --last-failed-no-failures none

keys: environment  ## each key of the values alone: what shows it is not there without it (a minute)
	@BINDEROPS_KEYS=alone $(RUN)/pytest tests/charts/test_charts_keys.py -q

hostile: system environment charts  ## what hostile users try, in its long form: a hundred thousand files, longer floods
	@BINDEROPS_HOSTILE=long $(RUN)/pytest tests/build/test_build_escapes.py tests/e2e/test_e2e_hostile_*.py tests/e2e/test_e2e_isolation.py -q --timeout 1200

bench: system environment charts  ## speed and memory, each beside its baseline
	@$(RUN)/python -m bench

KILLS ?= 30

kills: system environment charts  ## kill -9 of each piece in KILLS builds and launches (the tests' own: one), and a power cut
	@KILLS=$(KILLS) $(RUN)/pytest tests/e2e/test_e2e_kills.py tests/e2e/test_e2e_reboot.py -q -s; code=$$?; \
	  $(RUN)/python -m tests.e2e.kills; exit $$code

interruptions: system environment charts  ## `up` ended at each step by Ctrl-C and kill -9; writes docs/develop/interruptions.md
	@INTERRUPTIONS="$(or $(INTERRUPTIONS),1)" $(RUN)/pytest tests/e2e/test_e2e_interruptions.py -q -s

purging: system environment charts  ## a whole deployment, purged, judged by listings of the whole machine: alone on it
	@PURGING=1 BINDEROPS_E2E_NAME=purged BINDEROPS_E2E_PORT=18980 BINDEROPS_E2E_API=17543 \
	  BINDEROPS_E2E_ADDRESS=198.51.100.7 $(RUN)/pytest tests/e2e/test_e2e_purging.py -q -s

SOAK ?= 500

soak: system environment charts  ## SOAK launches, and what is left of them: memory, files, rules, objects, disk
	@SOAK=$(SOAK) BINDEROPS_E2E_NAME=soak BINDEROPS_E2E_PORT=18880 BINDEROPS_E2E_API=17443 \
	  BINDEROPS_E2E_ADDRESS=198.51.100.6 $(RUN)/pytest tests/e2e/test_e2e_soak.py -q -s

kill-lego: environment  ## kube-lego killed at a hundred random points (the tests' own: ten)
	@LEGO_KILLS=100 $(RUN)/pytest tests/lego/test_lego_kills.py -q -s

soak-lego: environment  ## kube-lego with certificates of a minute under traffic, for ten minutes, and a CA that is busy for three (the tests' own: seconds)
	@LEGO_SOAK_SECONDS=600 LEGO_PROCESSING_SECONDS=180 $(RUN)/pytest \
	  tests/lego/test_lego_soak.py tests/lego/test_lego_fake_ca.py -k 'handshake or busy' -q -s

matrix-lego: environment  ## kube-lego against every awkwardness of Pebble: fifty hosts, its own delays (the tests' own: five, short)
	@LEGO_MATRIX=whole $(RUN)/pytest tests/lego/test_lego_pebble.py -k awkwardness -q -s --timeout 1200

reference: environment  ## the pages that are made from the files: commands, overview, schema
	@$(RUN)/python scripts/reference.py

docs: environment  ## the documentation as HTML in docs/_build
	@$(RUN)/sphinx-build -q -W -b html docs docs/_build/html
