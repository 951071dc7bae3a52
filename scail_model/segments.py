"""Segments: a driving video of any length, cut into pieces that the model generates one after the other.

Every segment after the first begins with the last frames of the previous one (history); these are not new frames.
The official pipeline makes full segments only and drops the remainder; here every driving frame gives a frame of the
result, by padding the last segment, as minghaop/scail2_exp does. A scene cut starts without history.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

# The video VAE packs the first frame alone and then groups of four: only 4n+1 frames fill whole latent frames.
_GROUP = 4

# Frames that do not fill a whole segment: the last segment is short; all are about equally long; or the last one is as
# long as the others, padded with its last frame and trimmed.
SHORT_LAST, EVEN, FULL_LAST = "short last", "even", "full last"
LENGTHS = (SHORT_LAST, EVEN, FULL_LAST)


@dataclass(frozen=True)
class Segment:
    """One run of the sampler, in frames of the driving video.

    start, stop: the real frames, stop exclusive. length: frames to generate, 4n+1, reached by repeating the last real
    frame `padding` times. overlap: frames at the beginning that repeat the end of the previous segment.
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
        """Repeated frames at the end, trimmed after decoding."""
        return self.length - (self.stop - self.start)


def plan_segments(total_frames: int, segment_length: int = 81, overlap: int = 5,
                  lengths: str = SHORT_LAST) -> list[Segment]:
    """Cover total_frames with overlapping segments, losing none.

    All counts are frames. Every segment but the last has segment_length frames; the last has the smallest 4n+1 that
    holds its frames, or segment_length with FULL_LAST. With EVEN there are as many segments, but their lengths differ
    by 4 at most. The overlap is 0 in the first segment. The new frames of all segments add up to total_frames.
    Source: golden case H, `lossless_scail2_exp`.

    Raises ValueError for anything but whole numbers, total_frames below 1, a segment_length that is not 4n+1 or below
    5, and an overlap that is not 4n+1 or not in 1..segment_length - 4.
    """
    _check(total_frames, segment_length, overlap)
    count = 1 + max(0, -(-(total_frames - segment_length) // (segment_length - overlap)))
    wanted = _even(total_frames, count, overlap) if lengths == EVEN else [segment_length] * count
    segments = [_segment(0, total_frames, wanted[0], 0)]
    for length in wanted[1:]:
        segments.append(_segment(segments[-1].stop - overlap, total_frames, length, overlap))
    if lengths == FULL_LAST:
        segments[-1] = replace(segments[-1], length=segment_length)
    return segments


def plan_scenes(total_frames: int, cuts: Sequence[int], segment_length: int = 81, overlap: int = 5,
                lengths: str = SHORT_LAST) -> list[Segment]:
    """`plan_segments` for each scene. cuts: first frames of all scenes but the first, in ascending order.

    The first segment of a scene has overlap 0. Raises ValueError for cuts that are not ascending or not in
    1..total_frames - 1, and as `plan_segments` does.
    """
    for before, cut in zip((0, *cuts), cuts, strict=False):
        if not before < cut < total_frames:
            raise ValueError(f"There is a scene cut at frame {cut}, but cuts must be in ascending order and between 1 "
                             f"and {total_frames - 1}: correct scene_cuts.")
    edges = (0, *cuts, total_frames)
    return [replace(segment, start=start + segment.start, stop=start + segment.stop)
            for start, stop in zip(edges, edges[1:], strict=False)
            for segment in plan_segments(stop - start, segment_length, overlap, lengths)]


def segment_at(total_frames: int, start: int, length: int, overlap: int) -> Segment:
    """The segment of `length` frames whose first new frame is `start`, including the `overlap` frames before it. If the
    video ends earlier, the segment is as short as 4n+1 allows.

    Raises ValueError if it would begin before the video, or has no new frames.
    """
    first = start - overlap
    if start >= total_frames:
        raise ValueError(f"The segment starts at frame {start}, but the driving video ends after {total_frames} "
                         "frames: lower start_frame, or stop here.")
    if first < 0:
        raise ValueError(f"The segment starts at frame {start} with {overlap} previous frames, but these would be "
                         "before the video: set start_frame to the number of frames made so far.")
    return _segment(first, total_frames, length, overlap)


def check_length(segment_length: int, name: str = "segment_length") -> None:
    """Raise ValueError unless a segment can have this many frames: 4n+1, at least 5. name: of the input."""
    if segment_length < 5 or segment_length % _GROUP != 1:
        below, above = nearest_lengths(segment_length)
        raise ValueError(f"{name} is {segment_length}, but it must be 4n+1 and at least 5: take {below} or {above}")


def check_overlap(overlap: int, segment_length: int) -> None:
    """Raise ValueError unless a segment of this length can begin with this much history: 4n+1, with room after it."""
    longest = segment_length - _GROUP
    if overlap < 1:
        raise ValueError(
            f"overlap is {overlap}, but every segment needs at least 1 frame of history: take 1 to {longest}, in steps "
            "of 4"
        )
    if overlap > longest or overlap % _GROUP != 1:
        choices = " or ".join(map(str, nearest_overlaps(overlap, segment_length)))
        raise ValueError(
            f"overlap is {overlap}, but it must be 4n+1 and at most {longest} "
            f"in segments of {segment_length} frames: take {choices}"
        )


def nearest_lengths(frames: int) -> tuple[int, int]:
    """The valid segment lengths below and above an invalid one."""
    below = max(5, (frames - 1) // _GROUP * _GROUP + 1)
    return below, below + _GROUP


def nearest_overlaps(overlap: int, segment_length: int) -> tuple[int, ...]:
    """The valid overlaps nearest to an invalid one, in segments of a valid length: one or two."""
    below = max(1, (overlap - 1) // _GROUP * _GROUP + 1)
    longest = segment_length - _GROUP
    return (below, below + _GROUP) if below < longest else (longest,)


def padded_length(frames: int) -> int:
    """The smallest 4n+1 that holds `frames` frames."""
    return -(-(frames - 1) // _GROUP) * _GROUP + 1


def _even(total_frames: int, count: int, overlap: int) -> list[int]:
    """Lengths 4n+1 of `count` segments that cover total_frames, as equal as possible, longer ones first."""
    groups = -(-(total_frames - 1) // _GROUP) + (count - 1) * (overlap - 1) // _GROUP
    return [_GROUP * (groups // count + (index < groups % count)) + 1 for index in range(count)]


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
