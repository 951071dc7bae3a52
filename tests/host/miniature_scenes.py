"""Scenes of the drawn world for both real paths: what goes in, as tensors or as a user's files, and the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import measure
import torch
import world
from safetensors.torch import save_file
from torch import Tensor

from tests.demo import drawing

WEIGHTS = Path(measure.__file__).parent  # of the miniature
SIZE, FRAMES = 128, 9  # small enough for seconds; the miniature was trained with 160 to 224 pixels, 9 to 33 frames


@dataclass(frozen=True)
class Scene:
    """A scene by what makes it; `pictures` draws it.

    swapped: the colours of two people change places in the driving mask. hidden: the driving mask shows nobody but for
    one corner of the last frame, because an empty mask is refused.
    """

    seed: int
    people: int = 1
    mode: str = "animation"
    frames: int = FRAMES
    size: int = SIZE  # height and width
    behind: bool = False  # seen from the back all the time
    swapped: bool = False
    hidden: bool = False

    @property
    def scenes(self) -> world.Scenes:
        """The world's parameters, a batch of one."""
        made = world.make_scenes(world.Random(self.seed), 1, self.people, 1.0, behind_share=float(self.behind))
        made = replace(made, replacement=torch.tensor([self.mode == "replacement"]), cut_out=torch.tensor([False]))
        if self.behind:
            yaw = torch.zeros_like(made.motion.yaw)
            yaw[..., 0] = torch.pi
            made = replace(made, motion=replace(made.motion, yaw=yaw))
        return made

    @cache  # noqa: B019  a few scenes, drawn once for all tests
    def pictures(self) -> world.Pictures:
        drawn = self._draw(self.scenes)
        if self.swapped:
            scenes = self.scenes
            drawn = replace(
                drawn, truth=self._draw(replace(scenes, looks=scenes.looks.swapped([1, 0]))).truth,
                driving_mask=self._draw(replace(scenes, identities=scenes.identities.flip(1))).driving_mask)
        if self.hidden:
            mask = torch.zeros_like(drawn.driving_mask)
            mask[:, -1, :, :2, :2] = drawn.driving_mask.flatten(3).amax(3)[:, -1, :, None, None]
            drawn = replace(drawn, driving_mask=mask)
        return drawn

    def _draw(self, scenes: world.Scenes) -> world.Pictures:
        return world.draw(scenes, self.size, self.size, self.frames)

    def score(self, result: Tensor) -> dict[str, float]:
        """What `measure.score` says of frames [T, h, w, 3], readable in messages."""
        return {name: round(value.item(), 3) for name, value in measure.score(batch(result), self.pictures()).items()}

    def trivial(self) -> dict[str, dict[str, float]]:
        """Scores of two answers that need no model."""
        drawn = self.pictures()
        answers = {"driving copied": drawn.driving, "still reference": drawn.reference.expand_as(drawn.truth)}
        return {name: self.score(frames(video)) for name, video in answers.items()}


def batch(result: Tensor) -> Tensor:
    """Frames [T, h, w, 3] -> the world's [1, T, 3, h, w]."""
    return result.movedim(-1, 1)[None]


def frames(video: Tensor) -> Tensor:
    """The world's [1, T, 3, h, w] -> frames [T, h, w, 3]."""
    return video[0].movedim(1, -1)


def levels(video: Tensor) -> Tensor:
    """The world's [1, T, 3, h, w] in 0..1 -> frames uint8 [T, h, w, 3]."""
    return (frames(video) * 255).round().byte()


def write_tensors(scene: Scene, path: Path) -> None:
    """The inputs as one file for TestImages; `references` has the additional view behind the primary one."""
    drawn = scene.pictures()
    both = {"references": (drawn.reference, drawn.additional),
            "reference_masks": (drawn.reference_mask, drawn.additional_mask)}
    single = {"reference": drawn.reference, "reference_mask": drawn.reference_mask,
              "driving": drawn.driving, "driving_mask": drawn.driving_mask}
    tensors = {name: levels(video) for name, video in single.items()}
    tensors |= {name: torch.cat([levels(video) for video in videos]) for name, videos in both.items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def write_files(scene: Scene, folder: Path) -> dict[str, Path]:
    """The inputs as .png and .mp4, by the names of the command line's options."""
    folder.mkdir(parents=True)
    drawn = scene.pictures()
    stills = {"image": drawn.reference, "mask_image": drawn.reference_mask}
    clips = {"pose": drawn.driving, "mask_video": drawn.driving_mask}
    paths = {name: folder / f"{name}.png" for name in stills} | {name: folder / f"{name}.mp4" for name in clips}
    for name, still in stills.items():
        drawing.images(still)[0].save(paths[name])
    for name, clip in clips.items():
        drawing.write_video(paths[name], drawing.images(clip))
    return paths
