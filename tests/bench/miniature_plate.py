"""The plate of the miniature's table: replacement with the driving video kept around the people, put over what was made
(composite) or held while sampling too (lock)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import measure
import torch
import torch.nn.functional as F
from miniature_cases import FRAMES, SIZE, Bench, Rows, Table
from torch import Tensor
from world import Pictures, Scenes, draw

from scail_model.identity.binding import bind
from scail_model.identity.mask_sources import DRIVING, REFERENCE, from_masks
from scail_model.media.clips import TensorClip
from scail_model.plate.composite import Composited
from scail_model.plate.edge import Edge
from scail_model.plate.lock import Holding, read_filmed
from scail_model.plate.placement import Covered
from scail_model.plate.plate import Plate
from scail_model.segments import Segment

EDGE, RING = Edge(), 8  # pixels
_WHITE = 0.5
_THICKER, _THINNER = 1.25, 0.85  # of limbs, the most and the least that training has seen
CHARACTERS = {"as they come": None, "larger": (_THICKER, _THINNER, True), "smaller": (_THINNER, _THICKER, False)}


def plate(bench: Bench) -> Table:
    """Replacement with a plate. psnr_inside: of the true figures; psnr_ring: in the 8 pixels around the grown driving
    mask, where the made picture passes into what was filmed; psnr_near: in the 8 pixels around the mask itself, where a
    made person who stands a little off counts most; psnr: of the whole. Characters are larger or smaller than
    the driven people: limbs, and a hat."""
    rows, miniature = Rows(), bench.miniature
    for number, (name, looks) in enumerate(CHARACTERS.items()):
        for people in (1, 2, 3):
            for seed, _, pictures in _drawn(bench, 300 + 3 * number + people, people, looks):
                plates = [_plate(pictures, clip) for clip in range(len(pictures.truth))]
                conditions = miniature.conditions(pictures, True)
                made = {"composite": miniature.make(conditions, seed),
                        "lock": miniature.make(conditions, seed, velocity=_locked(bench, plates))}
                shown = {way: _composited([replace(each, held=way == "lock") for each in plates], video)
                         for way, video in made.items()}
                for way, video in shown.items():
                    rows.add(f"{people}, {name}: {way}", **measure.score(video, pictures),
                             psnr_ring=_ring_psnr(video, pictures, EDGE.grow),
                             psnr_near=_ring_psnr(video, pictures, 0))
                if seed % 1000 == 0:
                    bench.show(f"plate_{name.split()[0]}", pictures, *made.values(), *shown.values())
    return rows.table()


def _drawn(bench: Bench, seed: int, people: int, looks: tuple[float, float, bool] | None
           ) -> Iterator[tuple[int, Scenes, Pictures]]:
    """Clips; looks: thickness of the characters and of the drivers, and whether the former wear the hats."""
    for batch_seed, scenes, pictures in bench.batches(seed, bench.clips, people, True):
        if looks is not None:
            made, driven, hats = looks
            scenes = replace(scenes, **{side: replace(
                getattr(scenes, side), thickness=torch.full_like(scenes.looks.thickness, thickness),
                hat=torch.full_like(scenes.looks.hat, hat))
                for side, thickness, hat in (("looks", made, hats), ("drivers", driven, not hats))})
            pictures = draw(scenes, SIZE, SIZE, FRAMES)
        yield batch_seed, scenes, pictures


def _plate(pictures: Pictures, clip: int) -> Plate:
    masks = _driven(pictures)[clip].float().cpu()
    identities = bind("replacement", from_masks([masks], DRIVING), [from_masks([masks[:1]], REFERENCE)])
    filmed = (pictures.driving[clip].movedim(1, -1) * 255).round().byte().cpu()
    return Plate(TensorClip(filmed), Covered((SIZE, SIZE), (SIZE, SIZE)), identities, EDGE, measured=True)


def _driven(pictures: Pictures) -> Tensor:
    """Where the driving mask shows anybody, bool [n, T, H, W]: its background is white."""
    return pictures.driving_mask.amin(2) < _WHITE


def _locked(bench: Bench, plates: list[Plate]) -> Any:
    """The miniature's network, whose answer is held to the plates; at guidance 1."""
    miniature, holdings = bench.miniature, []
    for each in plates:
        filmed = read_filmed(each, Segment(0, FRAMES, FRAMES, 0))
        latents = miniature.vae.encode(filmed.frames.movedim(-1, 1)[None].to(miniature.device))
        holdings.append(Holding(filmed.locked(latents, None)))

    def velocity(x: Tensor, timestep: Tensor, *given: Any, **conditions: Any) -> Tensor:
        level = float(timestep[0]) / 1000
        answers = x - level * miniature.transformer(x, timestep, *given, **conditions)
        held = [holding.held(answer, level, positive=answer)
                for holding, answer in zip(holdings, answers.split(1), strict=True)]
        return (x - torch.cat(held)) / level

    return velocity


def _composited(plates: list[Plate], made: Tensor) -> Tensor:
    """[n, T, 3, H, W] in the plates, as a file shows it."""
    return torch.stack([torch.stack(list(Composited(each, video.movedim(1, -1).cpu(), 0).pictures(
        0, FRAMES, lambda: None))).movedim(-1, 1) for each, video in zip(plates, made, strict=True)]).to(made)


def _ring_psnr(video: Tensor, pictures: Pictures, grown: int) -> Tensor:
    """Of the `RING` pixels around the driving mask, grown by so many, that the truth shows as they were filmed."""
    driven = _driven(pictures).float()
    near, mask = (F.max_pool2d(driven, 2 * pixels + 1, 1, pixels) for pixels in (grown + RING, grown))
    ring = (near - mask)[:, :, None] * (1 - (pictures.coverage.amax(2, keepdim=True) > 0).float())
    error = (video - pictures.truth).square()
    return measure.decibels((error * ring).sum((1, 2, 3, 4)) / (3 * ring.sum((1, 2, 3, 4))))
