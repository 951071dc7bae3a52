"""Binding: which person of the reference is which person of the driving video.

People are numbered from 1 on each side. A colour is a number (blue 1, red 2, ...); plain masks are numbered in the
order of their inputs, tracks in a chosen order. Without a binding, equal colours belong together if both sides have
colours, else equal numbers. Functions below take people by index, from 0; only messages and texts use numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..masks import BLACK, NAMES, WHITE
from .binding_text import (
    BY_OVERLAP,
    BY_POSITION,
    Pair,
    People,
    check_count,
    colour_labels,
    normal,
    overlapping_pairs,
    pairs_text,
    parse_front,
    parse_names,
    parse_pairs,
    usual_pairs,
)
from .identities import MODES, RENDERED, REPLACEMENT, WHOLE_PICTURE, Identities
from .mask_set import MaskSet, overlaps
from .mask_sources import DRIVING, REFERENCE, Source, whole_pictures
from .overlap import by_overlap
from .packed_mask import EMPTY, MaskTrack

LEFT_TO_RIGHT, BY_SIZE, BY_APPEARANCE, AS_GIVEN = "left to right", "by size", "by first appearance", "as given"
ORDERS = (LEFT_TO_RIGHT, BY_SIZE, BY_APPEARANCE, AS_GIVEN)
_OVERLAP_NOTED = 0.02  # share of the smaller person in a frame
_SNAPPED_NOTED = 0.0005  # share of the pixels


def ordered(mask_set: MaskSet, order: str) -> MaskSet:
    """Sort people by number. Except for "as given", people seen in an earlier frame come first, as in core's nodes."""
    firsts = [int(extent.seen.argmax()) for extent in mask_set.extents]
    keys: dict[str, Callable[[int], Any]] = {
        AS_GIVEN: lambda person: (),
        BY_APPEARANCE: lambda person: firsts[person],
        LEFT_TO_RIGHT: lambda person: (firsts[person], mask_set.centre(person, firsts[person])),
        BY_SIZE: lambda person: (firsts[person], -int(mask_set.extents[person].area[firsts[person]])),
    }
    return mask_set.select(sorted(range(mask_set.people), key=keys[order]))


def bind(mode: str, driving: Source, references: Sequence[Source], *, binding: str = "", front: str = "",
         names: str = "", repaint: bool = True) -> Identities:
    """Bind the people of the references to those of the driving video.

    references: one picture each, the primary first. binding: "" (equal colours or numbers), "by position", "by
    overlap", or pairs reference:driving such as "1:2, 2:1"; people that it does not name are left out. front: reference
    numbers, front to back; the others follow in order. names: one per person of the reference. If front or names are
    empty, those of the driving masks apply. repaint: ignore a background that belongs to the other mode.

    Raises ValueError for an unknown mode, a background of the other mode, an empty mask, more than six people, an
    identity that only one side has, people who do not overlap, and texts that cannot be parsed.
    """
    if mode not in MODES:
        raise ValueError(f'mode is "{mode}", but it must be {" or ".join(MODES)}: choose one of them.')
    reference = references[0]
    for source in (driving, reference):
        if not repaint:
            refuse_other_mode(mode, source)
        if not shows_people(source):
            raise ValueError(f"The {source.name} mask is empty: paint the person in {NAMES[0]}, or connect another "
                             "mask.")
    pairs = _pairs(driving, reference, binding)
    check_count(len(pairs))
    in_reference, in_driving = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    numbered = _numbered(driving, reference, pairs)
    labels = colour_labels(numbered, people_of(driving), people_of(reference), binding)
    _refuse_unseen(reference, in_reference)
    _refuse_unseen(driving, in_driving)
    bound = tuple(_same_people(reference, in_reference, picture, index) for index, picture in enumerate(references))
    reference_numbers = [left for left, _ in numbered]
    known_names = [driving.names[person] if driving.names else "" for person in in_driving]
    known_front = [in_driving.index(person) for person in driving.front if person in in_driving]
    return Identities(mode, driving.mask_set.select(in_driving), bound, labels,
                      parse_names(names, in_reference, labels, known_names),
                      parse_front(front, reference_numbers, known_front),
                      _notes(driving, reference, pairs), _left_out(driving.mask_set, in_driving))


