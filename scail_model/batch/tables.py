"""The tables that a manifest is written as: CSV, JSON and YAML, read into one form.

A file is read to its end whatever is wrong with it: each fault is a sentence with its place, so that all of them can be
mended at once. CSV is taken as spreadsheets write it: any of three separators, a byte order mark, UTF-16, quoted line
ends.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .documents import FORMS, read_document

SMALLER = "smaller"
_ALL_ROWS = "*"  # the id of a CSV file's row of defaults
_AXIS = "cross"  # the CSV column that names an axis
_SEPARATORS = ",;\t"
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_WORKBOOK = b"PK\x03\x04"
_TABLES = (".csv", ".tsv")
_KEYS = ("id", "workflow", "output", SMALLER, _AXIS)  # in a table's first line in capitals too
_ERROR = re.compile(r"#(?:[\w/]+[!?]|N/A|NV)")  # of a spreadsheet's formula
_SECTIONS = ("defaults", "rows", "cross")


@dataclass(frozen=True)
class Entry:
    """The values of one row, of the defaults, or of one element of an axis. place: for sentences."""

    values: Mapping[str, Any]
    place: str


@dataclass
class Table:
    """A manifest as it is written. cross: by axis, in the order of the file."""

    defaults: Entry
    rows: list[Entry] = field(default_factory=list)
    cross: dict[str, list[Entry]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def read_table(path: Path) -> Table:
    """Read a manifest. Raises nothing: what cannot be read is a fault of the table."""
    table = Table(Entry({}, path.name))
    try:
        text = _text(path)
        if path.suffix.lower() in _TABLES:
            _read_csv(path.name, text, table)
        else:
            _sort(path.name, *read_document(path.name, text, path.suffix.lower()), table)
    except ValueError as error:
        table.faults.append(str(error))
    if not table.faults and not table.rows and not table.cross:
        table.faults.append(f"{path.name} has no rows: write at least one.")
    return table


def _text(path: Path) -> str:
    if path.suffix.lower() not in (*_TABLES, *FORMS):
        raise ValueError(f"{path.name} is not a manifest by its name: end it with .csv, .json or .yaml.")
    try:
        data = path.read_bytes()
    except OSError as error:
        wrong = "is a folder" if path.is_dir() else "does not exist" if not path.exists() else f"({error.strerror})"
        raise ValueError(f"The manifest {path} {wrong}: give a .csv, .json or .yaml file.") from error
    if not data.strip():
        raise ValueError(f"{path.name} is empty: write at least one row.")
    if data.startswith(_WORKBOOK):
        raise ValueError(f"{path.name} is a spreadsheet's own format: save it as CSV in UTF-8.")
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path.name}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8: save the file as "
                         "CSV in UTF-8, or as UTF-8 in a text editor.") from error
    if "\0" in text:
        raise ValueError(f"{path.name}, line {text.count(chr(10), 0, text.index(chr(0))) + 1}: there is a zero "
                         "character, as in a file that is not text: save it as UTF-8.")
    return text


def _sort(name: str, document: Any, faults: list[str], table: Table) -> None:
    """A JSON or YAML document into its sections."""
    table.faults += faults
    if not isinstance(document, dict):
        remedy = 'write {"rows": before it and } after it' if name.lower().endswith(".json") else (
            'write "rows:" above the list')
        raise ValueError(f"{name} holds {_kind(document)}, but a manifest is a mapping with rows or cross: {remedy}.")
    for key in document:
        if key not in _SECTIONS:
            table.faults.append(f"{name}: {key!r} is not a part of a manifest: it has {', '.join(_SECTIONS)}.")
    if (defaults := document.get("defaults")) is not None:
        entries = list(_entries(name, [defaults], "defaults", table.faults, numbered=False))
        table.defaults = entries[0] if entries else table.defaults
    table.rows += _list(name, document.get("rows"), "rows", "row", table.faults)
    axes = document.get("cross")
    if axes is not None and (not isinstance(axes, dict) or not axes):
        table.faults.append(f"{name}: cross is {_kind(axes)}, but it must be a mapping of axes: name each list.")
        axes = None
    for axis, elements in (axes or {}).items():
        table.cross[str(axis)] = _list(name, elements, f"cross {axis}", f"{axis} element", table.faults)
        if elements is None or elements == []:
            table.faults.append(f"{name}: the axis {axis} of cross is empty, so there would be no rows: give it an "
                                "element, or leave it out.")


def _list(name: str, found: Any, section: str, one: str, faults: list[str]) -> list[Entry]:
    if found is None:
        return []
    if not isinstance(found, list):
        faults.append(f"{name}: {section} is {_kind(found)}, but it must be a list: begin each of its elements with "
                      "a dash, or put them into brackets.")
        return []
    return list(_entries(name, found, one, faults))


def _entries(name: str, found: list[Any], one: str, faults: list[str], *, numbered: bool = True) -> Iterator[Entry]:
    for number, values in enumerate(found, 1):
        line = getattr(values, "line", None)
        named = f" ({values['id']})" if isinstance(values, dict) and isinstance(values.get("id"), str) else ""
        place = f"{name}, {f'line {line}' if line else f'{one} {number}{named}' if numbered else one}"
        if not isinstance(values, dict):
            faults.append(f"{place}: it is {_kind(values)}, but it must be a mapping of keys to values: write it as "
                          "key: value.")
            continue
        for key in [key for key in values if not isinstance(key, str)]:
            faults.append(f"{place}: the key {key!r} is {_kind(key)}, but keys are texts: put it into quotes.")
        yield Entry({key: value for key, value in values.items() if isinstance(key, str)}, place)


def _kind(value: Any) -> str:
    kinds = {dict: "a mapping", list: "a list", str: f'the text "{str(value)[:40]}"', type(None): "empty"}
    return next((words for kind, words in kinds.items() if isinstance(value, kind)), f"{value!r}")


def _read_csv(name: str, text: str, table: Table) -> None:
    lines, skipped, separator = text, 0, None
    if text.lower().startswith("sep=") and text[4:5] and text[5:6] in "\r\n":  # a spreadsheet's own hint
        separator, (_, lines), skipped = text[4], text.split("\n", 1) if "\n" in text else (text, ""), 1
    reader = csv.reader(io.StringIO(lines, newline=""), delimiter=separator or _separator(lines), strict=True)
    header, end, first_default = None, skipped, ""
    while True:
        line = end + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            break
        except csv.Error as error:
            table.faults.append(f"{name}, line {line}: it cannot be read as CSV ({error}): double every quote that "
                                "belongs to a cell, and put the cell into quotes.")
            break
        end = skipped + reader.line_num
        if not any(cells):
            continue
        if header is None:
            header = _header(name, line, cells, table.faults)
            if "id" not in header:
                break
            continue
        place = f"{name}, line {line}"
        if any(cells[len(header):]):
            table.faults.append(f"{place}: it has {len(cells)} cells, but there are {len(header)} columns: put cells "
                                "with separators into quotes.")
            continue
        cells += [""] * (len(header) - len(cells))  # Excel leaves out a row's last empty cells
        _place(Entry(_row(header, cells, place, table.faults), place), table, first_default)
        first_default = first_default or (place if cells[header.index("id")] == _ALL_ROWS else "")


def _header(name: str, line: int, cells: list[str], faults: list[str]) -> list[str]:
    while cells and not cells[-1]:
        cells = cells[:-1]
    cells = [cell.lower() if cell.lower() in _KEYS else cell for cell in cells]
    faults += [f'{name}, line {line}: the column "{column}" stands there {count} times: keep one of them.'
               for column, count in Counter(filter(None, cells)).items() if count > 1]
    if "id" not in cells:
        faults.append(f'{name}, line {line}: there is no column "id", only {", ".join(cells[:5])}: add one, with the '
                      "name of each row.")
    return cells


def _row(header: list[str], cells: list[str], place: str, faults: list[str]) -> dict[str, Any]:
    """By column; an empty cell is not given."""
    values: dict[str, Any] = {}
    for column, cell in zip(header, cells, strict=False):
        if not cell:
            continue
        if not column:
            if not any("a column without a name" in text for text in faults):
                faults.append(f'{place}: the cell "{cell[:40]}" stands in a column without a name: name it in the '
                              "first line, or leave the column out.")
        elif _ERROR.fullmatch(cell):
            faults.append(f"{place}: {column} is {cell}, an error of the spreadsheet's: correct the cell, or write an "
                          "apostrophe before its text.")
        elif column.startswith(f"{SMALLER}:"):
            values.setdefault(SMALLER, {})[column.removeprefix(f"{SMALLER}:").strip()] = cell
        else:
            values[column] = cell
    return values


def _place(entry: Entry, table: Table, first_default: str) -> None:
    values = dict(entry.values)
    axis = values.pop(_AXIS, None)
    if values.get("id") != _ALL_ROWS:
        (table.rows if axis is None else table.cross.setdefault(axis, [])).append(Entry(values, entry.place))
    elif axis is not None:
        table.faults.append(f"{entry.place}: it is a row of defaults (id *) and an element of {axis}: leave one of "
                            "both empty.")
    elif first_default:
        table.faults.append(f"{entry.place}: it is a second row of defaults (id *), after {first_default}: put all "
                            "defaults into one.")
    else:
        table.defaults = Entry({key: value for key, value in values.items() if key != "id"}, entry.place)


def _separator(text: str) -> str:
    """The one that is in the first line most often, quotes left out."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    outside = "".join(first.split('"')[::2])
    return max(_SEPARATORS, key=outside.count)
