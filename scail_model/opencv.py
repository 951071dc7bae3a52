"""OpenCV, imported where it is first needed: by what edits masks, and draws the faces and hands of poses."""

from __future__ import annotations

from types import ModuleType


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
