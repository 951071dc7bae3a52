"""How long work shows itself: a line of text at least every 15 seconds; and while a video is made one bar over all
segments, a picture, and events for the timeline."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths
import latent_preview
from comfy_execution.utils import get_executing_context
from PIL import Image
from server import PromptServer
from torch import Tensor

from ..drawing.filmstrip import data_url, filmstrip, thumbnail
from ..media import encoding
from ..preflight.budget import duration
from ..video.comparison import COMPARING, Comparison
from ..video.progress import CANCELLED, DECODING, DONE, FAILED, JOINING, KEPT, Run, Runs
from ..video.record import record_path
from ..video.run_times import RunTimes
from ..video.task import VideoTask
from ..video.voice import SILENCE, Voice
from .seam_judge import SeamJudge
from .shown_node import say, shown_node

EVENT = "scail2.progress"
runs = Runs()  # the last few, for a page that has missed their events


class Working(Voice):
    """Says on the node that work goes on, for as long as the block that it is used in takes. doing: what is done, as in
    "loading the model"."""

    def __init__(self, hidden, doing: str) -> None:
        super().__init__(self._still)
        self._node_id, self._doing, self._spoken = hidden.unique_id, doing, False

    def __exit__(self, *raised) -> None:
        super().__exit__(*raised)
        if self._spoken:  # the line stays on the node
            self._say("finished" if raised[0] is None else "ended")

    def _still(self, seconds: float) -> None:
        self._spoken = True
        self._say(f"{duration(seconds)} so far")

    def _say(self, text: str) -> None:
        say(f"{self._doing}: {text}", self._node_id)


def working(doing: str) -> Callable[[Callable], Callable]:
    """Decorates a node's `execute`, whose class has the hidden input unique_id: see `Working`."""
    def decorated(execute: Callable) -> Callable:
        @wraps(execute)
        def run(cls, *given, **inputs):
            with Working(cls.hidden, doing):
                return execute(cls, *given, **inputs)

        return run

    return decorated


def waiting(hidden) -> Callable[[str], None]:
    """For `Job.locked`: says on the node which other run is waited for, and lets the user stop. hidden: as above."""
    told = [-math.inf]

    def wait(text: str) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        if time.monotonic() - told[0] >= SILENCE:
            told[0] = time.monotonic()
            say(text, hidden.unique_id)

    return wait


