"""Checks of tracks in time: people that are lost for a frame or two, that jump, change places or merge, and nobody at
all.

Trackers lose somebody behind an arm, or go on with another person after a crossing or a cut (facebookresearch/sam2,
issues 249, 334, 739). What people do by themselves is not reported: they move by a part of their own size from frame to
frame, and where they leave the picture they stay away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations

import numpy as np

from ..identity.identities import Identities
from ..identity.mask_set import MaskSet, runs
from ..identity.packed_mask import POPULATION
from ..media.clips import Clip
from ..segments import Segment
from .findings import Finding, warning
from .mask_checks import box_overlap

_HOLE = 2  # frames
_THIN = 0.05  # of the person's usual area: as good as nothing
_SAME_PLACE = 0.3  # of the union of two boxes, before and after a hole
_MERGED_BOX = 0.8  # of the box around both
_MERGED_AREA = 0.5  # of the one who is gone, by which the other has grown
_EXCHANGED, _KEPT = 0.5, 0.2  # of the union of two masks
_CUT = 40.0  # levels that neighbouring frames differ by, on average; a moving person changes a few
_LOOKED_AT = 16  # jumps, because each needs two frames of the video
_NAMED = 4


def check(identities: Identities, driving: Clip, plan: Sequence[Segment], cuts: Sequence[int], fps: float
          ) -> list[Finding]:
    """All findings about the tracks; driving has as many frames as they have, `fps` a second."""
    return [*nobody(identities, plan, fps), *holes(identities, fps), *merged(identities, fps),
            *exchanged(identities, fps), *jumps(identities, driving, cuts, fps)]


def nobody(identities: Identities, plan: Sequence[Segment], fps: float) -> Iterator[Finding]:
    """Segments in which the driving mask is empty."""
    gaps = empty_segments(identities, plan)
    if gaps:
        yield warning("nobody", f"The driving mask shows nobody in frames {_when(gaps, fps)}, which cover a whole "
                                "segment: check the mask there, unless everybody has left the picture.")


def empty_segments(identities: Identities, plan: Sequence[Segment]) -> list[tuple[int, int]]:
    """First and last frame of each stretch without people that covers a segment."""
    empty = ~np.any([extent.seen for extent in identities.driving.extents], axis=0)
    return [(first, last) for first, last in runs(empty)
            if any(first <= segment.start and segment.stop <= last + 1 for segment in plan)]


def holes(identities: Identities, fps: float) -> Iterator[Finding]:
    """People that are lost for a frame or two and are then where they were."""
    for person, extent in enumerate(identities.driving.extents):
        found = [(first, last) for first, last in runs(_thin(identities.driving, person))
                 if last - first < _HOLE and first > 0 and last + 1 < len(extent.box)
                 and box_overlap(extent.box[first - 1 : first], extent.box[last + 1 : last + 2])[0] > _SAME_PLACE]
        if found:
            yield warning("hole", f"The track of {identities.title(person)} has holes: the person is lost in frames "
                                  f"{_when(found, fps)} and then in the same place again, and may flicker in the "
                                  "result: track again there, paint the missing masks or, of poses, raise hold.")


def merged(identities: Identities, fps: float) -> Iterator[Finding]:
    """People whose mask is taken over by a neighbour's."""
    for left, gone in permutations(range(identities.driving.people), 2):
        one, other = (identities.driving.extents[person] for person in (left, gone))
        thin = _thin(identities.driving, gone)
        lost = ~thin[:-1] & thin[1:] & one.seen[:-1] & one.seen[1:]
        both = np.concatenate((np.minimum(one.box[:-1, :2], other.box[:-1, :2]),
                               np.maximum(one.box[:-1, 2:], other.box[:-1, 2:])), axis=1)
        grown = np.diff(one.area) >= _MERGED_AREA * other.area[:-1]
        frames = np.flatnonzero(lost & grown & (box_overlap(both, one.box[1:]) > _MERGED_BOX)) + 1
        if len(frames):
            yield warning("merged", f"The mask of {identities.title(gone)} goes over into that of "
                                    f"{identities.title(left)} at frame {_at(frames, fps)}: the tracks have merged, "
                                    "and one person of the result would have two bodies, so track again from there.")


