"""What poses show, in words."""

from __future__ import annotations

import numpy as np

from ..identity.mask_set import in_words, runs
from .detections import LEAST_SCORE, known
from .value import FACE, LEFT_HAND, MESH, POINTS, RIGHT_HAND, Poses

_DRAWN = [0, 14, 15, 16, 17, *range(FACE.start, POINTS)]  # nose, eyes, ears, face, hands


def read_report(poses: Poses) -> str:
    """For each person the frames with a body, and with points of head or hands; then the notes so far."""
    height, width = poses.size
    people = "1 person" if poses.people == 1 else f"{poses.people} people"
    lines = [f"{people} in {poses.frames} frames of {width}x{height} pixels"]
    bodies = known(poses.joints).any(-1).numpy()
    for person in range(poses.people):
        line = f"{poses.title(person)}: body in {_frames(bodies[:, person])}"
        if poses.scores is not None:
            points = (poses.scores[:, person, _DRAWN] >= LEAST_SCORE).any(-1).numpy()
            line += f"; points of head or hands in {_frames(points)}"
        lines.append(line)
    return "\n".join((*lines, *poses.notes))


def _frames(seen: np.ndarray) -> str:
    text = f"{seen.sum()} frames"
    return text if seen.all() or not seen.any() else f"{text} ({in_words(runs(seen))})"


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
            count = int(np.any([(scores[:, part] >= LEAST_SCORE).any(-1) for part in parts], axis=0).sum())
            texts.append(f"{name} in {count}")
    return "; " + ", ".join(texts) + "."
