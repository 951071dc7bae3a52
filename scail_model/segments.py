"""Cutting a driving video of any length into segments that the model can make one after the other.

Every segment after the first begins with the last frames of the one before it (history), which are then not new.
The official pipeline makes full segments only and drops what is left at the end; here every frame in gives a frame
out, by padding the last segment, the rule of minghaop/scail2_exp.
"""

from dataclasses import dataclass

# The video VAE packs the first frame alone and then groups of four: only 4n+1 frames fill whole latent frames.
_GROUP = 4


@dataclass(frozen=True)
class Segment:
    """One run of the sampler, in frames of the driving video.

    start, stop: the real frames, stop exclusive. length: frames to generate, 4n+1; the last real frame is repeated
    `padding` times to reach it. overlap: how many frames at the beginning repeat the end of the previous segment.
    """

    start: int
    stop: int
    length: int
    overlap: int

    @property
    def new_frames(self) -> int:
        """Frames that this segment adds to the video."""
        return self.stop - self.start - self.overlap

    @property
    def padding(self) -> int:
        """Frames that are repeated at the end and cut off again after decoding."""
        return self.length - (self.stop - self.start)


def plan_segments(total_frames: int, segment_length: int = 81, overlap: int = 5) -> list[Segment]:
    """Cover total_frames with overlapping segments, losing none.

    All counts are frames. Every segment but the last has segment_length frames; the last has the smallest 4n+1 that
    holds its frames. The overlap is 0 in the first segment. The new frames of all segments add up to total_frames.
    Source: golden case H, `lossless_scail2_exp`.

    Raises ValueError for anything but whole numbers, total_frames below 1, a segment_length that is not 4n+1 or below
    5, and an overlap that is not 4n+1 or not in 1..segment_length - 4.
    """
    _check(total_frames, segment_length, overlap)
    segments = [_segment(0, total_frames, segment_length, 0)]
    while segments[-1].stop < total_frames:
        segments.append(_segment(segments[-1].stop - overlap, total_frames, segment_length, overlap))
    return segments


def check_length(segment_length: int) -> None:
    """Raise ValueError unless a segment can have this many frames: 4n+1, at least 5."""
    if segment_length < 5 or segment_length % _GROUP != 1:
        below = max(5, (segment_length - 1) // _GROUP * _GROUP + 1)
        raise ValueError(
            f"segment_length is {segment_length}, but it must be 4n+1 and at least 5: take {below} or {below + _GROUP}"
        )


def check_overlap(overlap: int, segment_length: int) -> None:
    """Raise ValueError unless a segment of this length can begin with this much history: 4n+1, and room behind it."""
    longest = segment_length - _GROUP
    if overlap < 1:
        raise ValueError(
            f"overlap is {overlap}, but every segment needs at least 1 frame of history: take 1 to {longest}, in fours"
        )
    if overlap > longest or overlap % _GROUP != 1:
        below = min((overlap - 1) // _GROUP * _GROUP + 1, longest)
        choice = f"{below} or {below + _GROUP}" if below < longest else f"{longest}"
        raise ValueError(
            f"overlap is {overlap}, but it must be 4n+1 and at most {longest} "
            f"in segments of {segment_length} frames: take {choice}"
        )


def padded_length(frames: int) -> int:
    """The smallest 4n+1 that holds `frames` frames."""
    return -(-(frames - 1) // _GROUP) * _GROUP + 1


def _segment(start: int, total_frames: int, segment_length: int, overlap: int) -> Segment:
    stop = min(start + segment_length, total_frames)
    return Segment(start, stop, padded_length(stop - start), overlap)


def _check(total_frames: int, segment_length: int, overlap: int) -> None:
    counts = {"total_frames": total_frames, "segment_length": segment_length, "overlap": overlap}
    for name, value in counts.items():
        if not isinstance(value, int):
            raise ValueError(f"{name} is {value!r}, but it must be a whole number of frames: round it")
    if total_frames < 1:
        raise ValueError(f"total_frames is {total_frames}, but there must be at least 1: check the driving video")
    check_length(segment_length)
    check_overlap(overlap, segment_length)
