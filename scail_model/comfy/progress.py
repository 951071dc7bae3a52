"""Signs of life of a long run: one bar over all segments, a line of text, a picture, and events for the timeline."""

from __future__ import annotations

import logging
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths
import latent_preview
from aiohttp import web
from comfy_execution.utils import get_executing_context
from PIL import Image
from server import PromptServer
from torch import Tensor

from ..drawing.filmstrip import data_url, filmstrip, thumbnail
from ..drift import measure
from ..drift.seam_check import seam_verdict
from ..masks import people
from ..media import encoding
from ..video.progress import CANCELLED, DECODING, DONE, FAILED, JOINING, KEPT, Run, Runs
from .work import Work

EVENT, ROUTE = "scail2.progress", "/scail2/progress"
_MOST_VERDICTS = 10_000

log = logging.getLogger(__name__)
_runs = Runs()
_verdicts: dict[tuple[str, str], str] = {}  # by the names of two parts, which stand for their content


class VideoProgress:
    """A `comfy_work.Watch` that shows itself on the node while the block that it is used in runs. hidden: the node's,
    with unique_id and extra_pnginfo."""

    def __init__(self, work: Work, hidden) -> None:
        self.work, self.plan, self.steps, self.node_id = work, work.plan, work.settings.steps, hidden.unique_id
        self.bar = comfy.utils.ProgressBar(len(self.plan) * self.steps)
        model = work.model
        self.previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
        self.thumbnails: list[Image.Image] = []
        self.parts: list[Path] = []
        self.started = time.monotonic()
        self.spent = 0.0  # units of work done in this run: steps times frames
        self.timed: Counter[int] = Counter()  # frames of a segment -> steps of such segments whose time is known
        self.timed_seconds = 0.0
        self.decoded: Counter[int] = Counter()  # frames of a segment -> such segments that were decoded
        self.decoded_seconds = 0.0
        self._decoding = 0.0  # when that began, 0 if it is not going on
        self._last = (-1, 0.0)  # segment and time of the last step
        self.left = float(sum(segment.length for segment in self.plan) * self.steps)
        self.run = _begin(work, hidden)
        self.judge = ThreadPoolExecutor(1, "scail2")

    def __enter__(self) -> VideoProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        # who has the video need not wait for the verdict on its last seam
        self.judge.shutdown(wait=False, cancel_futures=kind is not None)
        cancelled = kind is not None and issubclass(kind, comfy.model_management.InterruptProcessingException)
        self.run.become(DONE if kind is None else CANCELLED if cancelled else FAILED)
        if kind is None:
            taken = duration(time.monotonic() - self.started)
            PromptServer.instance.send_progress_text(f"finished in {taken}", self.node_id)

    def tick(self) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()

    def stage(self, segment: int, text: str) -> None:
        self._time_decoding(segment, text)
        if text == JOINING:
            self.run.become(JOINING)
        else:
            self.run.change(segment, state=text, left=self._seconds_left())
        self._say(segment, text)

    def step(self, segment: int, step: int, denoised: Tensor) -> None:
        self._spend(self.plan[segment].length)
        self._time(segment)
        preview = self.previewer.decode_latent_to_preview_image("JPEG", denoised) if self.previewer else None
        if preview is not None:
            preview = (preview[0], filmstrip(preview[1], self.thumbnails), preview[2])
        self.bar.update_absolute(segment * self.steps + step + 1, preview=preview)
        self.run.change(segment, step=step + 1, left=self._seconds_left())
        self._say(segment, f"step {step + 1} of {self.steps}")

    def finished(self, segment: int, part: Path, *, kept: bool) -> None:
        picture = encoding.first_picture(part)
        if self.previewer:
            self.thumbnails.append(thumbnail(picture))
        # the next segment may be in its steps already
        self.left = min(self.left, float(sum(later.length for later in self.plan[segment + 1 :]) * self.steps))
        self.bar.update_absolute(max(self.bar.current, (segment + 1) * self.steps))
        self.run.change(segment, state=KEPT if kept else DONE, thumbnail=data_url(picture), part=_address(part),
                        left=self._seconds_left())
        self.parts.append(part)
        if self.plan[segment].overlap:
            self.judge.submit(self._judge, segment, *self.parts[-2:])
        self._say(segment, "found finished" if kept else "finished")

    def _judge(self, segment: int, before: Path, after: Path) -> None:
        """Tell the verdict on the seam at which a segment begins; nothing if the files are not there any more."""
        key = before.name, after.name
        try:
            if key not in _verdicts:
                begin = self.plan[segment].start + self.plan[segment].overlap
                _verdicts[key] = seam_verdict(before, after, partial(self._people, begin)
                                              if self.work.identities.replacement else None)
        except Exception as error:
            log.warning("SCAIL-2: the seam before segment %d could not be judged (%s)", segment + 1, error)
            return
        if len(_verdicts) > _MOST_VERDICTS:
            del _verdicts[next(iter(_verdicts))]
        self.run.change(segment, seam=_verdicts[key])

    def _people(self, begin: int, index: int) -> Tensor:
        """Where people are in frame begin + index, bool [H, W]."""
        labels = self.work.identities.driving_labels(begin + index, begin + index + 1)[0]
        reference = self.work.choices[0].reference
        return measure.cover_mask(people(labels), reference.height, reference.width)

    def _spend(self, units: float) -> None:
        self.spent += units
        self.left = max(0.0, self.left - units)

    def _time(self, segment: int) -> None:
        """From the second step of a segment on; before the first one, weights may still be read."""
        (last, since), now = self._last, time.monotonic()
        if segment == last:
            self.timed[self.plan[segment].length] += 1
            self.timed_seconds += now - since
        self._last = (segment, now)

    def _time_decoding(self, segment: int, stage: str) -> None:
        now = time.monotonic()
        if self._decoding:
            self.decoded[self.plan[segment].length] += 1
            self.decoded_seconds += now - self._decoding
        self._decoding = now if stage == DECODING else 0.0

    def _seconds_left(self) -> float | None:
        return (time.monotonic() - self.started) / self.spent * self.left if self.spent else None

    def _say(self, segment: int, text: str) -> None:
        line, left = f"segment {segment + 1} of {len(self.plan)}, {text}", self._seconds_left()
        if left is not None:
            line += f", about {duration(left)} left"
        PromptServer.instance.send_progress_text(line, self.node_id)


def duration(seconds: float) -> str:
    """In words."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def add_route() -> None:
    """GET /scail2/progress: all of the last few runs, for a page that has missed their events. A second copy of the
    pack leaves it to the first one."""
    routes = PromptServer.instance.routes
    if not any(route.path == ROUTE for route in routes if isinstance(route, web.RouteDef)):
        routes.get(ROUTE)(_answer)


async def _answer(_: web.Request) -> web.Response:
    return web.json_response({"runs": _runs.whole()})


def _begin(work: Work, hidden) -> Run:
    context = get_executing_context()
    workflow = ((hidden.extra_pnginfo or {}).get("workflow") or {}).get("id")
    about = {"prompt_id": context and context.prompt_id, "node": hidden.unique_id, "workflow": workflow}
    run = Run(about, work.plan, work.settings.steps, partial(PromptServer.instance.send_sync, EVENT))
    _runs.add((about["prompt_id"], about["node"]), run)
    return run


def _address(part: Path) -> dict[str, str]:
    """Of a file in the output folder, as ComfyUI's /view takes it."""
    folder = part.parent.relative_to(folder_paths.get_output_directory())
    return {"filename": part.name, "subfolder": folder.as_posix(), "type": "output"}
