"""How good a made clip is: against the truth as a whole, in its figures, their outlines, and what was left to invent.

Everything is per clip, so that the caller can average, compare in pairs, or count. PSNR is in dB for pictures in 0..1.
The drawn world is linear in its colours (a pixel is a weighted sum of the colours of what covers it), so that the part
of one spot or of the shirts in each pixel is found by drawing that thing alone in a colour of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from render import draw_people
from torch import Tensor
from world import FPS, SPOT_COLOURS, SPOTS, Looks, Pictures, Scenes, figure, paint_background

_FOUND = 0.12  # a pixel that differs more from the background belongs to a figure
_SEEN_PIXELS = 12  # of one spot over the whole clip, for its colour to count
_DIFFERENT = 0.2  # distance of two colours, of at most 1.73
_SHIRT = 0.35  # half of what an upper arm in shade changes between a black and a white shirt


def score(result: Tensor, pictures: Pictures) -> dict[str, Tensor]:
    """result [n, T, 3, H, W] in 0..1 -> per clip [n]: "psnr" of the whole picture, "psnr_inside" of the true figures,
    both in dB, and "iou", how well the silhouettes lie on each other (1 is best; halos count against it)."""
    figures = inside(pictures.coverage)
    error = (result - pictures.truth).square()
    found = (result - pictures.background[:, None]).abs().amax(2, keepdim=True) > _FOUND
    overlap = (found & figures).sum((1, 2, 3, 4)) / (found | figures).sum((1, 2, 3, 4))
    return {"psnr": decibels(error.mean((1, 2, 3, 4))), "psnr_inside": decibels(_mean_where(error, figures)),
            "iou": overlap}


def identity_right(result: Tensor, truth: Tensor, swapped_truth: Tensor | list[Tensor], coverage: Tensor) -> Tensor:
    """Whether each clip, inside its figures, is nearer to the truth than to every truth with the looks exchanged.

    result, truth [n, T, 3, H, W]; swapped_truth: one such tensor or several; coverage [n, T, people, H, W]. Returns
    bool [n].
    """
    others = [swapped_truth] if isinstance(swapped_truth, Tensor) else swapped_truth
    right, *wrong = (_mean_where((result - video).square(), inside(coverage)) for video in (truth, *others))
    return (torch.stack(wrong) > right).all(0)


def spots_psnr(result: Tensor, scenes: Scenes, height: int, width: int, start: float = 0.0) -> Tensor:
    """As `SpotTruth.psnr`, of a result [n, T, 3, H, W] whose first frame is at `start` seconds."""
    return SpotTruth.of(scenes, height, width, result.shape[1], start).psnr(result)


def spots_right(result: Tensor, scenes: Scenes, height: int, width: int, start: float = 0.0) -> Tensor:
    """As `SpotTruth.right`, of a result [n, T, 3, H, W] whose first frame is at `start` seconds."""
    return SpotTruth.of(scenes, height, width, result.shape[1], start).right(result)


def shirt_error(result: Tensor, scenes: Scenes, colours: Tensor, height: int, width: int,
                start: float = 0.0) -> Tensor:
    """As `ShirtTruth.error`, of a result [n, T, 3, H, W] whose first frame is at `start` seconds."""
    return ShirtTruth.of(scenes, height, width, result.shape[1], start).error(result, colours)


@dataclass(frozen=True)
class SpotTruth:
    """The spots on the backs of a batch of scenes: where each is seen, and both of its admissible colours."""

    owner: Tensor  # [n, T, H, W]: person * 6 + spot, or people * 6 where no spot is
    admissible: Tensor  # [2, n, T, 3, H, W]: the truth with all spots in the one colour and in the other
    true: Tensor  # [n, people * 6]: index of the right colour

    @classmethod
    def of(cls, scenes: Scenes, height: int, width: int, frames: int, start: float = 0.0) -> SpotTruth:
        """Draw the spots of scenes; frames from `start` seconds on."""
        looks, when = scenes.true_looks, (height, width, frames, start)
        versions = [draw_truth(scenes, replace(looks, spots=torch.full_like(looks.spots, index)), *when)
                    for index in range(len(SPOT_COLOURS))]
        open_part = versions[0][2][:, :, 0] > 0.5  # [n, T, H, W]
        owner = _largest_spot(scenes, *when)
        return cls(torch.where(open_part, owner, scenes.people * SPOTS),
                   torch.stack([truth for truth, _, _ in versions]), looks.spots.flatten(1))

    def psnr(self, result: Tensor) -> Tensor:
        """PSNR [n] in dB on the spots, each compared with the nearer of its two colours; NaN where none is seen.

        A spot has one colour in a whole clip, so flicker counts as error, and so does a mixture of the colours.
        """
        errors, pixels = self._errors(result)
        return decibels(errors.amin(0).sum(1) / (3 * pixels.sum(1)))

    def right(self, result: Tensor) -> Tensor:
        """Share [n] of the spots seen that are nearer to their true colour; NaN where none is seen."""
        errors, pixels = self._errors(result)
        seen = pixels >= _SEEN_PIXELS
        return ((errors.argmin(0) == self.true) & seen).sum(1) / seen.sum(1)

    def _errors(self, result: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of squared errors to each colour [2, n, spots], and the number of pixels [n, spots], of each spot."""
        owner, spots = self.owner.flatten(1), self.true.shape[1]

        def by_spot(values: Tensor) -> Tensor:  # [n, T, H, W] -> [n, spots]
            totals = torch.zeros(len(owner), spots + 1, device=owner.device)
            return totals.scatter_add_(1, owner, values.flatten(1))[:, :spots]

        errors = [by_spot((result - truth).square().sum(2)) for truth in self.admissible]
        return torch.stack(errors), by_spot(torch.ones_like(result[:, :, 0]))


