"""The drawn world: articulated characters that move before still backgrounds, endless and seeded, on CPU or GPU.

A scene holds one to three people. The driving video shows them in the drivers' looks; the truth shows the same motion
in the characters' looks, which the reference picture shows at rest, from the front and elsewhere. Six spots on the
back of every shirt are seen only from behind: an additional reference shows them, otherwise they must be invented.

Lengths are in picture heights, x runs from 0 to width / height, time is in seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from render import Shapes, draw_people
from torch import Tensor

from scail_model.masks import PALETTE

FPS = 16
SPOTS = 6
SPOT_COLOURS = ((0.96, 0.93, 0.84), (0.10, 0.10, 0.20))  # what a spot on a back can be
WORDS = {  # the words that the miniature reads, and the shirt colour that each stands for
    "red": (0.85, 0.15, 0.15), "yellow": (0.90, 0.80, 0.15), "green": (0.20, 0.65, 0.25),
    "cyan": (0.20, 0.75, 0.80), "blue": (0.20, 0.30, 0.85), "purple": (0.60, 0.25, 0.75),
}
SKIN, SHIRT, TROUSERS, HAIR = range(4)  # entries of a palette

# lowest and highest resting angle, lowest and highest swing, in radians: upper arms, elbows, thighs, knees (left and
# right each), torso, head
_JOINTS = (
    (0.25, 2.3, 0.1, 0.9), (0.25, 2.3, 0.1, 0.9), (0.1, 1.3, 0.1, 0.7), (0.1, 1.3, 0.1, 0.7),
    (0.06, 0.35, 0.0, 0.4), (0.06, 0.35, 0.0, 0.4), (0.0, 0.4, 0.0, 0.35), (0.0, 0.4, 0.0, 0.35),
    (-0.08, 0.08, 0.0, 0.14), (-0.1, 0.1, 0.0, 0.2),
)
_HEIGHTS = {1: (0.62, 0.82), 2: (0.52, 0.66), 3: (0.44, 0.56)}  # of a person, by the number of people


class Random:
    """Random numbers of one generator on one device."""

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.generator = torch.Generator(device=device).manual_seed(seed)
        self.device = torch.device(device)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self.generator, device=self.device)

    def chance(self, probability: float, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator, device=self.device) < probability

    def order(self, rows: int, count: int) -> Tensor:
        """A random order of 0 .. count-1 in each row."""
        return torch.rand(rows, count, generator=self.generator, device=self.device).argsort(1)


class _Batch:
    """A dataclass of tensors whose first axis is the scene."""

    def take(self, index):
        return replace(self, **{field.name: getattr(self, field.name)[index] for field in fields(self)})


@dataclass(frozen=True)
class Looks(_Batch):
    """How the people [n, people] are dressed."""

    palette: Tensor  # [n, people, 4, 3]: skin, shirt, trousers, hat or hair
    thickness: Tensor  # [n, people] of limbs
    hat: Tensor  # [n, people] bool
    spots: Tensor  # [n, people, 6], 0 or 1: index into SPOT_COLOURS

    def swapped(self, order: list[int]) -> Looks:
        """The same looks on other people."""
        return replace(self, **{field.name: getattr(self, field.name)[:, order] for field in fields(self)})

    def with_shirt(self, colours: Tensor, scenes: Tensor) -> Looks:
        """colours [n, 3] on everybody's shirt in the scenes where `scenes` [n] is true."""
        palette = self.palette.clone()
        palette[:, :, SHIRT] = torch.where(scenes[:, None, None], colours[:, None], palette[:, :, SHIRT])
        return replace(self, palette=palette)


@dataclass(frozen=True)
class Motions(_Batch):
    """Sums of two sinusoids for every joint, a path of the hips, and a turn round the vertical axis."""

    base: Tensor  # [n, people, joints]
    swing: Tensor  # [n, people, 2, joints]
    rate: Tensor  # [n, people, 2, joints] in 1/s
    phase: Tensor  # [n, people, 2, joints]
    height: Tensor  # [n, people]
    feet: Tensor  # [n, people], y
    path: Tensor  # [n, people, 4]: middle x, reach, rate, phase
    bob: Tensor  # [n, people]
    yaw: Tensor  # [n, people, 3]: angle before the turn, turn, its middle in seconds


