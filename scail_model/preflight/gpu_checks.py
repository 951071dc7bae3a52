"""What the check says of several GPUs: why they are fewer than asked for, and what they bring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..gpus.gain import ALONE
from . import budget
from .budget import Machine, Work
from .findings import Finding, fact, warning
from .job import Transformer


def check(transformer: Transformer) -> list[Finding]:
    """Fewer GPUs than asked for."""
    return [] if transformer.fewer is None else [warning("fewer_gpus", transformer.fewer)]


def more_than_help(work: Work, machine: Machine) -> list[Finding]:
    """More GPUs than are reckoned to be fastest, by a tenth at least: launching is not reckoned better than that."""
    longest, count = replace(work, lengths=(max(work.lengths),)), work.together.gpus
    heads = work.config.num_heads
    found = {gpus: budget.seconds(replace(longest, together=replace(work.together, gpus=gpus)), machine)
             for gpus in range(1, count + 1) if heads % gpus == 0}
    known = {gpus: seconds for gpus, seconds in found.items() if seconds is not None}
    if not known:
        return []
    best = min(known, key=lambda gpus: known[gpus])
    if known[best] > 0.9 * known[count]:
        return []
    return [warning("many_gpus", f"{count} GPUs are reckoned to take about {budget.duration(known[count])} a segment "
                                 f"and {best} about {budget.duration(known[best])}, because it takes longer to start "
                                 f"so little work than to do it: set gpus to {best}, and use the others for another "
                                 "video.")]


def facts(transformer: Transformer, work: Work, machine: Machine) -> Iterator[Finding]:
    """How the video is made by several GPUs, and how much sooner than by one."""
    count = work.together.gpus
    if count == 1:
        return
    names = ", ".join(map(str, transformer.gpus))
    halves = "" if work.shared[1] == work.together else ", each prompt on half of them"
    yield fact("gpus", f"GPUs: {count} make one video ({names}){halves}{_gain(work, machine)}")


def _gain(work: Work, machine: Machine) -> str:
    """In words. A draft's segments and the video's gain about the same."""
    longest = replace(work, lengths=(max(work.lengths),))
    together = budget.seconds(longest, machine)
    alone = budget.seconds(replace(longest, together=ALONE), machine)
    if together is None or alone is None:
        return ""
    link = "" if machine.link is None else f", with {machine.link / 1e9:.0f} GB/s measured between them"
    return (f": about {budget.duration(together)} instead of {budget.duration(alone)} a segment "
            f"({alone / together:.2g} times as fast){link}")