@dataclass(frozen=True)
class ShirtTruth:
    """The truth of a batch of scenes with shirts of any colour: black shirts, and what a white one adds to them."""

    black: Tensor  # [n, T, 3, H, W]
    share: Tensor  # [n, T, 3, H, W], 0..1

    @classmethod
    def of(cls, scenes: Scenes, height: int, width: int, frames: int, start: float = 0.0) -> ShirtTruth:
        """Draw scenes with black and with white shirts; frames from `start` seconds on."""
        everywhere = torch.ones_like(scenes.replacement)
        black, white = (
            draw_truth(scenes, scenes.looks.with_shirt(torch.full_like(scenes.word_colours, level), everywhere),
                       height, width, frames, start)[0]
            for level in (0.0, 1.0))
        return cls(black, white - black)

    def error(self, result: Tensor, colours: Tensor) -> Tensor:
        """Root mean square distance [n], 0..1, of a result from the truth with everybody's shirt in colours [n, 3],
        where shirts are seen; NaN where none is."""
        truth = self.black + self.share * colours[:, None, :, None, None]
        seen = self.share.amax(2, keepdim=True) > _SHIRT
        return _mean_where((result - truth).square(), seen).sqrt()


    def elsewhere(self, result: Tensor, other: Tensor) -> Tensor:
        """PSNR [n] between two results where no shirt is seen."""
        hidden = self.share.amax(2, keepdim=True) <= 0
        return decibels(_mean_where((result - other).square(), hidden))

    def way(self, result: Tensor, before: Tensor, start: Tensor, goal: Tensor) -> Tensor:
        """How far [n] a result's shirts went from where another result's are, along the line from colours `start` to
        `goal` [n, 3]: 1 is from the one to the other. NaN for colours so near that the line has no direction."""
        line = self.share * (goal - start)[:, None, :, None, None]
        gone = ((result - before) * line).sum((1, 2, 3, 4)) / line.square().sum((1, 2, 3, 4))
        return torch.where((goal - start).norm(dim=1) > _DIFFERENT, gone, torch.nan)


def draw_truth(scenes: Scenes, looks: Looks, height: int, width: int, frames: int,
               start: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """The truth of scenes in other looks, as `draw` has it: video [n, T, 3, H, W], coverage [n, T, people, H, W] and
    visible part of the spots [n, T, 1, H, W]."""
    background = torch.where(
        scenes.replacement.view(-1, 1, 1, 1), paint_background(scenes.driving_background, height, width),
        paint_background(scenes.reference_background, height, width))
    shapes, is_spot = figure(scenes.motion, looks, _times(scenes, frames, start))
    return draw_people(background, shapes, is_spot, height, width)


def inside(coverage: Tensor) -> Tensor:
    """Coverage [n, T, people, H, W] -> bool [n, T, 1, H, W]: in a figure."""
    return coverage.amax(2, keepdim=True) > 0.5


def decibels(error: Tensor) -> Tensor:
    """Mean squared error of pictures in 0..1 -> PSNR; no error at all counts as 90 dB, so that means stay finite."""
    return -10 * torch.log10(error + 1e-9)


def _largest_spot(scenes: Scenes, height: int, width: int, frames: int, start: float) -> Tensor:
    """The spot (person * 6 + spot) that has the largest part in each pixel [n, T, H, W].

    Spots are drawn three at a time in red, green and blue, with everything else black, so that each channel shows the
    part of one spot in every pixel, whatever stands before it.
    """
    shapes, is_spot = figure(scenes.motion, scenes.true_looks, _times(scenes, frames, start))
    first = int(is_spot.nonzero()[0])
    black = torch.zeros(len(scenes.word), 3, height, width, device=scenes.word.device)
    largest, owner = None, None
    for number in range(0, scenes.people * SPOTS, 3):
        person, spot = divmod(number, SPOTS)
        colour = torch.zeros_like(shapes.colour)
        colour[:, person, :, first + spot : first + spot + 3] = torch.eye(3, device=colour.device)
        part, index = draw_people(black, replace(shapes, colour=colour), is_spot, height, width)[0].max(2)
        index = index + number
        if largest is not None:
            index = torch.where(part > largest, index, owner)
            part = torch.maximum(part, largest)
        largest, owner = part, index
    return owner


def _times(scenes: Scenes, frames: int, start: float) -> Tensor:
    return start + torch.arange(frames, device=scenes.word.device) / FPS


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Mean [n] of values [n, T, C, H, W] where `where` [n, T, 1, H, W] is true; NaN where it never is."""
    total = (values * where).sum((1, 2, 3, 4))
    return total / (values.shape[2] * where.sum((1, 2, 3, 4)))
