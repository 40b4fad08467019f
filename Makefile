# Python >= 3.11, git and make are enough. `make help` lists what there is.
PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
SEED   ?= $(shell date +%s)

BIN   := $(VENV)/bin
# touched when everything is installed; a second make installs nothing
STAMP := $(VENV)/.noisykit-installed
# nbdev_export does nothing where this is set
unexport IN_TEST

.PHONY: help setup run test test-long prepare readme docs lab clean
.DELETE_ON_ERROR:

help:
	@echo "make run       train learning to reweight on a small MNIST"
	@echo "               (other settings: ARGS='-p epochs 2')"
	@echo "make lab       open the notebooks in JupyterLab"
	@echo "make test      every check and test"
	@echo "make test-long a hundred kills of runs, and 50,000 examples for the property tests; half an hour"
	@echo "               (SEED=7: other examples, always the same for a seed)"
	@echo "make prepare   after an edit: export modules, clean notebooks, README.md"
	@echo "make docs      the site, into _docs/ (needs Quarto)"
	@echo "make clean     remove what can be made again (not runs/, data/ or $(VENV))"
	@echo "PYTHON=python3.12 chooses the interpreter, VENV=folder the environment."

setup: $(STAMP)

$(STAMP): pyproject.toml settings.ini
	@p='$(PYTHON)'; test ! -x '$(BIN)/python' || p='$(BIN)/python'; \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "noisykit needs Python 3.11 or newer, and $$p is older or not there: name another, as in 'make $(firstword $(MAKECMDGOALS)) PYTHON=python3.12', and remove $(VENV) first if it is there." >&2; exit 1; }
	@'$(BIN)/python' -m pip --version >/dev/null 2>&1 || { \
	  '$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make virtual environments: install its venv package (Debian, Ubuntu: python3-venv) or name another Python with PYTHON=." >&2; exit 1; }; \
	  '$(PYTHON)' -m venv '$(VENV)'; }
	@echo "== installing into $(VENV): torch and the rest, some minutes and about 6 GB the first time"
	@'$(BIN)/python' -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch '$@'

run: $(STAMP)
	'$(BIN)/noisykit' run -p method l2r $(ARGS) </dev/null

test: $(STAMP)
	@echo "== 1/5 notebooks, exported modules, floors of the house, lengths"
	@'$(BIN)/python' tests/tools/check_tree.py export notebooks house paths
	@'$(BIN)/python' tests/tools/counts.py
	@echo "== 2/5 site and README"
	@'$(BIN)/python' tests/tools/check_tree.py readme
	@'$(BIN)/python' tests/tools/check_docs.py
	@echo "== 3/5 ruff"
	@'$(BIN)/ruff' check -q . && echo "ok   ruff"
	@echo "== 4/5 notebooks as tests"
	@OMP_NUM_THREADS=1 '$(BIN)/nbdev_test' --n_workers 2 --do_print </dev/null # one thread each: two processes that wait for each other's cores are many times slower
	@echo "== 5/5 tests"
	@OMP_NUM_THREADS=1 '$(BIN)/python' -m pytest -n 2 --dist worksteal tests </dev/null

test-long: $(STAMP)
	OMP_NUM_THREADS=1 '$(BIN)/python' -m pytest -n 2 --dist worksteal -m long tests </dev/null
	OMP_NUM_THREADS=1 '$(BIN)/python' -m pytest -n 2 --dist worksteal --hypothesis-profile=long --hypothesis-seed=$(SEED) tests/fuzz </dev/null

prepare: $(STAMP)
	'$(BIN)/nbdev_export'
	'$(BIN)/nbdev_clean'
	'$(BIN)/python' tests/tools/stills.py
	'$(BIN)/python' tests/tools/readme.py

readme: $(STAMP)
	'$(BIN)/python' tests/tools/readme.py

# README.md comes first: nbdev would make another one where it is older than index.ipynb. A _proc that an interrupted
# call left has pages that look new, so it goes.
docs: $(STAMP)
	@command -v quarto >/dev/null || { echo "make docs needs Quarto (https://quarto.org) on the PATH; everything else does without." >&2; exit 1; }
	'$(BIN)/python' tests/tools/readme.py
	rm -rf _proc
	PATH="$$(cd '$(BIN)' && pwd):$$PATH" nbdev_proc_nbs --n_workers 2 </dev/null
	'$(BIN)/python' tests/tools/pages.py
	PATH="$$(cd '$(BIN)' && pwd):$$PATH" nbdev_docs --n_workers 2 </dev/null # makes no page again that is newer than its notebook

lab: $(STAMP)
	'$(BIN)/noisykit' explore

clean:
	rm -rf _proc _docs nbs/nbdev.yml nbs/sidebar.yml .hypothesis .pytest_cache .ruff_cache *.egg-info build dist
	find nbs noisykit tests -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
