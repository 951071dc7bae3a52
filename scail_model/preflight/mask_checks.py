"""Checks of masks: people that are missing, tiny, tracked twice, cropped, or of another size than in the reference.

A finding is reported only if it lasts, because people walk into the picture, pass each other and stand at its edge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F

from ..identity.identities import Identities
from ..identity.mask_set import MaskSet, in_words, runs
from ..identity.packed_mask import POPULATION, packed
from ..inputs.conditioning import half_size_component
from ..inputs.placement import cover, place
from ..masks import people
from ..media.clips import Clip
from ..segments import Segment
from .findings import Finding, fact, warning

_LASTING = 8  # frames, half a second at 16 fps; or all frames that show the person, if fewer
_TINY, _HUGE = 0.002, 0.8  # of the frame
_SMALL = 0.25  # of the picture's height: 128 of 512 pixels, which are 16 cells of the latent
_CROP = "use Crop SCAIL-2 Person (--crop_to_person), which makes the person large and puts it back"
_SLIGHT = 0.005  # of the frame: who covers more has a place that is two pixels wide
_HIDDEN = 0.02  # of a person's pixels
_SAME_PLACE = 0.8  # of the union of two boxes
_CROPPED = 0.01  # of a person's pixels
_SMALLER, _LARGER = 0.75, 1.33  # reference : driving video
_BUSY = 30.0  # levels: plain walls have 12 and 23 in the authors' clips, their picture by the sea has 56
_SAMPLED_FRAMES = 4
_SIDES = ("left side", "head", "right side", "feet")

Window = tuple[int, int, int, int]


def check(identities: Identities, plan: Sequence[Segment], height: int, width: int, *, plate: bool = False
          ) -> list[Finding]:
    """All findings about the masks, for a result of height x width pixels; frames are driving frames. plate: whether
    the result shows the driving video around the people."""
    return [*unseen(identities, plan), *hidden(identities), *sizes(identities), *small(identities, height, width),
            *thin(identities, height, width),
            *coinciding(identities), *cropped_references(identities, height, width),
            *cropped_driving(identities, height, width, plate), *scales(identities, height, width)]


def unseen(identities: Identities, plan: Sequence[Segment]) -> Iterator[Finding]:
    """People that no frame of a segment shows, although it shows others."""
    spans = [(segment.start, segment.stop) for segment in plan]
    somebody = np.any([extent.seen for extent in identities.driving.extents], axis=0)
    for person, extent in enumerate(identities.driving.extents):
        gaps = [(first, last) for first, last in runs(~extent.seen)
                if any(first <= start and stop <= last + 1 and somebody[start:stop].any() for start, stop in spans)]
        if gaps:
            yield warning("unseen", f"{identities.title(person)} is missing in frames {in_words(gaps)} of "
                                    f"{len(identities.driving)}, which cover a whole segment: check the driving mask "
                                    "there, unless the person has left the picture.")


def hidden(identities: Identities) -> Iterator[Finding]:
    """People that others cover in every frame."""
    for depth, person in enumerate(identities.front):
        extent, before = identities.driving.extents[person], identities.front[:depth]
        frames = np.flatnonzero(extent.seen).tolist()
        shown = sum(_shown(identities.driving, person, before, frame) for frame in frames)
        if shown < _HIDDEN * extent.area.sum():
            yield warning("hidden", f"{identities.title(person)} is hidden behind others in all {extent.seen.sum()} "
                                    f"driving frames that contain {identities.title(person)}: change front, or check "
                                    "whether the driving mask has one person twice.")


def _shown(mask_set: MaskSet, person: int, before: Sequence[int], frame: int) -> int:
    """Pixels of a person that the people `before` it do not cover."""
    covering = [other for other in before if mask_set.near(person, other, frame)]
    if not covering:
        return int(mask_set.extents[person].area[frame])
    rows = mask_set.tracks[person][frame]
    for other in covering:
        rows &= ~mask_set.tracks[other][frame]
    return int(POPULATION[rows].sum(dtype=np.int64))


def sizes(identities: Identities) -> Iterator[Finding]:
    """People that cover almost nothing of the driving frame, or almost all of it."""
    driving = identities.driving
    for person, extent in enumerate(driving.extents):
        shares = extent.area / (driving.height * driving.width)
        for code, flags, remedy in (
                ("tiny", extent.seen & (shares < _TINY), _CROP),
                ("huge", shares > _HUGE, "check whether the driving mask includes the background")):
            if _lasts(flags, extent.seen):
                yield warning(code, f"{identities.title(person)} covers {shares[flags].mean():.2%} of the driving "
                                    f"video in frames {in_words(runs(flags))} of {len(driving)}: {remedy}.")


def small(identities: Identities, height: int, width: int) -> Iterator[Finding]:
    """People that are small in the picture that the model makes, but for those that are reported as tiny. Who lies is
    as tall as long; whom the upper or lower edge cuts off is larger than what is seen."""
    driving = identities.driving
    _, top, _, bottom = _window(driving.size, height, width)
    scale = cover(driving.size, height, width).scale / height
    for person, extent in enumerate(driving.extents):
        left, upper, right, lower = extent.box.T
        shares = scale * np.maximum(lower - upper, right - left)
        flags = extent.seen & (shares < _SMALL) & (upper > top) & (lower < bottom)
        tiny = extent.seen & (extent.area < _TINY * driving.height * driving.width)
        if _lasts(flags, extent.seen) and not _lasts(tiny, extent.seen):
            yield warning("small", f"{identities.title(person)} has only {shares[flags].mean():.0%} of the picture's "
                                   f"height in frames {in_words(runs(flags))} of {len(driving)}, where few details can "
                                   f"be made: {_CROP}.")


def thin(identities: Identities, height: int, width: int) -> Iterator[Finding]:
    """People of whom nothing is left at half size, as the model sees masks: a pixel there needs four that are the
    person's."""
    driving = identities.driving
    for person, extent in enumerate(driving.extents):
        flags = extent.seen & (extent.area < _SLIGHT * driving.height * driving.width)
        for frame in np.flatnonzero(flags).tolist():
            flags[frame] = not half_size_component(driving.frame(frame)[person], height, width).any()
        if _lasts(flags, extent.seen):
            yield warning("thin", f"{identities.title(person)} is too thin to be seen in frames "
                                  f"{in_words(runs(flags))} of {len(driving)}: the model sees masks at half size, "
                                  f"where nothing is left of {extent.area[flags].mean():.0f} pixels. Crop the driving "
                                  "video closer to the person, or choose a larger width and height.")


