"""The table of identities means what a run makes of the same texts, and the texts that it writes mean what it shows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from scail_model.identity import binding, mask_sources, table
from scail_model.identity.cards import cards
from scail_model.masks import NAMES, PALETTE


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
    "other colours": (side("driving", 2, (1, 2)), side("reference", 2, (1, 3))),
    "colours of the reference": (side("driving", 3), side("reference", 2, (2, 5))),
    "colours of the driving video": (side("driving", 2, (4, 6)), side("reference", 3)),
    "identities with names": (side("driving", 3, (1, 2, 3), names=("Anna", "", "Cleo"), front=(2, 0, 1)),
                              side("reference", 3)),
    "a crowd": (side("driving", 8), side("reference", 8)),
}
TEXTS = [
    ("", "", ""), ("1:2, 2:1", "", ""), ("1:2,2:1", "2", "One, Two"), (" 2 : 1 ", "", ""), ("by position", "", "Me"),
    ("by overlap", "", ""), (" By Overlap", "", "Me"), ("by overlap", "2, 1", ""),
    ("By Position ", "2, 1", ""), ("3:2, 2:3", "3", ", Two, Three"), ("2:4, 1:6", "2,1", ""), ("2:1, 5:3", "5", ""),
    ("1:3, 2:1, 3:2", "", ""), ("1:3, 2:1, 3:2", "3, 2", ", , Last"), ("8:1, 2:7", "8", ""), ("8:1, 2:7", "1", ""),
    ("1:2, 1:1", "", ""), ("1-2", "", ""), ("1:9", "", ""), ("1:2,", "", ""), ("1:1, 2:2", "2, 2", ""),
    ("1:2, 2:1", "x", ""), ("1:2", "", "a, b, c, d, e, f, g, h, i"), ("2:1", "", "Anna"),
]


@pytest.fixture(scope="module", params=SIDES)
def people(request):
    """(driving, reference, the cards of both)."""
    driving, reference = SIDES[request.param]
    return driving, reference, [card.values() for card in cards(driving, reference, None, None)]


def bound(driving, reference, text: str, front: str, names: str):
    """(identities, None), or (None, what a run says)."""
    try:
        return binding.bind("animation", driving, [reference], binding=text, front=front, names=names), None
    except ValueError as error:
        return None, str(error)


@pytest.mark.parametrize("texts", TEXTS)
def test_a_run_says_the_same(people, texts):
    driving, reference, known = people
    shown = table.view({"cards": known, **dict(zip(("binding", "front", "names"), texts, strict=True))})
    found, refusal = bound(driving, reference, *texts)
    assert shown["problem"] == refusal
    if found is None:
        return
    pairs = binding.numbered_pairs(driving, reference, texts[0])
    rows = [row for row in shown["rows"] if row["driven_by"]]
    assert [(row["number"], row["driven_by"]) for row in rows] == [pairs[place] for place in found.front]
    assert [row["called"] for row in rows] == [found.names[place] for place in found.front]
    assert [row["colour_name"] for row in rows] == [NAMES[found.labels[place] - 1] for place in found.front]
    assert set(shown["free"]) == set(binding.numbers(driving)) - {theirs for _, theirs in pairs}


@pytest.mark.parametrize("texts", TEXTS)
def test_what_is_written_means_the_same(people, texts):
    _, _, known = people
    before = table.Table(known, *texts)
    if before.problem is None:
        after = table.Table(known, **before.texts())
        assert (after.pairs, after.order) == (before.pairs, before.order)
        assert [after.names[number] for number in after.pairs] == [before.names[number] for number in after.pairs]


@pytest.fixture
def two():
    driving, reference = SIDES["two people"]
    return {"cards": [card.values() for card in cards(driving, reference, None, None)], "binding": "", "front": "",
            "names": "", "remembered": {}}


def test_what_is_usual_is_not_written(two):
    usual = {"binding": "", "front": "", "names": ""}
    assert table.edit(two | {"binding": "1:1,2:2", "front": "2, 1", "change": ["move", 1, -1]}) == usual
    assert table.edit(two | {"names": "Anna", "change": ["rename", 1, " "]}) == usual


def test_a_comma_cannot_be_in_a_name(two):
    assert table.edit(two | {"change": ["rename", 2, "Ben, the second"]})["names"] == ", Ben the second"


def test_people_who_are_left_out_get_their_names_back(two):
    out = table.edit(two | {"names": "Anna, Ben", "change": ["bind", 2, None]})
    assert out == {"binding": "1:1", "front": "", "names": "Anna"}
    assert table.edit(two | out | {"remembered": {"2": "Ben"}, "change": ["bind", 2, 2]})["names"] == "Anna, Ben"


@pytest.mark.parametrize(("before", "change", "after"), [
    ({1: 1, 2: 2}, (1, 2), {1: 2, 2: 1}), ({1: 1, 2: 2}, (1, 3), {1: 3, 2: 2}), ({1: 1, 2: 2}, (1, None), {2: 2}),
    ({2: 2}, (1, 2), {1: 2})])
def test_a_driving_person_who_is_chosen_twice_changes_places(two, before, change, after):
    found = table.Table(two["cards"], "", "", "")
    found.pairs = dict(before)
    found.bind(*change)
    assert found.pairs == after
