"""Which person of the reference is which person of the driving video: numbers, orders, and the checks of both sides.

The people of a side have numbers from 1. A colour is a number (blue 1, red 2, ...); plain masks are numbered as they
were connected, tracks in an order that is chosen. Without a binding, the same colours belong together where both sides
have colours, else the same numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..masks import BLACK, NAMES, PEOPLE_LIMIT, WHITE
from .identities import MODES, REPLACEMENT, Identities
from .mask_set import Planes, overlaps
from .mask_sources import DRIVING, Source
from .packed_mask import EMPTY, Plane

LEFT_TO_RIGHT, BY_SIZE, BY_APPEARANCE, AS_GIVEN = "left to right", "by size", "by first appearance", "as given"
ORDERS = (LEFT_TO_RIGHT, BY_SIZE, BY_APPEARANCE, AS_GIVEN)
BY_POSITION = "by position"

_OVERLAP_NOTED = 0.02  # of the smaller person in a frame
_FUZZ_NOTED = 0.0005


def ordered(planes: Planes, order: str) -> Planes:
    """Planes in the order of their numbers; whoever is seen earlier comes first, as core's nodes have it."""
    firsts = [int(extent.seen.argmax()) for extent in planes.extents]
    keys = {
        AS_GIVEN: lambda plane: (),
        BY_APPEARANCE: lambda plane: firsts[plane],
        LEFT_TO_RIGHT: lambda plane: (firsts[plane], planes.centre(plane, firsts[plane])),
        BY_SIZE: lambda plane: (firsts[plane], -int(planes.extents[plane].area[firsts[plane]])),
    }
    return planes.select(sorted(range(planes.people), key=keys[order]))


def bind(mode: str, driving: Source, references: Sequence[Source], *, binding: str = "", front: str = "",
         names: str = "", repaint: bool = True) -> Identities:
    """Tie the people of both sides together. references: one picture each, the primary first.

    binding: "" (same colours or same numbers), "by position", or pairs reference:driving as in "1:2, 2:1"; who is not
    named is left out. front: numbers as the reference has them, the front one first; the others follow in their order.
    names: for the people of the reference. Where front or names are empty, what the driving masks know counts.
    repaint: take the mode as right where a background means the other one.

    Raises ValueError for an unknown mode, a background of the other mode, an empty mask, more than six people, an
    identity that only one side has, and texts that cannot be read.
    """
    if mode not in MODES:
        raise ValueError(f'mode is "{mode}", but it must be {" or ".join(MODES)}: choose one of them.')
    reference = references[0]
    for source in (driving, reference):
        if not repaint:
            refuse_other_mode(mode, source)
        if not shows_somebody(source):
            raise ValueError(f"The {source.name} mask shows nobody: paint the person in {NAMES[0]} (or connect another "
                             "mask).")
    pairs = _pairs(driving, reference, binding)
    if len(pairs) > PEOPLE_LIMIT:
        raise ValueError(f"There are {len(pairs)} people, but SCAIL-2 tells {PEOPLE_LIMIT} apart: choose some with "
                         "binding.")
    ours, theirs = zip(*pairs, strict=True)
    labels, people = _labels(driving, reference, pairs), driving.planes.select(theirs)
    _refuse_missing(reference, ours)
    _refuse_missing(driving, theirs)
    chosen = [_same_people(reference, ours, picture, place) for place, picture in enumerate(references)]
    called = [numbers(reference)[plane] for plane in ours]
    known = [driving.names[plane] if driving.names else "" for plane in theirs]
    return Identities(mode, people, tuple(chosen), labels, _names(names, ours, labels, known),
                      _front(front, called, [theirs.index(plane) for plane in driving.front if plane in theirs]),
                      _notes(driving, reference, pairs))


def refuse_other_mode(mode: str, source: Source) -> None:
    """Raise ValueError if a colour mask's background is white where the mode means black, or the other way round."""
    right = WHITE if (mode == REPLACEMENT) == (source.name == DRIVING) else BLACK
    if source.background not in (None, right):
        colours, other = {BLACK: "black", WHITE: "white"}, next(name for name in MODES if name != mode)
        raise ValueError(f"The {source.name} mask has a {colours[source.background]} background, which means {other}, "
                         f"but the mode is {mode} (background {colours[right]}): change the mode, or let the "
                         "background be repainted.")


def shows_somebody(source: Source) -> bool:
    return any(extent.seen.any() for extent in source.planes.extents)


