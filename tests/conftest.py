"""One thread and one ComfyUI for each worker. Without a ComfyUI its tests are skipped; whatever is skipped is said last
and in red."""

import os
import shutil
from collections import Counter

import assets
import pytest
import torch
from comfyui import COMFYUI, ComfyUI
from workflow_files import tiny

from tests.demo.faster import take_onednn

# small tensors: two workers' threads that wait for each other take ten times as long
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start
take_onednn()

NO_COMFYUI = f"no ComfyUI at {COMFYUI}: set COMFYUI_PATH to the folder that holds its main.py"


@pytest.fixture(autouse=True)
def same_numbers():
    """Every run of a test draws the same ones."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A ComfyUI process with tiny models of every kind. It takes 10 s to start, so all tests of a worker share it."""
    base = tmp_path_factory.mktemp("comfyui")
    models = base / "models"
    assets.write_models(models / "diffusion_models")
    assets.write_lora(models)
    tiny.write_models(models)
    with ComfyUI(base) as process:
        process.run({"vae": {"class_type": "TestMakeVae", "inputs": {
            "path": str(models / "vae/wan_tiny.safetensors"), "width": 4}}})
        tiny.make_vae(process)
        for source in ("vae/wan_tiny", "loras/lora"):
            kind = source.split("/")[0].removesuffix("s")
            shutil.copy(models / f"{source}.safetensors", models / f"diffusion_models/{kind}_as_model.safetensors")
        yield process


def pytest_addoption(parser):
    parser.addoption("--node", help="run only the tests that are marked as those of this node (an id)")


def pytest_collection_modifyitems(config, items):
    if config.option.node is not None:
        _choose_node(config, items)
    if not (COMFYUI / "main.py").exists():
        for item in items:
            if "server" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason=NO_COMFYUI))


def _choose_node(config, items):
    nodes = {item: {node for mark in item.iter_markers("node") for node in mark.args} for item in items}
    chosen = [item for item in items if config.option.node in nodes[item]]
    if not chosen:
        known = ", ".join(sorted(set().union(*nodes.values())))
        raise pytest.UsageError(f'No test is marked as one of node "{config.option.node}". Nodes: {known}.')
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter):
    """Last of all lines but the counts."""
    yield
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ")
                      for report in terminalreporter.stats.get("skipped", []))
    if reasons:
        terminalreporter.section("Tests NOT RUN", red=True, bold=True)
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count} skipped: {reason}", red=True)
