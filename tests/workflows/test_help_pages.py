"""The help pages of the nodes: there for each node, with exactly its inputs and outputs."""

from __future__ import annotations

import ast
import re
import urllib.request
from pathlib import Path

import generate
import pytest
from PIL import Image
from workflow_files.graph import sockets_and_widgets

from scail_model.kernels.attention_backends import HELP

DOCS = generate.REPOSITORY / "js/docs"
FILES = {("SCAIL2LoadModel", "model_name"): "files in models/diffusion_models",
         ("SCAIL2LoadLora", "lora_name"): "files in models/loras",
         ("SCAIL2LoadModel", "attention"): ", ".join([*HELP, "and what ComfyUI has found installed"]),
         ("SCAIL2Doctor", "model_name"): "automatic, none, and files in models/diffusion_models",
         ("SCAIL2LoadPrompt", "file"): "files in models/scail2_prompts",
         ("SCAIL2LoadTracks", "file"): "files in models/scail2_tracks",
         ("SCAIL2LoadNLF", "file"): "files in models/nlf",
         ("SCAIL2LoadPoses", "file"): "files in models/scail2_poses"}
NODES = sorted(path.stem for path in DOCS.glob("*.md"))
each = pytest.mark.parametrize("node", NODES)


def page(node: str) -> str:
    return (DOCS / f"{node}.md").read_text(encoding="utf-8")


def table(node: str, section: str) -> list[list[str]]:
    """The rows of a section's table, without its head."""
    text = page(node).split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_every_node_has_a_page_and_every_page_a_node(object_info):
    assert [name for name in sorted(object_info) if object_info[name]["python_module"].endswith("scail2")] == NODES


@each
def test_page_begins_with_the_name_one_paragraph_and_a_picture(node, object_info):
    title, _, paragraph, _, picture, _, heading, *_ = lines = page(node).split("\n")
    assert title == f"# {object_info[node]['display_name']}"
    assert [lines[place] for place in (1, 3, 5)] == ["", "", ""]
    assert len(paragraph) > 80
    assert re.fullmatch(rf"!\[.{{15,}}\]\({node}\.jpg\)", picture)
    with Image.open(DOCS / f"{node}.jpg") as opened:
        assert opened.width > 600
    assert heading == "## What to connect, and why"
    assert len(table(node, "Typical mistakes")) >= 3


@each
def test_server_hands_the_page_out(node, server):
    address = f"http://127.0.0.1:{server.port}/extensions/scail2/docs/{node}.md"
    with urllib.request.urlopen(address, timeout=60) as answer:
        assert answer.read().decode() == page(node)


@each
def test_inputs_are_the_nodes_own(node, object_info):
    info = object_info[node]
    required = info["input"].get("required", {})
    expected = [[f"`{name}`", *cells(node, name, spec, name in required)]
                for name, spec in sockets_and_widgets(info).items()]
    assert [[row[0], *row[2:]] for row in table(node, "Inputs")] == expected
    assert all(len(row[1]) > 10 for row in table(node, "Inputs"))


def cells(node: str, name: str, spec: list, required: bool) -> list[str]:
    """Type, required, range, default."""
    kind, options = spec[0], spec[1]
    if kind == "COMFY_AUTOGROW_V3":  # as many as are connected, all of one type
        ((kind, *_),) = (one for section in options["template"]["input"].values() for one in section.values())
    default = options.get("default", "-")
    if isinstance(default, bool):
        default = str(default).lower()
    choice = FILES.get((node, name)) or values(kind, options)
    return [" or ".join(kind.split(",")), "yes" if required else "no", choice, str(default)]


def values(kind: str, options: dict) -> str:
    if kind == "COMBO":
        return ", ".join(options["options"])
    if kind == "BOOLEAN":
        return "true, false"
    if "min" not in options:
        return "-"
    number = "{:g}" if kind == "FLOAT" else "{}"
    text = f"{number} to {number}".format(options["min"], options["max"])
    return f"{text}, step {options['step']:g}" if "step" in options else text


@each
def test_outputs_are_the_nodes_own(node, object_info):
    info = object_info[node]
    expected = [[f"`{name}`", kind] for name, kind in zip(info["output_name"], info["output"], strict=True)]
    assert [[row[0], row[2]] for row in table(node, "Outputs")] == expected


def test_attention_backends_are_the_packs_own(object_info):
    assert table("SCAIL2LoadModel", "Faster") == [[f"`{name}`", text] for name, text in HELP.items()]
    assert object_info["SCAIL2LoadModel"]["input"]["optional"]["attention"][1]["options"][: len(HELP)] == list(HELP)


def test_quoted_messages_are_the_codes_own():
    messages = [message for folder in ("nodes", "scail_model")
                for path in sorted((generate.REPOSITORY / folder).rglob("*.py")) for message in messages_of(path)]
    quotes = [(node, match[1]) for node in NODES for row in table(node, "Typical mistakes")
              if (match := re.fullmatch(r"\*(.+)\*", row[0]))]
    assert len(quotes) > 25
    foreign = [(node, quote) for node, quote in quotes
               if not any(same(quote.replace("...", GAP), message) for message in messages)]
    assert foreign == [("SCAIL2LoadPrompt", "Value not in list: file: ...")]  # ComfyUI's


GAP = "\0"  # what a message fills in, or what a page leaves out


def messages_of(path: Path) -> list[str]:
    """Texts of the errors that a file raises; those that consist of filled-in parts are left out."""
    texts = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr | ast.Constant):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            text = "".join(part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else GAP
                           for part in parts)
            if len(text.replace(GAP, "")) > 20:
                texts.append(text)
    return texts


def same(first: str, second: str) -> bool:
    """Whether two texts have a piece in common and can be the same when gaps are filled with anything, or nothing."""
    if not any(first[start : start + 12] in second for start in range(len(first) - 11)):
        return False
    open_ends, seen = [(0, 0)], set()
    while open_ends:
        i, j = end = open_ends.pop()
        if end in seen:
            continue
        seen.add(end)
        if i == len(first) or j == len(second):
            if set(first[i:] + second[j:]) <= {GAP}:
                return True
        elif GAP in (first[i], second[j]):
            open_ends += [(i + 1, j), (i, j + 1)]
        elif first[i] == second[j]:
            open_ends.append((i + 1, j + 1))
    return False


def test_texts_with_gaps_are_compared():
    assert same(f"the width is {GAP}: take {GAP}", "the width is 30: take 32")
    assert same(f"the width is {GAP}", f"the width is {GAP}, but {GAP}")
    assert not same(f"the width is {GAP}", "the width was 3")
    assert not same(f"the width is {GAP} pixels", "the width is 3 lines")
    assert not same(f"the width is {GAP}", f"{GAP} does not exist")
