"""ComfyUI's messages while a graph runs -> events of a row. Those of our own nodes tell of segments; those of others of
steps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..video.progress import CANCELLED, DONE, FAILED, JOINING, KEPT, WAITING, WRITING
from .comfy_client import title
from .events import FACTS, LINE, PROGRESS, SEGMENT, STAGE, Event, event

_VIDEO = "scail2.progress"  # as comfy/progress.py sends it
# by the class of a node
_STAGES = ((re.compile(r"Loader|LoadModel|LoadLoRA|LoadNLF"), "loading models"), (re.compile(r"Encode"), "encoding"),
           (re.compile(r"Save|Combine"), "saving"), (re.compile(r"SampleVideo|^KSampler\b|SamplerCustom"), "sampling"))


class ComfyEvents:
    """Of one prompt. prompt: the graph, for the names of its nodes; while Sample SCAIL-2 Video runs, the
    stages are those of its segments."""

    def __init__(self, prompt: Mapping[str, Any], prompt_id: str) -> None:
        self.prompt, self.prompt_id = prompt, prompt_id
        self.state: dict[int, dict[str, Any]] = {}  # of the segments
        self.seams: dict[int, str] = {}

    @property
    def seams_missing(self) -> bool:
        """Whether a verdict on a seam may still come: they are made beside the sampling, and the last one after it."""
        return any(known["overlap"] and index not in self.seams for index, known in self.state.items())

    def of(self, message: Mapping[str, Any]) -> Iterator[Event]:
        """What a message says; nothing for one that says nothing new, or is of another prompt."""
        kind, data = message["type"], message.get("data") or {}
        if data.get("prompt_id", self.prompt_id) != self.prompt_id:
            return
        if kind == "executing" and data.get("node"):
            yield event(STAGE, stage=self._stage(data["node"]), node=title(self.prompt, data["node"]))
        elif kind == "text":
            yield event(LINE, text=data["text"], node=title(self.prompt, data["node"]))
        elif kind == "progress" and not self.state:
            yield event(PROGRESS, step=data["value"], steps=data["max"])
        elif kind == "execution_cached":
            yield event(LINE, text=f"{len(data['nodes'])} nodes are kept from the row before")
        elif kind == _VIDEO:
            yield from self._video(data)

    def _stage(self, node_id: str) -> str:
        kind = self.prompt.get(node_id, {}).get("class_type", "")
        return next((stage for pattern, stage in _STAGES if pattern.search(kind)), "preparing")

    def _video(self, data: Mapping[str, Any]) -> Iterator[Event]:
        count = data["count"]
        for changed in data["segments"]:
            index = changed["index"]
            known = self.state.setdefault(index, {"state": WAITING, "step": 0, "steps": 0, "overlap": 0})
            before = dict(known)
            known.update({name: changed[name] for name in known if name in changed})
            if known["state"] != before["state"]:
                yield from self._entered(index, known["state"], count)
            if known != before and known["state"] not in (WAITING, WRITING, DONE, KEPT):
                yield event(PROGRESS, segment=index + 1, segments=count, step=known["step"], steps=known["steps"],
                            left=data["left"])
            if changed.get("seam"):
                self.seams[index] = changed["seam"]
                yield event(FACTS, seams=[{"segment": number + 1, "verdict": verdict}
                                          for number, verdict in sorted(self.seams.items())])
        if data["state"] in (JOINING, DONE, FAILED, CANCELLED):
            yield event(STAGE, stage={JOINING: "joining", DONE: "saving"}.get(data["state"], "ending"))

    def _entered(self, index: int, state: str, count: int) -> Iterator[Event]:
        if state in (DONE, KEPT):
            yield event(SEGMENT, segment=index + 1, segments=count, kept=state == KEPT)
        elif state != WRITING or index == count - 1:  # other parts are written beside the next one's sampling
            yield event(STAGE, stage=state)
