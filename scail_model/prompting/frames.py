"""Which frames of a driving video a language model is shown, as the official prompt enhancer chooses them."""

from __future__ import annotations

MOST_FRAMES = 64
USUAL_FRAMES = 8  # official


def frame_indices(count: int, wanted: int) -> list[int]:
    """`wanted` of `count` frames, evenly from the first to the last; a single one is the middle one.

    More than there are gives all of them. ValueError for fewer than one.
    """
    if wanted < 1:
        raise ValueError(f"The number of frames is {wanted}: show at least 1.")
    wanted = min(wanted, count)
    if wanted == 1:
        return [count // 2]
    return [round(i * (count - 1) / (wanted - 1)) for i in range(wanted)]
