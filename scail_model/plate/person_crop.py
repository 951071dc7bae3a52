"""One person of a video, cropped so that they are made large, and put back where they were filmed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..geometry import check_frame_count, check_shape, same_shape
from ..identity.identities import Identities
from ..identity.mask_set import MaskSet, in_words, pack_frames, runs
from ..media.clips import Clip, Tick
from ..media.retiming import PickedClip, retimed
from .cropped import CroppedClip, alone, through
from .edge import Edge
from .heads import head_boxes, person_boxes
from .placement import Size
from .plate import Plate
from .window import Boxes, Window, follow

PERSON, FACE = "person", "face"
PARTS = {PERSON: "all of the person", FACE: "the head, for a pass over the face"}
MARGIN = 0.2
_AROUND_HEAD = 0.2  # of the head's sides; what is put back of a face

Faces = tuple[Boxes, str]  # where the heads are, and in words how that is known


@dataclass(frozen=True, eq=False)
class PersonCrop:
    """clip: what was filmed. window: what is seen of it, frame by frame. identities: the one person, and everybody else
    as bystanders, on the clip; of a face, only the masks of the head. cuts: frames at which the window begins anew.
    title: the person's name. part: a key of PARTS."""

    clip: Clip
    window: Window
    identities: Identities
    cuts: Sequence[int]
    title: str
    part: str

    @property
    def seen(self) -> CroppedClip:
        """What the model sees."""
        return CroppedClip(self.clip, self.window)

    @property
    def whole(self) -> bool:
        """Whether all of the person is made, so that they may grow out of their mask."""
        return self.part == PERSON

    def placement(self, size: Size) -> Window:
        """Where a made picture of this size lies on the clip."""
        return self.window if size == self.window.size else self.window.sized(size)

    def plate(self, made: Clip, edge: Edge, clip: Clip | None = None, *, measured: bool = False,
              draft: Size | None = None) -> Plate:
        """Where a made video of this person goes back. clip: the plate in place of what was filmed, as one in which
        another person is already. measured: as in `Plate`. draft: the size of a draft, which may be of another
        shape. Raises ValueError for videos that are not of the same frames or shapes."""
        if made.size != draft and not same_shape(made.size, self.window.size):
            (height, width), (seen_height, seen_width) = made.size, self.window.size
            raise ValueError(f"The made video is {width}x{height}, but {self.title} was cropped for {seen_width}x"
                             f"{seen_height}, another shape: crop with the width and height of the made video.")
        indices = self._indices(made)
        plate = self.clip if clip is None else clip
        if plate.size != self.clip.size:
            (height, width), (own_height, own_width) = plate.size, self.clip.size
            raise ValueError(f"The plate is {width}x{height}, but {self.title} was cropped from {own_width}x"
                             f"{own_height}: connect the video that was cropped, or what Paste SCAIL-2 Person made of "
                             "it.")
        if len(plate) not in (len(made), len(self.clip)):
            raise ValueError(f"The plate has {len(plate)} frames, but {self.title} was cropped from {len(self.clip)} "
                             f"and the made video has {len(made)}: connect a plate of the same frames.")
        window, identities = self.placement(made.size), self.identities
        if list(indices) != list(range(len(self.clip))):
            window, identities = window.picked(indices), identities.picked(indices)
            if clip is None or clip.variable or len(clip) != len(made):  # else what is there already was picked too
                plate = PickedClip(plate, indices, made.rate)
        return Plate(plate, window, identities, edge, measured=measured and self.whole)

    def cuts_in(self, made: Clip) -> list[int]:
        """The cuts, by number of the made frames."""
        return np.searchsorted(self._indices(made), self.cuts).tolist()

    def _indices(self, made: Clip) -> Sequence[int]:
        """Which of the cropped frames each made one is."""
        for rate in (self.clip.rate and made.rate, None):  # as Sample SCAIL-2 Video picks them
            picked = retimed(self.clip, rate)
            if len(picked) == len(made):
                return range(len(made)) if picked is self.clip else picked.indices
        if len(made) == len(self.clip):
            return range(len(made))
        raise ValueError(f"The made video has {len(made)} frames, but {self.title} was cropped in {len(self.clip)}: "
                         "make it from all frames of the crop.")


