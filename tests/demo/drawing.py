"""Scenes of the miniature's drawn world as the files of a user: a driving video, a reference, their masks, the truth.

All of it is computed here, so that the demo and the tests need no file from anywhere.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
import world
from PIL import Image
from torch import Tensor

from scail_model.media.x264 import SAME_FILE

FPS = Fraction(world.FPS)
SEED = 2


def draw(size: tuple[int, int], frames: int, replacement: bool = False, people: int = 1,
         seed: int = SEED) -> world.Pictures:
    """One scene, [1, T, 3, H, W] in 0..1; size is width and height in pixels. Everybody shows the back at some time.

    The masks show the first person in blue and the second in red. Seeds below 2**40 are not trained on.
    """
    width, height = size
    scenes = world.make_scenes(world.Random(seed), 1, people, width / height, replacement=replacement, behind_share=1.0)
    # the product cuts a reference out itself where it has to
    scenes = replace(scenes, identities=torch.arange(people)[None], cut_out=torch.zeros(1, dtype=torch.bool))
    return world.draw(scenes, height, width, frames)


def write_job(folder: Path, size: tuple[int, int], frames: int, replacement: bool = False, tone: bool = False,
              fps: Fraction = FPS, people: int = 1, seed: int = SEED, back: bool = False) -> dict[str, Path]:
    """Draw a scene; the files by the names of the command line's options, and `truth.mp4`, the result to hope for.

    back: with an additional reference, which shows everybody from behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = draw(size, frames, replacement, people, seed)
    stills = {"image": ("reference.png", pictures.reference), "mask_image": ("reference_mask.png",
                                                                             pictures.reference_mask)}
    if back:
        stills["additional_ref_image"] = "back.png", pictures.additional
        stills["additional_ref_mask_image"] = "back_mask.png", pictures.additional_mask
    clips = {"pose": ("driving.mp4", pictures.driving), "mask_video": ("driving_mask.mp4", pictures.driving_mask)}
    for name, picture in stills.values():
        images(picture)[0].save(folder / name)
    for name, video in (*clips.values(), ("truth.mp4", pictures.truth)):
        write_video(folder / name, images(video), fps, tone and name == "driving.mp4")
    return {option: folder / name for option, (name, _) in {**stills, **clips}.items()}


def images(video: Tensor) -> list[Image.Image]:
    """[1, T, 3, H, W] in 0..1 -> its frames."""
    return [Image.fromarray(frame) for frame in (video[0] * 255).round().byte().movedim(1, -1).numpy()]


def write_video(path: Path, frames: list[Image.Image], fps: Fraction = FPS, tone: bool = False) -> None:
    """An .mp4 of the frames, nearly lossless; `tone` adds a stereo sine of 440 Hz that is half a second longer.

    Colour at full resolution: at this size, halved colour would blur a tenth of a mask.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "4", **SAME_FILE})
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv444p"
        sound = container.add_stream("aac", rate=44100, layout="stereo") if tone else None
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())
        if sound:
            time = np.arange(round((len(frames) / fps + Fraction(1, 2)) * 44100)) / 44100
            samples = np.tile(0.3 * np.sin(2 * math.pi * 440 * time), (2, 1)).astype(np.float32)
            block = av.AudioFrame.from_ndarray(samples, "fltp", "stereo")
            block.sample_rate, block.pts = 44100, 0
            container.mux(sound.encode(block))
            container.mux(sound.encode())
