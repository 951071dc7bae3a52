"""Drawn inputs under the workflows' file names: people and animals of round limbs who move, and their masks.

Geometry in parts of the picture's height; x counts from the middle.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from assets import FPS, tone, write_video
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch import Tensor

from . import drawn_points

_FINE = 3  # drawn larger, then scaled down
_BLUE, _RED = (0, 0, 255), (255, 0, 0)
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)

_ALONE, _TWO = (0.0,), (-0.38, 0.38)
# where people stand in the reference and in the driving video
_PLACES = {"two_people": (_TWO, _TWO), "sam3_several_people": (_TWO, _TWO), "sam3_points": (_ALONE, _TWO),
           "replacement_by_overlap": (_TWO[1:], _TWO)}
_REPLACEMENT = ("replacement", "replace_a_person", "sam3_points", "replacement_by_overlap", "from_core_nodes",
                "small_person", "face_pass")
_WIDE_SHOT, _WHERE = 0.32, (0.62, 0.58)  # size of a small person's picture in a wide one, and its corner there


@dataclass(frozen=True)
class Look:
    skin: str
    hair: str
    shirt: str
    trousers: str
    four_legs: bool = False


@dataclass(frozen=True)
class Scene:
    wall: str
    floor: str
    light: str


DANCER = Look("#c98f68", "#2b2b30", "#8d99a6", "#3c4655")
SECOND_DANCER = Look("#e3b391", "#7a5230", "#a8a29a", "#59616b")
HEROINE = Look("#f0c09a", "#b5482a", "#f3e7cf", "#27406b")
HERO = Look("#a06a45", "#1d1a1a", "#2f6b4f", "#2e2e34")
DOG = Look("#b98a5a", "#6b4a2c", "#b98a5a", "#9c7146", four_legs=True)
FOX = Look("#d9682b", "#7c3012", "#d9682b", "#c25a22", four_legs=True)
STUDIO = Scene("#c9cdd2", "#a7a49d", "#dde1e5")
SEASIDE = Scene("#8fc6e8", "#d9c7a3", "#ffe2a8")


def write(folder: Path, workflow: str, *, frames: int, width: int, height: int, sound: bool = False) -> None:
    """The input files of one workflow, as its loaders name them, and the people's joints and points for stand-ins of
    detectors."""
    folder.mkdir(parents=True, exist_ok=True)
    replacement = workflow in _REPLACEMENT
    places, driving_places = _PLACES.get(workflow, (_ALONE, _ALONE))
    colours = _BLUE, _RED
    size = width, height

    def people(looks: tuple[Look, ...], places: tuple[float, ...], time: float) -> list:
        return [(look, place, pose) for look, (place, pose) in zip(looks, _posed(places, time), strict=False)]

    characters, actors = ((FOX,), (DOG,)) if workflow == "animal" else ((HEROINE, HERO), (DANCER, SECOND_DANCER))
    reference = people(characters, places, 0.0)
    _picture(size, SEASIDE, reference).save(folder / "reference.png")
    _mask(size, _BLACK if replacement else _WHITE, reference, colours).save(folder / "reference_mask.png")
    back = [(HEROINE, 0.0, _pose(0.1))]
    _picture(size, SEASIDE, back, faces=False).save(folder / "reference_back.png")
    _mask(size, _BLACK, back, colours).save(folder / "reference_back_mask.png")

    clip = [people(actors, driving_places, index / float(FPS)) for index in range(frames)]
    background = _WHITE if replacement else _BLACK
    drawn = [(_picture(size, STUDIO, entry), _mask(size, background, entry, colours)) for entry in clip]
    if workflow == "small_person":
        drawn = [_far_away(*pair, background) for pair in drawn]
    write_video(folder / "driving.mp4", _stack(picture for picture, _ in drawn),
                sound=tone(frames / FPS) if sound else None)
    write_video(folder / "driving_mask.mp4", _stack(mask for _, mask in drawn), pixels="yuv444p", options={"qp": "0"})
    bodies = {"joints": joints, "points": key_points}
    save_file({name: values(workflow, frames=frames, width=width, height=height) for name, values in bodies.items()},
              folder / "driving_bodies.safetensors")


def _stack(images: Iterable[Image.Image]) -> Tensor:
    """uint8 [T, h, w, 3]"""
    return torch.stack([torch.from_numpy(np.array(image)) for image in images])


def _posed(places: tuple[float, ...], time: float) -> list[tuple[float, dict[str, float]]]:
    return [(place, _pose(time + 0.35 * index)) for index, place in enumerate(places)]


def _pose(time: float) -> dict[str, float]:
    """Angles in radians from straight down, outwards."""
    beat = 2 * math.pi * time
    swing = math.sin(beat)
    return {"sway": 0.05 * swing, "left_arm": 1.3 + 0.8 * swing, "right_arm": 1.3 - 0.8 * swing,
            "elbow": 0.5 + 0.3 * math.cos(beat), "left_leg": 0.18 + 0.12 * swing, "right_leg": 0.18 - 0.12 * swing}


def _skeleton(place: float, pose: dict[str, float]) -> tuple[dict[str, tuple[float, float]], list[dict]]:
    """Points of a person: the middle ones, and those of each side, that on the left of the picture first."""
    middle = {"hip": (place + pose["sway"] / 2, 0.58), "neck": (place + pose["sway"], 0.32)}
    sides = []
    for side, leg, arm in ((-1, pose["left_leg"], pose["left_arm"]), (1, pose["right_leg"], pose["right_arm"])):
        hip = (middle["hip"][0] + side * 0.04, middle["hip"][1])
        foot = (hip[0] + side * 0.34 * math.sin(leg), hip[1] + 0.34 * math.cos(leg))
        shoulder = (middle["neck"][0] + side * 0.07, middle["neck"][1] + 0.01)
        elbow = (shoulder[0] + side * 0.14 * math.sin(arm), shoulder[1] + 0.14 * math.cos(arm))
        bend = arm + pose["elbow"]
        hand = (elbow[0] + side * 0.14 * math.sin(bend), elbow[1] + 0.14 * math.cos(bend))
        sides.append({"hip": hip, "foot": foot, "shoulder": shoulder, "elbow": elbow, "hand": hand})
    return middle, sides


def joints(workflow: str, *, frames: int, width: int, height: int) -> Tensor:
    """SMPL's 24 joints of the people in the driving video that `write` draws, in millimetres before a camera of 55
    degrees, float32 [T, P, 24, 3]: flat, and so far away that they are 1.75 m tall."""
    focal = max(width, height) / (2 * math.tan(math.radians(27.5)))
    away = 1750 * focal / (0.8 * height)
    places = _PLACES.get(workflow, (_ALONE, _ALONE))[1]
    found = torch.zeros(frames, len(places), 24, 3)
    for index in range(frames):
        for person, (place, pose) in enumerate(_posed(places, index / float(FPS))):
            flat = torch.tensor(_smpl(place, pose))
            found[index, person, :, 0], found[index, person, :, 1] = flat[:, 0], flat[:, 1] - 0.5
    found[..., :2] *= height * away / focal
    found[..., 2] = away
    return found


def key_points(workflow: str, *, frames: int, width: int, height: int) -> Tensor:
    """Face, hands and body of the same people in pixels, float32 [T, P, 134, 2]."""
    middle = torch.tensor([width / 2, 0.0])
    places = _PLACES.get(workflow, (_ALONE, _ALONE))[1]
    found = []
    for index in range(frames):
        posed = _posed(places, index / float(FPS))
        heads = [_head(HEROINE, *one) for one in posed]
        found.append(torch.stack([drawn_points.points(torch.tensor(_smpl(*one)) * height + middle,
                                                      (x * height + width / 2, y * height, radius * height))
                                  for one, (x, y, radius) in zip(posed, heads, strict=True)]))
    return torch.stack(found)


def _smpl(place: float, pose: dict[str, float]) -> list[tuple[float, float]]:
    """The person's right is on the left of the picture."""
    middle, (right, left) = _skeleton(place, pose)
    hip, neck, head = middle["hip"], middle["neck"], _head(HEROINE, place, pose)[:2]
    knees = [((one["hip"][0] + one["foot"][0]) / 2, (one["hip"][1] + one["foot"][1]) / 2) for one in (left, right)]
    chest = (neck[0], (neck[1] + hip[1]) / 2)
    return [hip, left["hip"], right["hip"], chest, *knees, chest, left["foot"], right["foot"], chest, left["foot"],
            right["foot"], neck, neck, neck, head, left["shoulder"], right["shoulder"], left["elbow"], right["elbow"],
            left["hand"], right["hand"], left["hand"], right["hand"]]


