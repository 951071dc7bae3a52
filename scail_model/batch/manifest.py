"""A batch's manifest: rows of values, one for each video, from a table (`tables.py`) in CSV, JSON or YAML.

All forms have one schema: `defaults` of every row, `rows`, and `cross`, which makes a row of every element of each axis
with every one of the others.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from .tables import SMALLER, Entry, Table, read_table
from .values import brief

KEYS = ("id", "workflow", "output", SMALLER)
_MOST_ROWS = 100_000
_NAMED = 3  # rows in a sentence about several
_AND = " and "  # between the places of a row's elements
_LONGEST_ID = 120  # letters; folders and files beside it are named after it
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # also half of an emoji, as a program that cuts texts leaves it
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)  # of Windows


@dataclass(frozen=True)
class Row:
    """One video to make.

    id: name of its folder. place: where it stands, for sentences. workflow: the API-format file that ComfyUI makes it
    with, None for a row of the command line. values: by address of the workflow, or by flag of `scail2 generate`.
    smaller: values that it is tried with after out of memory. output: name of the node whose video is the result,
    "" for the only one. base: the manifest's folder, which paths are relative to.
    """

    id: str
    place: str
    workflow: Path | None
    values: Mapping[str, Any]
    smaller: Mapping[str, Any]
    output: str
    base: Path


@dataclass(frozen=True)
class Manifest:
    """rows: those that can be made. faults: sentences about everything that cannot. unnamed: rows whose id is missing,
    bad or taken: only to be checked."""

    path: Path
    rows: tuple[Row, ...]
    faults: tuple[str, ...]
    unnamed: tuple[Row, ...] = ()


def read_manifest(path: Path) -> Manifest:
    """The rows of a manifest and all that is wrong with it. Raises nothing for what the file holds."""
    table = read_table(path)
    faults = [*table.faults, *_faults_of_entries(table)]
    rows, unnamed, names = [], [], {}
    for entry in _expanded(path.name, table, faults):
        row = _row(entry, path.absolute().parent, faults)
        wrong = _faults_of_id(entry, row, names)
        faults += wrong
        (unnamed if wrong else rows).append(row)
        if not wrong:
            names[row.id.lower()] = row
    return Manifest(path, tuple(rows), tuple(dict.fromkeys(faults)), tuple(unnamed))


def _given(table: Table) -> Iterator[Entry]:
    yield table.defaults
    yield from table.rows
    yield from itertools.chain.from_iterable(table.cross.values())


def _faults_of_entries(table: Table) -> Iterator[str]:
    """What is wrong with single entries; what is wrong with a column once, though all its rows have it."""
    places: dict[str, list[str]] = {}
    for entry in _given(table):
        for text in _faults_of_entry(entry, element=entry is not table.defaults):
            places.setdefault(text.removeprefix(f"{entry.place}: "), []).append(entry.place)
    for text, where in places.items():
        yield f"{several(where)}: {text}"


def several(places: Sequence[str]) -> str:
    """The first of several places in a manifest, and how many there are more; the element of `cross` that all of them
    have, where there is one."""
    elements = [place.split(", ", 1)[-1].split(_AND) for place in places]
    common = [element for element in elements[0] if all(element in others for others in elements)]
    if len(places) > 1 and common:
        return f"{places[0].split(', ', 1)[0]}, {_AND.join(common)} ({len(places)} rows)"
    more = len(places) - _NAMED
    named = [places[0], *(place.split(", ", 1)[-1] for place in places[1:_NAMED])]
    return f"{', '.join(named)}{f' and {more} more rows' if more > 0 else ''}"


def _faults_of_entry(entry: Entry, *, element: bool) -> Iterator[str]:
    """What is wrong with keys and kinds of values, before a workflow is looked at."""
    values = entry.values
    if not element and "id" in values:
        yield f'{entry.place}: the defaults have an id ("{values["id"]}"), but every row needs its own: leave it out.'
    for key, value in values.items():
        if key in ("workflow", "output") and value is not None and not isinstance(value, str):
            yield f"{entry.place}: {key} is {value!r}, but it must be a text: put it into quotes."
        elif key not in KEYS:
            yield from _faults_of_value(f"{entry.place}: {key}", value)
            yield from _faults_of_key(entry.place, key)
    smaller = values.get(SMALLER) or {}
    if not isinstance(smaller, Mapping):
        yield (f"{entry.place}: {SMALLER} is {smaller!r}, but it must be a mapping of values to try after out of "
               "memory: write it as key: value.")
        return
    for key, value in smaller.items():
        yield from _faults_of_value(f"{entry.place}: {SMALLER} {key}", value)
        if key in KEYS:
            yield (f"{entry.place}: {SMALLER} changes {key}, which stays the same when a row is tried again: leave it "
                   "out.")
        elif not isinstance(key, str):
            yield f"{entry.place}: {SMALLER} has the key {key!r}, but keys are texts: put it into quotes."
        else:
            yield from _faults_of_key(entry.place, key)


def _faults_of_key(place: str, key: str) -> Iterator[str]:
    if key.startswith("--") or "." in key:
        return
    near = get_close_matches(key, KEYS, 1) or [name for name in KEYS if name == key.strip().lower()]
    remedy = f'is it "{near[0]}"?' if near else "write node.input, or a flag as --flag."
    yield f'{place}: the key "{brief(key)}" is not one of {", ".join(KEYS)}, an address or a flag: {remedy}'


def _faults_of_value(what: str, value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, Mapping | list):
            yield f"{what} is a {'list in a list' if isinstance(one, list) else 'mapping'}: give a plain value."
        elif isinstance(one, float) and not math.isfinite(one):
            yield f"{what} is {one}: give a number."
        elif isinstance(one, str) and (found := _NO_TEXT.search(one)):
            yield (f"{what} has {found[0]!r} in it, which is not a letter: write that text again.")


def _expanded(name: str, table: Table, faults: list[str]) -> Iterator[Entry]:
    """Every row with the defaults that it does not set itself."""
    axes = list(table.cross.values())
    count = math.prod(map(len, axes)) if axes else 0
    if count + len(table.rows) > _MOST_ROWS:
        faults.append(f"{name} makes {count + len(table.rows):,} rows, but a batch has at most {_MOST_ROWS:,}: split "
                      "it.")
        return
    together: list[Entry] = []
    for elements in itertools.product(*axes) if axes else ():
        together.append(_together(elements, faults))
    for entry in (*table.rows, *together):
        smaller = _mapping(table.defaults.values.get(SMALLER)) | _mapping(entry.values.get(SMALLER))
        values = {**table.defaults.values, **entry.values, SMALLER: smaller}
        yield Entry({key: value for key, value in values.items() if value is not None}, entry.place)


def _together(elements: tuple[Entry, ...], faults: list[str]) -> Entry:
    values: dict[str, Any] = {}
    smaller: dict[str, Any] = {}
    for element in elements:
        for key in (element.values.keys() & values.keys()) - {"id", SMALLER}:
            others = next(other for other in elements if key in other.values)
            faults.append(f"{element.place}: {key} is set there and in {others.place}, on another axis of cross: set "
                          "it on one of them.")
        values |= element.values
        smaller |= _mapping(element.values.get(SMALLER))
    names = [element.values.get("id") for element in elements]
    places = [element.place for element in elements]
    place = _AND.join([places[0], *(place.split(", ", 1)[-1] for place in places[1:])])
    joined = None if any(name is None for name in names) else "-".join(map(str, names))
    return Entry({**values, "id": joined, SMALLER: smaller}, place)


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _row(entry: Entry, base: Path, faults: list[str]) -> Row:
    values, workflow, output = entry.values, entry.values.get("workflow"), entry.values.get("output", "")
    kept = {key: value for key, value in values.items() if key not in KEYS}
    return Row(str(values.get("id", "")), entry.place, base / workflow if isinstance(workflow, str) else None, kept,
               _mapping(values.get(SMALLER)), output if isinstance(output, str) else "", base)


def _faults_of_id(entry: Entry, row: Row, names: Mapping[str, Row]) -> list[str]:
    name, found = row.id, entry.values.get("id")
    if not name:
        return [f"{row.place}: there is no id: give one, which names the row's folder."]
    if isinstance(found, bool | float | list | Mapping):
        return [f"{row.place}: the id is {found!r}, but it must be a text: put it into quotes."]
    if not _ID.fullmatch(name) or len(name) > _LONGEST_ID:
        shown = name if len(name) <= 40 else f"{name[:40]}..."
        return [f'{row.place}: the id "{shown}" cannot name a folder everywhere: use letters without accents, digits, '
                f'".", "_" and "-", at most {_LONGEST_ID} of them, a letter or digit first.']
    if _DEVICES.fullmatch(name) or name.endswith("."):
        return [f'{row.place}: the id "{name}" cannot name a folder on Windows: add something to it.']
    if other := names.get(name.lower()):
        how = "" if other.id == name else f' but for upper and lower case ("{other.id}")'
        return [f'{row.place}: the id "{name}" is that of {other.place} too{how}: change one of them.']
    return []