class VideoProgress:
    """A `Watch` that shows itself on the node while the block that it is used in runs. hidden: the node's, with
    unique_id and extra_pnginfo."""

    def __init__(self, task: VideoTask, model, hidden) -> None:
        self.plan, self.steps, self.node_id = task.plan, task.settings.steps, hidden.unique_id
        self.bar = comfy.utils.ProgressBar(len(self.plan) * self.steps)
        self.device = model.load_device
        self.previewer = latent_preview.get_previewer(self.device, model.model.latent_format)
        self.thumbnails: dict[int, Image.Image] = {}  # by segment, as what follows
        self.parts: dict[int, Path] = {}
        self.done: dict[int, int] = {}  # steps
        self.times = RunTimes([segment.length for segment in self.plan], self.steps)
        self.run = _begin(task, hidden)
        self.line, self.voice = "", Voice(self._still)
        self.seams = SeamJudge(task.identities, task.shown_size,
                               lambda segment, verdict: self.run.change(segment, seam=verdict))

    def __enter__(self) -> VideoProgress:
        self.voice.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        self.voice.__exit__()
        # the video is there, and the next node need not wait for the verdict on its last seam
        self.seams.close(cancel=kind is not None)
        cancelled = kind is not None and issubclass(kind, comfy.model_management.InterruptProcessingException)
        self.run.become(DONE if kind is None else CANCELLED if cancelled else FAILED)
        if kind is None:
            say(f"finished in {duration(self.times.elapsed())}", self.node_id)

    def tick(self) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()

    def at_once(self, lanes: Mapping[str, Sequence[int]]) -> None:
        self.times.at_once(list(lanes.values()))
        for place, order in lanes.items():
            for segment in order:
                self.placed(segment, place)

    def placed(self, segment: int, place: str) -> None:
        self.run.change(segment, place=place)

    def stage(self, segment: int, text: str) -> None:
        self.times.stage(segment, decoding=text == DECODING)
        if text in (JOINING, COMPARING):
            self.run.become(JOINING)
        else:
            self.run.change(segment, state=text, left=self.times.left())
        self._say(segment, text)

    def step(self, segment: int, step: int, denoised: Tensor) -> None:
        self.times.step(segment)
        self.done[segment] = step + 1
        self.bar.update_absolute(sum(self.done.values()), preview=self._preview(segment, denoised))
        self.run.change(segment, step=step + 1, left=self.times.left())
        self._say(segment, f"step {step + 1} of {self.steps}")

    def finished(self, segment: int, part: Path, *, kept: bool) -> None:
        picture = encoding.first_picture(part)
        if self.previewer:
            self.thumbnails[segment] = thumbnail(picture)
        self.times.finished(segment)
        self.done[segment] = self.steps
        self.bar.update_absolute(max(self.bar.current, sum(self.done.values())))
        self.run.change(segment, state=KEPT if kept else DONE, thumbnail=data_url(picture), part=_address(part),
                        left=self.times.left())
        self.parts[segment] = part
        if overlap := self.plan[segment].overlap:  # then the segment before is there
            self.seams.judge(segment, self.plan[segment].start + overlap, self.parts[segment - 1], part)
        self._say(segment, "found finished" if kept else "finished")

    def _preview(self, segment: int, denoised: Tensor) -> tuple | None:
        """The picture of the first segment that is sampled, where several are: to and fro nobody could watch it."""
        sampled = [index for index, steps in self.done.items() if steps < self.steps]
        if not self.previewer or segment != min(sampled, default=segment):
            return None
        preview = self.previewer.decode_latent_to_preview_image("JPEG", denoised.to(self.device))
        pictures = [self.thumbnails[index] for index in sorted(self.thumbnails)]
        return preview and (preview[0], filmstrip(preview[1], pictures), preview[2])

    def _say(self, segment: int, text: str) -> None:
        line, left = f"segment {segment + 1} of {len(self.plan)}, {text}", self.times.left()
        if left is not None:
            line += f", about {duration(left)} left"
        self.line = line
        self.voice.heard()
        say(line, self.node_id)

    def _still(self, seconds: float) -> None:
        """Nothing has changed for some seconds: a long step, or models that are loaded."""
        say(f"{self.line}; {duration(seconds)} since then", self.node_id)
        self.run.again()  # to all, because programs that wait in the queue for their own run leave after long silence


def told(video: Path, report: Sequence[str]) -> dict[str, list]:
    """A node's ui output for programs that read /history: the report, and where the finished video and its record are,
    as ComfyUI's /view takes them. Comfy API v2 passes on files that are called so, and no text; the video is among what
    Save Video gives it."""
    record = _address(record_path(video))
    return {"text": ["\n".join(report)], "scail2_files": [_address(video), record], "files": [record]}


def shown(task: VideoTask, compared: Comparison | None) -> dict[str, list]:
    """A node's ui output for its page: whether the video is a draft; else what differs from its draft, and the file
    with both, where there are such."""
    about = {"draft": task.draft_of is not None, "differences": list(compared.differences) if compared else [],
             "video": _address(compared.video) if compared and compared.video else None}
    return {"scail2_draft": [about]}


def _begin(task: VideoTask, hidden) -> Run:
    context = get_executing_context()
    workflow = ((hidden.extra_pnginfo or {}).get("workflow") or {}).get("id")
    about = {"prompt_id": context and context.prompt_id, "node": shown_node(hidden.unique_id), "workflow": workflow}
    run = Run(about, task.plan, task.settings.steps, partial(PromptServer.instance.send_sync, EVENT))
    runs.add((about["prompt_id"], about["node"]), run)
    return run


def _address(part: Path) -> dict[str, str]:
    """Of a file in the output folder, as ComfyUI's /view takes it."""
    folder = part.parent.relative_to(folder_paths.get_output_directory())
    return {"filename": part.name, "subfolder": folder.as_posix(), "type": "output"}
