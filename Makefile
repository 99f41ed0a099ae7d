# Every target sets up .venv by itself. PYTHON is the interpreter that .venv is made from.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
CHAPTERS ?=
SEED ?= 1

BIN := .venv/bin
READY := .venv/.ready

# One thread per process: two processes run side by side, and sums do not depend on the machine.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
unexport MPLBACKEND  # the notebooks' own backend puts figures on the page
unexport CDPATH  # cd means a folder of this one
unexport PYTHONDONTWRITEBYTECODE  # modules are compiled once, not in each of a hundred processes

.PHONY: help
help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 20

# The stamp comes last, so a set-up that was interrupted is started again.
$(READY): requirements.txt pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11, 5))' || \
	  { echo "Python 3.11.5 or newer is needed, $(PYTHON) is not. Try: make PYTHON=python3.11" >&2; exit 1; }
	@echo "setting up .venv (once, some minutes)"
	@"$(PYTHON)" -m venv .venv
	@$(BIN)/python -m pip install --quiet --requirement requirements.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: book
book: $(READY) ## run every chapter afresh and render the book, in _build only
	@$(BIN)/python tools/chapters.py book

.PHONY: html
html: $(READY) ## render the stored outputs of the chapters
	@$(BIN)/python tools/chapters.py html

.PHONY: test
test: html ## unit tests, doctests, re-run of the notebooks, rendered pages in a browser
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

# Of torch, whose other builds are gigabytes, the version of the lock; TORCH=2.10 takes the floor.
# Without doctests and warnings: numbers were printed, and packages warned, otherwise in those days.
# Python 3.11: for newer ones the oldest packages have no wheels.
TORCH ?= 2.13.0
FLOORS := .venv-floors
FLOORS_READY := $(FLOORS)/.ready-$(TORCH)
OF_BOOK := $(wildcard tests/book/test_*.py)
# As for .venv, the stamp comes last; those of other versions of torch go first.
$(FLOORS_READY): pyproject.toml tools/floors.py
	@"$(PYTHON)" -m venv $(FLOORS)
	@rm -f $(FLOORS)/.ready-*
	@"$(PYTHON)" tools/floors.py | sed 's/^torch==.*/torch==$(TORCH)/' > $(FLOORS)/floors.txt
	@$(FLOORS)/bin/python -m pip install --quiet --requirement $(FLOORS)/floors.txt \
	  hypothesis obp==0.4.1 polars pytest pytest-xdist
	@touch $@

.PHONY: test-floors
test-floors: $(FLOORS_READY) ## unit tests with the oldest packages that pyproject.toml admits, in .venv-floors
	@PYTHONPATH=. $(FLOORS)/bin/python -m pytest --numprocesses 2 --dist loadscope \
	  --override-ini addopts=--import-mode=importlib --override-ini filterwarnings=ignore tests \
	  $(addprefix --ignore ,$(filter-out %_experiments.py %_tables.py %_runners.py,$(OF_BOOK)))

.PHONY: notebooks
notebooks: $(READY) ## book/text/*.md to book/*.ipynb with outputs; CHAPTERS="01_two_towers" for some
	@$(BIN)/python tools/chapters.py notebooks $(CHAPTERS)

.PHONY: lab
lab: $(READY) ## open the first page and the chapters in JupyterLab, in lab/, a copy to work in
	@$(BIN)/python tools/lab.py lab
	@$(BIN)/jupyter lab --notebook-dir=lab --LabApp.default_url=/lab/tree/start.ipynb

.PHONY: serve
PORT ?= 8000
serve: html ## the rendered book at http://127.0.0.1:8000; PORT=8001 for another
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

.PHONY: pdf
pdf: html ## print the book to _build/book.pdf; needs a Chromium
	@$(BIN)/python tools/offline.py pdf

.PHONY: zip
zip: html ## pack pages, notebooks, library and lock into _build/book.zip
	@$(BIN)/python tools/offline.py zip

.PHONY: bench
bench: $(READY) ## time training against the article's loop and other libraries
	@$(BIN)/python benchmarks/run.py

.PHONY: figures
figures: $(READY) ## run the experiments that results/ lacks; hours, if it has none
	@cd book && ../$(BIN)/python -m experiments

.PHONY: figures-check
figures-check: $(READY) ## run a cell of every stored table again; SEED=3 takes others
	@FIGURES_CHECK=$(SEED) $(BIN)/python -m pytest --numprocesses 2 tests/book/test_stored.py

.PHONY: lint
lint: $(READY) ## check style, layers and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/mypy

.PHONY: clean
clean: ## remove what the targets made, .venv included; not lab/, where you worked
	rm -rf .venv .venv-floors _build build *.egg-info
	find . -path ./lab -prune -o -name __pycache__ -exec rm -rf {} +
