"""One graph in one ComfyUI: queued, heard until it ends, and what came out of it, as /history tells."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Event as Flag
from typing import Any

from .child_engine import STOPPED
from .comfy_client import ComfyClient, Listener, title
from .comfy_events import ComfyEvents
from .comfy_process import ComfyProcess
from .events import Tell
from .failures import Kind, RowError, explained
from .results import SUFFIXES
from .workflow import Graph

HUNG = 900.0  # seconds of silence after which a run is given up; the pack's nodes speak every 15
_TICK = 0.2  # seconds between two looks at the process and at who stops us
_ASK = 5.0  # seconds between two looks at /history, should an event be lost
_VERDICT = 5.0  # seconds to wait for what is said of the last seam
_ENDS = {"execution_success", "execution_error", "execution_interrupted"}


class ComfyRun:
    """stopped: set by who stops the engine. hung: seconds, as HUNG."""

    def __init__(self, process: ComfyProcess, client: ComfyClient, stopped: Flag, hung: float = HUNG) -> None:
        self.process, self.client, self.stopped, self.hung = process, client, stopped, hung

    def run(self, graph: Graph, tell: Tell) -> dict[str, Any]:
        """Returns the prompt's entry of /history. RowError if anything goes wrong."""
        with self.client.listen() as listener:
            prompt_id = self.client.queue(graph.prompt)
            entry = self._until_done(listener, prompt_id, ComfyEvents(graph.prompt, prompt_id), tell)
        if fault := failure(graph.prompt, entry):
            raise fault
        return entry

    def check(self) -> None:
        """RowError if the run is stopped or its process has ended."""
        if self.stopped.is_set():
            raise RowError(Kind.STOPPED, STOPPED)
        if self.process.ended:
            raise self.process.death("while it made the row")

    def _until_done(self, listener: Listener, prompt_id: str, events: ComfyEvents, tell: Tell) -> dict[str, Any]:
        heard = asked = time.monotonic()
        entry: dict[str, Any] | None = None
        ended = 0.0
        for message in self._messages(listener):
            self.check()
            now = time.monotonic()
            if message is not None:
                heard = now
                for event in events.of(message):
                    tell(event)
                if message["type"] in _ENDS and (message["data"] or {}).get("prompt_id") == prompt_id:
                    ended = ended or now
            if entry is None and (ended or now - asked > _ASK):
                asked, entry = now, self.client.history(prompt_id)
                ended = ended or (now if entry else 0.0)
            if entry is not None and (not events.seams_missing or now - ended > _VERDICT or failed(entry)):
                return entry
            if now - heard > self.hung:
                raise RowError(Kind.PROCESS, f"ComfyUI said nothing for {now - heard:.0f} s, so it hangs: read "
                                             "comfyui.log, and run again; finished segments are kept.")
        raise AssertionError("messages do not end")

    def _messages(self, listener: Listener) -> Iterator[Mapping[str, Any] | None]:
        """All there are, None after each moment without one; a connection that is lost is made again."""
        while True:
            try:
                yield listener.next(_TICK)
            except OSError:
                yield None
                time.sleep(_TICK)
                self.check()
                listener = self._again(listener)

    def _again(self, listener: Listener) -> Listener:
        try:
            return self.client.listen()
        except OSError:
            return listener


def failed(entry: Mapping[str, Any]) -> bool:
    return entry["status"]["status_str"] != "success"


def failure(prompt: Mapping[str, Any], entry: Mapping[str, Any]) -> RowError | None:
    """What went wrong in a run; None if it has finished well."""
    for kind, data in reversed(entry["status"]["messages"]):
        if kind == "execution_interrupted":
            return RowError(Kind.STOPPED, "Somebody stopped the row in ComfyUI: run again; finished segments are kept.")
        if kind == "execution_error":
            node = title(prompt, data["node_id"]) if data["node_id"] in prompt else data["node_type"]
            return explained(node, data["exception_type"], data["exception_message"])
    return None


def saved_files(entry: Mapping[str, Any], place: Callable[[Mapping[str, str]], Path]) -> dict[str, list[Path]]:
    """Files by node, as their ui outputs name them, whatever a node calls the list. place: of a file as /view takes
    it."""
    found: dict[str, list[Path]] = {}
    for node_id, output in entry["outputs"].items():
        for values in output.values():
            for value in values if isinstance(values, list) else ():
                if isinstance(value, dict) and "filename" in value:
                    found.setdefault(node_id, []).append(place(value))
    return found


def video_of(graph: Graph, files: Mapping[str, list[Path]]) -> Path:
    """The result: the video of the row's output node. RowError if there is none."""
    videos = [file for file in files.get(graph.output, ()) if file.suffix.lower() in SUFFIXES and file.is_file()]
    if not videos:
        raise RowError(Kind.INPUTS, f"{title(graph.prompt, graph.output)} has saved no video: name the node that "
                                    'saves it as the row\'s "output".')
    return videos[-1]


def driving_file(graph: Graph) -> Path | None:
    """The video file that Sample SCAIL-2 Video is driven by, through whatever nodes; None if there is none."""
    staged, seen = {file.name: file.path for file in graph.files}, set()
    waiting = [graph.prompt[graph.sampler]["inputs"].get("driving")] if graph.sampler else []
    while waiting:
        link = waiting.pop(0)
        if not isinstance(link, list) or link[0] in seen or link[0] not in graph.prompt:
            continue
        seen.add(link[0])
        inputs = graph.prompt[link[0]]["inputs"].values()
        for value in inputs:
            path = staged.get(value) if isinstance(value, str) else None
            if path is not None and path.suffix.lower() in SUFFIXES:
                return path
        waiting += inputs
    return None