@dataclass(frozen=True)
class Backgrounds(_Batch):
    """Two colours in a gradient, a ground, three shapes."""

    colours: Tensor  # [n, 3, 3]
    angle: Tensor  # [n]
    ground: Tensor  # [n], y
    place: Tensor  # [n, 3, 2], in parts of width and height
    size: Tensor  # [n, 3, 2]
    box: Tensor  # [n, 3] bool, else a disc
    shades: Tensor  # [n, 3, 3]


@dataclass(frozen=True)
class Scenes(_Batch):
    """A batch of scenes with the same number of people; parameters only, nothing drawn."""

    replacement: Tensor  # [n] bool
    identities: Tensor  # [n, people], 0..5: colour of each person in the masks
    looks: Looks
    drivers: Looks
    motion: Motions
    rest: Motions  # in the reference picture
    behind: Motions  # in the additional reference: seen from the back
    reference_background: Backgrounds
    driving_background: Backgrounds
    additional_background: Backgrounds
    cut_out: Tensor  # [n] bool: in replacement, the reference comes before black
    word: Tensor  # [n], index into WORDS or -1
    obeyed: Tensor  # [n] bool: the truth follows the word

    def take(self, index) -> Scenes:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Scenes(**{name: value.take(index) if isinstance(value, _Batch) else value[index]
                         for name, value in values.items()})

    @property
    def people(self) -> int:
        return self.identities.shape[1]

    @property
    def word_colours(self) -> Tensor:
        """[n, 3]; black without a word."""
        colours = torch.tensor([*WORDS.values(), (0.0, 0.0, 0.0)], device=self.word.device)
        return colours[self.word]

    @property
    def true_looks(self) -> Looks:
        """Looks of the truth: those of the reference, or with the word's shirt."""
        return self.looks.with_shirt(self.word_colours, (self.word >= 0) & self.obeyed)


@dataclass(frozen=True)
class Pictures:
    """A drawn batch, RGB 0..1 [n, frames, 3, H, W]; masks are pure colours; coverage [n, frames, people, H, W]."""

    truth: Tensor
    coverage: Tensor
    spots: Tensor  # [n, frames, 1, H, W]: the part of the truth that the reference leaves open
    driving: Tensor
    driving_mask: Tensor
    reference: Tensor
    reference_mask: Tensor
    additional: Tensor
    additional_mask: Tensor
    background: Tensor  # [n, 3, H, W]: the truth's, without people


def make_scenes(random: Random, count: int, people: int, aspect: float, *, replacement: bool | None = None,
                word_share: float = 0.0, obedience: float = 1.0, behind_share: float = 0.45) -> Scenes:
    """Draw the parameters of `count` scenes for pictures of width / height = `aspect`.

    replacement: None for both modes, half each. word_share: part of the scenes with a word for the shirt; obedience:
    part of those whose truth follows it. behind_share: part of the people who show their back at some time.
    """
    flag = random.chance(0.5, count) if replacement is None else _full(random, count, replacement)
    return Scenes(
        replacement=flag,
        identities=random.order(count, 6)[:, :people],
        looks=_looks(random, count, people),
        drivers=_looks(random, count, people),
        motion=_motions(random, count, people, aspect, behind_share),
        rest=_motions(random, count, people, aspect, 0.0, still=True),
        behind=_motions(random, count, people, aspect, 1.0, still=True),
        reference_background=_backgrounds(random, count),
        driving_background=_backgrounds(random, count),
        additional_background=_backgrounds(random, count),
        cut_out=flag & random.chance(0.5, count),
        word=torch.where(random.chance(word_share, count), random.order(count, len(WORDS))[:, 0], -1),
        obeyed=random.chance(obedience, count),
    )


