# Every target makes .venv, installs what is missing or changed, and puts it on PATH: dvc calls `python` and `torchrun` from there.
PYTHON ?= python3
VENV := .venv
# A file's tests stay together, for they share what they set up.
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
INSTALLED := $(VENV)/.installed
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export TOKENIZERS_PARALLELISM ?= false
# What is imported is compiled once, by the first stage that does; compiling all that is installed takes a minute.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: repro test test-all lint coverage check-lock clean

repro: $(INSTALLED)  ## bring every stale stage up to date and print the comparison
	python -m ragcun.params
	dvc repro
	@cat metrics/comparison.md

test: $(INSTALLED)  ## the tests, without those marked slow
	pytest -m "not slow" $(PARALLEL)

test-all: $(INSTALLED)  ## every test
	pytest $(PARALLEL)

lint: $(INSTALLED)
	ruff format --check .
	ruff check .
	mypy

coverage: $(INSTALLED)
	pytest -m "not slow" $(PARALLEL) --cov --cov-report=term-missing

check-lock: $(INSTALLED)  ## fail where dvc.lock is not the lock of this tree
	.ci/check-lock

$(INSTALLED): requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ragcun needs Python 3.11 or newer; set PYTHON=...")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-compile --requirement requirements.txt
	touch $@

clean:  ## remove the environment; outputs stay
	rm -rf $(VENV)
