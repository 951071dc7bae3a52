"""One ComfyUI process for the workflows' tests, with the tiny models that `workflow_files.tiny` asks for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / folder) for folder in ("workflows", "browser", "host", "unit")]

from comfyui import COMFYUI, ComfyUI  # noqa: E402

NO_COMFYUI = f"no ComfyUI at {COMFYUI}: set COMFYUI_PATH to the folder that holds its main.py"


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    if not (COMFYUI / "main.py").exists():
        pytest.skip(NO_COMFYUI)
    from workflow_files import tiny

    base = tmp_path_factory.mktemp("comfyui")
    tiny.write_models(base / "models")
    with ComfyUI(base) as process:
        tiny.make_vae(process)
        yield process


@pytest.fixture(scope="session")
def object_info(server):
    return server.get("/object_info")


def pytest_terminal_summary(terminalreporter):
    skipped = [report for report in terminalreporter.stats.get("skipped", [])
               if "tests/workflows" in report.nodeid or report.nodeid.startswith("workflows/")]
    if skipped:
        terminalreporter.section("Workflow tests NOT RUN", red=True, bold=True)
        for reason in sorted({str(report.longrepr[2]) for report in skipped}):
            terminalreporter.line(reason, red=True)
