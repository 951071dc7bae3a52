"""The process that makes rows of the command line, one after the other: `python -m scail_model.headless.row_process`.

Each line of its standard input is a row, {"words": the arguments of `scail2 generate`}; each line of its standard
output is an event (`batch/events.py`), a row's last one MADE or FAILED. It leaves at the end of its input: with its
parent.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..batch.events import FACTS, LINE, PROGRESS, SEGMENT, STAGE, Tell, event
from ..doctor.machine import versions
from ..video.task import VideoTask
from .batch_rows import row_parser
from .device import usual_device
from .generate import run
from .kept_models import KeptModels, free
from .rows import FAILED, MADE, READY
from .terminal import Terminal

_VERSIONS = ("scail2", "Python", "torch", "CUDA", "driver", "diffusers", "transformers")

log = logging.getLogger(__name__)


class RowTerminal(Terminal):
    """What a run shows in the row's log, told as events too."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell

    def say(self, text: str) -> None:
        super().say(text)
        self._tell(event(LINE, text=self._status()))
        if text.startswith("loading"):
            self._tell(event(STAGE, stage="loading models"))
        elif text.startswith(("encoding", "reading the prompts")):
            self._tell(event(STAGE, stage="encoding"))

    def begin(self, task: VideoTask, folder: Path) -> None:
        super().begin(task, folder)
        self._tell(event(FACTS, seed=task.settings.seed, job_folder=str(folder.absolute())))

    def stage(self, segment: int, text: str) -> None:
        super().stage(segment, text)
        if text != "writing" or segment == len(self._plan) - 1:  # other parts are written beside the sampling
            self._tell(event(STAGE, stage=text))
        self._at(segment, 0)

    def step(self, segment: int, step: int, denoised: Tensor) -> None:
        super().step(segment, step, denoised)
        self._tell(event(STAGE, stage="sampling"))  # again, after models were loaded for it
        self._at(segment, step + 1)

    def finished(self, segment: int, part: Path, *, kept: bool) -> None:
        super().finished(segment, part, kept=kept)
        self._tell(event(SEGMENT, segment=segment + 1, segments=len(self._plan), kept=kept))

    def _at(self, segment: int, step: int) -> None:
        left = self._times.left() if self._times else None
        self._tell(event(PROGRESS, segment=segment + 1, segments=len(self._plan), step=step, steps=self._steps,
                         left=left))


def main() -> None:
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # what is printed is the row's log
        lock = threading.Lock()

        def tell(told: dict[str, Any]) -> None:
            with lock:
                answers.write(f"{json.dumps(told)}\n")
                answers.flush()

        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
        orders: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=_read, args=(orders,), daemon=True).start()
        models = KeptModels(encoders=True)
        about = {name: found for name, found in versions({}).items() if name in _VERSIONS}
        tell(event(READY, versions=about, gpu=_gpu()))
        while True:
            _make(orders.get()["words"], models, tell)
            free()


def _read(orders: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        orders.put(json.loads(line))
    os._exit(1)


def _make(words: list[str], models: KeptModels, tell: Tell) -> None:
    try:
        made = run(row_parser().parse_args(words), RowTerminal(tell), models)
    except Exception as error:
        log.exception("the row failed")
        name = f"{type(error).__module__}.{type(error).__name__}"
        tell(event(FAILED, type=name, message=str(error)))
    else:
        tell(event(MADE, video=str(made)))


def _gpu() -> str | None:
    device, _ = usual_device()
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


if __name__ == "__main__":
    main()
