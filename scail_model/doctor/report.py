"""What the doctor has found so far, part by part, each of which may fail alone; as values for JSON and as a page of
text."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..preflight.budget import Machine
from . import gpus, machine, page
from .forwards import FAILED, MEASURED, Forwards, line_of
from .model_files import MISSING, WRONG, At, FileFact
from .modes import Subject
from .privacy import without_private

_FORMAT = 1


@dataclass(frozen=True)
class Host:
    """The program that the doctor runs in. name: what people call it. versions, settings: its own. folders: what for
    -> where, of which the disks are asked. machine: measured, with the speed of the GPU. files: the model files, looked
    at. subject: the weights to run; None if there are none. needed: roles of files without which something is wrong.
    gpus: all that may make a video together."""

    name: str
    versions: Mapping[str, str]
    settings: Mapping[str, str]
    folders: Mapping[str, Path]
    device: torch.device
    machine: Callable[[], Machine]
    files: Callable[[At], list[FileFact]]
    subject: Callable[[At, Machine], Subject | None]
    needed: Sequence[str] = ()
    gpus: Sequence[torch.device] = ()


class Report:
    """Grows while `examine` runs; may be read at any time, also after that was stopped by an exception."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._found: dict[str, Any] = {}
        self._failed: dict[str, str] = {}
        self._files: list[FileFact] = []
        self._forwards: Forwards | None = None
        self._complete = False

    def examine(self, at: At) -> None:
        """Look at everything. at: told what goes on; may raise to stop."""
        host = self.host
        self._part("versions", at, lambda: machine.versions(host.versions))
        self._part("system", at, machine.system)
        self._part("memory", at, machine.memory)
        self._part("disks", at, lambda: machine.disks(host.folders))
        room = self._part("machine", at, host.machine) or Machine(0, 0, 0, None)
        self._part("card", at, lambda: machine.card(host.device, room))
        self._part("link", at, lambda: machine.link(host.device))
        self._part("gpus", at, lambda: gpus.several(host.gpus, room.matmul_tflops))
        self._files = self._part("files", at, lambda: host.files(at)) or []
        self._part("forwards", at, lambda: self._measure(at, room))
        self._complete = True

    def _measure(self, at: At, room: Machine) -> None:
        subject = self.host.subject(at, room)
        if subject is not None:
            self._forwards = Forwards(subject, at)
            with torch.inference_mode():
                self._forwards.measure()

    def _part(self, name: str, at: At, find: Callable[[], Any]) -> Any:
        at(f"looking at {name}")
        try:
            self._found[name] = find()
        except Exception as error:  # whatever it is, the other parts can be told
            self._failed[name] = line_of(error)
        return self._found.get(name)

    @property
    def wrong(self) -> list[str]:
        """What is wrong, a sentence each: files that are damaged, incomplete or another model's, or that are missing
        although the host needs them; modes that fail or give NaN; parts that could not be looked at."""
        files = [f"{fact.role} {fact.name}: {fact.text}" for fact in self._files if fact.state in WRONG]
        lacking = [f"{fact.role}: {fact.text}" for fact in self._files
                   if fact.state == MISSING and fact.role in self.host.needed]
        results = [] if self._forwards is None else self._forwards.results
        modes = [f"{result.mode.name} failed: {result.reason}" for result in results if result.state == FAILED]
        spoilt = [f"{result.mode.name} gives NaN or infinite numbers" for result in results
                  if result.state == MEASURED and not result.finite]
        return [*files, *lacking, *modes, *spoilt,
                *(f"{part} could not be examined: {reason}" for part, reason in self._failed.items())]

    @property
    def ok(self) -> bool:
        return not self.wrong

    def values(self) -> dict[str, Any]:
        """Everything for programs, without names of people and folders."""
        found = {name: self._found.get(name)
                 for name in ("versions", "system", "card", "link", "gpus", "memory", "disks")}
        return without_private({
            "scail2_doctor": _FORMAT, "date": time.strftime("%Y-%m-%d"), "host": self.host.name,
            "settings": dict(self.host.settings), "device": self.host.device.type, "ok": self.ok,
            "complete": self._complete, "wrong": self.wrong, **found,
            "files": [fact.values() for fact in self._files],
            "forwards": None if self._forwards is None else self._forwards.values()}, self._folders())

    def _folders(self) -> list[Path]:
        return [*self.host.folders.values(), *(fact.path.parent for fact in self._files if fact.path is not None)]

    def as_json(self) -> str:
        return json.dumps(self.values(), ensure_ascii=False, indent=1)

    def as_text(self) -> str:
        """One page."""
        return page.text(self.values())
