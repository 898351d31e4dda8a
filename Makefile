# Two commands are enough on a fresh clone: `make lab` and `make test`.
# They need Python >= 3.11 and make; everything else comes into .venv and js/node_modules. Nothing is
# installed on the machine itself but by `make browser`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PY := $(BIN)/python
export PATH := $(abspath $(BIN)):$(PATH)

# JupyterLab refuses to run as root (in a container, say) unless told.
LAB_FLAGS := $(shell [ "$$(id -u)" = 0 ] && echo --allow-root)

JS_SOURCES := $(shell find js/src js/build.mjs rome_widgets/charts/palettes.json -type f 2>/dev/null)
BUNDLE := rome_widgets/widgets/static/trace.js

.PHONY: help env lab build browser lint types js device python test test-full train clean

help:
	@echo "make lab        JupyterLab, open on the tour"
	@echo "make test       every test: Python, TypeScript, browser, notebooks"
	@echo "make test-full  the same with the full counts"
	@echo "make browser    a browser for the tests: one that is there, else apt's, as root"
	@echo "make lint | types | js | device | python   parts of make test"
	@echo "make train      the bundled model again from its tables, into build/bundled, and whether it is the same"

env: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt hatch_build.py hatch_readme.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python >= 3.11 was wanted, $$($(PYTHON) --version 2>&1) was found: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "Some 150 packages, 2 GB, come into $(VENV): two to three minutes the first time."
	$(PY) -m pip install --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

build: $(BUNDLE)

$(BUNDLE): $(VENV)/.ready $(JS_SOURCES) js/package-lock.json
	$(PY) -m tools.npm run build
	@touch $@

lab: build
	$(PY) -m jupyter lab $(LAB_FLAGS) --LabApp.default_url=/lab/tree/notebooks/01_trace.ipynb

browser: env
	@$(PY) -m tools.browser --install

lint: env
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: env
	$(PY) -m pyright --pythonpath $(PY)

js: env
	$(PY) -m tools.npm run check
	$(PY) -m tools.npm test

# Several test files at a time, each with one thread. The full counts run one by one: they measure.
JOBS ?= 2

python: build
	$(if $(filter 0,$(JOBS)),,OMP_NUM_THREADS=1) $(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

# Every path of the engine on a pretend GPU, which has to be there before torch is imported.
device: env
	OMP_NUM_THREADS=1 $(PY) -m pytest -p tests.device.pretend_gpu $(if $(filter 0,$(JOBS)),,-n $(JOBS) --dist worksteal) tests/device

# The Python tests come last: without a browser they end by saying what its tests need.
test: build lint types js device python

test-full:
	ROME_WIDGETS_FULL=1 $(MAKE) test JOBS=0

train: env
	$(PY) -m training.train --out build/bundled --like rome_widgets/bundled

clean:
	rm -rf $(VENV) js/node_modules rome_widgets/widgets/static
