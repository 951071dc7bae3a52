"""Scenes that are made at the same time, on different GPUs: which, where, and whether that is faster.

A scene's segments are a chain, so a scene stays in one lane. Its result does not depend on where it is made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..preflight.findings import Finding, fact
from ..segments import Segment

# What each of several GPUs adds when all of them make one segment, as a share of what it does alone: the network's
# exchange costs little, but VAE, reading and writing do not become faster.
_TOGETHER = 0.75


def scenes_of(plan: Sequence[Segment]) -> list[list[int]]:
    """The segments of each scene, counted from 0."""
    scenes: list[list[int]] = []
    for index, segment in enumerate(plan):
        if not segment.overlap or not scenes:
            scenes.append([])
        scenes[-1].append(index)
    return scenes


def shared_out(plan: Sequence[Segment], unmade: Collection[int], lanes: int) -> list[list[int]]:
    """The segments of each lane in the order in which it makes them, those that are made already too; empty if it is
    better to make one after the other on all GPUs.

    Each lane makes at least one of the scenes that have something to make. The longest is given away first, each to the
    lane that has least to do.
    """
    scenes = scenes_of(plan)
    work = [sum(plan[index].length for index in scene if index in unmade) for scene in scenes]
    if lanes < 2 or sum(map(bool, work)) < lanes:
        return []
    loads, given = [0] * lanes, [list[int]() for _ in range(lanes)]
    for number in sorted(range(len(scenes)), key=lambda number: -work[number]):
        lane = loads.index(min(loads))
        loads[lane] += work[number]
        given[lane] += scenes[number]
    return sorted(map(sorted, given)) if _seconds(loads) < _together(sum(loads), lanes) else []


def place_of(gpu: int) -> str:
    """A GPU by its number, counted from 0, as it is called towards people."""
    return f"GPU {gpu + 1}"


def lanes_of(plan: Sequence[Segment], gpus: int) -> dict[str, list[int]]:
    """By place of each lane the segments that it makes of a video of which nothing is made yet, where each GPU is one;
    empty if scenes are not made at the same time."""
    return {place_of(gpu): order for gpu, order in enumerate(shared_out(plan, range(len(plan)), gpus))}


def findings(plan: Sequence[Segment], gpus: int) -> list[Finding]:
    """What a check says of `lanes_of`."""
    lanes = lanes_of(plan, gpus)
    return [fact("scenes", f"scenes at the same time: {in_words(lanes)}")] if lanes else []


def in_words(lanes: Mapping[str, Sequence[int]]) -> str:
    """By place of a lane its segments, in words."""
    return "; ".join(f"segment{'s' * (len(order) > 1)} {_numbers(order)} on {place}" for place, order in lanes.items())


def _numbers(order: Sequence[int]) -> str:
    """Counted from 1, runs of them shortened."""
    runs: list[list[int]] = []
    for index in order:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(f"{run[0] + 1}" if len(run) == 1 else f"{run[0] + 1} to {run[-1] + 1}" for run in runs)


def _seconds(loads: Sequence[int]) -> float:
    """Until the last lane has ended: the one that is left alone has all GPUs (see `engine.py`)."""
    *_, second, longest = sorted(loads)
    return second + _together(longest - second, len(loads))


def _together(load: int, lanes: int) -> float:
    return load / max(1.0, _TOGETHER * lanes)
