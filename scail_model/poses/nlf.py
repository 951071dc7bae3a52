"""Bodies from NLF (Neural Localizer Fields, NeurIPS 2024): answers of other packs' nodes, and the model itself.

An answer, NLFPRED, has SMPL's 24 joints of everybody in each frame, in millimetres before a camera of 55 degrees. Packs
nest it in different ways, with or without batches and with or without a list of people, so the depth decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .detections import Bodies, check_unit, finite, not_finite_note
from .value import SMPL_JOINTS, from_smpl, official_camera

_KEYS = ("joints3d_nonparam", "joints3d")  # the first is free of the body model, as the official script takes it
# Numbers of joints of SMPL, without and with hands, SMPL-H and SMPL-X: the first 22 are the same.
_SMPL_COUNTS = (22, 24, 52, 55)

Nested = Any  # tensors, arrays or numbers in lists of any depth


def read_nlf(answer: Mapping[str, Nested] | Nested, size: tuple[int, int]) -> Bodies:
    """Read NLFPRED. size: (height, width) of the pictures that NLF has seen, or of larger ones of the same shape.

    Raises ValueError without frames, for joints that are not SMPL's, and for joints in metres or centimetres.
    """
    values, given = answer, ""
    if isinstance(answer, Mapping):
        values = next((answer[key] for key in _KEYS if answer.get(key) is not None), None)
        given = ", ".join(str(key) for key, value in answer.items() if value is not None)
    if values is None:
        raise ValueError(f"The NLF poses have {given or 'nothing'}, but no {_KEYS[0]}: "
                         "connect the pose output of an NLF node.")
    frames = [_people(frame) for frame in _frames(values)]
    if not frames:
        raise ValueError("The NLF poses have no frames: run NLF on the driving video first.")
    check_unit(frames, "the NLF poses")
    return Bodies(tuple(from_smpl(finite(people)) for people in frames), size, official_camera(*size),
                  notes=not_finite_note(frames))


def _frames(values: Nested) -> Sequence[Nested]:
    """The frames of an answer, each with its people in some form."""
    depth = _depth(values)
    if depth is None:  # nobody anywhere
        inner = values[0] if len(values) == 1 and isinstance(values[0], list | tuple) else values
        return list(inner)
    if depth == 5:
        return list(chain.from_iterable(batch for batch in values if batch is not None))
    if depth == 4:
        # a list of one list of [24, 3]: the frames of one person, rather than the many people of one frame
        one = isinstance(values, list | tuple) and len(values) == 1 and isinstance(values[0], list | tuple)
        return list(values[0]) if one else list(values)
    if depth in (2, 3):
        return list(values) if depth == 3 else [values]
    raise ValueError(f"The NLF poses are nested {depth} deep, but joints of people in frames are 2 to 5 deep: connect "
                     "the pose output of an NLF node.")


def _depth(values: Nested) -> int | None:
    """Dimensions of nested values, lists counted; None if there is nothing inside that tells."""
    if isinstance(values, Tensor | np.ndarray):
        return values.ndim if values.ndim != 1 or len(values) else None
    if isinstance(values, list | tuple):
        inside = next((depth for depth in map(_depth, values) if depth is not None), None)
        return None if inside is None else inside + 1
    return None if values is None else 0


def _people(frame: Nested) -> Tensor:
    """One frame -> its people, [n, 24, 3]."""
    if frame is None or _depth(frame) is None:
        return torch.zeros(0, SMPL_JOINTS, 3)
    if isinstance(frame, list | tuple) and any(isinstance(person, Tensor | np.ndarray) for person in frame):
        people = torch.cat([_people(person) for person in frame])
    else:
        people = _listed(frame) if isinstance(frame, list | tuple) else torch.as_tensor(frame).detach()
    people = people[None] if people.ndim == 2 else people
    if people.ndim != 3 or people.shape[1] not in _SMPL_COUNTS or people.shape[2] != 3:
        raise ValueError(f"The NLF poses have a frame of shape {list(people.shape)}, but people have SMPL's 24 joints, "
                         "[people, 24, 3]: connect joints in that form.")
    return people[:, :SMPL_JOINTS].float()


def _listed(frame: Sequence[Nested]) -> Tensor:
    """Numbers in lists, of people of whom some may be None."""
    try:
        return torch.from_numpy(np.asarray([person for person in frame if person is not None], np.float64))
    except (TypeError, ValueError) as error:
        raise ValueError(f"The NLF poses have a frame that is not a regular list of numbers ({error}): connect joints "
                         "as [people, 24, 3].") from error