def _same_people(primary: Source, ours: tuple[int, ...], picture: Source, place: int) -> Planes:
    """The people of the primary, in their order, as another picture shows them; nobody's plane is empty."""
    if not picture.labels or picture.labels == primary.labels:
        shown = [plane for plane, extent in enumerate(picture.planes.extents) if extent.seen[0]]
        if shown and not set(shown) & set(ours):
            raise ValueError(f"Additional reference {place} shows person {numbers(picture)[shown[0]]} and nobody who "
                             "is bound: leave the picture out, or bind that person.")
        return picture.planes.select(ours)
    shown = {label: plane for label, plane, extent in zip(picture.labels, picture.planes.bits, picture.planes.extents,
                                                         strict=True) if extent.seen.any()}
    labels = [primary.labels[plane] for plane in ours] if primary.labels else []
    if strangers := sorted(set(shown) - set(labels)):
        raise ValueError(f"The mask of additional reference {place} shows {', '.join(NAMES[s - 1] for s in strangers)},"
                         " but the primary's does not: use the colours of the primary reference.")
    empty = Plane((EMPTY,), *picture.planes.size)
    return replace(picture.planes, bits=tuple(shown.get(label, empty) for label in labels))


def _pairs(driving: Source, reference: Source, binding: str) -> list[tuple[int, int]]:
    """(plane of the reference, plane of the driving video) for every person."""
    text = binding.strip().lower()
    if text == BY_POSITION:
        return by_position(driving.planes, reference.planes)
    if text:
        return _read_pairs(text, driving, reference)
    if driving.labels and reference.labels:
        return _same_colours(driving, reference)
    if driving.planes.people != reference.planes.people:
        suggested = by_position(driving.planes, reference.planes)
        raise ValueError(f"The driving mask has {_count(driving.planes.people)}, but the reference mask has "
                         f"{_count(reference.planes.people)}: choose who belongs together in the table on the node, or "
                         f'with binding, for example "{_pairs_text(driving, reference, suggested)}", which is nearest '
                         "by position.")
    return [(plane, plane) for plane in range(driving.planes.people)]


def _same_colours(driving: Source, reference: Source) -> list[tuple[int, int]]:
    # an additional reference may show somebody whom the primary does not; the primary has to show everybody
    primary = {label for label, extent in zip(reference.labels, reference.planes.extents, strict=True)
               if extent.seen[0]}
    present = {"driving": set(driving.labels), "reference": primary}
    for side, other in (("reference", "driving"), ("driving", "reference")):
        if lonely := sorted(present[other] - present[side]):
            names = ", ".join(NAMES[label - 1] for label in lonely)
            raise ValueError(f"The {other} mask shows {names}, but the {side} mask does not: give each person the same "
                             "colour in both masks.")
    return [(reference.labels.index(label), driving.labels.index(label)) for label in sorted(primary)]


def _read_pairs(text: str, driving: Source, reference: Source) -> list[tuple[int, int]]:
    pairs = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*:\s*(\d+)\s*", part)
        if not match:
            raise ValueError(f'The binding "{text}" cannot be read at "{part.strip()}": write pairs of reference and '
                             'driving numbers, as in "1:2, 2:1".')
        pairs.append(tuple(_plane(source, int(number), f'The binding "{text}"')
                           for source, number in zip((reference, driving), match.groups(), strict=True)))
    for place, source in enumerate((reference, driving)):
        planes = [pair[place] for pair in pairs]
        if twice := [plane for plane in planes if planes.count(plane) > 1]:
            raise ValueError(f'The binding "{text}" names person {numbers(source)[twice[0]]} of the {source.name} '
                             "mask twice: name everybody once.")
    return sorted(pairs)


def _plane(source: Source, number: int, text: str) -> int:
    known = numbers(source)
    if number not in known:
        raise ValueError(f"{text} names person {number} of the {source.name} mask, but the people there are "
                         f"{', '.join(map(str, known))}: use one of these numbers, or choose in the table on the "
                         "node.")
    return known.index(number)


def numbered_pairs(driving: Source, reference: Source, binding: str) -> list[tuple[int, int]]:
    """(number in the reference, number in the driving video) of everybody whom a binding ties together.

    Raises ValueError as `bind` does for one that cannot be read, or that needs to be more than empty.
    """
    ours, theirs = numbers(reference), numbers(driving)
    return [(ours[left], theirs[right]) for left, right in _pairs(driving, reference, binding)]


def numbers(source: Source) -> tuple[int, ...]:
    """What the people of a side are called."""
    return source.labels or tuple(range(1, source.planes.people + 1))


