"""Drawn test material: a figure that walks and waves, another one at rest, their masks, and a tone to go with it.

All of it is computed here, so that the demo and the tests need no file from anywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

FPS = Fraction(16)
BLUE, RED, BLACK, WHITE = (0, 0, 255), (255, 0, 0), (0, 0, 0), (255, 255, 255)
_FINE = 4  # drawn so many times larger, then scaled down, for smooth edges

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """How a figure is dressed; `width` scales its limbs."""

    skin: Colour
    shirt: Colour
    trousers: Colour
    hat: Colour
    width: float = 1.0


@dataclass(frozen=True)
class Pose:
    """Joint angles in radians, left and right, from hanging down outwards; x and height in picture sizes."""

    arms: tuple[float, float] = (0.5, 0.5)
    elbows: tuple[float, float] = (0.3, 0.3)
    thighs: tuple[float, float] = (0.15, 0.15)
    knees: tuple[float, float] = (0.1, 0.1)
    x: float = 0.5
    height: float = 0.66


@dataclass(frozen=True)
class Scene:
    """Background: two colours from top to bottom, the ground, and a block standing on it."""

    top: Colour
    bottom: Colour
    ground: Colour
    block: Colour


VISITOR = Look((214, 170, 140), (60, 90, 200), (70, 60, 50), (30, 120, 90))
HERO = Look((120, 80, 55), (220, 60, 50), (240, 200, 60), (150, 40, 170), 1.15)
PARK = Scene((150, 190, 210), (190, 205, 190), (120, 140, 100), (150, 120, 100))
ROOM = Scene((200, 180, 160), (170, 150, 150), (130, 110, 120), (110, 130, 160))


def walking(time: float) -> Pose:
    """The figure walks slowly across and waves with one arm; time in seconds."""
    step = math.sin(2 * math.pi * 1.1 * time)
    wave = math.sin(2 * math.pi * 1.6 * time)
    return Pose(arms=(0.45 + 0.25 * step, 1.9 + 0.3 * wave), elbows=(0.3, 0.5 + 0.5 * wave),
                thighs=(0.2 + 0.2 * step, 0.2 - 0.2 * step), knees=(0.15, 0.15), x=0.45 + 0.08 * time)


def picture(size: tuple[int, int], scene: Scene, people: list[tuple[Look, Pose]]) -> Image.Image:
    """Width x height pixels, RGB."""
    width, height = (side * _FINE for side in size)
    gradient = np.linspace(0, 1, height)[:, None, None]
    pixels = (np.array(scene.top) * (1 - gradient) + np.array(scene.bottom) * gradient).round().astype(np.uint8)
    image = Image.fromarray(np.broadcast_to(pixels, (height, width, 3)).copy())
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0.78 * height, width, height), fill=scene.ground)
    draw.rectangle((0.08 * width, 0.5 * height, 0.26 * width, 0.78 * height), fill=scene.block)
    for look, pose in people:
        for start, end, radius, colour in _limbs(look, pose, width, height):
            _capsule(draw, start, end, radius, colour)
    return image.resize(size, Image.Resampling.BOX)


def mask(size: tuple[int, int], background: Colour, people: list[tuple[Look, Pose, Colour]]) -> Image.Image:
    """The same people in one pure colour each, hard edges."""
    image = Image.new("RGB", size, background)
    draw = ImageDraw.Draw(image)
    for look, pose, colour in people:
        for start, end, radius, _ in _limbs(look, pose, *size):
            _capsule(draw, start, end, radius, colour)
    return image


def write_video(path: Path, frames: list[Image.Image], fps: Fraction = FPS, tone: bool = False) -> None:
    """An .mp4 of the frames, nearly lossless; `tone` adds a stereo sine of 440 Hz that is half a second longer.

    Colour at full resolution: at this size, halved colour would blur a tenth of a mask.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "4"})
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


def write_job(folder: Path, size: tuple[int, int], frames: int, replacement: bool = False, tone: bool = False,
              fps: Fraction = FPS) -> dict[str, Path]:
    """Reference, driving video and masks of one figure; the files by the names of the command line's options."""
    folder.mkdir(parents=True, exist_ok=True)
    poses = [walking(index / float(fps)) for index in range(frames)]
    paths = {"image": folder / "reference.png", "mask_image": folder / "reference_mask.png",
             "pose": folder / "driving.mp4", "mask_video": folder / "driving_mask.mp4"}
    picture(size, ROOM, [(HERO, Pose())]).save(paths["image"])
    mask(size, BLACK if replacement else WHITE, [(HERO, Pose(), BLUE)]).save(paths["mask_image"])
    write_video(paths["pose"], [picture(size, PARK, [(VISITOR, pose)]) for pose in poses], fps, tone)
    background = WHITE if replacement else BLACK
    write_video(paths["mask_video"], [mask(size, background, [(VISITOR, pose, BLUE)]) for pose in poses], fps)
    return paths


def _limbs(look: Look, pose: Pose, width: float, height: float) -> list[tuple]:
    """(start, end, radius, colour) of every part, from the back to the front, in pixels."""
    unit = pose.height * height
    hips = np.array((pose.x * width, 0.92 * height - 0.47 * unit))
    neck, head = hips - (0, 0.28 * unit), hips - (0, 0.41 * unit)
    parts = []
    for side, sign, shade in ((0, -1, 0.7), (1, 1, 1.0)):
        shoulder = neck + (sign * 0.085 * unit, 0.02 * unit)
        elbow = shoulder + 0.16 * unit * _hanging(pose.arms[side], sign)
        hand = elbow + 0.15 * unit * _hanging(pose.arms[side] + pose.elbows[side], sign)
        hip = hips + (sign * 0.046 * unit, 0)
        knee = hip + 0.23 * unit * _hanging(pose.thighs[side], sign)
        foot = knee + 0.23 * unit * _hanging(pose.thighs[side] - pose.knees[side], sign)
        arm = [(shoulder, elbow, 0.046, _shaded(look.shirt, shade)), (elbow, hand, 0.042, _shaded(look.skin, shade))]
        leg = [(hip, knee, 0.056, _shaded(look.trousers, shade)), (knee, foot, 0.050, _shaded(look.trousers, shade))]
        parts.append((arm, leg))
    (left_arm, left_leg), (right_arm, right_leg) = parts
    body = [(hips, neck + (0, 0.05 * unit), 0.092, look.shirt), (head, head, 0.100, look.skin)]
    brim, crown = head - (0, 0.065 * unit), head - (0, 0.075 * unit)
    across = np.array((1.0, 0.0)) * unit
    hat = [(brim - 0.12 * across, brim + 0.12 * across, 0.026, look.hat),
           (crown - 0.03 * across, crown + 0.03 * across, 0.066, look.hat)]
    limbs = [*left_arm, *left_leg, *right_leg, *body, *hat, *right_arm]
    return [(start, end, radius * unit * look.width, colour) for start, end, radius, colour in limbs]


def _hanging(angle: float, sign: int) -> np.ndarray:
    return np.array((sign * math.sin(angle), math.cos(angle)))


def _shaded(colour: Colour, shade: float) -> Colour:
    return tuple(round(part * shade) for part in colour)


def _capsule(draw: ImageDraw.ImageDraw, start: np.ndarray, end: np.ndarray, radius: float, colour: Colour) -> None:
    draw.line((*start, *end), fill=colour, width=max(round(2 * radius), 1))
    for x, y in (start, end):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
