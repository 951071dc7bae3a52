# make test   everything that needs no GPU, but for the slowest proofs, in a virtual environment of its own
# make test-oldest   what depends most on ComfyUI, on the oldest one supported, at OLDEST_COMFYUI (default: COMFYUI_PATH
#     with -0.27 after its name); skipped with a count if there is none
# make test-all   the slowest proofs too, and all tests of the server on the oldest ComfyUI
# make node NODE=SCAIL2Identities   one node's tests, in half a minute; without NODE it says which nodes there are
# make demo   a video from nothing, without ComfyUI and without a download: into demo/
# make demo-comfyui   the same through a real ComfyUI at COMFYUI_PATH (default ~/ComfyUI) and workflows/api
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
COMFYUI_PATH ?= $(HOME)/ComfyUI
OLDEST_COMFYUI ?= $(COMFYUI_PATH)-0.27
export COMFYUI_PATH

PYTEST := $(VENV)/bin/python -m pytest
# the server's tests first: they take long, and what is left for the end should be short
SHARED := --numprocesses 2 --dist loadfile --no-loadscope-reorder
SERVER_TESTS := tests/workflows tests/host
OLDEST_TESTS := $(patsubst %,tests/host/test_%.py,compatibility core_features errors gpus nodes pose_nodes poses samplers video video_files) \
  tests/workflows/test_workflows.py tests/workflows/test_runs.py
NODE_FILES = $(shell grep -rlF --include='test_*.py' mark.node tests)

.PHONY: test test-oldest test-all lint node demo demo-comfyui clean

test: lint
	$(PYTEST) $(SERVER_TESTS) tests/unit $(SHARED)

test-oldest: $(READY)
	COMFYUI_PATH=$(OLDEST_COMFYUI) $(PYTEST) $(OLDEST_TESTS) $(SHARED)

test-all: lint
	$(PYTEST) $(SERVER_TESTS) tests/unit $(SHARED) -m "slow or not slow"
	COMFYUI_PATH=$(OLDEST_COMFYUI) $(PYTEST) $(SERVER_TESTS) $(SHARED)

node: $(READY)
	$(PYTEST) $(NODE_FILES) --node=$(NODE)

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

demo: $(READY)
	$(VENV)/bin/python tests/demo/make_demo.py demo

demo-comfyui: $(READY)
	$(VENV)/bin/python tests/demo/make_demo_comfyui.py demo

$(READY): pyproject.toml tests/constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "Installing the packages into $(VENV): some minutes, and about 3 GB."
	$(VENV)/bin/python -m pip install --progress-bar off --constraint tests/constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .ruff_cache
