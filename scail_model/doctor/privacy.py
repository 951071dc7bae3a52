"""Nothing private in what people attach to a report: paths become names of files, and names of users vanish."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# the folders before a name, with /, or with a drive and \; not of an address on the web
_FOLDERS = re.compile(r"""(?<![\w:/.~-])(?:~[/\\]|/|[A-Za-z]:[\\/]|\\\\)(?:[^\s/\\'"<>|:*?]+[/\\])*(?=[^\s/\\'"])""")
_USER = "user"


def without_private(values: Any, folders: Iterable[Path] = ()) -> Any:
    """The same values, with texts that `shortened` has cut."""
    if isinstance(values, dict):
        return {name: without_private(value, folders) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [without_private(value, folders) for value in values]
    return shortened(values, folders) if isinstance(values, str) else values


def shortened(text: str, folders: Iterable[Path] = ()) -> str:
    """Paths without their folders; the name of the user replaced. folders: known ones, whose names may have spaces."""
    known = {str(folder) for folder in (Path.home(), Path.cwd(), *folders)} - {"/", "."}
    for folder in sorted(known, key=len, reverse=True):
        text = re.sub(rf"{re.escape(folder)}[/\\]?", "/", text)
    text = _FOLDERS.sub("", text)
    name = _user()
    return re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", _USER, text) if name else text


def _user() -> str:
    """"" where nobody is logged in, and for the usual name of an administrator, which tells nothing."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
    return "" if name == "root" else name
