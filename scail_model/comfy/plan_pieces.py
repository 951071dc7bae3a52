"""The segments of a video as the page draws them: a bar of pieces, and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ..segments import Segment


@dataclass(frozen=True)
class Piece:
    """A part of the bar, in frames. shown: how many the bar has of it, up to where the next segment takes over.
    overlap, padding: of these, taken over from the segment before, and filled up. cut: a scene begins. changed, remade:
    named by `plan` or `remake`. other: a stretch of the video that this node does not make. place: which
    of several GPUs makes it, "" where that is not told. lane: the number of that, from 0, where scenes are made at the
    same time, else None."""

    name: str
    label: str
    start: int
    stop: int
    length: int
    overlap: int
    shown: int
    padding: int = 0
    cut: bool = False
    changed: bool = False
    remade: bool = False
    other: bool = False
    place: str = ""
    lane: int | None = None


def frames_text(frames: int, rate: Fraction | None) -> str:
    return f"{frames} frames" + (f" at {round(float(rate), 2):g} fps ({float(frames / rate):.1f} s)" if rate else "")


def segments_text(segments: Sequence[Segment]) -> str:
    """Number, lengths, scenes, overlap."""
    lengths, last = [segment.length for segment in segments], segments[-1].length
    if len(segments) == 1:
        return f"1 segment of {last}"
    same = len(set(lengths[:-1])) == 1
    scenes, overlap = sum(not segment.overlap for segment in segments), max(segment.overlap for segment in segments)
    return "".join((f"{len(segments)} segments of {lengths[0] if same else f'{min(lengths)} to {max(lengths)}'}",
                    f" in {scenes} scenes" if scenes > 1 else "", f", overlap {overlap}" if overlap else "",
                    f", last {last}" if same and last != lengths[0] else ""))


def pieces(segments: Sequence[Segment], rate: Fraction | None, changed: Sequence[bool], remade: Sequence[bool],
           lanes: Mapping[str, Sequence[int]]) -> list[Piece]:
    """All of a video. lanes: as `at_once.lanes_of` has them."""
    where = {index: (place, lane) for lane, (place, order) in enumerate(lanes.items()) for index in order}
    return [piece(segments, index, rate, changed[index], remade[index], *where.get(index, ("", None)))
            for index in range(len(segments))]


def piece(segments: Sequence[Segment], index: int, rate: Fraction | None, changed: bool = False, remade: bool = False,
          place: str = "", lane: int | None = None) -> Piece:
    segment, later = segments[index], segments[index + 1 : index + 2]
    taken_over = bool(later and later[0].overlap)
    cut = index > 0 and not segment.overlap
    more = (f"the first {segment.overlap} taken over" * bool(segment.overlap), "a new scene" * cut,
            f"filled up to {segment.length}" * bool(segment.padding), "changed by plan" * changed,
            "made again" * remade, place and f"on {place}")
    label = ", ".join((f"Segment {index + 1}: {when(segment.start, segment.stop, rate)}", *filter(None, more)))
    return Piece(str(index + 1), label, segment.start, segment.stop, segment.length, segment.overlap,
                 (later[0].start if taken_over else segment.stop) - segment.start,
                 0 if taken_over else segment.padding, cut, changed, remade, place=place, lane=lane)


def rest(start: int, stop: int, rate: Fraction | None) -> list[Piece]:
    """What is beside the one segment of a node, if there is anything."""
    if start >= stop:
        return []
    return [Piece("", when(start, stop, rate), start, stop, 0, 0, stop - start, other=True)]


def when(start: int, stop: int, rate: Fraction | None) -> str:
    time = f" ({float(start / rate):.1f} to {float(stop / rate):.1f} s)" if rate else ""
    return f"frames {start} to {stop - 1}{time}"
