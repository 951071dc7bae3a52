"""OpenCV, imported where it is first needed: by what edits masks, and draws the faces and hands of poses."""

from __future__ import annotations

from types import ModuleType

import numpy as np


def opencv() -> ModuleType:
    """The module cv2, whichever package brings it. Raises RuntimeError where it is missing, and where it cannot be
    loaded, as the desktop build on a server without libGL."""
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise RuntimeError("OpenCV, which edits masks and draws faces and hands, is missing: install the Python "
                           "package opencv-python, or opencv-python-headless on a machine without a screen.") from error
    except ImportError as error:
        raise RuntimeError(f"OpenCV cannot be loaded ({error}): install the Python package opencv-python-headless, "
                           "which needs no graphics libraries of the system.") from error
    return cv2


def distances(mask: np.ndarray) -> np.ndarray:
    """How far each pixel in a mask bool [h, w] is from the nearest one outside of it, from centre to centre: float32
    [h, w], 0 outside.

    OpenCV's roots differ in their last bit by how a picture lies in memory, so that two runs would not be the same.
    Their squares are whole numbers.
    """
    cv2 = opencv()
    found = cv2.distanceTransform(np.ascontiguousarray(mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.sqrt(np.rint(np.square(found, out=found), out=found), out=found)
