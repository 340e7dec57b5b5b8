# Everything here sets itself up: a machine needs Python 3.11, 3.12 or 3.13, pip and make, no more.
# PYTHON=/path/to/python names one; else it is the first of these on PATH that is one of the three.
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
VENV := .venv
BIN := $(VENV)/bin
# It holds the version of Python that .venv was made with.
READY := $(VENV)/.ready
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: setup demo prior lint check test torture lock clean

setup: $(READY)

# Where PYTHON names another version than that in .venv, .venv is made anew.
ifdef PYTHON
ifneq ($(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null),$(shell cat $(READY) 2> /dev/null))
.PHONY: $(READY)
endif
endif

# The lock file names every package with its hashes, for all three; uv is used where it is installed.
# The interpreter itself is taken, in an activated environment that below it.
$(READY): requirements.lock pyproject.toml
	@for name in $(PYTHONS); do \
	  found=$$($$name -c 'import sys; print("%d.%d" % sys.version_info[:2], sys._base_executable)' 2> /dev/null); \
	  case $$found in 3.11\ *|3.12\ *|3.13\ *) break ;; esac; found=; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "Makefile: expected Python 3.11, 3.12 or 3.13, found none by: $(PYTHONS). Run make PYTHON=/path/to/python3.12." >&2; \
	  exit 2; \
	fi; \
	version=$${found%% *}; python=$${found#* }; \
	echo "Setting up $(VENV) with Python $$version, once; this takes a minute or two."; \
	rm -rf $(VENV); \
	if command -v uv > /dev/null; then \
	  uv venv --quiet --python "$$python" $(VENV) && \
	  uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock && \
	  uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . ; \
	else \
	  "$$python" -m venv $(VENV) && \
	  $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock && \
	  $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . ; \
	fi && \
	echo "$$version" > $@

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

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The quick loop: all but the tests that are marked as slow.
check: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

# The fault tests at length, some 75 minutes on two cores, and a report in docs/torture.md.
torture: $(READY)
	$(BIN)/python -m tools.torture

# Needs uv. Run it after a change of the dependencies in pyproject.toml.
lock:
	uv pip compile pyproject.toml --extra pipeline --extra dev --universal --python-version 3.11 --generate-hashes --no-header -o requirements.lock

clean:
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
