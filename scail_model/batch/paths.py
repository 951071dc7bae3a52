"""What is said of a path of a manifest that leads to no file."""

from __future__ import annotations

import os
import unicodedata
from functools import lru_cache
from pathlib import Path

from .values import brief


def missing(base: Path, value: str) -> str:
    """The rest of a sentence that begins with the place of `value`, a path relative to `base`."""
    path = base / value
    what = f"is {brief(value)}, which does not exist in {base}"
    for other in _other_ways(base, value):
        if os.path.exists(base / other):
            return f"{what}: write {other}."
    if (near := _alike(path)) is not None:
        how = "differs only in upper and lower case" if near.casefold() == path.name.casefold() else (
            "looks the same, but is written with other characters")
        return f"{what}; {near} there {how}: rename one of them."
    return f"{what}: check the path, which is relative to the manifest."


def _other_ways(base: Path, value: str) -> list[str]:
    """Ways to write a path that people mean by this one: without Windows' quotes and with this system's slashes."""
    bare = value.strip("\"' ")
    return [other for other in dict.fromkeys((bare, bare.replace("\\", "/"))) if other and other != value]


def _alike(path: Path) -> str | None:
    """The one file beside a path whose name differs only in case, or in how its accents are composed."""
    try:
        names = _names(path.parent, path.parent.stat().st_mtime_ns)
    except (OSError, ValueError):  # no folder, or a name that no disk can have
        return None
    found = names.get(_plain(path.name), ())
    return found[0] if len(found) == 1 else None


@lru_cache(maxsize=1000)
def _names(folder: Path, _changed: int) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name in os.listdir(folder):
        names.setdefault(_plain(name), []).append(name)
    return names


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
