"""The driving video and its masks as a run reads them: at the rate of the result, and equally long."""

from __future__ import annotations

from fractions import Fraction

from ..identity.identities import Identities
from ..media.clips import Clip, TensorClip
from ..media.retiming import PickedClip, retimed
from ..poses.bound import bound


def timed(driving: Clip, identities: Identities, rate: Fraction | None, *, assumed: Fraction | None = None,
          trim: bool = False) -> tuple[Clip, Identities]:
    """Both at `rate` frames per second, picked by the driving video's time stamps; None takes every frame.

    Masks of all stored frames are picked as the driving video is; masks of the picked frames are taken as they are.
    Others stay as they are, to be refused by the check, unless `trim`: then frames at the end that only one of them has
    are left out, and the clip has a warning that says so. assumed: the rate of a driving video that has none, as
    images. Of poses, only those who are bound are drawn, in their colours. Raises ValueError for a rate that cannot be
    had, and for poses of nobody in the masks.
    """
    clip, masks = _timed(driving, identities, rate, assumed, trim=trim)
    return bound(clip, masks), masks


def _timed(driving: Clip, identities: Identities, rate: Fraction | None, assumed: Fraction | None, *, trim: bool
           ) -> tuple[Clip, Identities]:
    clip, masks = retimed(driving, rate, assumed=assumed), len(identities.driving)
    if rate and driving.rate is None and assumed:
        clip.warnings = [*clip.warnings, "The driving frames have no time stamps: they are taken to be "
                                         f"{float(assumed):g} a second (fps), and read at {float(rate):g}."]
    if masks == clip.stored:
        return clip, _picked(identities, clip)
    if masks == len(clip) or not trim:
        return clip, identities
    return _trimmed(clip, identities)


def _picked(identities: Identities, clip: Clip) -> Identities:
    return identities if clip.indices == range(clip.stored) else identities.picked(clip.indices)


def _trimmed(clip: Clip, identities: Identities) -> tuple[Clip, Identities]:
    masks, frames = len(identities.driving), len(clip)
    of_stored = abs(masks / clip.stored - 1) <= abs(masks / frames - 1)  # else they are of the picked frames
    indices = [index for index in clip.indices if index < masks] if of_stored else range(min(masks, frames))
    shorter = first_frames(clip, len(indices))
    if len(indices) < len(clip) or masks > (clip.stored if of_stored else len(clip)):  # else nothing was lost
        shorter.warnings = [*clip.warnings, _left_out(clip, masks, len(indices), of_stored=of_stored)]
    else:
        shorter.warnings = clip.warnings
    return shorter, identities.picked(indices)


def first_frames(clip: Clip, count: int) -> Clip:
    """The first `count` frames of a clip."""
    if isinstance(clip, TensorClip):
        return TensorClip(clip.images[:count], clip.rate, clip.audio, clip.tick)
    stored = clip.clip if isinstance(clip, PickedClip) else clip
    return PickedClip(stored, clip.indices[:count], clip.rate)


def _left_out(clip: Clip, masks: int, kept: int, *, of_stored: bool) -> str:
    video = clip.stored if of_stored else len(clip)
    text = f"The driving video has {video} frames, but its mask has {masks}, and length_mismatch is set to trim: "
    if masks > video:
        return f"{text}the last {masks - video} frames of the mask are left out; check that both begin together."
    place = f", from {float(kept / clip.rate):.2f} s on," if clip.rate else ""
    return (f"{text}the last {len(clip) - kept} frames of the driving video{place} are left out; check that both begin "
            "together.")
