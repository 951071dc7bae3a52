"""Signs of life of a long run: one bar over all segments, a line of text, and a picture."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import comfy.model_management
import comfy.utils
import latent_preview
from PIL import Image
from server import PromptServer
from torch import Tensor

from ..scail_model import movies
from ..scail_model.filmstrip import filmstrip, thumbnail
from ..scail_model.segments import Segment


class VideoProgress:
    """A `comfy_work.Watch` that shows itself on the node. steps: of each segment."""

    def __init__(self, model, plan: Sequence[Segment], steps: int, node_id: str) -> None:
        self.plan, self.steps, self.node_id = plan, steps, node_id
        self.bar = comfy.utils.ProgressBar(len(plan) * steps)
        self.previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
        self.thumbnails: list[Image.Image] = []
        self.started = time.monotonic()
        self.spent = 0.0  # units of work done in this run: steps times frames
        self.left = float(sum(segment.length for segment in plan) * steps)
        self.timed: Counter[int] = Counter()  # frames of a segment -> steps of such segments whose time is known
        self.timed_seconds = 0.0
        self._last = (-1, 0.0)  # segment and time of the last step

    def tick(self) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()

    def stage(self, segment: int, text: str) -> None:
        self._say(segment, text)

    def step(self, segment: int, step: int, denoised: Tensor) -> None:
        self._spend(self.plan[segment].length)
        self._time(segment)
        preview = self.previewer.decode_latent_to_preview_image("JPEG", denoised) if self.previewer else None
        if preview is not None:
            preview = (preview[0], filmstrip(preview[1], self.thumbnails), preview[2])
        self.bar.update_absolute(segment * self.steps + step + 1, preview=preview)
        self._say(segment, f"step {step + 1} of {self.steps}")

    def finished(self, segment: int, part: Path, *, kept: bool) -> None:
        if self.previewer:
            self.thumbnails.append(thumbnail(movies.first_picture(part)))
        # the next segment may be in its steps already
        self.left = min(self.left, float(sum(later.length for later in self.plan[segment + 1 :]) * self.steps))
        self.bar.update_absolute(max(self.bar.current, (segment + 1) * self.steps))
        self._say(segment, "found finished" if kept else "finished")

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

    def _say(self, segment: int, text: str) -> None:
        line = f"segment {segment + 1} of {len(self.plan)}, {text}"
        if self.spent:
            line += f", about {duration((time.monotonic() - self.started) / self.spent * self.left)} left"
        PromptServer.instance.send_progress_text(line, self.node_id)


def duration(seconds: float) -> str:
    """In words."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
