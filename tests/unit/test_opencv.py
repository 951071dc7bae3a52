"""Without OpenCV everything works but what needs it, and that says so."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "cv2":
            raise FAILURE

sys.meta_path.insert(0, Blocked())
import numpy as np
import torch
from scail_model.identity.mask_edits import Edits
from scail_model.poses import draw_overlay, render_skeleton

points, mask = torch.full((1, 134, 2), 4.0), np.eye(8, dtype=bool)
assert render_skeleton(torch.tensor((0.0, 0.0, 500.0)).expand(1, 1, 24, 3), 64, 64).any()
assert not draw_overlay(points, torch.zeros(1, 134), 8, 8).any()
Edits(keep_largest=True, feather=1.0)(mask)
for needs_it in (lambda: draw_overlay(points, torch.ones(1, 134), 8, 8), lambda: Edits(grow=1)(mask)):
    try:
        needs_it()
    except RuntimeError as error:
        print(error)
"""


@pytest.mark.parametrize(("failure", "message"), [
    ("ModuleNotFoundError(name)",
     "OpenCV, which edits masks and draws faces and hands, is missing: install the Python package opencv-python, or "
     "opencv-python-headless on a machine without a screen."),
    ("ImportError('libGL.so.1: cannot open shared object file')",
     "OpenCV cannot be loaded (libGL.so.1: cannot open shared object file): install the Python package "
     "opencv-python-headless, which needs no graphics libraries of the system."),
])
def test_one_sentence_where_it_is_needed(failure, message):
    done = subprocess.run([sys.executable, "-c", PROGRAM.replace("FAILURE", failure)], check=True, text=True,
                          stdout=subprocess.PIPE)
    assert done.stdout.splitlines() == [message, message]
