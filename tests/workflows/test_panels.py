"""The panels that the pack's extension puts on its nodes, in the real frontend and both of its renderers."""

from __future__ import annotations

from pathlib import Path

import browser
import pytest

SCENARIOS = Path(browser.__file__).parent


@pytest.fixture(scope="module", params=[False, True], ids=["litegraph", "vue"])
def page(request, server):
    """page(scenario, **given) -> its answer; the page must not complain, and ask nobody but the server."""
    missing = browser.missing()
    if missing:
        pytest.skip(missing)

    def run(scenario: str, **given):
        found = browser.run(server, SCENARIOS / f"{scenario}.mjs", vue=request.param, **given)
        assert found["requests"] == []
        return found["answer"]

    return run


FINDINGS = [
    {"level": "error", "code": "driving_mask_frames", "text": "The mask has 3 frames.", "input": "identities"},
    {"level": "warning", "code": "fps", "text": "The driving video has 60 fps.", "input": "driving"},
    {"level": "fact", "code": "size", "text": "512x896 pixels.", "input": None},
]


def test_check_report(page):
    found = page("check_report", findings=FINDINGS)
    assert found["headings"] == ["Errors (1)", "Warnings (1)", "Facts (1)"]
    assert found["texts"] == [finding["text"] for finding in FINDINGS]
    saved = next(node for node in found["saved"]["nodes"] if node["id"] == found["check"])
    assert not any("scail2" in str(value) for value in saved["widgets_values"])
    assert not any(name.startswith("scail2") for name in found["output"][str(found["check"])]["inputs"])