def _limbs(look: Look, place: float, pose: dict[str, float]) -> list[tuple[str, list[tuple[float, float]], float]]:
    """(part of the look, points, thickness), back to front."""
    if look.four_legs:
        return _animal_limbs(place, pose)
    middle, sides = _skeleton(place, pose)
    limbs = [("trousers", [side["hip"], side["foot"]], 0.075) for side in sides]
    limbs.append(("shirt", [middle["neck"], middle["hip"]], 0.15))
    for side in sides:
        limbs += [("skin", [side["elbow"], side["hand"]], 0.045), ("shirt", [side["shoulder"], side["elbow"]], 0.06)]
    return limbs


def _animal_limbs(place: float, pose: dict[str, float]) -> list[tuple[str, list[tuple[float, float]], float]]:
    """From the side, the head on the left; opposite legs swing together."""
    front, back = (place - 0.2, 0.58 + pose["sway"] / 3), (place + 0.2, 0.58 - pose["sway"] / 3)
    limbs = [("skin", [back, (back[0] + 0.16, 0.44 + pose["sway"])], 0.05)]
    for shade, shift, turn in (("trousers", 0.05, -1), ("shirt", 0.0, 1)):
        for hip, phase in ((front, turn), (back, -turn)):
            foot = (hip[0] + shift + 0.1 * phase * pose["sway"] / 0.05, 0.9 - abs(shift) / 2)
            limbs.append((shade, [(hip[0] + shift, hip[1]), foot], 0.06))
    return [*limbs, ("shirt", [front, back], 0.19), ("skin", [front, _head(FOX, place, pose)[:2]], 0.1)]


