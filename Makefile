# make test   everything that needs no GPU, in a virtual environment of its own
# make demo   a video from nothing, without ComfyUI and without a download: into demo/
# make demo-comfyui   the same through a real ComfyUI at COMFYUI_PATH (default ~/ComfyUI) and workflows/api
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

.PHONY: test lint demo demo-comfyui clean

test: lint
	$(VENV)/bin/python -m pytest tests --numprocesses 2 --dist loadfile

lint: $(READY)
	$(VENV)/bin/ruff check .

demo: $(READY)
	$(VENV)/bin/python tests/demo/make_demo.py demo

demo-comfyui: $(READY)
	$(VENV)/bin/python tests/demo/make_demo_comfyui.py demo

$(READY): pyproject.toml tests/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint tests/constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .ruff_cache
