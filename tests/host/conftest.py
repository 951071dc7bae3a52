"""One ComfyUI process for the session, with tiny models and drawn pictures."""

from __future__ import annotations

import itertools
import shutil

import assets
import pytest
from comfyui import ComfyUI
from graphs import Graph
from safetensors.torch import load_file


@pytest.fixture(scope="session")
def comfy(tmp_path_factory):
    base = tmp_path_factory.mktemp("comfyui")
    assets.write_models(base / "models/diffusion_models")
    (base / "models/loras").mkdir()
    assets.write_lora(base / "models")
    (base / "input").mkdir()
    with ComfyUI(base) as process:
        process.images = assets.write_pictures(base / "input")
        process.run({"vae": {"class_type": "TestMakeVae", "inputs": {
            "path": str(base / "models/vae/wan_tiny.safetensors"), "width": 4}}})
        for source in ("vae/wan_tiny", "loras/lora"):
            kind = source.split("/")[0].removesuffix("s")
            shutil.copy(base / f"models/{source}.safetensors",
                        base / f"models/diffusion_models/{kind}_as_model.safetensors")
        yield process


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