def draw(scenes: Scenes, height: int, width: int, frames: int, start: float = 0.0) -> Pictures:
    """Draw everything of a batch of scenes; `start` in seconds."""
    size = height, width
    time = start + torch.arange(frames, device=scenes.word.device) / FPS
    reference_back, driving_back, additional_back = (
        paint_background(background, height, width) for background in
        (scenes.reference_background, scenes.driving_background, scenes.additional_background))
    background = torch.where(scenes.replacement.view(-1, 1, 1, 1), driving_back, reference_back)
    truth, coverage, spots = draw_people(background, *figure(scenes.motion, scenes.true_looks, time), *size)
    driving, driver_coverage, _ = draw_people(driving_back, *figure(scenes.motion, scenes.drivers, time), *size)
    reference, at_rest, _ = draw_people(reference_back, *figure(scenes.rest, scenes.looks, time[:1]), *size)
    additional, from_behind, _ = draw_people(additional_back, *figure(scenes.behind, scenes.looks, time[:1]), *size)
    empty = scenes.cut_out.view(-1, 1, 1, 1, 1) & (at_rest.amax(2, keepdim=True) <= 0.5)
    return Pictures(
        truth=truth, coverage=coverage, spots=spots, driving=driving, background=background, additional=additional,
        reference=torch.where(empty, torch.zeros_like(reference), reference),
        driving_mask=paint_mask(driver_coverage, scenes.identities, scenes.replacement),
        reference_mask=paint_mask(at_rest, scenes.identities, ~scenes.replacement),
        # black, because the place in an additional reference is none that is to be seen
        additional_mask=paint_mask(from_behind, scenes.identities, torch.zeros_like(scenes.replacement)))


def paint_mask(coverage: Tensor, identities: Tensor, white: Tensor) -> Tensor:
    """Coverage [n, T, people, H, W] -> colour mask [n, T, 3, H, W] in 0..1; background white where `white` [n]."""
    colours = (torch.tensor(PALETTE, device=coverage.device) / 255)[identities]  # [n, people, 3]
    mask = white.float().view(-1, 1, 1, 1, 1).expand(-1, coverage.shape[1], 3, *coverage.shape[3:])
    for person in range(coverage.shape[2]):
        mask = torch.where(coverage[:, :, person, None] > 0.5, colours[:, None, person, :, None, None], mask)
    return mask


def paint_background(background: Backgrounds, height: int, width: int) -> Tensor:
    """[n, 3, H, W] in 0..1."""
    count, device = len(background.angle), background.angle.device
    x = ((torch.arange(width, device=device) + 0.5) / width).view(1, 1, width)
    y = ((torch.arange(height, device=device) + 0.5) / height).view(1, height, 1)

    def column(values: Tensor) -> Tensor:
        return values.view(count, 1, 1)

    def over(image: Tensor, alpha: Tensor, colour: Tensor) -> Tensor:
        return image + alpha[:, None] * (colour.view(count, 3, 1, 1) - image)

    slope = (x - 0.5) * column(background.angle.cos()) + (y - 0.5) * column(background.angle.sin())
    first, second, ground = background.colours.unbind(1)
    image = over(first.view(count, 3, 1, 1), ((slope + 0.6) / 1.2).clamp(0, 1), second)
    below = ((y - column(background.ground)) * height + 0.5).clamp(0, 1)
    image = over(image, below.expand(count, height, width), ground)
    for shape in range(background.box.shape[1]):
        dx = (x - column(background.place[:, shape, 0])).abs() * (width / height)
        dy = (y - column(background.place[:, shape, 1])).abs()
        half_width, half_height = (column(background.size[:, shape, axis]) for axis in (0, 1))
        disc = (dx * dx + dy * dy).sqrt() - half_width
        outside = torch.where(column(background.box[:, shape]), torch.maximum(dx - half_width, dy - half_height), disc)
        image = over(image, (0.5 - outside * height).clamp(0, 1), background.shades[:, shape])
    return image.clamp(0, 1)


