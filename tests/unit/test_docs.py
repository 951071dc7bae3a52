"""README is short, links in the documentation resolve, and ARCHITECTURE.md describes the product as it is."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_layers import rooms

PACK = Path(__file__).parents[2]
PAGES = [PACK / "README.md", PACK / "CONTRIBUTING.md", PACK / "CHANGELOG.md", *sorted(PACK.glob("docs/*.md")),
         PACK / "tests/golden/README.md", PACK / "tests/miniature/README.md"]
PRODUCT = ("nodes/**/*.py", "scail_model/**/*.py", "js/**/*.js", "js/**/*.mjs", "js/**/*.css")


def without_code(text: str) -> str:
    """Code blocks and spans hold no links and no headings."""
    return re.sub(r"```.*?```|`[^`\n]*`|^    .*$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def tree() -> Iterator[str]:
    """Paths in the tree of ARCHITECTURE.md: a file or a folder a line, two spaces deeper in each folder."""
    block = re.search(r"^## Tree$.*?^```$(.*?)^```$", (PACK / "docs/ARCHITECTURE.md").read_text(encoding="utf-8"),
                      re.DOTALL | re.MULTILINE)
    folders: list[str] = []
    for line in block.group(1).strip().splitlines():
        spaces, name = re.match(r"( *)(\S+)", line).groups()
        del folders[len(spaces) // 2 :]
        yield "".join(folders) + name
        folders.append(name)


def stations() -> Iterator[tuple[str, str]]:
    """(file, name) for every name in the tables of the ways; a name stands after the file that has it."""
    text = (PACK / "docs/ARCHITECTURE.md").read_text(encoding="utf-8")
    for table in re.findall(r"^## The way of .*?(?=^## )", text, re.DOTALL | re.MULTILINE):
        file = ""
        for span in re.findall(r"`([^`]+)`", table):
            if span.endswith(".py"):
                file = span
            else:
                yield from ((file, name) for name in span.split("."))


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


def test_the_tree_is_that_of_the_product():
    listed = list(tree())
    product = {path.relative_to(PACK).as_posix() for pattern in PRODUCT for path in PACK.glob(pattern)
               if path.name != "__init__.py"}
    gone = sorted(path for path in listed if not (PACK / path).exists())
    assert [gone, sorted(product - set(listed))] == [[], []], "to be removed from the tree, to be added to it"


def test_the_ways_lead_through_files_that_have_these_names():
    places = [PACK, PACK / "scail_model"]
    missing = [(file, name) for file, name in stations()
               if not any(re.search(rf"\b{name}\b", (place / file).read_text(encoding="utf-8"))
                          for place in places if (place / file).is_file())]
    assert missing == []


def test_packages_import_what_stands_in_earlier_rows():
    section = (PACK / "docs/ARCHITECTURE.md").read_text(encoding="utf-8").split("## Imports")[1].split("## ")[0]
    rows = {name: int(row) for row, names in re.findall(r"^\| (\d+) \| (.*) \|$", section, re.MULTILINE)
            for name in re.findall(r"`(\w+)`", names)}
    rows[""] = rows.pop("scail_model")
    found = {(name, other) for name, (ours, _) in rooms().items() for other in ours if rows[other] >= rows[name]}
    assert found == set()
