"""What a user writes about a video's segments: scene cuts, what is different in some segments, and what to make again.

    scene_cuts    "120, 0:12.5, 15s"       frames, or times with a colon or an s
    remake        "3, 5-6"                 segments, from 1
    plan          [{"segments": "3-5", "prompt": "..."}, {"time": "0:10-0:15", "seed": 7, "only": true}]

A plan's places: "segments" from 1, "frames" from 0, or "time", where a number alone is seconds. Both ends of a stretch
belong to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any

from ..segments import Segment

_PLACES = ("segments", "time", "frames")
_PROMPTS = ("prompt", "saved_prompt")
_WHOLE = {"seed": (0, 2**64 - 1), "reference": (1, 2**64 - 1)}
_NUMBERS = {"guidance": (1.0, 30.0), "driving_strength": (0.0, 10.0), "history_strength": (0.0, 1.0)}


@dataclass(frozen=True)
class Change:
    """What is different in a segment; None is as everywhere. reference: number of the reference, from 1.
    driving_strength: the driving latent is multiplied by it. only: the segments behind stay as they were."""

    prompt: str | None = None
    saved_prompt: str | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    reference: int | None = None
    guidance: float | None = None
    driving_strength: float | None = None
    history_strength: float | None = None
    only: bool = False

    def over(self, below: Change) -> Change:
        """This change on top of another one. A prompt takes the place of a saved one, and the other way round."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        here = [name for name in _PROMPTS if values[name] is not None]
        merged: dict[str, Any] = {name: getattr(below, name) if value is None and not (here and name in _PROMPTS)
                                  else value for name, value in values.items()}
        return Change(**merged)


NOTHING = Change()
_TYPES = {"prompt": str, "saved_prompt": str, "negative_prompt": str, "seed": int, "reference": int, "only": bool,
          **dict.fromkeys(_NUMBERS, (int, float))}


@dataclass(frozen=True)
class Changes:
    """Of one segment. lasting: what the segments behind it see too. only: on top of that, for this segment alone."""

    lasting: Change = NOTHING
    only: Change | None = None


def parse_cuts(text: str, rate: Fraction) -> list[int]:
    """Frames at which scenes begin, as written. Raises ValueError for anything but frames and times."""
    return [_frame(part, rate, "scene_cuts") for part in re.split(r"[,\s]+", text.strip()) if part]


def parse_plan(text: str, segments: Sequence[Segment], rate: Fraction) -> list[Changes]:
    """The changes of every segment; later entries win. A stretch of frames or time counts for the segments with more
    than half of their new frames in it, a single one for the segment that makes it.

    Raises ValueError for a text that is not such a plan, and for a place without a segment.
    """
    found = [Changes()] * len(segments)
    for number, entry in enumerate(_entries(text), 1):
        name = f"entry {number} of the plan"
        change = _change(entry, name)
        for index in _places(entry, segments, rate, name):
            found[index] = _with(found[index], change)
    return found


def with_remakes(changes: Sequence[Changes], text: str, seed: int, only: bool) -> list[Changes]:
    """The changes with another seed for the segments in `text`, which may be empty. Raises ValueError for segments that
    there are not."""
    found = list(changes)
    if text.strip():
        for number, index in enumerate(_numbers(text, len(changes), "remake")):
            found[index] = _with(found[index], Change(seed=seed + number, only=only))
    return found


def _with(changes: Changes, change: Change) -> Changes:
    if change.only:
        return Changes(changes.lasting, change.over(changes.only or NOTHING))
    return Changes(change.over(changes.lasting), changes.only and _without(changes.only, change))


def _without(only: Change, later: Change) -> Change | None:
    """What is left of a change for one segment alone behind a later one; None if that is nothing."""
    hidden = {name for name in _TYPES if name != "only" and getattr(later, name) is not None}
    hidden |= set(_PROMPTS) if hidden & set(_PROMPTS) else set()
    left = replace(only, **dict.fromkeys(hidden))
    return None if left == Change(only=True) else left


def _entries(text: str) -> list[dict[str, Any]]:
    if not text.strip():
        return []
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:  # no JSON, a number of thousands of digits, or a very deep list
        raise ValueError(f"The plan is not valid JSON ({error}): write a list such as "
                         '[{"segments": "2-3", "prompt": "..."}].') from error
    entries = [entries] if isinstance(entries, dict) else entries
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError('The plan is not a list of entries: write a list such as [{"segments": "2-3", "seed": 7}].')
    return entries