def bind_whole(mode: str, frames: int, size: tuple[int, int], pictures: Sequence[tuple[int, int]]) -> Identities:
    """Identities without masks: one person, who is all of every frame of the driving video and of every reference.

    size, pictures: (height, width) of the driving video and of the references. Raises ValueError in replacement.
    """
    if mode == REPLACEMENT:
        raise ValueError("whole_picture is set in replacement, but then nothing of the driving video's scene would be "
                         "kept: choose animation, or give masks.")
    driving = whole_pictures(frames, size, DRIVING)
    references = [whole_pictures(1, picture, REFERENCE) for picture in pictures]
    return replace(bind(mode, driving, references), notes=(WHOLE_PICTURE,))


def refuse_other_mode(mode: str, source: Source) -> None:
    """Raise ValueError if the background of a colour mask belongs to the other mode."""
    right = WHITE if (mode == REPLACEMENT) == (source.name == DRIVING) else BLACK
    if source.background is not None and source.background != right:
        colours, other = {BLACK: "black", WHITE: "white"}, next(name for name in MODES if name != mode)
        raise ValueError(f"The {source.name} mask has a {colours[source.background]} background, which means {other}, "
                         f"but the mode is {mode} (background {colours[right]}): change the mode, or let the "
                         "background be repainted.")


def shows_people(source: Source) -> bool:
    return any(extent.seen.any() for extent in source.mask_set.extents)


def numbered_pairs(driving: Source, reference: Source, binding: str) -> list[Pair]:
    """(reference number, driving number) of everybody that a binding binds.

    Raises ValueError as `bind` does for a text that cannot be parsed, or an empty one where people do not match.
    """
    return _numbered(driving, reference, _pairs(driving, reference, binding))


def numbered_matches(driving: Source, reference: Source) -> list[tuple[int, int, float]]:
    """(reference number, driving number, intersection over union) of the people that are bound by overlap."""
    in_reference, in_driving = numbers(reference), numbers(driving)
    return [(in_reference[match.reference], in_driving[match.driving], match.iou)
            for match in by_overlap(driving.mask_set, reference.mask_set)]


def _numbered(driving: Source, reference: Source, pairs: list[Pair]) -> list[Pair]:
    in_reference, in_driving = numbers(reference), numbers(driving)
    return [(in_reference[left], in_driving[right]) for left, right in pairs]


def numbers(source: Source) -> tuple[int, ...]:
    """The number of each person of a side."""
    return source.labels or tuple(range(1, source.mask_set.people + 1))


def people_of(source: Source) -> People:
    return People(numbers(source), bool(source.labels))


def by_position(driving: MaskSet, reference: MaskSet) -> list[Pair]:
    """Pairs with the least sum of horizontal distances, each person in the first frame that shows it; people that are
    never seen are left out."""
    in_reference, in_driving = _positions(reference), _positions(driving)
    distances = np.abs(np.array(list(in_reference.values()))[:, None] - np.array(list(in_driving.values()))[None])
    left, right = linear_sum_assignment(distances)
    return sorted((list(in_reference)[i], list(in_driving)[j]) for i, j in zip(left, right, strict=True))


