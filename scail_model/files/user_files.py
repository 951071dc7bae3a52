"""Paths of the files that users name: prompts, tracks and poses, each kind in its own folder."""

from __future__ import annotations

from pathlib import Path

_LONGEST = 200  # letters of a file name; file systems allow 255 bytes, and a partial file has a longer ending


def user_path(folder: Path, name: str, kind: str) -> Path:
    """folder/name.safetensors; name may contain sub-folders. Raises ValueError, with `kind` for what the file is, for a
    name that is empty, too long, or outside the folder."""
    path = (folder / f"{name}.safetensors").resolve() if name.isprintable() else folder
    file = name.rsplit("/", 1)[-1]
    if not file.strip() or len(file.encode()) > _LONGEST or folder.resolve() not in path.parents:
        shown = name if len(name) <= 40 else f"{name[:40]}..."
        raise ValueError(f'The {kind} name "{shown}" is not a file inside {folder.name}: use letters, digits and "/", '
                         f"at most {_LONGEST} of them.")
    return path


def new_path(folder: Path, name: str, kind: str, *, overwrite: bool) -> Path:
    """The path of a file to write. Raises ValueError as `user_path` does, and for a file that exists already, unless
    `overwrite`."""
    path = user_path(folder, name, kind)
    if path.exists() and not overwrite:
        raise ValueError(f"The {kind} file {name} exists already: choose another name or turn overwrite on.")
    return path
