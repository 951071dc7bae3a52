"""Without a ComfyUI its tests are skipped; whatever is skipped is said last and in red, with a count per reason."""

from collections import Counter

import pytest
from comfyui import COMFYUI

NO_COMFYUI = f"no ComfyUI at {COMFYUI}: set COMFYUI_PATH to the folder that holds its main.py"


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
