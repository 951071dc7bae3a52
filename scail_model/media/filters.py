"""FFmpeg's filters on single frames: graphs that are made once and used again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, cast

import av
import av.filter

Step = tuple[str, Mapping[str, object]]  # a filter's name and its options

_KINDS = 8  # of frames and filters for which graphs are kept


class _Graph:
    """Filters one after the other, for frames of one size and format. A filter gives a frame for each frame."""

    def __init__(self, like: av.VideoFrame, steps: tuple[Step, ...]) -> None:
        self.graph = av.filter.Graph()
        self.source = last = self.graph.add_buffer(
            width=like.width, height=like.height, format=cast(Any, like.format.name),
            time_base=like.time_base or Fraction(1, 25))
        for name, options in steps:
            step = self.graph.add(name, **{key: str(value) for key, value in options.items()})
            last.link_to(step)
            last = step
        self.sink = self.graph.add("buffersink")
        last.link_to(self.sink)
        self.graph.configure()

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        self.source.push(frame)
        return cast(av.VideoFrame, self.sink.pull())


_free: dict[tuple, list[_Graph]] = defaultdict(list)  # those that no thread is using


def filtered(frame: av.VideoFrame, *steps: Step) -> av.VideoFrame:
    """A frame through filters that look at one frame at a time."""
    key = frame.format.name, frame.width, frame.height, frame.colorspace, frame.color_range, str(steps)
    try:
        graph = _free[key].pop()
    except IndexError:
        graph = _Graph(frame, steps)
    found = graph(frame)
    if len(_free) > _KINDS:
        _free.clear()
    _free[key].append(graph)
    return found


def deinterlaced(frame: av.VideoFrame) -> av.VideoFrame:
    """The first field of an interlaced frame, and the lines between filled in along edges."""
    graph = _Graph(frame, (("estdif", {"mode": "frame"}),))
    graph.source.push(frame)
    graph.source.push(None)  # the filter waits for another frame
    return cast(av.VideoFrame, graph.sink.pull())
