"""The model folders of a ComfyUI that is not running, as it would find them: its own, and those of
extra_model_paths.yaml and of its arguments."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..preflight.model_files import Needed, named_files

_OLD_NAMES = {"unet": "diffusion_models", "clip": "text_encoders"}
_EXTRA = "extra_model_paths.yaml"


class ModelFolders:
    """The folders of one ComfyUI. arguments: those that it is started with.

    Raises ValueError for a folder that is not ComfyUI's, and for a file of extra paths that cannot be read.
    """

    def __init__(self, comfyui: Path, arguments: str = "") -> None:
        if not (comfyui / "main.py").is_file():
            raise ValueError(f"{comfyui} (--comfyui) has no main.py: give the folder of ComfyUI.")
        given = _arguments(arguments)
        self.models = Path(given.models_directory or Path(given.base_directory or comfyui) / "models")
        self.extra: dict[str, list[Path]] = {}
        for path in (comfyui / _EXTRA, *map(Path, given.extra)):
            if path.is_file():
                for folder, place in _extra_paths(path):
                    self.extra.setdefault(folder, []).append(place)
            elif path.name != _EXTRA or path in map(Path, given.extra):
                raise ValueError(f"{path} (--extra-model-paths-config in --comfyui_args) does not exist: check the "
                                 "path.")

    def missing(self, prompt: Mapping[str, Any]) -> Iterator[str]:
        """A sentence for each model file that a graph names and that is missing or cut short."""
        for folder, name in dict.fromkeys(named_files(prompt)):
            if (text := self._missing(folder, name)) is not None:
                yield text

    def size(self, folder: str, name: str) -> int | None:
        """Bytes of a model file; None if it is not there."""
        path = self._path(folder, name)
        return path.stat().st_size if path else None

    def _missing(self, folder: str, name: str) -> str | None:
        path = self._path(folder, name)
        needed = Needed(name, path.parent if path else self.models / folder, path.stat().st_size if path else None)
        if needed.state == "there":
            return None
        known = needed.known
        remedy = f"download it from {known.url}" if known else "put it there, or name another one"
        return f"The model file {name} is {needed.state} in {needed.place}: {remedy}."

    def _path(self, folder: str, name: str) -> Path | None:
        old = [names for names, new in _OLD_NAMES.items() if new == folder]
        places = [self.models / name for name in (folder, *old)] + self.extra.get(folder, [])
        return next((path for place in places if (path := place / name.replace("\\", "/")).is_file()), None)


@lru_cache(maxsize=16)
def base_directory(arguments: Sequence[str]) -> Path | None:
    """The folder in which a ComfyUI that is started with these has its models and packs; None for its own."""
    given = _arguments(shlex.join(arguments)).base_directory
    return Path(given) if given else None


def _arguments(text: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--base-directory")
    parser.add_argument("--models-directory")
    parser.add_argument("--extra-model-paths-config", dest="extra", nargs="+", action="extend", default=[])
    try:
        return parser.parse_known_args(shlex.split(text))[0]
    except (ValueError, argparse.ArgumentError) as error:
        raise ValueError(f"The arguments of ComfyUI, {text} (--comfyui_args), cannot be read ({error}): correct "
                         "them.") from error


def _extra_paths(path: Path) -> Iterator[tuple[str, Path]]:
    import yaml  # of the extra `batch`

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for section in filter(None, document.values()):
            base = Path(os.path.expandvars(os.path.expanduser(section.get("base_path", ""))))
            for folder, places in section.items():
                if folder not in ("base_path", "is_default"):
                    for place in filter(None, places.split("\n")):
                        yield _OLD_NAMES.get(folder) or str(folder), path.absolute().parent / base / place
    except (yaml.YAMLError, AttributeError, TypeError, UnicodeError, OSError) as error:
        raise ValueError(f"{path} cannot be read as ComfyUI's extra model paths ({str(error).splitlines()[0]}): "
                         "correct it.") from error
