"""Which frames of a finished video were made together: the segments that Sample SCAIL-2 Video writes, read back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

_REMEDY = "connect the segments output of the Sample SCAIL-2 Video that made this video, or leave the input empty"
FIRST_FRAMES = 81  # taken as the first segment of a video whose segments are unknown


@dataclass(frozen=True)
class Part:
    """The frames start..stop, stop exclusive, that one segment added. cut: whether they start a new scene, without
    history."""

    start: int
    stop: int
    cut: bool = False

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Plan:
    """parts: all frames of the video, in order. rate: frames per second, None if unknown. known: whether the parts are
    known; if not, there is a single part."""

    parts: tuple[Part, ...]
    rate: Fraction | None = None
    known: bool = True

    @property
    def frames(self) -> int:
        return self.parts[-1].stop

    @property
    def scenes(self) -> list[list[int]]:
        """Indices of the parts of each scene."""
        scenes: list[list[int]] = []
        for index, part in enumerate(self.parts):
            if index == 0 or part.cut:
                scenes.append([])
            scenes[-1].append(index)
        return scenes

    @property
    def seams(self) -> Iterator[int]:
        """Indices of the parts that continue the previous one."""
        return (index for scene in self.scenes for index in scene[1:])

    def first(self, scene: list[int]) -> Part:
        """The frames that the rest of a scene is compared to."""
        part = self.parts[scene[0]]
        return part if self.known else Part(part.start, min(part.stop, FIRST_FRAMES))


def whole(frames: int) -> Plan:
    """The plan of a video whose segments are unknown."""
    return Plan((Part(0, frames),), known=False)


def parse(text: str, frames: int) -> Plan:
    """{"frames": T, "fps": "30000/1001", "segments": [{"start", "stop", "overlap", "cut"}, ...]} -> a plan.

    Counts are frames of the driving video, stop exclusive; the first `overlap` frames of a segment repeat the previous
    one and are not new. "fps" and "cut" are optional. frames: length of the video that the plan is for.

    Raises ValueError for anything else, for another number of frames, and for gaps or overlaps between segments.
    """
    try:
        values = json.loads(text)
        rate = Fraction(values["fps"]) if values.get("fps") else None
        total, segments = int(values["frames"]), [_numbers(segment) for segment in values["segments"]]
    except json.JSONDecodeError as error:
        raise ValueError(f"The segments are not valid JSON (line {error.lineno}, column {error.colno}: {error.msg}): "
                         f"{_REMEDY}.") from error
    except (KeyError, TypeError, AttributeError, ValueError, ZeroDivisionError) as error:
        raise ValueError('The segments must have "frames", and "segments" with the numbers start, stop and overlap '
                         f"({error}): {_REMEDY}.") from error
    if total != frames:
        raise ValueError(f"The segments belong to a video of {total} frames, but the video has {frames}: {_REMEDY}.")
    plan = Plan(tuple(_parts(segments)), rate)
    if not plan.parts or plan.frames != frames:
        made = plan.frames if plan.parts else 0
        raise ValueError(f"The segments end after {made} frames, but the video has {frames}: {_REMEDY}.")
    return plan


def _numbers(segment: dict) -> tuple[int, int, int, bool]:
    return int(segment["start"]), int(segment["stop"]), int(segment["overlap"]), bool(segment.get("cut", False))


def _parts(segments: list[tuple[int, int, int, bool]]) -> Iterator[Part]:
    done = 0
    for number, (start, stop, overlap, cut) in enumerate(segments, start=1):
        if start + overlap != done or stop <= done or overlap < 0:
            raise ValueError(f"Segment {number} adds the frames {start + overlap} to {stop - 1}, but the next frame is "
                             f"{done}: {_REMEDY}.")
        yield Part(done, stop, cut and number > 1)
        done = stop
