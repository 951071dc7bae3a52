"""A person of a quarter of the picture's height: made with the whole picture, and through a crop that is pasted back.

The world is drawn four times as large as the miniature makes it. Both ways sample as many pixels in as many steps, and
both show the character in the reference as large as the driven person, as Reframe SCAIL-2 Reference does.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import measure
import torch
from miniature_cases import FRAMES, SIZE, Bench, Rows, Table
from torch import Tensor
from world import FPS, Motions, Pictures, Scenes, draw

from scail_model.geometry import cover_crop
from scail_model.identity.binding import bind
from scail_model.identity.identities import REPLACEMENT, Identities
from scail_model.identity.mask_sources import DRIVING, REFERENCE, from_colours
from scail_model.media.clips import TensorClip
from scail_model.plate.composite import Composited
from scail_model.plate.edge import Edge
from scail_model.plate.person_crop import crop_person
from scail_model.plate.placement import Covered
from scail_model.plate.plate import Plate
from scail_model.plate.resample import resampled

PLATE = 4 * SIZE  # pixels
HEIGHT = 0.25  # of a person, by the picture's
_EDGE = Edge(4, 4)
_MARGIN = 0.2
_BATCH = 4  # large pictures


def small(bench: Bench) -> Table:
    """Replacement of a person at 25 % of the height of 768x768: composited from the whole picture at 192x192, and from
    a crop at 192x192. As far as the VAE goes: of the truth itself through both."""
    rows, miniature = Rows(), bench.miniature
    for seed, scenes, _ in bench.batches(130, bench.clips, 1, True, batch=_BATCH):
        far = _far(scenes)
        plates = draw(far, PLATE, PLATE, FRAMES)
        # the character as large as the driven person in what the model sees: small, and as in a window
        wide = _at_size(plates, draw(_far(scenes, rest=True), SIZE, SIZE, 1))
        results = {"whole picture": miniature.make(miniature.conditions(wide, True), seed),
                   "whole picture: VAE of the truth": miniature.vae.decode(miniature.vae.encode(_smaller(
                       plates.truth)))}
        crops = [_crop(plates, clip) for clip in range(len(plates.truth))]
        near = draw(replace(scenes, rest=_near(scenes)), SIZE, SIZE, 1)
        close = _through(plates, near, crops)
        results["crop"] = miniature.make(miniature.conditions(close, True), seed)
        results["crop: VAE of the truth"] = miniature.vae.decode(miniature.vae.encode(close.truth))
        shown = {}
        for name, made in results.items():
            shown[name] = torch.stack([_pasted(plates, clip, crops[clip], made[clip], whole=name.startswith("whole"))
                                       for clip in range(len(made))])
            rows.add(name, **measure.score(shown[name].to(plates.truth.device), plates))
        if seed % 1000 == 0:
            bench.show("small", plates, shown["whole picture"], shown["crop"])
            # the same through the window, where a difference is seen
            seen = [_seen(shown[name], crops) for name in ("whole picture", "crop")]
            bench.show("small_close", close, *seen)
    return rows.table()


def _far(scenes: Scenes, *, rest: bool = False) -> Scenes:
    """The same people at a quarter of the height; `rest`: also in the reference."""
    def shrunk(motion: Motions) -> Motions:
        shrink = HEIGHT / motion.height
        path = motion.path.clone()
        path[:, :, 1] *= shrink  # steps are as long as legs
        return replace(motion, height=torch.full_like(motion.height, HEIGHT), feet=motion.feet - 0.15,
                       path=path, bob=motion.bob * shrink)

    motion = shrunk(scenes.motion)
    return replace(scenes, motion=motion, rest=shrunk(scenes.rest)) if rest else replace(scenes, motion=motion)


def _near(scenes: Scenes) -> Motions:
    """The person of the reference as large as a window shows the driven one."""
    height = torch.full_like(scenes.rest.height, 1 / (1 + 2 * _MARGIN))
    return replace(scenes.rest, height=height, feet=torch.full_like(scenes.rest.feet, 0.5) + height / 2)


def _at_size(pictures: Pictures, reference: Pictures) -> Pictures:
    """The whole picture as the model sees it."""
    return replace(pictures, driving=_smaller(pictures.driving), driving_mask=_masks(pictures.driving_mask),
                   reference=reference.reference, reference_mask=reference.reference_mask)


def _smaller(videos: Tensor) -> Tensor:
    return torch.stack([cover_crop(video, SIZE, SIZE).clamp(0, 1) for video in videos])


def _masks(masks: Tensor) -> Tensor:
    return (_smaller(masks) > 0.5).float()


def _crop(plates: Pictures, clip: int):
    """The crop of one clip, and the identities seen in it."""
    driving = TensorClip(plates.driving[clip].movedim(1, -1).cpu(), Fraction(FPS))
    crop, seen, *_ = crop_person(driving, _identities(plates, clip), 1, (SIZE, SIZE), margin=_MARGIN)
    return crop, seen


def _identities(plates: Pictures, clip: int) -> Identities:
    colours = [masks[clip].movedim(1, -1).cpu() for masks in (plates.driving_mask, plates.reference_mask)]
    people, reference = (from_colours(iter(frames), len(frames), name) for frames, name in zip(
        colours, (DRIVING, REFERENCE), strict=True))
    return bind(REPLACEMENT, people, [reference])


def _through(plates: Pictures, near: Pictures, crops: list) -> Pictures:
    """What the model sees of each clip through its window; the truth too."""
    device = plates.truth.device
    frames = range(FRAMES)
    driving = torch.stack([crop.seen.read(0, FRAMES).movedim(-1, 1) / 255 for crop, _ in crops]).to(device)
    masks = torch.stack([seen.driving_colours(0, FRAMES) / 255 for _, seen in crops]).to(device)
    truth, coverage = (torch.stack([torch.cat([resampled(video[clip, frame].movedim(0, -1)[None].cpu(),
                                                         crops[clip][0].window.at(frame), (SIZE, SIZE))
                                               for frame in frames]).movedim(-1, 1)
                                    for clip in range(len(crops))]).clamp(0, 1).to(device)
                       for video in (plates.truth, plates.coverage))
    return replace(plates, driving=driving, driving_mask=masks, truth=truth, coverage=coverage,
                   reference=near.reference, reference_mask=near.reference_mask)


def _pasted(plates: Pictures, clip: int, crop: tuple, made: Tensor, *, whole: bool) -> Tensor:
    """A made clip [T, 3, h, w] in its plate, [T, 3, H, W]."""
    person, frames = crop[0], made.movedim(1, -1).cpu()
    if whole:
        plate = Plate(person.clip, Covered((PLATE, PLATE), (SIZE, SIZE)), person.identities, _EDGE)
    else:
        plate = person.plate(TensorClip(frames, person.clip.rate), _EDGE)
    return torch.stack(list(Composited(plate, frames, 0).pictures(0, len(frames), lambda: None))).movedim(-1, 1)


def _seen(videos: Tensor, crops: list) -> Tensor:
    return torch.stack([torch.cat([resampled(video[frame].movedim(0, -1)[None].cpu(), crop.window.at(frame),
                                             (SIZE, SIZE)) for frame in range(FRAMES)]).movedim(-1, 1)
                        for video, (crop, _) in zip(videos, crops, strict=True)]).clamp(0, 1)
