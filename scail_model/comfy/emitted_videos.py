"""Videos that this process has handed out: files in job folders, which ComfyUI remembers and somebody may remove."""

from __future__ import annotations

from pathlib import Path

from comfy_execution.utils import get_executing_context


class EmittedVideos:
    def __init__(self) -> None:
        self.runs: dict[Path, str | None] = {}  # path -> the prompt's id
        self.count = 0

    def add(self, path: Path) -> None:
        self.runs[path] = _prompt_id()

    def folders_of_this_run(self) -> set[Path]:
        """Jobs whose videos the nodes behind may not have read yet."""
        return {path.parent for path, run in self.runs.items() if run == _prompt_id()}

    def lost(self) -> int:
        """How many have been removed since; another number makes ComfyUI run the node again."""
        gone = [path for path in self.runs if not path.exists()]
        for path in gone:
            del self.runs[path]
        self.count += len(gone)
        return self.count


def _prompt_id() -> str | None:
    context = get_executing_context()
    return context and context.prompt_id


emitted = EmittedVideos()
