"""Masks of people as nodes take them: MASKs, colour pictures and videos, SAM3 tracks, identities, poses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.utils import ProgressBar
from comfy_api.latest import io

from ..identity import binding, mask_sources
from ..identity.binding import AS_GIVEN
from ..identity.identities import Identities
from ..identity.mask_set import MaskSet
from ..identity.mask_sources import Source
from ..masks import PEOPLE_LIMIT
from ..media.clips import Clip, Tick
from ..plate.choice import PLATE, check_somebody
from ..poses.pose_masks import driving_source
from ..poses.value import Poses
from .schema import IdentitiesType, TrackType, as_clip

MASK_TYPES = [io.Image, io.Mask, TrackType, io.Video, IdentitiesType]


def more_masks(name: str, tooltip: str) -> io.Autogrow.Input:
    """Optional MASKs of persons 2, 3 and so on."""
    people = [f"person_{number}" for number in range(2, PEOPLE_LIMIT + 1)]
    template = io.Autogrow.TemplateNames(io.Mask.Input("mask", tooltip=tooltip), names=people, min=0)
    return io.Autogrow.Input(name, template=template, optional=True, tooltip=tooltip)


def read_masks(masks, more: Mapping[str, torch.Tensor] | None, name: str, order: str, *, connected: str,
               more_name: str) -> Source:
    """Read one side's masks from any supported input. name: DRIVING or REFERENCE. connected, more_name: the inputs, for
    messages."""
    if isinstance(masks, torch.Tensor) and masks.ndim in (2, 3):
        people = masks, *_further(more or {}, more_name)
        return mask_sources.from_masks([mask if mask.ndim == 3 else mask[None] for mask in people], name)
    if more:
        raise ValueError(f"{more_name} is connected, but {connected} is not a MASK: connect the MASK of person 1 to "
                         f"{connected}, or disconnect the others.")
    if isinstance(masks, Identities):
        return Source(name, masks.driving, masks.labels, names=masks.given_names, front=masks.front,
                      rendered=masks.rendered)
    if isinstance(masks, Poses):
        return driving_source(masks, _ticks(masks.frames))
    if isinstance(masks, Mapping):
        source = mask_sources.from_tracks(masks, name)
        return replace(source, mask_set=binding.ordered(source.mask_set, order))
    if isinstance(masks, torch.Tensor) and (masks.ndim != 4 or masks.shape[-1] < 3):
        raise ValueError(f"The {name} mask has shape {list(masks.shape)}, but it must be a MASK [T, H, W] or an IMAGE "
                         "[T, H, W, 3]: connect one of these.")
    clip = as_clip(masks, f"{name} mask")
    return mask_sources.from_colours(_with_progress(clip), len(clip), name)


def plate_masks_input() -> io.Input:
    """Masks of the made people, optional, for nodes that have the plate."""
    return io.MultiType.Input("plate_masks", MASK_TYPES, optional=True,
                              tooltip="For plate: masks of the made people, from a first pass of the same video, as "
                                      "for bigger hair or a wider skirt than the driven person's. They count beside "
                                      "the driving masks.")


def read_plate_masks(masks) -> MaskSet | None:
    """People of `plate_masks`, None if nothing is connected. Raises ValueError as `read_masks`, and for nobody."""
    if masks is None:
        return None
    source = read_masks(masks, None, PLATE, AS_GIVEN, connected="plate_masks", more_name="plate_masks")
    if source.labels == ():  # pictures without colours: white on black
        clip = as_clip(masks, f"{PLATE} mask")
        source = mask_sources.from_white(iter(clip), PLATE)
    check_somebody(source.mask_set)
    return source.mask_set


def _with_progress(clip: Clip) -> Iterator[torch.Tensor]:
    """All frames, with a progress bar on the node."""
    bar = ProgressBar(len(clip))
    for frame in clip:
        yield frame
        bar.update(1)


def _ticks(frames: int) -> Tick:
    """To be called for each of as many frames: moves the node's progress bar, and ends work that is cancelled."""
    bar = ProgressBar(frames)

    def tick() -> None:
        throw_exception_if_processing_interrupted()
        bar.update(1)

    return tick


def _further(more: Mapping[str, torch.Tensor], name: str) -> list[torch.Tensor]:
    """The MASKs of persons 2, 3 and so on."""
    for number, connected in enumerate(more, 2):
        if connected != f"person_{number}":
            raise ValueError(f"{name} has {connected} connected, but not person_{number}: leave no gap, because the "
                             "inputs determine the numbers.")
    return list(more.values())
