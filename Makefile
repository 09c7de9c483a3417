# Everything a developer does here. `make help` lists it.

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
JOBS   ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup test test-all check format lock demo bench bench-quick clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 16

setup: $(VENV)/.installed ## make .venv with the `jup2kub` command; done again only when the lock files change

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one: make setup PYTHON=python3.11" >&2; exit 3; }
	$(PYTHON) -m venv $(VENV)

# The lock holds every wheel's hash. The package itself comes last, without asking an index for anything.
$(VENV)/.locked: requirements/dev.lock | $(PY)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

test: setup ## the fast tests, on two cores (JOBS=N for more)
	$(PY) -m pytest -n $(JOBS) -m "not slow" --ignore=tests/e2e

test-all: setup ## every test, those included that need a cluster, if there is one
	$(PY) -m pytest -n $(JOBS) --dist loadfile -m "not measure"

check: setup ## form, types, and the layers of docs/architecture.md; all of them, whatever fails first
	@failed=; \
	for tool in "ruff format --check ." "ruff check ." "mypy" "mypy benchmarks" "lint-imports --no-logo"; do \
	  echo "$$tool"; $(VENV)/bin/$$tool || failed="$$failed [$$tool]"; \
	done; \
	[ -z "$$failed" ] || { echo "check: failed:$$failed" >&2; exit 1; }

format: setup ## let ruff put the text in order
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

lock: ## resolve the dependencies anew (needs uv)
	uv pip compile pyproject.toml -o requirements/run.lock $(LOCK)
	uv pip compile pyproject.toml --group dev -o requirements/dev.lock $(LOCK)
LOCK := --quiet --upgrade --generate-hashes --universal --python-version 3.11 \
  --no-header --no-annotate --no-emit-index-url --no-emit-find-links

demo: setup ## run the example notebooks in parallel, and compare with Jupyter's own time
	$(PY) -m benchmarks.demo

bench: setup ## measure against nbclient and papermill, and write docs/benchmarks.md (a quiet machine, please)
	$(PY) -m benchmarks

bench-quick: setup ## the same with one repetition and without writing
	$(PY) -m benchmarks --quick

clean: ## remove what was built; the store of results is not touched
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -f examples/*.executed.ipynb
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
