"""A clip as ComfyUI's VIDEO: our nodes read it a stretch at a time, and every other one as the file that it becomes
when one is asked for."""

from __future__ import annotations

import weakref
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import folder_paths
import numpy as np
import torch
from comfy_api.latest import Input, InputImpl, Types

from ..media.clips import Clip
from ..media.retiming import PickedClip
from ..media.whole_video import write_clip

_ASSUMED_RATE = Fraction(16)  # as the nodes' setting fps


class ClipVideo(Input.Video):
    """The frames of `clip`, which have the rate 16 for others if they have none. What others write of it is read from a
    file in ComfyUI's temporary folder, which goes when nobody holds this."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip

    @cached_property
    def file(self) -> Any:
        """The same as a VIDEO from a file."""
        folder = Path(folder_paths.get_temp_directory())
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder, prefix="scail2_", suffix=".mp4", delete=False) as made:
            path = Path(made.name)
        weakref.finalize(self, path.unlink, missing_ok=True)
        clip = self.clip.ticking(self.clip.tick)
        write_clip(path, clip if clip.rate else PickedClip(clip, range(len(clip)), _ASSUMED_RATE), clip.tick)
        clip.close()
        return InputImpl.VideoFromFile(str(path))

    def get_components(self) -> Types.VideoComponents:
        images = torch.empty(len(self.clip), *self.clip.size, 3)
        for target, frame in zip(images, self.clip, strict=True):
            torch.div(frame, 255, out=target)
        return Types.VideoComponents(images=images, audio=self._audio(), frame_rate=self.get_frame_rate())

    def save_to(self, path, *given, **settings) -> None:
        self.file.save_to(path, *given, **settings)

    def as_trimmed(self, *given, **settings) -> Input.Video | None:
        return self.file.as_trimmed(*given, **settings)

    def get_stream_source(self) -> str:
        return self.file.get_stream_source()

    def get_dimensions(self) -> tuple[int, int]:
        return self.clip.width, self.clip.height

    def get_frame_count(self) -> int:
        return len(self.clip)

    def get_frame_rate(self) -> Fraction:
        return self.clip.rate or _ASSUMED_RATE

    def get_duration(self) -> float:
        return float(self.clip.times()[-1]) if self.clip.rate else float(len(self.clip) / _ASSUMED_RATE)

    def get_container_format(self) -> str:
        return "mp4"

    def get_color_space(self) -> str:
        return "sRGB"

    def _audio(self) -> dict[str, Any] | None:
        with self.clip.sound(Fraction(self.get_duration())) as track:
            blocks = list(track.blocks) if track else []
            if track is None or not blocks:
                return None
            return {"waveform": torch.from_numpy(np.concatenate(blocks, axis=1))[None], "sample_rate": track.rate}
