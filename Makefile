# Two commands do everything: `make report` and `make test`. Both set up .venv if need be.
PYTHON ?= python3
BIN := .venv/bin
UV := 0.13.9
# The system's certificates, as git uses them: uv's own know no company's or laboratory's proxy.
INSTALL = $(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python

# Where nothing may be written beside a module, each process would compile all of torch anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help env report lab deck test test-gpu lint lock licences clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

report: .venv/.ready ## draw synthetic hands, run the study on the CPU, render the deck (PROFILE=demo)
	@$(BIN)/h2a report --profile "$(or $(PROFILE),demo)"

lab: .venv/.ready ## open the notebooks in JupyterLab
	@$(BIN)/python -m h2a_lib.pipeline.environment jupyter lab --allow-root --notebook-dir=. notebooks/01_population.ipynb

deck: .venv/.ready ## render the deck of results/rsna-100px anew, as docs/decks keeps it
	@$(BIN)/h2a render --results results/rsna-100px --no-stand-ins
	@mkdir -p docs/decks && cp report/_output/rsna-100px/slides.pdf docs/decks/rsna-100px.pdf

test: .venv/.ready ## run the tests, and say what of the library they cover
	@# Coverage of the library; the tests themselves it cannot follow with this pytest, and warns.
	@$(BIN)/python -W "ignore:Unable to activate pytest:RuntimeWarning" -m slipcover -m pytest -m "not slow" -n logical --maxprocesses 8 --dist loadfile

test-gpu: .venv/.ready ## run the tests for a machine with a GPU
	@H2A_TEST_GPU=1 $(BIN)/python -m pytest tests/models/test_gpu.py

lint: .venv/.ready ## check style, types and spelling
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	@$(BIN)/codespell *.md docs h2a_lib notebooks report/*.qmd study.yaml

env: .venv/.ready ## create .venv with the locked packages

.venv/.ready: requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, $(PYTHON) is {sys.version.split()[0]}: make PYTHON=python3.12 ...")'
	@# Anew: a folder made by another Python, or with packages that are no longer wanted, would mix.
	"$(PYTHON)" -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV)
	$(INSTALL) --compile-bytecode --require-hashes -r requirements.lock
	$(INSTALL) --no-deps -e .
	@touch $@

lock: ## compile requirements.lock from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --quiet \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header -o requirements.lock

licences: .venv/.ready ## list the licences of the locked packages in docs/licences.md
	@$(BIN)/python .ci/licences.py

clean: ## remove what the study made; data/ and .venv stay
	rm -rf cache runs report/_output report/figures report/fonts .snakemake
	rm -f report/_variables.yml report/_staged.json
	find results -mindepth 1 -maxdepth 1 ! -name rsna-100px -exec rm -rf {} +
