"""What is told of the errors of sparse attention: in a log, a report, the file's metadata, and to programs.

An error is the distance of a layer's attention from all of it, relative to the latter, as estimated while it sampled.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from .run import LayerError

_MOST_STEPS = 10  # in a line


def line(errors: Sequence[LayerError]) -> str:
    """One sampling or several, in one line."""
    worst = max(errors, key=lambda each: each.error)
    last = {each.layer: each.density for each in errors}
    full = sum(density >= 1 for density in last.values())
    all_of_it = f", in {full} of {len(last)} layers all" if full else ""
    return (f"sparse attention is off by {_percent(mean(errors))} on average, {_percent(worst.error)} at most (layer "
            f"{worst.layer + 1}, step {worst.step + 1}); {fmean(each.density for each in errors):.0%} of it was "
            f"computed{all_of_it}")


def by_step(errors: Sequence[LayerError]) -> str:
    """The mean of each step, or of some of them."""
    steps = sorted({each.step for each in errors})
    if len(steps) > _MOST_STEPS:
        steps = [steps[index * (len(steps) - 1) // (_MOST_STEPS - 1)] for index in range(_MOST_STEPS)]
    means = (_percent(mean([each for each in errors if each.step == step])) for step in steps)
    return "by step: " + ", ".join(f"{step + 1}: {found}" for step, found in zip(steps, means, strict=True))


def phrase(errors: Sequence[LayerError]) -> str:
    """As short as metadata are."""
    return f"attention error {_percent(mean(errors))}, at most {_percent(max(each.error for each in errors))}"


def lines(segments: Sequence[Sequence[LayerError]]) -> list[str]:
    """A whole video, by segment."""
    every = list(itertools.chain(*segments))
    if not every:
        return ["sparse attention has left nothing out, because the segments have few tokens or sparse_density is 1; "
                "or its errors are not kept any more"]
    found = [line(every), f"its error {by_step(every)}"]
    if len(segments) > 1:
        known = (f"{number}: {_percent(mean(errors))}" for number, errors in enumerate(segments, 1) if errors)
        found.append(f"its error by segment: {', '.join(known)}")
    return found


def mean(errors: Iterable[LayerError]) -> float:
    return fmean(each.error for each in errors)


def values(errors: Iterable[LayerError]) -> list[dict[str, Any]]:
    """For JSON."""
    return [each._asdict() for each in errors]


def errors_of(values: Iterable[dict[str, Any]]) -> list[LayerError]:
    """What `values` were made of."""
    return [LayerError(**each) for each in values]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