def figure(motion: Motions, looks: Looks, time: Tensor) -> tuple[Shapes, Tensor]:
    """The shapes of all people [n, people, frames, shapes], back to front, and which of them are spots [shapes]."""
    height = motion.height[:, :, None]  # [n, people, 1]
    wave = 2 * math.pi * time.view(1, 1, -1, 1, 1) * motion.rate[:, :, None] + motion.phase[:, :, None]
    angles = motion.base[:, :, None] + (motion.swing[:, :, None] * wave.sin()).sum(3)  # [n, people, frames, joints]
    left_arm, right_arm, left_elbow, right_elbow, left_thigh, right_thigh, left_knee, right_knee, torso, head = (
        angles.unbind(-1))
    middle, reach, rate, phase = motion.path[:, :, None].unbind(-1)
    before, turn, moment = motion.yaw[:, :, None].unbind(-1)
    yaw = before + turn * torch.sigmoid((time - moment) * 7)
    facing, aside = yaw.cos(), yaw.sin()  # 1 to the viewer, -1 away; 1 to the right
    x = middle + reach * torch.sin(2 * math.pi * rate * time + phase)
    y = motion.feet[:, :, None] - 0.47 * height + motion.bob[:, :, None] * torch.sin(8.2 * time + phase)

    def offset(across: Tensor, down: Tensor) -> Tensor:
        """In body heights -> [n, people, frames, 2]."""
        return torch.stack(torch.broadcast_tensors(across, down), -1) * height[..., None]

    def hanging(length: float, angle: Tensor, side: int) -> Tensor:
        return offset(length * side * facing * angle.sin(), length * angle.cos())

    zero = torch.zeros_like(x)
    hips = torch.stack((x, y), -1)
    neck = hips + offset(0.28 * torso.sin(), -0.28 * torso.cos())
    tilt = torso + head
    up = offset(tilt.sin(), -tilt.cos())
    across = offset(torso.cos(), torso.sin())  # to the right in the picture
    skull = neck + 0.13 * up
    thick = looks.thickness[:, :, None]
    hat = looks.hat[:, :, None].float() + zero
    skin, shirt, trousers, hair = looks.palette[:, :, None].unbind(3)  # each [n, people, 1, 3]
    one = zero + 1
    seen, unseen = torch.sigmoid(facing * 9), torch.sigmoid(-facing * 9)
    shapes = Shapes.empty()

    def limb(start: Tensor, end: Tensor, radius: float, colour: Tensor, visible: Tensor = one, width=thick) -> None:
        shapes.add(start, end, radius * width * height * one, colour, visible)

    sides = []
    for side, arm, elbow, thigh, knee, shade in ((-1, left_arm, left_elbow, left_thigh, left_knee, 0.7),
                                                 (1, right_arm, right_elbow, right_thigh, right_knee, 1.0)):
        shoulder = neck + side * 0.095 * facing[..., None] * across + offset(zero, one * 0.03)
        joint = shoulder + hanging(0.16, arm, side)
        hand = joint + hanging(0.15, arm + elbow, side)
        hip = hips + offset(side * 0.055 * facing, zero)
        bend = hip + hanging(0.22, thigh, side)
        foot = bend + hanging(0.22, thigh - knee, side)
        sides.append(((shoulder, joint, hand), (hip, bend, foot), shade))
    (left_arm_points, left_leg, left_shade), (right_arm_points, right_leg, right_shade) = sides

    def arm_of(points: tuple, shade: float) -> None:
        limb(points[0], points[1], 0.050, shirt * shade)
        limb(points[1], points[2], 0.046, skin * shade)

    arm_of(left_arm_points, left_shade)
    for points, shade in ((left_leg, left_shade), (right_leg, right_shade)):
        limb(points[0], points[1], 0.062, trousers * shade)
        limb(points[1], points[2], 0.056, trousers * shade)
    limb(hips, neck + offset(zero, one * 0.06), 0.108, shirt)
    spots_from = len(shapes)
    spot_colours = torch.tensor(SPOT_COLOURS, device=x.device)[looks.spots]  # [n, people, 6, 3]
    for spot in range(SPOTS):
        column, row = spot % 2 * 2 - 1, spot // 2
        centre = (hips + (neck - hips) * (0.05 + 0.37 * row)
                  - (0.052 * column * facing.abs() - 0.03 * aside)[..., None] * across)
        limb(centre, centre, 0.042, spot_colours[:, :, None, spot], unseen, 1.0)
    spots_to = len(shapes)
    limb(skull, skull, 0.112, hair, width=1.0)
    face = skull - 0.012 * up + 0.045 * aside[..., None] * across
    limb(face, face, 0.090, skin, seen, 1.0)
    for side in (-1, 1):
        eye = face + (0.034 * side * facing.abs() + 0.02 * aside)[..., None] * across
        limb(eye, eye, 0.019, skin * 0.12, seen, 1.0)
    for above, half, radius in ((0.062, 0.125, 0.027), (0.085, 0.035, 0.070)):
        limb(skull + above * up - half * across, skull + above * up + half * across, radius, hair * 0.8, hat, 1.0)
    arm_of(right_arm_points, right_shade)
    is_spot = torch.zeros(len(shapes), dtype=torch.bool)
    is_spot[spots_from:spots_to] = True
    return shapes.stacked(), is_spot


