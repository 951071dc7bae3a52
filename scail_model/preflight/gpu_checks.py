"""What the check says of several GPUs: why they are fewer than asked for, and what they bring."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from ..gpus.gain import ALONE
from . import budget
from .budget import STREAMED, Machine, Work
from .findings import Finding, fact, warning
from .job import Transformer

_WORTH_IT = 0.9  # of the time with all GPUs


def check(transformer: Transformer) -> list[Finding]:
    """Fewer GPUs than asked for."""
    return [] if transformer.fewer is None else [warning("fewer_gpus", transformer.fewer)]


def more_than_help(work: Work, machine: Machine, later: Work | None = None) -> list[Finding]:
    """More GPUs than are reckoned to be fastest, by a tenth at least: launching is not reckoned better than that.
    later: the video that `work` is a draft of."""
    count = work.together.gpus
    took = _by_number(work, machine)
    best = min(took, key=lambda gpus: took[gpus], default=count)
    if best == count or took[best] > _WORTH_IT * took[count]:
        return []
    without_link = _by_number(replace(work, together=replace(work.together, link=math.inf)), machine)
    slow_link = without_link[best] > _WORTH_IT * without_link[count]
    reason = (f"too much travels between them for {work.together.link / 1e9:.0f} GB/s" if slow_link
              else "it takes longer to start so little work than to do it")
    for_draft = "" if later is None else " for the draft"
    back = later is not None and not more_than_help(later, machine)
    rest = f"back to {count} for the video" if back else "use the others for another video"
    return [warning("many_gpus", f"{count} GPUs are reckoned to take about {budget.duration(took[count])} a segment "
                                 f"and {best} about {budget.duration(took[best])}, because {reason}: set gpus to "
                                 f"{best}{for_draft}, and {rest}.")]


def _by_number(work: Work, machine: Machine) -> dict[int, float]:
    """Numbers of GPUs up to those of `work` -> seconds of its longest segment; numbers that cannot be chosen are left
    out, because heads or memory do not allow them, and all without a GPU."""
    found: dict[int, float] = {}
    for gpus in range(1, work.together.gpus + 1):
        fewer = replace(work, lengths=(max(work.lengths),), together=replace(work.together, gpus=gpus))
        seconds = None if work.config.num_heads % gpus else budget.seconds(fewer, machine)
        # streamed weights leave room on fewer GPUs too
        room = (gpus == work.together.gpus or work.weights == STREAMED
                or budget.estimate(fewer, machine.total_vram).least <= machine.free_vram)
        if seconds is not None and room:
            found[gpus] = seconds
    return found


def facts(transformer: Transformer, work: Work, machine: Machine) -> Iterator[Finding]:
    """How the video is made by several GPUs, and how much sooner than by one."""
    count = work.together.gpus
    if count == 1:
        return
    names = ", ".join(map(str, transformer.gpus))
    halves = "" if work.shared[1] == work.together else ", each prompt on half of them"
    yield fact("gpus", f"GPUs: {count} make one video ({names}){halves}{_gain(work, machine)}")


def _gain(work: Work, machine: Machine) -> str:
    """In words, for the job at hand: of a draft it is less than of its video."""
    longest = replace(work, lengths=(max(work.lengths),))
    together = budget.seconds(longest, machine)
    alone = budget.seconds(replace(longest, together=ALONE), machine)
    if together is None or alone is None:
        return ""
    link = "" if machine.link is None else f", with {machine.link / 1e9:.0f} GB/s measured between them"
    return (f": about {budget.duration(together)} instead of {budget.duration(alone)} a segment "
            f"({alone / together:.2g} times as fast){link}")