def coinciding(identities: Identities) -> Iterator[Finding]:
    """Pairs of people in nearly the same place: often one person tracked twice."""
    for (left, one), (right, other) in combinations(enumerate(identities.driving.extents), 2):
        flags = box_overlap(one.box, other.box) > _SAME_PLACE
        if _lasts(flags, one.seen & other.seen):
            yield warning("coincide", f"{identities.title(left)} and {identities.title(right)} are in nearly the same "
                                      f"place in frames {in_words(runs(flags))} of {len(flags)}: check whether the "
                                      "driving mask has one person twice.")


def cropped_references(identities: Identities, height: int, width: int) -> Iterator[Finding]:
    """People that are cut off when a reference is cropped to the size of the result."""
    for number, mask_set in enumerate(identities.references, 1):
        window = _window(mask_set.size, height, width)
        for person, extent in enumerate(mask_set.extents):
            lost = _lost(mask_set, person, window)[0]
            share = lost.sum() / max(extent.area[0], 1)
            if share > _CROPPED:
                yield warning("reference_crop", f"Cropped to {width}x{height}, reference {number} loses {share:.1%} of "
                                                f"{identities.title(person)} ({_sides(lost)}): choose a width and "
                                                "height with the picture's shape, or use Reframe SCAIL-2 Reference.")


def cropped_driving(identities: Identities, height: int, width: int, plate: bool = False) -> Iterator[Finding]:
    """People that are cut off when the driving video is cropped to the size of the result; in a plate, where the rest
    of them is seen, also if it does not last."""
    driving = identities.driving
    window = _window(driving.size, height, width)
    for person, extent in enumerate(driving.extents):
        lost = _lost(driving, person, window)
        shares = lost.sum(1) / extent.area.clip(min=1)
        flags = shares > _CROPPED
        if flags.any() if plate else _lasts(flags, extent.seen):
            worst, stays = int(shares.argmax()), ", and the filmed person stays there in the plate" if plate else ""
            yield warning("driving_crop", f"Cropped to {width}x{height}, the driving video loses up to "
                                          f"{shares[worst]:.1%} of {identities.title(person)} in {flags.sum()} of "
                                          f"{len(driving)} frames (most in frame {worst}: {_sides(lost[worst])})"
                                          f"{stays}: choose a width and height with the video's shape.")


