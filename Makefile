# Every target but help and clean makes .venv, installs what is missing or changed, and puts it on PATH: dvc calls `python` and `torchrun`
# from there.
PYTHON ?= python3
# Which build of torch to install: empty takes pip's choice (from PyPI on Linux the CUDA build, 3 GB of downloads), `cpu` or
# another name of PyTorch's own index (cu126, rocm6.4, ...) takes that one.
TORCH ?=
TORCH_INDEX ?= https://download.pytorch.org/whl
VENV := .venv
CLIENTS := .venv-clients
MODEL ?=
# One worker more than cores, for some of them wait for the processes they start; 4 at most. A file's tests stay together, for
# they share what they set up.
WORKERS := $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 4 ? cores + 1 : 4)))
PARALLEL := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
INSTALLED := $(VENV)/.installed$(TORCH:%=-%)
PIP_INSTALL := $(VENV)/bin/pip install --disable-pip-version-check --no-compile
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export TOKENIZERS_PARALLELISM ?= false
# What is imported is compiled once, by the first stage that does; compiling all that is installed takes a minute.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: repro report help test test-all clients browser lint coverage check-lock bench clean

repro: $(INSTALLED)  ## bring every stale stage up to date and print the comparison
	python -m ragcun.params
	dvc repro
	@cat metrics/comparison.md

report: $(INSTALLED)  ## write report/report.html and the figures again, from the results that are there
	dvc repro --force --single-item compare
	@echo 'open report/report.html'

help:  ## list the targets
	@echo 'Usage: make [TARGET] [TORCH=cpu] [PYTHON=python3.12]; without a target: repro'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

test: $(INSTALLED)  ## the tests, without those marked slow
	pytest -m "not slow" $(PARALLEL)

test-all: $(INSTALLED)  ## every test
	pytest $(PARALLEL)

clients: $(CLIENTS)/.installed  ## real clients load an exported model (MODEL=models/NAME, else a tiny one)
	RAGCUN_CLIENTS_MODEL=$(MODEL) $(CLIENTS)/bin/python -m pytest -m clients tests/clients

# Where there is none and no apt-get, the tests that need one are left out.
browser:  ## install Chromium, in which the report is tested, unless there is one
	@if command -v chromium || command -v chromium-browser || command -v google-chrome; then exit 0; fi; \
	if ! command -v apt-get; then echo 'no apt-get: install Chromium to run the tests marked browser'; exit 0; fi; \
	sudo=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	$$sudo apt-get update --quiet && $$sudo apt-get install --yes --quiet --no-install-recommends chromium

lint: $(INSTALLED)  ## check format, lint and types: ruff and mypy
	ruff format --check .
	ruff check .
	mypy

coverage: $(INSTALLED)  ## the tests, without those marked slow, and what they leave untested
	pytest -m "not slow" $(PARALLEL) --cov --cov-report=term-missing

check-lock: $(INSTALLED)  ## fail where dvc.lock is not the lock of this tree
	.ci/check-lock

# The folder of a clone in which `dvc repro` is done and committed: benchmarks.commands runs ablations there.
CLONE ?= .
bench: $(INSTALLED)  ## measure the claims of benchmarks/ beside their peers, where repro is done, and write its README.md
	$(PIP_INSTALL) --requirement requirements-bench.txt
	set -e; for name in encode head_training first_run full_finetuning evaluate search measures growth; do \
		python -m benchmarks.$$name; done
	python -m benchmarks.commands --pipeline $(CLONE)
	python -m benchmarks.report

# torch comes first where its build is chosen: pip then finds it there and asks PyPI for the rest alone. --upgrade replaces
# another build of the same version, because 2.13.0+cpu counts as newer than 2.13.0. The last line gives the command `ragcun`.
$(INSTALLED): requirements.txt requirements-cuda.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ragcun needs Python 3.11 or newer; set PYTHON=...")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH),$(PIP_INSTALL) --no-deps --upgrade --index-url $(TORCH_INDEX)/$(TORCH) --constraint requirements.txt torch)
	$(PIP_INSTALL) --requirement requirements.txt $(if $(TORCH),,--constraint requirements-cuda.txt)
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

# The clients' own packages come first; what is not there is taken from .venv, torch above all.
$(CLIENTS)/.installed: requirements-clients.txt $(INSTALLED)
	test -x $(CLIENTS)/bin/python || $(VENV)/bin/python -m venv $(CLIENTS)
	$(VENV)/bin/python -c 'import site; print(site.getsitepackages()[0])' \
		> "$$($(CLIENTS)/bin/python -c 'import site; print(site.getsitepackages()[0])')/from_venv.pth"
	$(CLIENTS)/bin/pip install --disable-pip-version-check --no-compile --no-deps --requirement requirements-clients.txt
	$(CLIENTS)/bin/pip install --disable-pip-version-check --no-compile --no-deps --upgrade --target $(CLIENTS)/releases/6.0.0 \
		sentence-transformers==6.0.0
	$(CLIENTS)/bin/pip install --disable-pip-version-check --no-compile --no-deps --upgrade --target $(CLIENTS)/releases/2.7.0 \
		sentence-transformers==2.7.0 transformers==4.41.2 tokenizers==0.19.1 huggingface-hub==0.23.4
	touch $@

clean:  ## remove the environments; outputs stay
	rm -rf $(VENV) $(CLIENTS)
