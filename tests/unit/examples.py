"""Folders as `scail2 prepare` takes them, drawn: boxes that walk to the right before noise, with their masks."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

from scail_model.headless.cli import main
from scail_model.masks import PALETTE

BLUE, RED, GREEN = PALETTE[:3]
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
SIZE, FRAMES, STEP = (96, 160), 6, 2  # height and width; pixels a frame
LEFT, MIDDLE, RIGHT = (8, 16, 40, 88), (60, 16, 92, 88), (108, 16, 140, 88)  # left, top, right, bottom in frame 0


def silhouettes(boxes: Sequence[tuple | None], frames: int = FRAMES, size: tuple[int, int] = SIZE) -> np.ndarray:
    """bool [P, T, H, W]; None is somebody who comes in the second frame, in the middle."""
    masks = np.zeros((len(boxes), frames, *size), bool)
    for mask, box in zip(masks, boxes, strict=True):
        left, top, right, bottom = box or MIDDLE
        for frame in range(0 if box else 1, frames):
            mask[frame, top:bottom, left + STEP * frame : right + STEP * frame] = True
    return masks


def painted(masks: np.ndarray, colours: Sequence, background: tuple = BLACK) -> np.ndarray:
    """bool [P, ..., H, W] -> uint8 [..., H, W, 3]."""
    picture = np.broadcast_to(np.array(background, np.uint8), (*masks.shape[1:], 3)).copy()
    for mask, colour in zip(masks, colours, strict=True):
        picture[mask] = colour
    return picture


def filmed(masks: np.ndarray) -> np.ndarray:
    """Pictures of people, uint8 [T, H, W, 3]: bright, before dark noise of large grain."""
    frames, height, width = masks.shape[1:]
    noise = np.random.default_rng(0).integers(20, 90, (frames, height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    pictures = noise.repeat(8, 1).repeat(8, 2)[:, :height, :width].copy()
    pictures[masks.any(0)] = 200
    return pictures


def write_video(path: Path, frames: np.ndarray, *, rate: Fraction | int = 16, stamps: Sequence[int] = (),
                tone: bool = False, shape: Fraction | None = None, codec: str = "libx264") -> None:
    """stamps: of the frames, in milliseconds. shape: of a pixel."""
    with av.open(str(path), "w") as container:
        options = {"crf": "2", "preset": "ultrafast"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = {"gif": "rgb8", "libx264": "yuv444p"}[codec]
        if shape:
            stream.codec_context.sample_aspect_ratio = shape
        if stamps:
            stream.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("aac", rate=44100, layout="mono") if tone else None
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if stamps:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound:
            wave = np.sin(np.arange(44100 * len(frames) // rate) / 16).astype(np.float32)[None]
            block = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
            block.sample_rate, block.pts = 44100, 0
            container.mux(sound.encode(block))
            container.mux(sound.encode())


def write_folder(folder: Path, people: Sequence = (LEFT,), colours: Sequence = (BLUE,), *,
                 reference: Sequence = (MIDDLE,), reference_colours: Sequence = (BLUE,), tone: bool = False) -> Path:
    """driving.mp4, driving_mask.mp4, ref_image.png and reference_mask.png."""
    folder.mkdir(parents=True)
    masks = silhouettes(people)
    write_video(folder / "driving.mp4", filmed(masks), tone=tone)
    write_video(folder / "driving_mask.mp4", painted(masks, colours))
    write_reference(folder, reference, reference_colours)
    return folder


def write_reference(folder: Path, people: Sequence, colours: Sequence, size: tuple[int, int] = SIZE) -> None:
    masks = silhouettes(people, 1, size)
    Image.fromarray(filmed(masks)[0]).save(folder / "ref_image.png")
    Image.fromarray(painted(masks, colours, WHITE if WHITE not in colours else BLACK)[0]).save(
        folder / "reference_mask.png")


def prepare(mode: str, folder: Path, *flags: object) -> int:
    """Run the command on one folder. Returns its exit code."""
    if mode == "animation" and "--e2e_mode" not in flags:
        flags = ("--e2e_mode", *flags)
    return main(["prepare", mode, "--subdir", str(folder), *map(str, flags)])


# As the official generate.py reads: every frame as it is stored, brought to the size of the result, uint8

def read_frames(path: Path) -> np.ndarray:
    """uint8 [T, H, W, 3]."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def read_codes(frames: np.ndarray, size: tuple[int, int], *, halved: bool) -> np.ndarray:
    """Masks uint8 [T, H, W, 3] -> red + 2 green + 4 blue where each is above 225, after cover, crop and half size."""
    height, width = size
    scale = max(height / frames.shape[1], width / frames.shape[2])
    scaled = [max(side, int(stored * scale)) for side, stored in zip(size, frames.shape[1:3], strict=True)]
    pixels = torch.from_numpy(frames).movedim(-1, 1).float()
    pixels = torch.nn.functional.interpolate(pixels, scaled, mode="bicubic", antialias=True).round().clamp(0, 255)
    top, left = (scaled[0] - height) // 2, (scaled[1] - width) // 2
    pixels = pixels[..., top : top + height, left : left + width]
    if halved:
        pixels = torch.nn.functional.avg_pool2d(pixels, 2)
    return ((pixels > 225) * torch.tensor([1, 2, 4]).view(3, 1, 1)).sum(1).numpy()


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union."""
    return float((one & other).sum() / max((one | other).sum(), 1))


Change = Callable[[Path], None]


def as_gif(frames: np.ndarray) -> bytes:
    file = io.BytesIO()
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(file, "gif", save_all=True, append_images=pictures[1:], duration=60)
    return file.getvalue()
