"""Videos that this process has handed out: files in job folders, which ComfyUI remembers and somebody may remove."""

from __future__ import annotations

from pathlib import Path

from comfy.model_management import throw_exception_if_processing_interrupted
from comfy_execution.utils import get_executing_context
from server import PromptServer

from ..files.readers import Readers
from .schema import jobs_folder


class EmittedVideos:
    def __init__(self) -> None:
        self.runs: dict[Path, str | None] = {}  # path -> the prompt's id
        self.count = 0
        self._readers: dict[Path, Readers] = {}

    def add(self, path: Path) -> None:
        self.runs[path] = _prompt_id()
        self._tell()

    def folders_of_this_run(self) -> set[Path]:
        """Jobs whose videos the nodes after it may not have read yet."""
        return {path.parent for path, run in self.runs.items() if run == _prompt_id()}

    def lost(self) -> int:
        """How many have been removed since; another number makes ComfyUI run the node again. No other process removes
        those that are still there while ComfyUI works."""
        self._tell()
        gone = [path for path in self.runs if not path.exists()]
        for path in gone:
            del self.runs[path]
        self.count += len(gone)
        return self.count

    def _tell(self) -> None:
        """Nodes whose results ComfyUI remembers hand them to others that read them anew."""
        root = jobs_folder()
        readers = self._readers.setdefault(root, Readers(root, _is_working))
        readers.tell({path.parent.name for path in self.runs if path.parent.parent == root},
                     throw_exception_if_processing_interrupted)


def _prompt_id() -> str | None:
    context = get_executing_context()
    return context and context.prompt_id


def _is_working() -> bool:
    running, _ = PromptServer.instance.prompt_queue.get_current_queue_volatile()
    return bool(running)


emitted = EmittedVideos()
