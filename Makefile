# normbench: `make experiment` and `make test` do everything from a fresh clone. `make help` lists the targets.

STUDY   ?= batch_size
WORKERS ?=
DATA_DIR ?=
PYTHON  ?= python3

VENV  := .venv
BIN   := $(VENV)/bin/python
# Installed is what pyproject.toml says, for PYTHON: the stamp carries the checksum of both, so an unchanged file
# installs nothing.
STAMP := $(VENV)/.installed-$(shell { cat pyproject.toml; echo '$(PYTHON)'; } | cksum | tr -d ' \t')
RUN   := $(BIN) -m normbench
OPTIONS := $(if $(WORKERS),--workers "$(WORKERS)") $(if $(DATA_DIR),--data-dir "$(DATA_DIR)")

.DEFAULT_GOAL := help
.PHONY: help install experiment quick plan status tables plots report test test-slow test-engines lint unit golden test-lowest benchmark clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo '  options: STUDY=name or file, WORKERS=processes, DATA_DIR=folder with MNIST/raw'

install: $(STAMP) ## make .venv and install into it, if pyproject.toml changed

$(STAMP): pyproject.toml
	@# A .venv that an interrupted install left without pip, or that is of another Python, is made anew.
	@same='import sys; print(sys.version_info[:2])'; \
	$(BIN) -m pip --version >/dev/null 2>&1 && [ "$$($(BIN) -c "$$same")" = "$$($(PYTHON) -c "$$same")" ] || \
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN) -m pip install --disable-pip-version-check --editable '.[dev]'
	@rm -f $(VENV)/.installed-*
	@touch $@

experiment: $(STAMP) ## train what is left of STUDY (default batch_size) and write its report
	@# A failed run does not stop the others, nor the report of what is there; the exit status still tells.
	@$(RUN) run "$(STUDY)" $(OPTIONS); status=$$?; \
	if [ $$status -le 1 ]; then $(RUN) report "$(STUDY)" || exit; fi; exit $$status

quick: ## a first look at all five norms, in about two minutes
	@$(MAKE) experiment STUDY=quick

plan: $(STAMP) ## print the runs of STUDY and how long they take, without training
	$(RUN) plan "$(STUDY)" $(if $(WORKERS),--workers "$(WORKERS)")

status: $(STAMP) ## tell what is done, running and failed
	$(RUN) status "$(STUDY)"

tables: $(STAMP) ## write the tables of STUDY from what is logged
	$(RUN) tables "$(STUDY)"

plots: $(STAMP) ## write the figures of STUDY from what is logged
	$(RUN) plots "$(STUDY)"

report: $(STAMP) ## write tables, figures and report.html of STUDY from what is logged
	$(RUN) report "$(STUDY)"

test: lint unit ## run all checks but the slow ones: lint, format, types, unit and end-to-end tests

# AGAIN=--last-failed repeats what failed before, here and in the other tests.
lint: $(STAMP)
	$(BIN) -m ruff check .
	$(BIN) -m ruff format --check .
	$(BIN) -m mypy

unit: $(STAMP)
	$(BIN) -m pytest -n 2 --dist worksteal -m "not slow" $(AGAIN)
	$(BIN) -m pytest -q --doctest-modules normbench

test-slow: $(STAMP) ## run the tests that train for longer: real processes, resumes, long golden runs
	$(BIN) -m pytest -n 2 --dist worksteal -m slow $(AGAIN)

golden: $(STAMP) ## compare every number of short runs with the recorded ones (all 83; `make test` runs the short ones)
	$(BIN) benchmarks/golden.py check

# Process ids of their own: whatever these tests leave behind ends with them. The shell stays, as the first process, to
# collect those that ended. After the time limit the tests are interrupted, and so end what they started.
ALONE := unshare --pid --fork --mount-proc --kill-child sh -c '"$$@"; exit $$?' alone
ENGINES = $(ALONE) timeout --foreground --signal=INT --kill-after=60 2400 \
$(BIN) -m pytest -v -m engines -o faulthandler_timeout=400 $(AGAIN)
test-engines: $(STAMP) ## run the launchers on a real Slurm and Ray on loopback: as root on Debian; installs both (300 MB)
	$(BIN) -c 'import ray, submitit' 2>/dev/null || \
	$(BIN) -m pip install --disable-pip-version-check --editable '.[slurm,ray]'
	command -v slurmctld >/dev/null || \
	{ apt-get update -qq && apt-get install -y -qq --no-install-recommends slurm-wlm munge iproute2; }
	$(ENGINES) tests/engines/test_slurm.py
	@# Ray takes outer addresses where it finds any: in a network of its own it finds none.
	unshare --net sh -c 'ip link set lo up && exec "$$@"' alone $(ENGINES) tests/engines/test_ray.py

LOWEST := .venv-lowest
test-lowest: ## run the tests with the lowest version of every dependency that pyproject.toml admits
	@$(LOWEST)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --disable-pip-version-check --editable '.[dev]' --constraint .ci/lowest.txt
	$(LOWEST)/bin/python -m pytest -n 2 --dist worksteal -m "not slow"

# BENCHMARK="--batch 2 --rounds 1" measures a part of the first, and only prints it.
benchmark: $(STAMP) ## measure speed on a quiet machine, into benchmarks/*.md (two cores: 90 minutes to two hours)
ifdef BENCHMARK
	$(BIN) benchmarks/training.py $(BENCHMARK)
else
	$(BIN) benchmarks/training.py --out benchmarks/training.md
	$(BIN) benchmarks/startup.py --out benchmarks/startup.md
	$(BIN) benchmarks/step_profile.py --out benchmarks/profile.md
	$(BIN) benchmarks/data_loading.py > benchmarks/data_loading.txt
	$(BIN) benchmarks/report_scale.py > benchmarks/report_scale.txt
	$(BIN) benchmarks/wandb_cost.py > benchmarks/wandb_cost.md
	$(BIN) benchmarks/launch_scale.py > benchmarks/launch_scale.txt
	@# Last: its table of hours takes the runs an hour from training.md.
	$(BIN) benchmarks/verdicts.py
endif

clean: ## remove .venv and caches; runs and reports stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
