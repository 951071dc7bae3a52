"""The plate during sampling: outside of the people, the network's answer is what was filmed, so that what is made fits
what stays: edges, shadows, light.

Differential inpainting (Levin and Fried, arXiv 2306.00950): a cell of the latent is held until the noise has fallen to
its share. A solver that is always answered with the plate follows it down the noise levels, from whatever noise it
began with, so nothing has to be put into what the network is given.

A made person may be larger than the driven one. While the noise is high, a wide area around the people is free. Then
the answer is compared with the plate: what differs clearly and hangs together with the people stays free, and the rest
is held from the next noise level on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..levels import WHITE
from ..media.clips import Clip, Tick
from ..segments import Segment
from .edge import Edge, shares
from .growth import look, steady
from .placement import Rectangle
from .plate import Plate
from .resample import resampled

CELL = 8  # pixels of a latent cell
_WIDE = 0.25  # of a person's height: hats, hair, skirts
_SHAPES_DECIDED = float(np.float32(0.85))  # the noise level at which outlines are there, and little else
_CLEAR, _TIMES = 0.6, 2.0  # a clear difference: in standard deviations of the latent, and times the usual one
_TOGETHER = np.stack([ndimage.generate_binary_structure(2, 0), np.ones((3, 3), bool),
                      ndimage.generate_binary_structure(2, 0)])
_SOFT = 0.3  # the noise level below which a cell in the feather is made, times its share


@dataclass(frozen=True)
class Filmed:
    """What a lock is made of, before the VAE. pixels: what was filmed, where people are made, uint8 [T, H, W, 3]. free,
    wide: as in `PlateLock`."""

    pixels: Tensor
    free: Tensor
    wide: Tensor | None
    edge: Edge

    @property
    def frames(self) -> Tensor:
        """The pixels as a VAE takes them, float32 [T, H, W, 3] in 0..1."""
        return self.pixels.float() / WHITE

    def locked(self, latents: Tensor, history: Tensor | None) -> PlateLock:
        """latents: of `frames`. history: latent frames [1, 16, t, h, w] that the sampling is given, or None."""
        return PlateLock(latents, self.free, self.wide, self.edge, 0 if history is None else history.shape[2])


@dataclass(frozen=True)
class PlateLock:
    """plate: latents of what was filmed, [1, 16, T', h, w]. free: share of each cell that is made, [1, 1, T', h, w] in
    0..1: 1 never holds the plate, 0 always, and between them it is held while the noise level is higher. wide: the same
    while the noise is high and made people are looked for, None if they are not. edge: around these. history: latent
    frames at the start that the sampling is given, and that are never held."""

    plate: Tensor
    free: Tensor
    wide: Tensor | None
    edge: Edge
    history: int = 0

    def normalised(self, normalise: Callable[[Tensor], Tensor]) -> PlateLock:
        """With the plate as the network reads latents."""
        return replace(self, plate=normalise(self.plate))


def read_filmed(plate: Plate, segment: Segment, tick: Tick = lambda: None) -> Filmed:
    """Of the frames of a segment, the last of which is repeated to its length."""
    height, width = plate.placement.size
    frames = segment.stop - segment.start
    pixels = torch.empty(segment.length, height, width, 3, dtype=torch.uint8)
    edges = [plate.edge, *([_wide_edge(plate, segment)] if plate.measured and plate.given is None else [])]
    cells = [np.zeros(((segment.length - 1) // 4 + 1, height // CELL, width // CELL), np.float32) for _ in edges]
    with closing(plate.clip.ticking(tick)) as clip:
        for index in range(frames):
            frame = segment.start + index
            pixels[index], outline = _pictured(plate, clip, frame), _outline(plate, frame)
            for edge, into in zip(edges, cells, strict=True):
                latent = into[_latent_frame(index)]
                np.maximum(latent, _on_cells(outline.share(edge)), out=latent)
    pixels[frames:] = pixels[frames - 1]
    for into in cells:
        into[_latent_frame(frames - 1) + 1 :] = into[_latent_frame(frames - 1)]
    free, *wide = (torch.from_numpy(into)[None, None] for into in cells)
    return Filmed(pixels, free, wide[0] if wide else None, plate.edge)


class _Outline(NamedTuple):
    """Where people are made in one frame, and where others are kept, bool [H, W] of the made picture."""

    inside: np.ndarray
    kept: np.ndarray | None = None

    def share(self, edge: Edge) -> np.ndarray:
        """How much of each pixel is made, float32 [H, W]."""
        return shares(self.inside, edge, 1.0, Rectangle(0, 0, *self.inside.shape[::-1]), self.kept)


def _outline(plate: Plate, frame: int) -> _Outline:
    kept = plate.kept(frame)
    return _Outline(plate.seen(frame, plate.outline(frame)), None if kept is None else plate.seen(frame, kept))


def on_filmed(plate: Plate, start: int, made: Tensor) -> Tensor:
    """Made frames [n, H, W, 3] in 0..1 from frame `start` on, at their own size with what was filmed around the people:
    what the next segment continues from, so that no error of the VAE grows from segment to segment."""
    filmed = [_pictured(plate, plate.clip, start + index).float() / WHITE for index in range(len(made))]
    outlines = [_outline(plate, start + index) for index in range(len(made))]
    if plate.measured:
        looks = [look(picture.numpy(), below.numpy(), *outline)
                 for picture, below, outline in zip(made, filmed, outlines, strict=True)]
        outlines = [outline._replace(inside=outline.inside | steady(*three))
                    for outline, three in zip(outlines, zip([None, *looks], looks, [*looks[1:], None], strict=False),
                                              strict=True)]
    return torch.stack([_mixed(below, picture, torch.from_numpy(outline.share(plate.edge))[..., None])
                        for picture, below, outline in zip(made, filmed, outlines, strict=True)])


def _mixed(below: Tensor, above: Tensor, share: Tensor) -> Tensor:
    """As torch.lerp, whose rounding depends on how the pictures lie in memory: both doors give the same bits."""
    return torch.where(share == 1, above, below + (above - below) * share)


class Holding:
    """A lock in one sampling. Noise levels come as the sampler takes them, mostly downwards."""

    def __init__(self, lock: PlateLock) -> None:
        self.lock = lock
        self._measured = torch.zeros_like(lock.free)
        self._decided = 0.0  # the noise level at which made people were looked for
        self._given = (torch.arange(lock.free.shape[2]) < lock.history).view(-1, 1, 1)
        self._copies: dict[torch.device, Tensor] = {}  # of the plate

    def held(self, denoised: Tensor, level: float, *, frames: Sequence[int] | None = None,
             positive: Tensor | None = None) -> Tensor:
        """The network's answer [B, 16, t, h, w] with the plate where it is held.

        frames: which latent frames these are, None for all. positive: the answer to the positive prompt, in which made
        people are looked for; None where there is none.
        """
        chosen = slice(None) if frames is None else list(frames)
        plate = self._plate(denoised)[:, :, chosen]
        level = float(np.float32(level))  # as samplers have it
        free = self._free(level)[:, :, chosen].to(denoised.device)
        if positive is not None and self.lock.wide is not None and self._decided <= level <= _SHAPES_DECIDED:
            self._decided = level
            self._measure((positive - plate).square().mean(1).sqrt().amax(0), chosen)
        return torch.where(free >= level, denoised, plate)

    def _free(self, level: float) -> Tensor:
        wide = self.lock.wide if level >= self._decided else None
        free = torch.maximum(self.lock.free, self._measured) if wide is None else wide
        return free.masked_fill(self._given, 1.0)

    def _plate(self, like: Tensor) -> Tensor:
        if like.device not in self._copies:
            self._copies[like.device] = self.lock.plate.to(like)
        return self._copies[like.device]

    def _measure(self, differences: Tensor, chosen: slice | list[int]) -> None:
        """Note where people are made beyond `free`. differences: of the answer from the plate, [t, h, w]."""
        assert self.lock.wide is not None
        free, wide = self.lock.free[0, 0, chosen].numpy(), self.lock.wide[0, 0, chosen].numpy()
        found = grown_cells(differences.float().cpu().numpy(), free, wide)
        around = [_on_cells(_Outline(cells.repeat(CELL, 0).repeat(CELL, 1)).share(self.lock.edge))
                  for cells in found]
        self._measured[0, 0, chosen] = torch.from_numpy(np.minimum(np.stack(around), wide))


def grown_cells(differences: np.ndarray, free: np.ndarray, wide: np.ndarray) -> np.ndarray:
    """Cells that differ clearly from the plate and hang together with the people, bool [t, h, w].

    differences: root mean square over the channels; free, wide: shares of the cells; all [t, h, w].
    """
    looked_at, people = (wide == 1) & (free < 1), free == 1
    usual = np.median(differences[looked_at]) if looked_at.any() else 0.0
    clear = looked_at & (differences > max(_CLEAR, _TIMES * usual))
    pieces = np.empty(clear.shape, np.int32)
    ndimage.label(clear | people, structure=_TOGETHER, output=pieces)
    return clear & np.isin(pieces, np.unique(pieces[people]))


def _wide_edge(plate: Plate, segment: Segment) -> Edge:
    """Around the people while the noise is high: by the height of the tallest one in the segment."""
    masks = plate.identities.driving
    boxes = np.stack([extent.box[segment.start : segment.stop] for extent in masks.extents])
    (_, down), height = plate.placement.at(segment.start).scale, plate.clip.size[0] / masks.height
    tallest = float((boxes[..., 3] - boxes[..., 1]).max()) * height * down
    return replace(plate.edge, grow=max(plate.edge.grow, round(_WIDE * tallest)))


def _pictured(plate: Plate, clip: Clip, frame: int) -> Tensor:
    """A frame of the plate's clip as the made picture shows it, uint8 [H, W, 3]."""
    picture = resampled(clip.read(frame, frame + 1).float(), plate.placement.at(frame), plate.placement.size)[0]
    return picture.round_().clamp_(0, WHITE).byte()


def _on_cells(share: np.ndarray) -> np.ndarray:
    """Shares of pixels [H, W] -> of cells [H / 8, W / 8]: 1 where a pixel is all made, and little in the feather, where
    only details are made."""
    height, width = share.shape
    pixels = share.reshape(height // CELL, CELL, width // CELL, CELL)
    return np.where(pixels.max((1, 3)) == 1, 1, _SOFT * pixels.mean((1, 3), dtype=np.float64)).astype(np.float32)


def _latent_frame(frame: int) -> int:
    """Wan's VAE holds the first frame alone, then groups of four."""
    return (frame + 3) // 4
