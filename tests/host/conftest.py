"""What tests of the server start from: drawn pictures, an empty graph, and the tensors that a graph gives."""

from __future__ import annotations

import itertools

import assets
import pytest
from graphs import Graph
from safetensors.torch import load_file


@pytest.fixture(scope="module")
def comfy(server):
    """The worker's ComfyUI with the drawn pictures among its input files; other modules have files of the same names
    there."""
    server.images = assets.write_pictures(server.base / "input")
    return server


@pytest.fixture
def graph(comfy):
    return Graph(comfy.images)


@pytest.fixture
def tensors(comfy, tmp_path):
    """Run a graph with a TestSaveTensors node, and read what that has written."""
    count = itertools.count()

    def run(graph: Graph, timeout: float = 120, **links):
        path = tmp_path / f"{next(count)}.safetensors"
        comfy.run(graph.save(path, **links), timeout)
        return load_file(path)

    return run
