"""Parser and writer of the texts `binding`, `front` and `names`. People are numbers here; no masks are needed.

Used by `binding`, which has masks, and by `table`, the table on the page, which only has cards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..masks import NAMES, PEOPLE_LIMIT
from .mask_sources import DRIVING, REFERENCE

BY_POSITION, BY_OVERLAP = "by position", "by overlap"
_LEAST_OVERLAP = 0.02  # intersection over union; people who only touch have less

Pair = tuple[int, int]  # reference, driving


@dataclass(frozen=True)
class People:
    """The numbers of one side. coloured: whether they are colours of its mask."""

    numbers: tuple[int, ...]
    coloured: bool


def normal(binding: str) -> str:
    """As texts of binding are compared."""
    return binding.strip().lower()


def parse_pairs(text: str, driving: People, reference: People) -> list[Pair]:
    """Parse pairs of numbers such as "1:2, 2:1". Raises ValueError for a text that cannot be parsed, and for people
    that do not exist or are named twice."""
    pairs: list[Pair] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*:\s*(\d+)\s*", part)
        if not match:
            raise ValueError(f'The binding "{text}" cannot be read at "{part.strip()}": write pairs of reference and '
                             'driving numbers, such as "1:2, 2:1".')
        pairs.append((int(match[1]), int(match[2])))
        for side, people, number in zip((REFERENCE, DRIVING), (reference, driving), pairs[-1], strict=True):
            if number not in people.numbers:
                raise ValueError(f'The binding "{text}" names person {number} of the {side} mask, but the people there '
                                 f"are {', '.join(map(str, people.numbers))}: use one of these numbers, or choose in "
                                 "the table on the node.")
    for place, side in enumerate((REFERENCE, DRIVING)):
        named = [pair[place] for pair in pairs]
        if repeated := [number for number in named if named.count(number) > 1]:
            raise ValueError(f'The binding "{text}" names person {repeated[0]} of the {side} mask twice: name each '
                             "person once.")
    return sorted(pairs)


def pairs_text(pairs: Sequence[Pair]) -> str:
    """The text that `parse_pairs` parses."""
    return ", ".join(f"{left}:{right}" for left, right in pairs)


def usual_pairs(driving: People, reference: People, nearest: Callable[[], list[Pair]]) -> list[Pair]:
    """Pairs for an empty binding: equal colours, else equal places.

    nearest: pairs by position, as a suggestion. Raises ValueError if colours or counts differ.
    """
    if driving.coloured and reference.coloured:
        present = {DRIVING: set(driving.numbers), REFERENCE: set(reference.numbers)}
        for side, other in ((REFERENCE, DRIVING), (DRIVING, REFERENCE)):
            if unmatched := sorted(present[other] - present[side]):
                names = ", ".join(NAMES[label - 1] for label in unmatched)
                raise ValueError(f"The {other} mask contains {names}, but the {side} mask does not: give each person "
                                 "the same colour in both masks.")
        return [(label, label) for label in sorted(present[REFERENCE])]
    if len(driving.numbers) != len(reference.numbers):
        raise ValueError(f"The driving mask has {_count(len(driving.numbers))}, but the reference mask has "
                         f"{_count(len(reference.numbers))}: choose who belongs together in the table on the node, "
                         f'or with binding, for example "{pairs_text(nearest())}", which is nearest by position.')
    return list(zip(reference.numbers, driving.numbers, strict=True))


def overlapping_pairs(matches: Sequence[tuple[int, int, float]], nearest: Callable[[], list[Pair]]) -> list[Pair]:
    """Pairs by overlap: matches are (reference, driving, intersection over union). nearest: as for `usual_pairs`.

    Raises ValueError for people who do not overlap.
    """
    for person, other, iou in matches:
        if iou < _LEAST_OVERLAP:
            raise ValueError(f'binding is "{BY_OVERLAP}", but person {person} of the reference mask overlaps nobody in '
                             f"the first frame of the driving mask (intersection over union {iou:.3f} with person "
                             f"{other}, and {_LEAST_OVERLAP} is the least): choose who belongs together in the table "
                             f'on the node, or with binding, for example "{pairs_text(nearest())}", which is nearest '
                             "by position.")
    return [(person, other) for person, other, _ in matches]


def check_count(people: int) -> None:
    """Raise ValueError for more people than there are colours."""
    if people > PEOPLE_LIMIT:
        raise ValueError(f"There are {people} people, but SCAIL-2 distinguishes at most {PEOPLE_LIMIT}: choose "
                         "some with binding.")


def colour_labels(pairs: Sequence[Pair], driving: People, reference: People, binding: str = "") -> tuple[int, ...]:
    """A colour for each bound person: the reference's, else the driving video's, else the colour of the reference
    number. By overlap the driving video's do not count: its people were found, not chosen."""
    if driving.coloured and not reference.coloured and normal(binding) != BY_OVERLAP:
        return tuple(right for _, right in pairs)
    by_number = tuple(left for left, _ in pairs)
    return by_number if max(by_number) <= PEOPLE_LIMIT else tuple(range(1, len(pairs) + 1))


def parse_names(text: str, in_reference: Sequence[int], labels: Sequence[int], known: Sequence[str]) -> tuple[str, ...]:
    """A name for each bound person: from the text, else the known one, else its colour. in_reference: indices of the
    bound people in the reference.

    Raises ValueError for more names than people, and for a name of a person that is not bound.
    """
    given = [name.strip() for name in text.split(",")] if text.strip() else []
    people = max(in_reference) + 1
    if len(given) > people:
        raise ValueError(f"There are {len(given)} names, but {_count(people)}: give one name for each person, in the "
                         "order of the reference.")
    if unused := [name for person, name in enumerate(given) if name and person not in in_reference]:
        raise ValueError(f'The name "{unused[0]}" is for a person of the reference who is not bound: write names in '
                         "the order of the reference, and leave the others empty between their commas.")
    return tuple((given[person] if person < len(given) else "") or name or NAMES[label - 1]
                 for person, label, name in zip(in_reference, labels, known, strict=True))


def parse_front(text: str, numbers: Sequence[int], known: Sequence[int]) -> tuple[int, ...]:
    """Indices into `numbers`, front to back; `known` are such indices, used if the text is empty.

    Raises ValueError for a number that does not exist or is repeated.
    """
    listed = [] if text.strip() else list(known)
    for part in filter(None, (part.strip() for part in text.split(","))):
        if part not in map(str, numbers) or numbers.index(int(part)) in listed:
            raise ValueError(f'front is "{text}", but "{part}" is repeated or not one of the people '
                             f"{', '.join(map(str, numbers))}: write reference numbers from front to back, such as "
                             '"2, 1".')
        listed.append(numbers.index(int(part)))
    return (*listed, *(index for index in range(len(numbers)) if index not in listed))


def _count(number: int) -> str:
    return f"{number} person" if number == 1 else f"{number} people"