def crop_person(clip: Clip, identities: Identities, person: int, size: Size, *, margin: float = MARGIN,
                part: str = PERSON, faces: Faces | None = None, cuts: Sequence[int] = (), tick: Tick = lambda: None
                ) -> tuple[PersonCrop, Identities, list[str], list[str]]:
    """The crop, the identities that the model sees in it, what is to be said of it, and what is doubtful.

    person: by number, from 1. size: (height, width) of what will be made. margin: around the part, as a share of its
    box on each side. part: a key of PARTS. faces: where the person's head is; None to estimate it. tick: called for
    each frame of work. Raises ValueError for a person who is not there, and for masks that do not fit the clip.
    """
    if not 1 <= person <= len(identities.labels):
        count = len(identities.labels)
        raise ValueError(f"person is {person}, but {'one person is' if count == 1 else f'{count} people are'} bound: "
                         f"choose {'1' if count == 1 else f'1 to {count}'}.")
    check_frame_count(len(clip), len(identities.driving), stored=clip.stored)
    check_shape("driving mask", identities.driving.size, "driving video", clip.size)
    single, title = alone(identities, person - 1, tick), identities.title(person - 1)
    body = person_boxes(single.driving, 0, clip.size)
    if not body.seen.any():
        raise ValueError(f"{title} (person {person}) is seen in no driving frame: choose another person.")
    if part == FACE:
        boxes, how = faces or (head_boxes(single.driving, 0, clip.size), "estimated from the person's mask")
        if not boxes.seen.any():
            raise ValueError(f"The head of {title} is in no frame of the faces that are given: leave them out, and it "
                             "is estimated from the mask.")
        pasted = replace(single, driving=_within(single.driving, boxes, clip.size))
    else:
        boxes, how, pasted = body, "", single
    window = follow(boxes, clip.size, size, margin, clip.rate, cuts)
    crop = PersonCrop(clip, window, pasted, tuple(cuts), title, part)
    return crop, through(single, window, tick), _report(crop, boxes, how), _doubts(crop, boxes)


def _within(masks: MaskSet, heads: Boxes, plate_size: Size) -> MaskSet:
    """The part of masks that heads cover, and a little around them."""
    edges = heads.bridged
    around = (edges[:, 2:] - edges[:, :2]) * _AROUND_HEAD
    scale = np.array([masks.width / plate_size[1], masks.height / plate_size[0]])
    low, high = (edges[:, :2] - around) * scale, (edges[:, 2:] + around) * scale

    def frames() -> Iterator[np.ndarray]:
        for frame in range(len(masks)):
            (left, top), (right, bottom) = np.floor(low[frame]).astype(int).clip(0), np.ceil(high[frame]).astype(int)
            kept = np.zeros(masks.size, bool)
            kept[top : max(bottom, 0), left : max(right, 0)] = True
            yield masks.frame(frame) & kept

    return pack_frames(frames(), len(masks), masks.people, *masks.size)


def _report(crop: PersonCrop, boxes: Boxes, how: str) -> list[str]:
    edges, window = crop.window.rectangles, crop.window
    heights = edges[:, 3] - edges[:, 1]
    tall = (boxes.edges[:, 3] - boxes.edges[:, 1])[boxes.seen]
    lines = [f"{crop.title}, {crop.part}{f' ({how})' if how else ''}: {tall.mean():.0f} of {crop.clip.height} pixels "
             f"high, made {_larger(crop):.2g} times as large",
             f"window of {heights.min():.0f} to {heights.max():.0f} pixels height for {window.size[1]}x"
             f"{window.size[0]}, in {len(window)} frames"]
    if not boxes.seen.all():
        lines.append(f"not seen in frames {in_words(runs(~boxes.seen))}: the window goes on through them")
    return lines


def _doubts(crop: PersonCrop, boxes: Boxes) -> list[str]:
    edges, part = crop.window.rectangles, crop.part
    outside = (boxes.edges[:, :2] < edges[:, :2] - 1).any(1) | (boxes.edges[:, 2:] > edges[:, 2:] + 1).any(1)
    lines = []
    if (boxes.seen & outside).any():
        lines.append(f"The {part} is larger than a window of this shape inside the picture in frames "
                     f"{in_words(runs(boxes.seen & outside))}: choose a width and height nearer to the shape of the "
                     f"{part}.")
    if _larger(crop) < 1:
        lines.append(f"The {part} is made smaller than it was filmed: choose a larger width and height, or make the "
                     "video without a crop.")
    return lines


def _larger(crop: PersonCrop) -> float:
    return float(crop.window.scales.mean())