def _head(look: Look, place: float, pose: dict[str, float]) -> tuple[float, float, float]:
    if look.four_legs:
        return place - 0.36, 0.42 + pose["sway"] / 2, 0.085
    return place + pose["sway"] * 1.3, 0.20, 0.075


def _picture(size: tuple[int, int], scene: Scene, people: list, *, faces: bool = True) -> Image.Image:
    width, height = size[0] * _FINE, size[1] * _FINE
    image = Image.new("RGB", (width, height), scene.wall)
    draw = ImageDraw.Draw(image)
    draw.ellipse((width * 0.72, -height * 0.2, width * 0.72 + height * 0.7, height * 0.5), fill=scene.light)
    draw.rectangle((0, height * 0.78, width, height), fill=scene.floor)
    for look, place, pose in people:
        for part, points, thickness in _limbs(look, place, pose):
            _stroke(draw, points, thickness, getattr(look, part), width, height)
        _draw_head(draw, look, _head(look, place, pose), faces, width, height)
    return image.resize(size, Image.Resampling.LANCZOS)


def _far_away(picture: Image.Image, mask: Image.Image, background: tuple) -> tuple[Image.Image, Image.Image]:
    """A picture and its mask -> the person small in a wide shot."""
    size = picture.size
    small = round(size[0] * _WIDE_SHOT), round(size[1] * _WIDE_SHOT)
    corner = round(size[0] * _WHERE[0]), round(size[1] * _WHERE[1])
    colours, place = mask.resize(small, Image.Resampling.NEAREST), Image.new("RGB", size, background)
    place.paste(colours, corner)
    person = Image.fromarray((np.array(colours) != background).any(-1))
    wide = _picture(size, STUDIO, [])
    wide.paste(picture.resize(small, Image.Resampling.LANCZOS), corner, person)
    return wide, place


def _draw_head(draw, look: Look, head: tuple[float, float, float], face: bool, width: int, height: int) -> None:
    x, y, radius = head[0] * height + width / 2, head[1] * height, head[2] * height
    if look.four_legs:
        _draw_ears(draw, look, x, y, radius)
    else:
        draw.ellipse((x - radius * 1.12, y - radius * 1.2, x + radius * 1.12, y + radius * 1.12), fill=look.hair)
    if face:
        draw.ellipse((x - radius * 0.85, y - radius * 0.7, x + radius * 0.85, y + radius), fill=look.skin)
        for side in (-1, 1):
            eye = x + side * radius * 0.34
            draw.ellipse((eye - radius * 0.1, y - radius * 0.1, eye + radius * 0.1, y + radius * 0.1), fill="#222222")


def _draw_ears(draw, look: Look, x: float, y: float, radius: float) -> None:
    """And the muzzle, over which the face is drawn."""
    for side in (-1, 1):
        tip = (x + side * radius * 0.75, y - radius * 1.15)
        draw.polygon([tip, (x + side * radius * 0.1, y - radius * 0.6), (x + side * radius * 0.85, y)], fill=look.hair)
    draw.ellipse((x - radius * 1.2, y + radius * 0.1, x + radius * 0.4, y + radius * 0.8), fill=look.skin)
    draw.ellipse((x - radius * 1.2, y + radius * 0.2, x - radius * 0.9, y + radius * 0.5), fill="#222222")


def _mask(size: tuple[int, int], background: tuple, people: list, colours: tuple) -> Image.Image:
    width, height = size
    image = Image.new("RGB", size, background)
    draw = ImageDraw.Draw(image)
    for (look, place, pose), colour in zip(people, colours, strict=False):
        for _, points, thickness in _limbs(look, place, pose):
            _stroke(draw, points, thickness, colour, width, height)
        x, y, radius = _head(look, place, pose)
        x, y, radius = x * height + width / 2, y * height, radius * 1.2 * height
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return image


def _stroke(draw, points: list, thickness: float, colour, width: int, height: int) -> None:
    ends = [(x * height + width / 2, y * height) for x, y in points]
    radius = thickness * height / 2
    draw.line(ends, fill=colour, width=round(2 * radius))
    for x, y in ends:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
