"""What poses show, in words."""

from __future__ import annotations

import numpy as np

from ..identity.mask_set import in_words, runs
from .value import FACE, LEFT_HAND, MESH, RIGHT_HAND, Poses

_DRAWN = 0.3  # score


def look_report(poses: Poses, start: int, stop: int) -> str:
    """The rendered frames start..stop, who is seen in which frame, what is drawn of them, and the notes so far."""
    height, width = poses.size
    seen = poses.seen.numpy()
    lines = [f"{stop - start} of {poses.frames} frames drawn, {width}x{height} pixels, style {poses.look.style}."]
    for person in range(poses.people):
        stretches = runs(seen[:, person])
        where = f"frames {in_words(stretches)}" if stretches else "no frame"
        lines.append(f"- {poses.title(person)}: {where}{_parts(poses, person)}")
    return "\n".join([*lines, *poses.notes])


def _parts(poses: Poses, person: int) -> str:
    """In how many frames the person's face and hands are drawn."""
    look, texts = poses.look, []
    if look.style == MESH:
        return "."
    for name, wanted, parts in (("face", look.face, (FACE,)), ("hands", look.hands, (LEFT_HAND, RIGHT_HAND))):
        if not wanted:
            texts.append(f"{name} not drawn, as asked")
        elif poses.scores is None:
            texts.append(f"no points of {name}")
        else:
            scores = poses.scores[:, person].numpy()
            count = int(np.any([(scores[:, part] >= _DRAWN).any(-1) for part in parts], axis=0).sum())
            texts.append(f"{name} in {count}")
    return "; " + ", ".join(texts) + "."
