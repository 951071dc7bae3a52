"""Paths of the files that users name: prompts, tracks and poses, each kind in its own folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from .atomic import remove_leftovers, writing

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
        raise _exists(name, kind)
    return path


@contextmanager
def writing_user_file(folder: Path, name: str, kind: str, *, overwrite: bool) -> Iterator[Path]:
    """A path to write to: as `atomic.writing` for `new_path`. Raises ValueError too if another process has written a
    file of this name meanwhile."""
    path = new_path(folder, name, kind, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, path.name)
    try:
        with writing(path, replace=overwrite) as part:
            yield part
    except FileExistsError as error:
        raise _exists(name, kind) from error


def write_numbered(write: Callable[[Path], object], paths: Iterable[Path]) -> Path:
    """Have a file written, and give it the first of some names that no other process has taken meanwhile."""
    for path in paths:
        try:
            with writing(path, replace=False) as part:
                write(part)
        except FileExistsError:
            continue
        return path
    raise AssertionError("there is a further name")


def numbered(folder: Path, name: str, first: int, ending: str) -> Iterator[Path]:
    """ComfyUI's names for saved files: name_00001_.mp4 and so on."""
    return (folder / f"{name}_{number:05}_{ending}" for number in count(first))


def _exists(name: str, kind: str) -> ValueError:
    return ValueError(f"The {kind} file {name} exists already: choose another name or turn overwrite on.")
