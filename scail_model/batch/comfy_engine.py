"""Rows with a workflow: a ComfyUI process of one's own, which keeps its models from one row to the next."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..doctor.machine import driver
from ..files.atomic import explained, writing
from ..files.jobs import FOLDER as JOBS
from ..video.record import record_path
from . import comfy_process
from .child_engine import STOPPED, ChildEngine
from .comfy_client import ComfyClient
from .comfy_process import ComfyProcess
from .comfy_run import HUNG, ComfyRun, driving_file, saved_files, video_of
from .engine import COMFYUI, Result
from .events import FACTS, LINE, STAGE, Tell, event
from .failures import Kind, RowError
from .folders import VIDEO, WORKFLOW, BatchFolder, RowFolder
from .model_folders import base_directory
from .results import bring, bring_others, media_facts, record_facts
from .workflow import Graph, graph_of

if TYPE_CHECKING:
    from .manifest import Row

_PACK = "SCAIL2SampleVideo"  # a node by which the pack is known
_TICK = 0.2
_SPEAK = 15.0  # seconds between two lines while ComfyUI starts
_SILENCE = 300.0  # seconds that a start may be silent
_QUICK = 0.3  # seconds for a request while stopping


@dataclass(frozen=True)
class ComfySpec:
    """path: of ComfyUI. python: None for the one in its folder. arguments: more of ComfyUI's own. hung: seconds of
    silence after which a run is given up."""

    path: Path
    python: Path | None = None
    arguments: tuple[str, ...] = ()
    hung: float = HUNG

    def fault(self) -> str | None:
        return comfy_process.fault(self.path, self.python)

    def build(self, gpus: Sequence[str], batch: BatchFolder) -> ComfyEngine:
        return ComfyEngine(self, gpus, batch)


class ComfyEngine(ChildEngine[ComfyProcess]):
    """The `Engine`."""

    name = COMFYUI

    def __init__(self, spec: ComfySpec, gpus: Sequence[str], batch: BatchFolder) -> None:
        super().__init__(gpus, batch)
        self.spec = spec
        self._facts: dict[str, Any] = {}

    def stop(self) -> None:
        self._stopped.set()
        if self._process is not None and not self._process.ended:
            with suppress(OSError):
                self._client.post("/interrupt", {}, _QUICK)
        self._end()

    # Starting

    def _begun(self) -> ComfyProcess:
        for place in (self.batch.input, self.batch.comfyui):
            with explained(str(place), "and run again; finished segments are kept"):
                place.mkdir(parents=True, exist_ok=True)
        spec = self.spec
        process = ComfyProcess(spec.path, spec.python, spec.arguments, self.gpus, self.batch.input.absolute(),
                               self.batch.comfyui.absolute())
        self._client = ComfyClient(process.port)
        return process

    def _wait_until_ready(self, process: ComfyProcess, tell: Tell) -> None:
        self._facts = self._about(self._answer(process, tell))

    def _answer(self, process: ComfyProcess, tell: Tell) -> Mapping[str, Any]:
        """Wait for ComfyUI's first answer: what it says of itself."""
        started = spoken = heard = time.monotonic()
        said = 0
        while True:
            if self._stopped.is_set():
                raise RowError(Kind.STOPPED, STOPPED)
            if process.ended:
                raise process.death("before it answered")
            try:
                return self._client.get("/system_stats")
            except OSError:
                time.sleep(_TICK)
            now = time.monotonic()
            if process.said() != said:
                said, heard = process.said(), now
            if now - heard > _SILENCE:
                raise RowError(Kind.PROCESS, f"ComfyUI was silent for {_SILENCE:.0f} s before it answered: start it by "
                                             "hand with the same arguments, and see where it stops.")
            if now - spoken > _SPEAK:
                spoken = now
                tell(event(LINE, text=f"ComfyUI starts, {now - started:.0f} s so far"))

    def _about(self, stats: Mapping[str, Any]) -> dict[str, Any]:
        """Versions and GPU for the report."""
        system = stats["system"]
        versions = {"scail2": self._pack_version(), "ComfyUI": system.get("comfyui_version"),
                    "Python": system["python_version"].split()[0], "torch": system.get("pytorch_version"),
                    "driver": driver()}
        devices = [device["name"].removeprefix("cuda:").split(" : ")[0] for device in stats["devices"]]
        return {"versions": {name: found for name, found in versions.items() if found},
                "gpu": ", ".join(devices) or None}

    def _pack_version(self) -> str | None:
        node = self._client.get(f"/object_info/{_PACK}", 60).get(_PACK)
        if node is None:
            return None
        base = base_directory(self.spec.arguments)
        for place in (self.spec.path, *([base] if base else [])):
            file = place.joinpath(*node["python_module"].split("."), "pyproject.toml")
            if file.is_file() and (found := re.search(r'^version = "(.+)"$', file.read_text("utf-8"), re.MULTILINE)):
                return found[1]
        return None

    # One row

    def _make(self, process: ComfyProcess, row: Row, folder: RowFolder, tell: Tell, *, smaller: bool) -> Result:
        tell(event(STAGE, stage="preparing"))
        graph = graph_of(row, smaller=smaller, gpus=len(self.gpus))
        tell(event(FACTS, seed=graph.seed, **self._facts))
        folder.write_values(WORKFLOW, graph.prompt)
        self._stage(graph)
        entry = ComfyRun(process, self._client, self._stopped, self.spec.hung).run(graph, tell)
        tell(event(STAGE, stage="saving"))
        files = saved_files(entry, lambda file: self._place(process, file))
        video, target = video_of(graph, files), folder.path(VIDEO)
        records = [record_path(each) for each in files.get(graph.sampler or "", ())]
        facts = {}
        for record in filter(Path.is_file, records):
            facts = record_facts(record, folder)
        bring(video, target, keep=self._belongs_to_a_job(video))
        others = {file for found in files.values() for file in found
                  if file != video and file.is_file() and self.batch.comfyui.absolute() in file.parents
                  and not self._belongs_to_a_job(file)}
        bring_others(sorted(others), folder)
        tell(event(FACTS, **facts, **media_facts(target, driving_file(graph))))
        return Result(target)

    def _stage(self, graph: Graph) -> None:
        """The row's files in ComfyUI's input folder. Copied, because a name there stands for a content."""
        for file in graph.files:
            target = self.batch.input / file.name
            if not target.exists():
                with explained(str(target), "and run again"), writing(target) as part:
                    shutil.copyfile(file.path, part)

    def _place(self, process: ComfyProcess, file: Mapping[str, str]) -> Path:
        roots = {"output": self.batch.comfyui, "input": self.batch.input, "temp": process.own / "temp/temp"}
        return roots.get(file.get("type", "output"), self.batch.comfyui).absolute() / file.get("subfolder", "") / file[
            "filename"]

    def _belongs_to_a_job(self, file: Path) -> bool:
        return self.batch.comfyui.absolute() / JOBS in file.parents