def scales(identities: Identities, height: int, width: int) -> Iterator[Finding]:
    """People that are larger or smaller in the primary reference than where they first appear in the driving video."""
    for person, extent in enumerate(identities.references[0].extents):
        if not extent.seen.any():
            continue
        frame = _first_frame(identities.driving, person, height, width)
        ratio = 1.0 if frame is None else _scale(identities, person, frame, height, width)
        if not _SMALLER <= ratio <= _LARGER:
            yield warning("scale", f"{identities.title(person)} is {ratio:.2f} times as large in the reference as in "
                                   f"driving frame {frame}, and the result follows the reference: use Reframe SCAIL-2 "
                                   "Reference.")


def background(identities: Identities, driving: Clip) -> list[Finding]:
    """Whether the background is busy: the spread of its grey levels in a few frames.

    driving: must have as many frames as the masks.
    """
    levels = []
    for index in np.linspace(0, len(driving) - 1, _SAMPLED_FRAMES).astype(int).tolist():
        masks = people(identities.driving_labels(index, index + 1)).float()[None]
        person = F.interpolate(masks, driving.size, mode="nearest-exact")[0, 0] > 0.5
        levels.append(driving.read(index, index + 1)[0].float().mean(-1)[~person])
    grey = torch.cat(levels)
    if not len(grey) or grey.std(correction=0) <= _BUSY:
        return []
    return [fact("busy_background", f"The background of the driving video is busy (its grey levels spread by "
                                    f"{grey.std(correction=0):.0f} of 255): if it shows in the result, set "
                                    "driving_background to black.")]


def _lasts(flags: np.ndarray, seen: np.ndarray) -> bool:
    return 0 < min(_LASTING, seen.sum()) <= flags.sum()


def box_overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [T, 4]; 0 where one is empty."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    both = sides.clip(min=0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - both
    return both / union.clip(min=1)


def _window(size: tuple[int, int], height: int, width: int) -> Window:
    """The part of a picture of `size` (height, width) that `geometry.cover_crop` keeps: left, top, right, bottom, the
    last two exclusive."""
    placement = cover(size, height, width)
    spans = []
    for length, start, end in ((size[1], placement.left, width), (size[0], placement.top, height)):
        places = start + placement.scale * (np.arange(length) + 0.5)
        inside = np.flatnonzero((places >= 0) & (places < end))
        spans.append((int(inside[0]), int(inside[-1]) + 1))
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


def _lost(mask_set: MaskSet, person: int, window: Window) -> np.ndarray:
    """Pixels of a person outside a window in each frame, int64 [T, 4], in the order of `_lost_in`."""
    left, top, right, bottom = window
    extent = mask_set.extents[person]
    outside = (extent.box[:, :2] < (left, top)).any(1) | (extent.box[:, 2:] > (right, bottom)).any(1)
    lost = np.zeros((len(mask_set), 4), np.int64)
    for frame in np.flatnonzero(outside & extent.seen).tolist():
        lost[frame] = _lost_in(mask_set, person, frame, window)
    return lost


def _lost_in(mask_set: MaskSet, person: int, frame: int, window: Window) -> list[int]:
    """Pixels of a person left of, above, right of and below a window in one frame."""
    left, top, right, bottom = window
    rows, columns = mask_set.tracks[person][frame], np.arange(mask_set.width)
    parts = rows & packed(columns < left), rows[:top], rows & packed(columns >= right), rows[bottom:]
    return [POPULATION[part].sum(dtype=np.int64) for part in parts]


def _sides(lost: np.ndarray) -> str:
    return ", ".join(side for side, pixels in zip(_SIDES, lost, strict=True) if pixels)


def _first_frame(mask_set: MaskSet, person: int, height: int, width: int) -> int | None:
    """The first frame that shows more than a sliver of a person after the crop; None if there is none."""
    window, area = _window(mask_set.size, height, width), mask_set.extents[person].area
    sliver = _TINY * mask_set.height * mask_set.width
    return next((frame for frame in np.flatnonzero(area >= sliver).tolist()
                 if area[frame] - sum(_lost_in(mask_set, person, frame, window)) >= sliver), None)


def _scale(identities: Identities, person: int, frame: int, height: int, width: int) -> float:
    """Size of a person in the primary reference relative to a driving frame, both cropped to the result."""
    reference, driving = (torch.from_numpy(mask_set.frame(index)[person].astype(np.uint8))
                          for mask_set, index in ((identities.references[0], 0), (identities.driving, frame)))
    placement, _ = place(reference, driving, height, width)
    return cover(identities.references[0].size, height, width).scale / placement.scale
