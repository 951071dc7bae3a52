"""README is short, and links in the documentation resolve."""

import re
from pathlib import Path

import pytest

PACK = Path(__file__).parents[2]
PAGES = [PACK / "README.md", PACK / "CONTRIBUTING.md", PACK / "CHANGELOG.md", *sorted(PACK.glob("docs/*.md")),
         PACK / "tests/golden/README.md", PACK / "tests/miniature/README.md"]


def without_code(text: str) -> str:
    """Code blocks and spans hold no links and no headings."""
    return re.sub(r"```.*?```|`[^`\n]*`|^    .*$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_is_short():
    assert len((PACK / "README.md").read_text(encoding="utf-8").splitlines()) <= 110


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PACK)))
def test_links_resolve(page):
    links = re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8")))
    for link in (link for link in links if "://" not in link):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} in {page.name}"
        assert not anchor or anchor in anchors(target), f"{link} in {page.name}: no such heading"