def _same_people(primary: Source, bound: Sequence[int], picture: Source, index: int) -> MaskSet:
    """The bound people of the primary, in order, as reference picture `index` shows them; masks may be empty."""
    extents = picture.mask_set.extents
    if not picture.labels or picture.labels == primary.labels:
        shown = [person for person, extent in enumerate(extents) if extent.seen[0]]
        if shown and not set(shown) & set(bound):
            raise ValueError(f"Additional reference {index} shows none of the bound people, only person "
                             f"{numbers(picture)[shown[0]]}: remove the picture, or bind that person.")
        return picture.mask_set.select(bound)
    tracks = {label: track for label, track, extent in zip(picture.labels, picture.mask_set.tracks, extents,
                                                           strict=True) if extent.seen.any()}
    labels = [primary.labels[person] for person in bound] if primary.labels else []
    if extra := sorted(set(tracks) - set(labels)):
        raise ValueError(f"The mask of additional reference {index} contains "
                         f"{', '.join(NAMES[label - 1] for label in extra)}, but the primary's does not: use the "
                         "colours of the primary reference.")
    empty = MaskTrack((EMPTY,), *picture.mask_set.size)
    return replace(picture.mask_set, tracks=tuple(tracks.get(label, empty) for label in labels))


def _pairs(driving: Source, reference: Source, binding: str) -> list[Pair]:
    text = normal(binding)
    if text == BY_POSITION:
        return by_position(driving.mask_set, reference.mask_set)
    in_driving, in_reference = people_of(driving), people_of(reference)
    if text == BY_OVERLAP:
        bound = overlapping_pairs(numbered_matches(driving, reference), lambda: _numbered(
            driving, reference, by_position(driving.mask_set, reference.mask_set)))
    elif text:
        bound = parse_pairs(text, in_driving, in_reference)
    else:
        # an additional reference may show a person that the primary does not; the primary must show every person
        primary = in_reference if not reference.labels else replace(in_reference, numbers=tuple(
            label for label, extent in zip(reference.labels, reference.mask_set.extents, strict=True)
            if extent.seen[0]))
        bound = usual_pairs(in_driving, primary, lambda: _numbered(
            driving, reference, by_position(driving.mask_set, reference.mask_set)))
    return sorted((in_reference.numbers.index(left), in_driving.numbers.index(right)) for left, right in bound)


def _left_out(driving: MaskSet, bound: Sequence[int]) -> MaskSet | None:
    """The people of the driving masks who are not bound; None if that is nobody."""
    others = [person for person in range(driving.people) if person not in bound]
    return driving.select(others) if others else None


def _positions(mask_set: MaskSet) -> dict[int, float]:
    """Horizontal position of each person in the first frame that shows it, 0..1."""
    return {person: mask_set.centre(person, int(extent.seen.argmax()))
            for person, extent in enumerate(mask_set.extents) if extent.seen.any()}


def _refuse_unseen(source: Source, people: Sequence[int]) -> None:
    for person in people:
        if not source.mask_set.extents[person].seen.any():
            number = numbers(source)[person]
            raise ValueError(f"The {source.name} mask does not contain person {number}: paint it, or remove {number} "
                             "from binding.")


def _notes(driving: Source, reference: Source, pairs: list[Pair]) -> tuple[str, ...]:
    notes = [f"{source.name} mask: {source.snapped:.2%} of the pixels were not a pure colour and were snapped to one"
             for source in (driving, reference) if source.snapped > _SNAPPED_NOTED]
    if driving.rendered:
        notes.append(RENDERED)
    for place, source in enumerate((reference, driving)):
        left_out = sorted(set(range(source.mask_set.people)) - {pair[place] for pair in pairs})
        if left_out:
            people = ", ".join(str(numbers(source)[person]) for person in left_out)
            notes.append(f"{source.name} mask: person {people} left out")
    suggested = by_position(driving.mask_set, reference.mask_set)
    if len(pairs) > 1 and suggested != pairs:
        texts = [pairs_text(_numbered(driving, reference, chosen)) for chosen in (pairs, suggested)]
        notes.append("bound {} (reference:driving); by position it would be {}".format(*texts))
    for left, right, frame in overlaps(driving.mask_set.select([pair[1] for pair in pairs]), _OVERLAP_NOTED):
        one, other = (numbers(reference)[pairs[index][0]] for index in (left, right))
        notes.append(f"driving mask: person {one} and person {other} overlap, most in frame {frame}")
    return tuple(notes)