def _looks(random: Random, count: int, people: int) -> Looks:
    size = (count, people)
    vivid = _from_hsv(random.uniform(0, 1, *size, 4), random.uniform(0.55, 1, *size, 4),
                      random.uniform(0.45, 1, *size, 4))
    tone = random.uniform(0, 1, *size, 1)
    light, dark = (torch.tensor(colour, device=random.device) for colour in ((0.98, 0.84, 0.70), (0.42, 0.26, 0.17)))
    vivid[:, :, SKIN] = light * tone + dark * (1 - tone)
    return Looks(vivid, random.uniform(0.85, 1.25, *size), random.chance(0.5, *size),
                 random.chance(0.5, *size, SPOTS).long())


def _motions(random: Random, count: int, people: int, aspect: float, behind_share: float,
             still: bool = False) -> Motions:
    joints = torch.tensor(_JOINTS, device=random.device)
    size, many = (count, people), (count, people, len(_JOINTS))
    calm = 0.35 if still else 1.0
    base = joints[:, 0] + (joints[:, 1] - joints[:, 0]) * random.uniform(0, 1, *many) * (0.6 if still else 1.0)
    swing = (joints[:, 2] + (joints[:, 3] - joints[:, 2]) * random.uniform(0, 1, *many)) * calm
    turns = random.chance(behind_share, *size)
    away = random.chance(1.0 if still else 0.5, *size) & turns  # begins with the back to the viewer
    turn = torch.where(turns & random.chance(0.0 if still else 0.6, *size), math.pi, 0.0)
    yaw = torch.where(away, math.pi, 0.0) + random.uniform(-0.3, 0.3, *size)
    # those who begin face to the viewer, and are to be seen from behind, have to turn
    turn = torch.where(turns & ~away, math.pi, turn) * torch.where(random.chance(0.5, *size), 1.0, -1.0)
    low, high = _HEIGHTS[people]
    tall = random.uniform(low, high, *size) * min(1.0, 0.35 + 0.65 * aspect * (1 if people == 1 else 1.1))
    place = (random.order(count, people) + 0.5) / people
    middle = (0.5 + (place - 0.5) * (0.86 if people > 1 else 1.0) + random.uniform(-0.03, 0.03, *size)) * aspect
    if people == 1:
        middle = (0.5 + random.uniform(-0.14, 0.14, *size)) * aspect
    reach = random.uniform(0.0, 0.12, *size) * (0.0 if still else 1.0) / people**0.5
    path = torch.stack((middle, reach, random.uniform(0.15, 0.5, *size), random.uniform(0, 6.283, *size)), -1)
    return Motions(
        base=base, swing=torch.stack((swing, swing * random.uniform(0, 0.35, *many)), 2),
        rate=torch.stack((random.uniform(0.4, 1.3, *many), random.uniform(1.0, 2.2, *many)), 2),
        phase=random.uniform(0, 6.283, count, people, 2, len(_JOINTS)),
        height=tall, feet=random.uniform(0.88, 0.95, *size), path=path,
        bob=random.uniform(0, 0.02, *size) * (0.0 if still else 1.0),
        yaw=torch.stack((yaw, turn, random.uniform(0.2, 0.8, *size)), -1))


def _backgrounds(random: Random, count: int, shapes: int = 3) -> Backgrounds:
    def soft(*size: int) -> Tensor:
        return 0.5 + random.uniform(-0.28, 0.28, *size, 3) + random.uniform(-0.2, 0.2, *size, 1)

    return Backgrounds(
        colours=soft(count, 3), angle=random.uniform(0, 2 * math.pi, count), ground=random.uniform(0.7, 0.86, count),
        place=random.uniform(0.05, 0.95, count, shapes, 2), size=random.uniform(0.07, 0.18, count, shapes, 2),
        box=random.chance(0.5, count, shapes), shades=soft(count, shapes))


def _from_hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    shifted = torch.stack([(offset + hue * 6) % 6 for offset in (5.0, 3.0, 1.0)], -1)
    return value[..., None] * (1 - saturation[..., None] * torch.minimum(shifted, 4 - shifted).clamp(0, 1))


def _full(random: Random, count: int, value: bool) -> Tensor:
    return torch.full((count,), value, dtype=torch.bool, device=random.device)
