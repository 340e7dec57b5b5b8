# Everything here sets itself up: a machine needs Python 3.11, pip and make, no more.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: setup demo prior test torture lock clean

setup: $(READY)

# The lock file names every package with its hashes; uv is used where it is installed.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v == (3, 11) or sys.exit(f"Makefile: expected Python 3.11, got {v[0]}.{v[1]}. Run make with PYTHON=/path/to/python3.11.")'
	@echo "Setting up $(VENV), once; this takes a minute or two."
	@rm -rf $(VENV)
	@if command -v uv > /dev/null; then \
	  uv venv --quiet --python $(PYTHON) $(VENV) && \
	  uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock && \
	  uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . ; \
	else \
	  $(PYTHON) -m venv $(VENV) && \
	  $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock && \
	  $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . ; \
	fi
	@touch $@

demo: $(READY)
	@mkdir -p out
	$(BIN)/fsq tokenize configs/tokenize/demo.yaml --output out/demo --overwrite
	$(BIN)/fsq verify out/demo
	$(BIN)/fsq decode out/demo --count 32 --originals --output out/demo.png
	@echo
	$(BIN)/fsq inspect out/demo
	@echo
	@echo "The token shards:                     out/demo"
	@echo "Originals beside reconstructions:     out/demo.png"
	@echo "The config, to copy for your images:  configs/tokenize/demo.yaml"

# A prior in two minutes; the demo's tokens are made if they are not there.
prior: $(READY) out/demo/manifest.json
	$(BIN)/python -m examples.prior.train examples/prior/configs/demo.yaml
	@echo
	@echo "Samples, a row for each class:        out/prior/samples.png"

out/demo/manifest.json: | $(READY)
	@mkdir -p out
	$(BIN)/fsq tokenize configs/tokenize/demo.yaml --output out/demo

test: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist worksteal

# The fault tests at length, some 75 minutes on two cores, and a report in docs/torture.md.
torture: $(READY)
	$(BIN)/python -m tools.torture

# Needs uv. Run it after a change of the dependencies in pyproject.toml.
lock:
	uv pip compile pyproject.toml --extra dev --python-version 3.11 --generate-hashes --no-header -o requirements.lock

clean:
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache
