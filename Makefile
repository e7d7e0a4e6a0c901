# The two commands: `make sweep` (the main job) and `make test`. They need Python 3.11 or later, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LLMBENCH := $(BIN)/llmbench
PLAN ?= default

.PHONY: sweep test test-all bench lab example notebooks schema docs lock audit fuzz first-hour clean

sweep: $(VENV)/.sweep            ## run the default sweep on the embedded models; print where the report is
	$(LLMBENCH) sweep $(PLAN)

test: $(VENV)/.dev               ## lint, types, tests, notebooks
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	PYTHONHASHSEED=0 $(BIN)/python -m pytest -m "not slow and not alone" --numprocesses 2 --dist loadfile
	$(BIN)/python -m pytest -m "alone and not slow"
	$(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout 120 -p no:randomly notebooks

test-all: test                   ## the same, and the slow suites
	$(BIN)/python -m pytest -m slow

bench: $(VENV)/.dev .venv-bench/.litellm  ## what calls, sweeps and telemetry cost, in ratios; error rates (50 minutes)
	$(BIN)/python benchmarks/router.py --litellm .venv-bench/bin/python
	$(BIN)/python benchmarks/sweep.py
	$(BIN)/python benchmarks/telemetry.py
	$(BIN)/python benchmarks/decisions.py

lab: $(VENV)/.dev                ## JupyterLab on the tour
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/00_tour.ipynb

first-hour:                      ## from a clean clone to a verified change: installs and runs all of it, timed
	$(PYTHON) tests/first_hour.py

example: $(VENV)/.sweep          ## run the sweep whose report is committed under reports/example
	$(LLMBENCH) sweep default --run-id example

notebooks: $(VENV)/.dev          ## run the committed notebooks on recorded answers and keep their outputs
	cd notebooks && ../$(BIN)/jupyter nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False 0*.ipynb

schema: $(VENV)/.sweep           ## write the JSON Schemas of the config files, for editors
	$(BIN)/python -m llmbench.config.schema configs/schema

docs: $(VENV)/.dev               ## write the pages of docs/ that are made from code
	$(BIN)/python -m llmbench.reference docs

lock: $(VENV)/.dev               ## pin every dependency with its hashes, without naming an index
	$(PIP) install --quiet uv
	$(BIN)/uv export --quiet --no-emit-project --no-header --no-annotate --no-dev \
		--group build --extra local --extra lab --extra serve -o requirements/sweep.txt
	$(BIN)/uv export --quiet --no-emit-project --no-header --no-annotate --all-extras --group dev --group build \
		-o requirements/dev.txt
	$(BIN)/python -m llmbench.providers.local_voices requirements/dev.txt
	$(BIN)/uv export --quiet --no-emit-project --no-header --no-annotate --only-group bench \
		-o requirements/bench.txt

audit: $(VENV)/.dev              ## check hashes, licences, and what is known against the pinned dependencies
	$(BIN)/python -m tests.audit

FUZZ_SECONDS ?= 600
fuzz: $(VENV)/.dev               ## give every parser new random inputs for FUZZ_SECONDS each; hours
	LLMBENCH_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest -s -p no:randomly tests/test_fuzz_*.py

clean:                           ## remove the environment, caches and everything a sweep wrote
	rm -rf $(VENV) .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis workspaces dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find reports -mindepth 1 -maxdepth 1 ! -name example ! -name bench -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "llmbench needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)

# The lists are complete. Without --no-deps pip looks for the newest release of a package named with an extra
# (google-auth[requests]) and refuses it, since it has no hash: the install would break the day one is published.
$(VENV)/.sweep: requirements/sweep.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) install --quiet --require-hashes --no-deps -r requirements/sweep.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	$(LLMBENCH) models pull
	touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml $(VENV)/.sweep
	$(PIP) install --quiet --require-hashes --no-deps -r requirements/dev.txt
	touch $@

# litellm needs another version of the official openai client than the conformance tests: its own environment.
.venv-bench/.litellm: requirements/bench.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps -r $<
	touch $@
