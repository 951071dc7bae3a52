"""ComfyUI's VIDEO as a clip: files are read a stretch at a time, trimmed, cropped, edited and joined ones too."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from fractions import Fraction
from typing import Any

import numpy as np
from comfy_api.latest import InputImpl
from torch import Tensor

from ..levels import to_levels
from ..media.clips import Clip, TensorClip, Tick
from ..media.joined import JoinedClip
from ..media.sound import Form, Track
from ..media.source import Window
from ..media.video_file import FileClip
from .clip_video import ClipVideo


def clip_of(video: Any, name: str, tick: Tick) -> Clip:
    """VIDEO -> a clip; `name` is what messages call it. Raises RuntimeError as `FileClip` does, and ValueError as
    `JoinedClip` does."""
    if isinstance(video, ClipVideo):
        return video.clip.ticking(tick)
    if isinstance(parts := getattr(video, "videos", None), list):  # VideoFromList of newer versions
        return JoinedClip([clip_of(part, name, tick) for part in parts], getattr(video, "complete_audio", None))
    if isinstance(video, InputImpl.VideoFromFile):
        whole = FileClip(video.get_stream_source(), Window(*video.get_active_trim_window()), name, tick)
        if not _edited(video):
            return whole
        crop = getattr(video, "_VideoFromFile__crop", None)
        if crop and (inside := _inside(crop, whole)) and inside[2:] == tuple(video.get_dimensions()):
            return FileClip(whole.file.file, whole.file.window, name, tick, inside)
        if _edited(video.as_trimmed(0.0, 0.0, False)):
            return EditedClip(video, whole)
    found = video.get_components()
    return TensorClip(found.images, found.frame_rate, found.audio, tick)


class EditedClip(Clip):
    """A VIDEO from a file whose frames ComfyUI changes while it reads them: a stretch is a trimmed VIDEO. whole: the
    frames of the file, whose time stamps and sound it has."""

    def __init__(self, video: Any, whole: FileClip) -> None:
        self.video, self.whole, self.name, self.tick = video, whole, whole.name, whole.tick
        self.rate, self.variable, self.warnings = whole.rate, whole.variable, whole.warnings
        if not whole.look.plain:
            self.warnings = [f"The {self.name} is cropped or resized by ComfyUI, which reads HDR, wide gamut, "
                             "transparency and interlaced frames as if they were plain: save it as a plain file first."]
        self.height, self.width = self.read(0, 1).shape[1:3]

    def __len__(self) -> int:
        return len(self.whole)

    def times(self) -> np.ndarray:
        return self.whole.times()

    def read(self, start: int, stop: int) -> Tensor:
        for _ in range(start, stop):
            self.tick()
        known, window = self.whole.known, self.whole.file.window
        # ComfyUI rounds times down to ticks, and takes frames before the end
        first, end = (float((known.stamps[index] or 0) * known.clock) for index in (start, stop - 1))
        tick = float(known.clock)
        trimmed = self.video.as_trimmed(first + tick / 4 - window.start, end - first + tick, False)
        frames = to_levels(trimmed.get_components().images)
        if len(frames) != stop - start:
            raise RuntimeError(f"The edited {self.name} {self.whole.file.shown} gives {len(frames)} frames for frames "
                               f"{start} to {stop - 1}: save it as a file, and load that.")
        return frames

    def sound(self, seconds: Fraction, form: Form | None = None) -> AbstractContextManager[Track | None]:
        return self.whole.sound(seconds, form)

    def ticking(self, tick: Tick) -> EditedClip:
        return EditedClip(self.video, self.whole.ticking(tick))

    def digest(self) -> str:
        # what the edits are, only their pixels tell
        found = hashlib.blake2b(self.whole.digest().encode(), digest_size=16)
        for frames in self.stretches(0, len(self)):
            found.update(np.ascontiguousarray(frames))
        return found.hexdigest()


def _edited(video: Any) -> bool:
    """Whether newer versions of ComfyUI change the frames of a VIDEO while reading it."""
    return hasattr(video, "has_pending_frame_edits") and video.has_pending_frame_edits()


def _inside(crop: tuple[int, int, int, int], whole: FileClip) -> tuple[int, int, int, int] | None:
    """(x, y, width, height) inside of the picture and on even pixels, as ComfyUI crops; None for all of it, or nothing
    of it."""
    size = whole.known.size[::-1] if whole.look.way.lying else whole.known.size
    starts = [max(0, min(int(at), side - 1)) // 2 * 2 for at, side in zip(crop[:2], size, strict=True)]
    sides = [min(int(given), side - at) for given, side, at in zip(crop[2:], size, starts, strict=True)]
    if starts == [0, 0] and tuple(sides) == tuple(size):
        return None
    x, y, width, height = *starts, sides[0] // 2 * 2, sides[1] // 2 * 2
    return (x, y, width, height) if width > 0 and height > 0 else None
