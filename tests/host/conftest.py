"""One ComfyUI process for the session, with tiny models and drawn pictures; without a ComfyUI, a loud skip."""

from __future__ import annotations

import itertools
import shutil

import assets
import pytest
from comfyui import COMFYUI, ComfyUI
from graphs import Graph
from safetensors.torch import load_file

NO_COMFYUI = f"no ComfyUI at {COMFYUI}: set COMFYUI_PATH to the folder that holds its main.py"


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


def pytest_collection_modifyitems(items):
    if not (COMFYUI / "main.py").exists():
        for item in items:
            if "comfy" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason=NO_COMFYUI))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter):
    """Last of all lines but the counts."""
    yield
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if NO_COMFYUI in str(report.longrepr)]
    if skipped:
        terminalreporter.section("ComfyUI tests NOT RUN", red=True, bold=True)
        terminalreporter.line(f"{len(skipped)} tests were skipped: {NO_COMFYUI}", red=True)
