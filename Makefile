# make test   everything that needs no GPU, in a virtual environment of its own
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

.PHONY: test lint clean

test: lint
	$(VENV)/bin/python -m pytest tests

lint: $(READY)
	$(VENV)/bin/ruff check .

$(READY): pyproject.toml tests/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint tests/constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