def by_position(driving: Planes, reference: Planes) -> list[tuple[int, int]]:
    """Pairs that leave people where they are: the least sum of distances across, in the first frame that shows each.
    Who is never seen is left out."""
    ours, theirs = _places(reference), _places(driving)
    distances = np.abs(np.array(list(ours.values()))[:, None] - np.array(list(theirs.values()))[None])
    left, right = linear_sum_assignment(distances)
    return sorted((list(ours)[i], list(theirs)[j]) for i, j in zip(left, right, strict=True))


def _pairs_text(driving: Source, reference: Source, pairs: list[tuple[int, int]]) -> str:
    ours, theirs = numbers(reference), numbers(driving)
    return ", ".join(f"{ours[left]}:{theirs[right]}" for left, right in pairs)


def _places(planes: Planes) -> dict[int, float]:
    """Where each plane's person is first seen, across, 0..1."""
    return {plane: planes.centre(plane, int(extent.seen.argmax()))
            for plane, extent in enumerate(planes.extents) if extent.seen.any()}


def _refuse_missing(source: Source, planes: tuple[int, ...]) -> None:
    for plane in planes:
        if not source.planes.extents[plane].seen.any():
            raise ValueError(f"Person {numbers(source)[plane]} is not to be seen in the {source.name} mask: mask that "
                             "person there, or leave the person out with binding.")


def _labels(driving: Source, reference: Source, pairs: list[tuple[int, int]]) -> tuple[int, ...]:
    """A colour for each person: the reference's, or the driving video's, or the colour of the reference's number."""
    for source, place in ((reference, 0), (driving, 1)):
        if source.labels:
            return tuple(source.labels[pair[place]] for pair in pairs)
    numbers = tuple(ours + 1 for ours, _ in pairs)
    return numbers if max(numbers) <= PEOPLE_LIMIT else tuple(range(1, len(pairs) + 1))


def _names(text: str, ours: tuple[int, ...], labels: tuple[int, ...], known: list[str]) -> tuple[str, ...]:
    given = [name.strip() for name in text.split(",")] if text.strip() else []
    if len(given) > max(ours) + 1:
        raise ValueError(f"There are {len(given)} names, but {_count(max(ours) + 1)}: give one name for each person, "
                         "in the reference's order.")
    if unused := [name for plane, name in enumerate(given) if name and plane not in ours]:
        raise ValueError(f'The name "{unused[0]}" is for a person of the reference who is not bound: write names in '
                         "the reference's order, with nothing between the commas for the others.")
    return tuple((given[plane] if plane < len(given) else "") or name or NAMES[label - 1]
                 for plane, label, name in zip(ours, labels, known, strict=True))


def _front(text: str, numbers: list[int], known: list[int]) -> tuple[int, ...]:
    """Places in `numbers`, the front one first; `known` are such places, for an empty text."""
    listed = [] if text.strip() else known
    for part in filter(None, (part.strip() for part in text.split(","))):
        if part not in map(str, numbers) or numbers.index(int(part)) in listed:
            known = ", ".join(map(str, numbers))
            raise ValueError(f'front is "{text}", but "{part}" is none of the people {known}, or is there twice: write '
                             'numbers of the reference, the front one first, as in "2, 1".')
        listed.append(numbers.index(int(part)))
    return (*listed, *(place for place in range(len(numbers)) if place not in listed))


def _notes(driving: Source, reference: Source, pairs: list[tuple[int, int]]) -> tuple[str, ...]:
    notes = [f"{source.name} mask: {source.snapped:.2%} of the pixels were no pure colour and were snapped"
             for source in (driving, reference) if source.snapped > _FUZZ_NOTED]
    for place, source in enumerate((reference, driving)):
        left_out = sorted(set(range(source.planes.people)) - {pair[place] for pair in pairs})
        if left_out:
            who = ", ".join(str(numbers(source)[plane]) for plane in left_out)
            notes.append(f"{source.name} mask: person {who} left out")
    suggested = by_position(driving.planes, reference.planes)
    if len(pairs) > 1 and suggested != pairs:
        notes.append(f"bound {_pairs_text(driving, reference, pairs)} (reference:driving); by position it would be "
                     f"{_pairs_text(driving, reference, suggested)}")
    for left, right, frame in overlaps(driving.planes.select([theirs for _, theirs in pairs]), _OVERLAP_NOTED):
        two = (numbers(reference)[pairs[place][0]] for place in (left, right))
        notes.append("driving mask: person {} and person {} overlap, most in frame {}".format(*two, frame))
    return tuple(notes)


def _count(number: int) -> str:
    return f"{number} person" if number == 1 else f"{number} people"
