"""Model files -> keys: equal for equal content, in this run or another one, without reading tens of gigabytes."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_SAMPLE = 1 << 20  # bytes at each of the places that are read
_PLACES = 16


@cache
def file_key(path: Path) -> str:
    """Of a file, or of all files in a folder: names within it, sizes, and 16 MiB spread over each file."""
    found = hashlib.blake2b(digest_size=16)
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            size = file.stat().st_size
            found.update(f"{file.relative_to(path)} {size};".encode())
            with open(file, "rb") as reader:
                for place in range(_PLACES):
                    reader.seek(max(0, (size - _SAMPLE) * place // (_PLACES - 1)))
                    found.update(reader.read(_SAMPLE))
    return found.hexdigest()
