"""The page reads and writes binding, front and names as Python does: Node runs its tests on what Python says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import browser
import pytest
import torch

from scail_model import masks
from scail_model.identity import binding, mask_sources
from scail_model.identity import cards as identity_cards
from scail_model.masks import PALETTE

TESTS = Path(browser.__file__).parent


def side(name: str, people: int, colours: tuple[int, ...] = (), **known) -> mask_sources.Source:
    """People from left to right; with colours their numbers."""
    masks = torch.zeros(people, 1, 16, 128)
    for place, mask in enumerate(masks):
        mask[:, 4:12, 14 * place + 2 : 14 * place + 12] = 1
    if not colours:
        tracks = [mask_sources.from_masks([mask], name).mask_set.tracks[0] for mask in masks]
        first = mask_sources.from_masks([masks[0]], name)
        return replace(first, mask_set=replace(first.mask_set, tracks=tuple(tracks)), **known)
    frame = torch.zeros(1, 16, 128, 3, dtype=torch.uint8)
    for mask, number in zip(masks, colours, strict=True):
        frame[mask > 0] = torch.tensor(PALETTE[number - 1], dtype=torch.uint8)
    return replace(mask_sources.from_colours(frame, 1, name), **known)


SIDES = {
    "two people": (side("driving", 2), side("reference", 2)),
    "two of three": (side("driving", 3), side("reference", 2)),
    "colours": (side("driving", 3, (2, 3, 6)), side("reference", 3, (3, 2, 6))),
    "colours of the reference": (side("driving", 3), side("reference", 2, (2, 5))),
    "colours of the driving video": (side("driving", 2, (4, 6)), side("reference", 3)),
    "identities with names": (side("driving", 3, (1, 2, 3), names=("Anna", "", "Cleo"), front=(2, 0, 1)),
                              side("reference", 3)),
    "a crowd": (side("driving", 8), side("reference", 8)),
}
TEXTS = [
    ("", "", ""), ("1:2, 2:1", "", ""), ("1:2,2:1", "2", "One, Two"), (" 2 : 1 ", "", ""), ("by position", "", "Me"),
    ("By Position ", "2, 1", ""), ("3:2, 2:3", "3", ", Two, Three"), ("2:4, 1:6", "2,1", ""), ("2:1, 5:3", "5", ""),
    ("1:3, 2:1, 3:2", "", ""), ("1:3, 2:1, 3:2", "3, 2", ", , Last"), ("8:1, 2:7", "8", ""), ("8:1, 2:7", "1", ""),
    ("1:2, 1:1", "", ""), ("1-2", "", ""), ("1:9", "", ""), ("1:2,", "", ""), ("1:1, 2:2", "2, 2", ""),
    ("1:2, 2:1", "x", ""),
]


def said_by_python(driving: mask_sources.Source, reference: mask_sources.Source, text: str, front: str, names: str):
    """{pairs, front, names, colours}, or {refused}; None where the names or so many people are refused."""
    try:
        pairs = binding.numbered_pairs(driving, reference, text)
    except ValueError:
        return {"refused": "binding"}
    if len(pairs) > masks.PEOPLE_LIMIT:
        return None
    try:
        binding.bind("animation", driving, [reference], binding=text, front=front)
    except ValueError:
        return {"refused": "front"}
    try:
        found = binding.bind("animation", driving, [reference], binding=text, front=front, names=names)
    except ValueError:
        return None
    return {"pairs": pairs, "front": [pairs[place][0] for place in found.front], "names": found.names,
            "colours": [masks.NAMES[label - 1] for label in found.labels]}


def test_page_and_python_agree(tmp_path):
    if shutil.which("node") is None:
        pytest.skip("no Node.js: install node")
    vectors = []
    for title, (driving, reference) in SIDES.items():
        cards = [card.values() for card in identity_cards.cards(driving, reference, None, None)]
        for text, front, names in TEXTS:
            bound = said_by_python(driving, reference, text, front, names)
            if bound:
                vectors.append({"title": f"{title}: {text!r}, {front!r}, {names!r}", "cards": cards, "binding": text,
                                "front": front, "names": names, "bound": bound})
    assert len(vectors) > 100
    assert {vector["bound"].get("refused") for vector in vectors} == {None, "binding", "front"}
    (tmp_path / "vectors.json").write_text(json.dumps(vectors))
    done = subprocess.run(["node", "--test", str(TESTS / "test_binding_text.mjs")], capture_output=True, text=True,
                          env={**os.environ, "VECTORS": str(tmp_path / "vectors.json")}, timeout=120)
    assert done.returncode == 0, done.stdout[-6000:]
    assert f"# pass {len(vectors) + 2}\n" in done.stdout
