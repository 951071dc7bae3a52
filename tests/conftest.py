"""One thread for each worker. Without a ComfyUI its tests are skipped; whatever is skipped is said last and in red."""

import os
from collections import Counter

import pytest
import torch
from comfyui import COMFYUI

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


def pytest_collection_modifyitems(items):
    if not (COMFYUI / "main.py").exists():
        for item in items:
            if {"comfy", "server"} & set(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.skip(reason=NO_COMFYUI))


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
