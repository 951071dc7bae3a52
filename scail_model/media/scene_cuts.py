"""Scene cuts of a driving video, found by PySceneDetect (https://www.scenedetect.com), which is optional."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from .clips import Clip

_LONGEST_SIDE = 320  # pixels that are looked at
_SHORTEST_SCENE = 5  # frames
_VERSION = 0, 7  # from here on, detectors take time codes


def check_installed() -> None:
    """Raise RuntimeError if PySceneDetect is not there."""
    try:
        installed = version("scenedetect")
    except PackageNotFoundError:
        installed = "0"
    if tuple(map(int, re.findall(r"\d+", installed)[:2])) < _VERSION:
        raise RuntimeError("scene_cuts is set to find, which needs PySceneDetect: install the Python package "
                           f"scenedetect {'.'.join(map(str, _VERSION))} or later into ComfyUI's environment, or write "
                           "down the frames of the cuts.")


def find_cuts(clip: Clip) -> list[int]:
    """Frames at which scenes begin, without 0: where colour and brightness change much more than in the frames around
    (PySceneDetect's AdaptiveDetector with its own settings)."""
    from scenedetect import AdaptiveDetector, FrameTimecode

    clip = clip.filmed
    detector = AdaptiveDetector(min_scene_len=_SHORTEST_SCENE)
    rate = float(clip.rate or 25)
    step = max(1, -(-max(clip.size) // _LONGEST_SIDE))
    found = []
    for number, frame in enumerate(clip):
        small = np.ascontiguousarray(frame[::step, ::step].numpy()[..., ::-1])  # blue first
        found += detector.process_frame(FrameTimecode(number, rate), small)
    found += detector.post_process(FrameTimecode(len(clip) - 1, rate))
    return sorted({int(cut.frame_num) for cut in found} - {0})