def exchanged(identities: Identities, fps: float) -> Iterator[Finding]:
    """Pairs of people who change places from one frame to the next."""
    for left, right in combinations(range(identities.driving.people), 2):
        frames = _exchanges(identities.driving, left, right)
        if frames:
            yield warning("exchanged", f"{identities.title(left)} and {identities.title(right)} change places at frame "
                                       f"{_at(frames, fps)}: their tracks have been swapped, and so would be the "
                                       "people of the result, so track again from there.")


def jumps(identities: Identities, driving: Clip, cuts: Sequence[int], fps: float) -> Iterator[Finding]:
    """People who are somewhere else in the next frame, further away than they are large."""
    found = {person: _jumps(identities.driving, person) for person in range(identities.driving.people)}
    frames = sorted({frame for ones in found.values() for frame in ones} - set(cuts))[:_LOOKED_AT]
    unnamed = [frame for frame in frames if _cuts(driving, frame)]
    for person, ones in found.items():
        wrong = {frame: before for frame, before in ones.items() if frame in frames and frame not in unnamed}
        if wrong:
            before = next(iter(wrong.values()))
            onto = f" to where {identities.title(before)} was" if before is not None else ""
            yield warning("jump", f"{identities.title(person)} jumps{onto} at frame {_at(list(wrong), fps)}, although "
                                  "the picture does not change: the track has gone over to another person or thing, so "
                                  "track again from there.")
    if unnamed:
        yield warning("cut", f"People jump at frame {_at(unnamed, fps)}, where the driving video seems to cut to "
                             "another scene: check that they are the same people there, and name the cut in "
                             "scene_cuts.")


def _thin(masks: MaskSet, person: int) -> np.ndarray:
    """Frames that show a person not at all, or next to nothing of it; bool [T]."""
    extent = masks.extents[person]
    return extent.area < _THIN * np.median(extent.area[extent.seen]) if extent.seen.any() else ~extent.seen


def _exchanges(masks: MaskSet, left: int, right: int) -> list[int]:
    """Frames at which two people are each where the other was."""
    one, other = masks.extents[left].box, masks.extents[right].box
    likely = (box_overlap(one[1:], other[:-1]) > _EXCHANGED) & (box_overlap(other[1:], one[:-1]) > _EXCHANGED) & (
        box_overlap(one[1:], one[:-1]) < _EXCHANGED)
    found = []
    for frame in (np.flatnonzero(likely) + 1).tolist():
        (a, b), (c, d) = masks.rows(frame - 1)[[left, right]], masks.rows(frame)[[left, right]]
        if _share(c, b) > _EXCHANGED and _share(d, a) > _EXCHANGED and _share(c, a) < _KEPT:
            found.append(frame)
    return found


def _jumps(masks: MaskSet, person: int) -> dict[int, int | None]:
    """Frames to which a person jumps, and who was there before; not those of two who change places."""
    extent = masks.extents[person]
    centre, sides = (extent.box[:, :2] + extent.box[:, 2:]) / 2, extent.box[:, 2:] - extent.box[:, :2]
    far = (np.abs(np.diff(centre, axis=0)) > np.maximum(sides[:-1], sides[1:])).any(1)
    found: dict[int, int | None] = {}
    for frame in (np.flatnonzero(far & extent.seen[:-1] & extent.seen[1:]) + 1).tolist():
        others = [other for other in range(masks.people) if other != person]
        if any(frame in _exchanges(masks, person, other) for other in others):
            continue
        before = [other for other in others if box_overlap(
            masks.extents[other].box[frame - 1 : frame], extent.box[frame : frame + 1])[0] > _EXCHANGED]
        found[frame] = before[0] if before else None
    return found


def _cuts(driving: Clip, frame: int) -> bool:
    """Whether the picture is another one from this frame on."""
    before, after = driving.read(frame - 1, frame + 1).float()
    return float((after - before).abs().mean()) > _CUT


def _share(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two masks, as bits."""
    union = POPULATION[one | other].sum(dtype=np.int64)
    return float(POPULATION[one & other].sum(dtype=np.int64) / max(union, 1))


def _when(stretches: Sequence[tuple[int, int]], fps: float) -> str:
    texts = [f"{first if first == last else f'{first}-{last}'} ({first / fps:.2f} s)" for first, last in stretches]
    return ", ".join(texts[:_NAMED]) + (f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else "")


def _at(frames: Sequence[int] | np.ndarray, fps: float) -> str:
    return _when([(int(frame), int(frame)) for frame in frames], fps)