def _change(entry: dict[str, Any], name: str) -> Change:
    values = {key: value for key, value in entry.items() if key not in _PLACES}
    for key, value in values.items():
        if key not in _TYPES:
            raise ValueError(f'"{key}" in {name} is not a known key: use {", ".join((*_PLACES, *_TYPES))}.')
        if not _fits(key, value):
            raise ValueError(f'"{key}" in {name} is {json.dumps(value)}, but it must be {_meant(key)}: correct it.')
    if set(_PROMPTS) <= set(values):
        raise ValueError(f"Both {' and '.join(_PROMPTS)} are in {name}: keep one of them.")
    if not set(values) - {"only"}:
        raise ValueError(f"Nothing changes in {name}: add one of {', '.join(_TYPES)}, or remove the entry.")
    return Change(**values)


def _fits(key: str, value: Any) -> bool:
    if not isinstance(value, _TYPES[key]) or isinstance(value, bool) != (key == "only"):
        return False
    low, high = {**_WHOLE, **_NUMBERS}.get(key, (None, None))
    return low is None or low <= value <= high


def _meant(key: str) -> str:
    if key in _WHOLE:
        return f"a whole number, at least {_WHOLE[key][0]} and at most 64 bits long"
    if key in _NUMBERS:
        return "a number from {} to {}".format(*_NUMBERS[key])
    return "true or false" if key == "only" else "a text"


def _places(entry: dict[str, Any], segments: Sequence[Segment], rate: Fraction, name: str) -> list[int]:
    """Indices of the segments that an entry is about: all, if it names no place."""
    places = [key for key in _PLACES if key in entry]
    if len(places) > 1:
        raise ValueError(f"{' and '.join(places)} are in {name}: keep one of them.")
    if not places:
        return list(range(len(segments)))
    key, place = places[0], entry[places[0]]
    if isinstance(place, bool) or not isinstance(place, str | int | float):
        raise ValueError(f'"{key}" in {name} is {json.dumps(place)}, but it must be a number, or a text such as "3-5": '
                         "correct it.")
    place = str(place)
    if key == "segments":
        return _numbers(place, len(segments), name)
    first, last = _range(place, lambda text: _frame(text, rate, name, seconds=key == "time"), name)
    found = [index for index, segment in enumerate(segments) if _is_in(segment, first, last)]
    if not found:
        raise ValueError(f"No segment has more than half of its new frames in {place} of {name}: name its number, or a "
                         f"longer range of the video's {segments[-1].stop} frames.")
    return found


def _is_in(segment: Segment, first: int, last: int) -> bool:
    """Whether a stretch means a segment: it has more than half of the new frames, or is one of them."""
    shared = _shared(segment, first, last)
    return 2 * shared > segment.new_frames or shared == 1 and first == last


def _shared(segment: Segment, first: int, last: int) -> int:
    return max(0, min(segment.stop, last + 1) - max(segment.start + segment.overlap, first))


def _numbers(text: str, count: int, name: str) -> list[int]:
    """Indices of segments such as "3, 5-6", rising."""
    found = set()
    parts = [part for part in re.split(r"[,\s]+", re.sub(r"\s*-\s*", "-", text)) if part]
    for part in parts or [text]:
        first, last = _range(part, _whole(name), name)
        if not 1 <= first <= last <= count:
            raise ValueError(f"{name[0].upper()}{name[1:]} names the segments {part}, but there are 1 to {count}: "
                             "correct the numbers.")
        found |= set(range(first - 1, last))
    return sorted(found)


def _range(text: str, read: Callable[[str], int], name: str) -> tuple[int, int]:
    ends = text.split("-")
    if len(ends) > 2:
        raise ValueError(f'"{text}" in {name} is not a range: write one such as 3-5.')
    first, last = read(ends[0].strip()), read(ends[-1].strip())
    if first > last:
        raise ValueError(f'"{text}" in {name} runs backwards: write the smaller end first.')
    return first, last


def _whole(name: str) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal():
            raise ValueError(f'"{text}" in {name} is not a segment number: write numbers such as 3, 5-6.')
        return int(text)

    return read


def _frame(text: str, rate: Fraction, name: str, *, seconds: bool = False) -> int:
    """A frame number: "120", or a time "1:05.2" or "65.2s" at `rate` frames per second. seconds: a number alone is a
    time too."""
    if text.isdecimal() and not seconds:
        return int(text)
    time = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)s?", text)
    if time is None or not (seconds or ":" in text or text.endswith("s")):
        raise ValueError(f'"{text}" in {name} is neither a frame nor a time: write 120, 1:05.2 or 65.2s.')
    hours, minutes, rest = (Fraction(part or 0) for part in time.groups())
    return round((3600 * hours + 60 * minutes + rest) * rate)
