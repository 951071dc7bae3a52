"""What the server says of its nodes, and one browser for all pages."""

from __future__ import annotations

import browser
import pytest

_open: list[browser.Browser] = []
# when it opens, the page looks for files that a new profile does not have and for the models of its own first workflow,
# and warns of itself; when a form is emptied, it finds the fields gone
NOT_OURS = ("404 (Not Found)", "Content Security Policy", "legacy queue/history menu is deprecated",
            "graph accessed before initialization", "[MaskEditor]", "Layout normalization will be applied",
            "[appModeStore] dropping legacy selectedInput")


@pytest.fixture(scope="session")
def object_info(server):
    return server.get("/object_info")


@pytest.fixture(scope="session")
def chromium():
    missing = browser.missing()
    if missing:
        pytest.skip(missing)
    with browser.Browser() as process:
        _open.append(process)
        yield process


@pytest.fixture(scope="module", autouse=True)
def page_is_closed_after_its_module():
    yield
    for process in _open:
        process.rest()


@pytest.fixture(scope="module", params=[False, True], ids=["litegraph", "vue"])
def page(request, server, chromium):
    """page(scenario, **given) -> its answer, in both renderers, a page for each module. The page must not complain, but
    of what is `expected`, and ask nobody but the server."""
    def run(scenario: str, expected: tuple[str, ...] = (), **given):
        found = chromium.run(server, scenario, page=request.module.__name__, vue=request.param, **given)
        assert found["requests"] == []
        known = (*NOT_OURS, *expected)
        assert [message for message in found["messages"] if not any(part in message for part in known)] == []
        return found["answer"]

    return run
